"""Append frames to the segments of a folder; a write that fails is reported once and never raised."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nnwidget.errors import InputError
from nnwidget.training.segments import SEGMENT_GLOB, SEGMENT_NAME, VERSION

SEGMENT_BYTES = 16 * 2**20
_FORMAT = "nnwidget history"


class SegmentWriter:
    """Writes one process's part of a history.

    A frame is one write to the end of the file, so that other processes may read while it is written. Nothing is
    written by a forked child.

    Parameters
    ----------
    folder : Path
        See :func:`prepare`.
    head : bytes
        The frame that begins each segment.
    failed : callable
        ``failed(sentence)`` when writing failed; nothing is written from then on.
    segment_bytes : int
        How large a segment may grow.

    Raises
    ------
    OSError
        The first segment cannot be made.
    """

    def __init__(
        self, folder: Path, head: bytes, failed: Callable[[str], None], *, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self._folder = folder
        self._head = head
        self._failed = failed
        self._most = segment_bytes
        self._pid = os.getpid()
        self._fd: int | None = None
        self._size = 0
        self._number = max((int(path.stem[8:]) for path in segments(folder)), default=0)
        self._begin()

    @property
    def writes(self) -> bool:
        """Whether what is written still gets anywhere."""
        return self._fd is not None and os.getpid() == self._pid

    def write(self, frame: bytes) -> None:
        """Append a frame."""
        if not self.writes:
            return
        try:
            if self._size + len(frame) > self._most and self._size > len(self._head):
                self._begin()
            self._put(frame)
        except OSError as error:
            self._give_up()
            self._failed(
                f"Writing the history to {self._folder} failed ({error.strerror or error}) and was given up; "
                "it goes on in memory, and history.save(path) keeps that."
            )

    def close(self) -> None:
        """Ask the system to bring everything to the disk, and close; calling it again changes nothing."""
        if self.writes and self._fd is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._fd)
        self._give_up()

    def _begin(self) -> None:
        self._give_up()
        self._number += 1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._fd = os.open(self._folder / SEGMENT_NAME.format(self._number), flags, 0o666)
        self._size = 0
        self._put(self._head)

    def _put(self, frame: bytes) -> None:
        fd, done = self._fd, 0
        assert fd is not None
        try:
            done = os.write(fd, frame)
            while done < len(frame):
                # A full disk shows as a short write first; the next one says why.
                done += os.write(fd, frame[done:])
        except OSError:
            # A reader would wait for the rest.
            with contextlib.suppress(OSError):
                os.ftruncate(fd, os.fstat(fd).st_size - done)
            raise
        self._size += len(frame)

    def _give_up(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)

    def __del__(self) -> None:
        self._give_up()


def segments(folder: Path) -> list[Path]:
    """List the segments of a folder in their order."""
    return sorted(path for path in folder.glob(SEGMENT_GLOB) if path.stem[8:].isdigit())


def is_history(folder: Path) -> bool:
    """Say whether a folder holds a history."""
    try:
        found = json.loads((folder / "meta.json").read_bytes())
    except (OSError, ValueError):
        return bool(segments(folder))
    return isinstance(found, dict) and found.get("format") == _FORMAT


def prepare(folder: Path, meta: Mapping[str, Any]) -> None:
    """Make a folder ready for segments; one that holds a history stays as it is.

    Raises
    ------
    InputError
        It cannot be made or written to, or its ``meta.json`` is somebody else's.
    """
    target = folder / "meta.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if is_history(folder):
            return
        if target.exists():
            raise InputError(
                f"{target} does not belong to a history.", argument="path", remedy="Choose another folder."
            )
        part = folder / f".meta.{os.getpid()}.part"
        part.write_text(json.dumps({"format": _FORMAT, "version": VERSION, "meta": meta}, indent=1) + "\n")
        part.replace(target)
    except OSError as error:
        raise InputError(
            f"The history cannot be written to {folder}: {error.strerror or error}.",
            argument="path",
            remedy="Choose a folder that can be written to.",
        ) from error


__all__ = ["SEGMENT_BYTES", "SegmentWriter", "is_history", "prepare", "segments"]
