"""Read the frames of a folder or of a packed file, also while another process is writing them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nnwidget.errors import InputError
from nnwidget.training.segments import MAGIC, PREFIX, Frame, decode, find, length
from nnwidget.training.segments_writer import is_history, segments

_WINDOW = 16 * 2**20


class SegmentReader:
    """Yields frames in order; what was read is not read again.

    An unfinished frame at the end of the last segment is waited for. A damaged one is skipped, with those up to the
    next that is intact, and named in ``problems``.

    Parameters
    ----------
    path : Path
        A folder or a packed file.

    Attributes
    ----------
    written : float
        When what was read last was written, in seconds of the file system's clock.
    unread : int
        Bytes at the end that are no complete frame.
    lost : str
        Why nothing could be read the last time, for whoever follows; "" while all is well.

    Raises
    ------
    InputError
        There is no history there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self.written = 0.0
        self.unread = 0
        self.lost = ""
        self._places: dict[Path, int] = {}
        # The last frame that was read, by its place and its beginning: it tells its file from another of that name.
        self._last: tuple[int, bytes] = (0, b"")
        if not (_is_packed(path) if path.is_file() else path.is_dir() and is_history(path)):
            raise InputError(
                f"There is no history in {path}{_instead(path)}.",
                argument="path",
                remedy="Pass the folder given to watch(path=...), or a file made by history.save().",
            )

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that are new since the last call.

        Raises
        ------
        InputError
            What was read so far is gone, or others have taken its place.
        OSError
            A file cannot be read.
        """
        paths = [self.path] if self.path.is_file() else segments(self.path)
        known = list(self._places)
        if known and not paths:
            raise InputError(f"{self.path} is gone.", argument="path", remedy="What was read before stays.")
        if paths[: len(known)] != known:
            raise self._replaced()
        # The one that was the last may have grown.
        for path in paths[max(0, len(known) - 1) :]:
            yield from self._segment(path, last=path == paths[-1])

    def _replaced(self) -> InputError:
        return InputError(
            f"{self.path} holds another history by now.", argument="path", remedy="Load it again with History.load()."
        )

    def _segment(self, path: Path, *, last: bool) -> Iterator[Frame]:
        place, window = self._places.setdefault(path, 0), _WINDOW
        with path.open("rb", buffering=0) as file:
            about = os.fstat(file.fileno())
            end = about.st_size
            if place:
                file.seek(self._last[0])
                if end < place or file.read(PREFIX) != self._last[1]:
                    raise self._replaced()
            self.written, self.unread = about.st_mtime, 0
            while place < end:
                file.seek(place)
                data = file.read(min(window, end - place))
                start, ends_here = 0, place + len(data) == end
                while (found := decode(data, start)) is not None:
                    self._last = place + start, bytes(data[start : start + PREFIX])
                    frame, start = found
                    self._places[path] = place + start
                    yield frame
                place += start
                if start and not ends_here:
                    # The frame at which this window ends is read whole with the next.
                    continue
                size = length(data, start)
                if not ends_here and size is not None and window < size <= end - place:
                    window = size
                    continue
                following = find(data, start + 1)
                if following > start:
                    self.problems.append(f"{path.name}: what is damaged at byte {place:,} was skipped.")
                    place += following - start
                elif not ends_here:
                    window *= 2
                else:
                    self.unread = end - place
                    if not last and not _cut_off(data, start):
                        self.problems.append(f"{path.name}: its end is damaged from byte {place:,} on.")
                    return


def _cut_off(data: bytes, start: int) -> bool:
    """Tell an unfinished frame, as a killed process leaves it, from a damaged one."""
    size = length(data, start)
    return MAGIC.startswith(data[start : start + len(MAGIC)]) and (size is None or size > len(data) - start)


def _instead(path: Path) -> str:
    """Say what there is where a history was expected, if that explains it."""
    if not path.exists():
        return ": nothing of that name exists (yet)"
    if path.is_dir() and not any(path.iterdir()):
        return ": the folder is empty (so far)"
    return ""


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


__all__ = ["SegmentReader"]
