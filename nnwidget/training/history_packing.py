"""One file of a whole history, there either entirely or not at all."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
from collections.abc import Iterable
from pathlib import Path

from nnwidget.errors import NNWidgetError


def pack(path: Path, frames: Iterable[bytes | memoryview]) -> None:
    """Write frames to a file of another name and rename it once it is complete.

    A kill meanwhile leaves what was there before, and perhaps a file that begins with a dot and ends with ``.part``,
    which the next call removes.

    Parameters
    ----------
    path : Path
        The file, replaced if it exists.
    frames : iterable of bytes
        The first one begins a segment.

    Raises
    ------
    NNWidgetError
        It cannot be written; nothing is left behind.
    """
    begin = f".{path.name}.{platform.node()}."
    part = path.with_name(f"{begin}{os.getpid()}.{threading.get_ident()}.part")
    try:
        _sweep(path.parent, begin)
        with part.open("wb") as file:
            for frame in frames:
                file.write(frame)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise NNWidgetError(
            f"The history could not be saved to {path}: {error.strerror or error}.",
            argument="path",
            remedy="Choose a file name in a folder that can be written to and has room.",
        ) from error


def _sweep(folder: Path, begin: str) -> None:
    """Remove what processes of this machine left that were killed while they saved to the same file."""
    for left in folder.iterdir():
        pid = left.name.removeprefix(begin).split(".")[0]
        if left.name.startswith(begin) and left.suffix == ".part" and pid.isdecimal() and not _lives(int(pid)):
            with contextlib.suppress(OSError):
                left.unlink()


def _lives(pid: int) -> bool:
    if os.name == "nt":
        # Signal 0 would end it there; but what a process holds open cannot be removed.
        return pid == os.getpid()
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


__all__ = ["pack"]
