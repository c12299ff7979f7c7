"""Arrays as PNG files, with nothing but the standard library."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from nnwidget.types import Array


def png(pixels: Array, palette: Array | None = None, *, scale: int = 1) -> bytes:
    """Write pixels as a PNG file.

    Parameters
    ----------
    pixels : ndarray
        uint8 ``(rows, columns)``, numbers of palette entries, or ``(rows, columns, 3)`` or ``(…, 4)``, colours.
    palette : ndarray, optional
        uint8 ``(n, 4)``: red, green, blue, opacity; n at most 256. Needed for numbers, and only for them.
    scale : int
        Each pixel becomes a square of so many.

    Returns
    -------
    bytes
        The file.

    Examples
    --------
    >>> png(np.zeros((2, 3, 3), np.uint8))[1:4]
    b'PNG'
    """
    rows, columns = pixels.shape[:2]
    if not rows or not columns:
        raise ValueError("a picture without pixels")
    depth = 1 if pixels.ndim == 2 else pixels.shape[2]
    wide = np.repeat(pixels.reshape(rows, columns, depth), scale, axis=1).reshape(rows, columns * scale * depth)
    # Filter 2 stores the difference to the row above: a repeated row is nothing but zeros.
    lines = np.zeros((rows, scale, 1 + wide.shape[1]), np.uint8)
    lines[:, 1:, 0] = 2
    lines[:, 0, 1:] = wide
    kind = {1: 3, 3: 2, 4: 6}[depth]
    header = struct.pack(">IIBBBBB", columns * scale, rows * scale, 8, kind, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    if kind == 3:
        if palette is None:
            raise ValueError("numbers without a palette")
        chunks.append(_chunk(b"PLTE", palette[:, :3].tobytes()))
        chunks.append(_chunk(b"tRNS", palette[:, 3].tobytes()))
    chunks += [_chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def data_uri(file: bytes) -> str:
    """Return a PNG file as an address that a page can hold."""
    return "data:image/png;base64," + base64.b64encode(file).decode("ascii")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


__all__ = ["data_uri", "png"]
