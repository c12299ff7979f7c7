"""One file of a whole history, there either entirely or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from nnwidget.errors import NNWidgetError


def pack(path: Path, frames: Iterable[bytes | memoryview]) -> None:
    """Write frames to a file of another name and rename it once it is complete.

    A kill meanwhile leaves what was there before, and perhaps a file that begins with a dot and ends with ``.part``.

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
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            for frame in frames:
                file.write(frame)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise NNWidgetError(
            f"The history could not be saved to {path}: {error.strerror or error}.",
            argument="path",
            remedy="Choose a file name in a folder that can be written to and has room.",
        ) from error


__all__ = ["pack"]
