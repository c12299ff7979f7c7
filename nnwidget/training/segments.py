"""The format of a history on disk: an append-only folder of checksummed frames, or one file of the same frames.

A folder holds ``meta.json`` (``{"format": "nnwidget history", "version": 1, "meta": {...}}``, written once) and
``segment-000001.nnw``, ``segment-000002.nnw``, ... A segment is a sequence of frames and is only ever appended to. A
process that begins or continues a history starts a new one, and another whenever one has grown to 16 MB. A packed
history is one file with the frames of all segments.

A frame is, little-endian throughout:

====================  =====================================================================
8 bytes               ``89 4E 4E 57 46 52 0D 0A``
uint32                bytes of the header
uint32                CRC-32 of the two fields that follow, the header and the payload
uint64                bytes of the payload
int64                 the last step that the frame speaks of
header                JSON, filled up with spaces to a multiple of 8 bytes
payload               arrays in C order, each filled up with zeros to a multiple of 8 bytes
====================  =====================================================================

The header names the ``kind`` and lists ``arrays`` as ``[name, dtype, shape]``; further members belong to the kind:

- ``segment``: the first of each segment. ``version``, ``run`` (counts the processes that wrote here), ``start_step``
  (what earlier runs recorded after it is void) and ``layers``; its ``json`` (uint8) holds the run's ``meta``.
- ``steps``: ``steps`` (int64), ``walls`` (float64, unix seconds), ``values`` (float64, one row for each of ``names``).
- ``logs``: ``steps``, ``values`` and ``which`` (uint16, index into ``names``).
- ``sample``: ``values`` (float32, one row for each of ``quantities``, one column a layer), and for each of
  ``histograms`` its ``counts``, ``lo`` and ``hi``, numbered from 0.
- ``picture``: ``array``, with ``about`` (map, prediction, weight, input, image) and ``name``.
- ``event``: ``json`` holds the event.
- ``end``: the last of a run that was closed and not killed; its ``json`` holds ``wall``, unix seconds.
- ``columns``, ``rows`` and ``run`` hold thinned tables; only in files packed from memory.

Kinds that a reader does not know are skipped.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from nnwidget.types import Array

VERSION = 1
MAGIC = b"\x89NNWFR\r\n"
SEGMENT_NAME = "segment-{:06d}.nnw"
SEGMENT_GLOB = "segment-*.nnw"

_LENGTHS = struct.Struct("<Qq")
_START = struct.Struct("<8sII")
PREFIX = _START.size + _LENGTHS.size


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: ``head`` is the whole header, ``raw`` its bytes in the file."""

    kind: str
    step: int
    head: Mapping[str, Any]
    arrays: Mapping[str, Array]
    raw: memoryview


def encode(kind: str, step: int, arrays: Mapping[str, Array], more: Sequence[tuple[str, Any]] = ()) -> bytes:
    """Make a frame.

    Parameters
    ----------
    kind : str
        See above.
    step : int
        The last step it speaks of.
    arrays : mapping of str to ndarray
        Numbers of any kind.
    more : sequence of (str, hashable)
        Further members of the header: strings, numbers, tuples of these.

    Examples
    --------
    >>> frame, end = decode(encode("steps", 7, {"steps": np.array([6, 7])}, [("names", ("loss",))]), 0)
    >>> frame.kind, frame.step, frame.head["names"], frame.arrays["steps"]
    ('steps', 7, ['loss'], array([6, 7]))
    """
    parts: list[bytes] = []
    listed: list[tuple[str, str, tuple[int, ...]]] = []
    size = 0
    for name, array in arrays.items():
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        listed.append((name, array.dtype.newbyteorder("<").str, array.shape))
        fill = -len(data) % 8
        parts.append(data + bytes(fill) if fill else data)
        size += len(data) + fill
    head = _header(kind, tuple(listed), tuple(more))
    lengths = _LENGTHS.pack(size, step)
    body = b"".join((lengths, head, *parts))
    return _START.pack(MAGIC, len(head), zlib.crc32(body)) + body


@lru_cache(maxsize=256)
def _header(
    kind: str, arrays: tuple[tuple[str, str, tuple[int, ...]], ...], more: tuple[tuple[str, Any], ...]
) -> bytes:
    text = json.dumps({"kind": kind, **dict(more), "arrays": arrays}, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def length(data: bytes, start: int) -> int | None:
    """Return how long the frame says it is; None when no frame begins there, or not enough of it is there to tell."""
    if len(data) - start < PREFIX or data[start : start + len(MAGIC)] != MAGIC:
        return None
    _, head, _ = _START.unpack_from(data, start)
    payload, _ = _LENGTHS.unpack_from(data, start + _START.size)
    return PREFIX + int(head) + int(payload)


def decode(data: bytes, start: int) -> tuple[Frame, int] | None:
    """Read the frame that begins at a place.

    Returns
    -------
    (Frame, int) or None
        The frame and where the next begins; None when there is no complete, intact frame.
    """
    size = length(data, start)
    if size is None or start + size > len(data):
        return None
    _, head_size, crc = _START.unpack_from(data, start)
    body = memoryview(data)[start + _START.size : start + size]
    if zlib.crc32(body) != crc:
        return None
    _, step = _LENGTHS.unpack_from(body)
    place = _LENGTHS.size + head_size
    try:
        head = json.loads(bytes(body[_LENGTHS.size : place]))
        arrays: dict[str, Array] = {}
        for name, dtype, shape in head["arrays"]:
            kind, count = np.dtype(dtype), int(np.prod(shape, dtype=np.int64))
            arrays[name] = np.frombuffer(body, kind, count, place).reshape(shape)
            place += -(-count * kind.itemsize // 8) * 8
        return Frame(str(head["kind"]), step, head, arrays, memoryview(data)[start : start + size]), start + size
    except (ValueError, TypeError, KeyError):
        # Intact but not ours; the reader treats it as damaged.
        return None


def find(data: bytes, start: int) -> int:
    """Return where the next complete, intact frame begins, -1 when there is none."""
    place = data.find(MAGIC, start)
    while place >= 0 and decode(data, place) is None:
        place = data.find(MAGIC, place + 1)
    return place


__all__ = ["MAGIC", "PREFIX", "SEGMENT_GLOB", "SEGMENT_NAME", "VERSION", "Frame", "decode", "encode", "find", "length"]
