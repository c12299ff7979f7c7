"""Read the frames of a folder or of a packed file, also while another process is writing them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nnwidget.errors import InputError
from nnwidget.training.segments import MAGIC, Frame, decode, find, length
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

    Raises
    ------
    InputError
        There is no history there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self._places: dict[Path, int] = {}
        if not (_is_packed(path) if path.is_file() else path.is_dir() and is_history(path)):
            raise InputError(
                f"There is no history in {path}.",
                argument="path",
                remedy="Pass the folder given to watch(path=...), or a file made by history.save().",
            )

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that are new since the last call."""
        paths = [self.path] if self.path.is_file() else segments(self.path)
        # The one that was the last may have grown.
        for path in paths[max(0, len(self._places) - 1) :]:
            yield from self._segment(path, last=path == paths[-1])

    def _segment(self, path: Path, *, last: bool) -> Iterator[Frame]:
        place, window = self._places.setdefault(path, 0), _WINDOW
        with path.open("rb", buffering=0) as file:
            end = os.fstat(file.fileno()).st_size
            while place < end:
                file.seek(place)
                data = file.read(min(window, end - place))
                start, ends_here = 0, place + len(data) == end
                while (found := decode(data, start)) is not None:
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
                    if not last and not _cut_off(data, start):
                        self.problems.append(f"{path.name}: its end is damaged from byte {place:,} on.")
                    return


def _cut_off(data: bytes, start: int) -> bool:
    """Tell an unfinished frame, as a killed process leaves it, from a damaged one."""
    size = length(data, start)
    return MAGIC.startswith(data[start : start + len(MAGIC)]) and (size is None or size > len(data) - start)


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


__all__ = ["SegmentReader"]
