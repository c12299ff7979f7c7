"""Thin numbers over steps without losing extremes: of every four points of a column the lowest and the highest stay.

A point keeps its true step. Values that are not finite count as extremes of their own: the first of each bucket stays
too. So the lowest and the highest finite value of a column and its first NaN or infinity survive any number of passes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnwidget.types import Array

_BUCKET = 4

# A NaN with a payload of our own, as R marks what is not available; the same in double and in single precision.
ABSENT = struct.unpack("<d", struct.pack("<Q", 0x7FF8034FC0000000))[0]
"""Says that nothing was measured, where a plain NaN says that the measured value is one (float32 or float64)."""

_BITS: dict[int, np.unsignedinteger[Any]] = {4: np.uint32(0x7FC01A7E), 8: np.uint64(0x7FF8034FC0000000)}


def is_absent(values: Array) -> Array:
    """Say which values are :data:`ABSENT`; plain NaNs are not.

    Parameters
    ----------
    values : ndarray
        float32 or float64, any shape.

    Examples
    --------
    >>> is_absent(np.array([1.0, np.nan, ABSENT], np.float32))
    array([False, False,  True])
    """
    bits = _BITS[values.dtype.itemsize]
    mask: Array = values.view(bits.dtype) == bits
    return mask


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch of time, column by column: each column has points of its own.

    ``values[starts[c]:starts[c + 1]]`` are the points of column c in time order, ``rows`` of the same places index
    ``steps`` (int64). ``rows`` is uint16 or uint32, ``starts`` int64 ``(columns + 1,)``. ``level`` counts the passes.
    """

    steps: Array
    starts: Array
    rows: Array
    values: Array
    level: int

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.steps.nbytes + self.starts.nbytes + self.rows.nbytes + self.values.nbytes

    def column(self, index: int) -> tuple[Array, Array]:
        """Return steps and values of one column; empty of a column that came later."""
        start, stop = (self.starts[index], self.starts[index + 1]) if index + 1 < len(self.starts) else (0, 0)
        return self.steps[self.rows[start:stop]], self.values[start:stop]


def thin_block(steps: Array, values: Array) -> Run:
    """Thin a matrix of which every row is a step.

    Parameters
    ----------
    steps : ndarray
        int64 ``(rows,)``.
    values : ndarray
        float32 or float64 ``(rows, columns)``, :data:`ABSENT` where a column has no point.

    Returns
    -------
    Run
        Level 1.

    Examples
    --------
    >>> run = thin_block(np.arange(4), np.array([[1.0], [9.0], [2.0], [3.0]]))
    >>> run.column(0)
    (array([0, 1]), array([1., 9.]))
    """
    height, columns = values.shape
    padded = -(-height // _BUCKET) * _BUCKET
    turned = np.full((columns, padded), ABSENT, values.dtype)
    turned[:, :height] = values.T
    places = np.flatnonzero(_kept(turned.reshape(-1, _BUCKET)))
    starts = np.searchsorted(places, np.arange(columns + 1) * padded)
    return _run(steps, starts, places % max(padded, 1), turned.reshape(-1)[places], 1)


def thin_runs(runs: Sequence[Run]) -> Run:
    """Join stretches that follow each other, and thin them as one.

    Parameters
    ----------
    runs : sequence of Run
        In time order; later ones may have more columns.

    Examples
    --------
    >>> run = thin_block(np.arange(4), np.array([[1.0], [9.0], [2.0], [3.0]]))
    >>> later = thin_block(np.arange(4, 8), np.array([[4.0], [5.0], [4.0], [0.5]]))
    >>> thin_runs([run, later]).column(0)
    (array([1, 7]), array([9. , 0.5]))
    """
    columns = max(len(run.starts) for run in runs) - 1
    counts = np.zeros((len(runs), columns), np.int64)
    for count, run in zip(counts, runs, strict=True):
        count[: len(run.starts) - 1] = np.diff(run.starts)
    groups = -(-counts.sum(axis=0) // _BUCKET)
    # Every column begins a new bucket; what fills its last one up is absent.
    begins = np.concatenate([[0], np.cumsum(groups)]) * _BUCKET
    values = np.full(begins[-1], ABSENT, runs[0].values.dtype)
    rows = np.zeros(begins[-1], np.int64)
    free, height = begins[:-1].copy(), 0
    for count, run in zip(counts, runs, strict=True):
        offsets = free - np.concatenate([[0], np.cumsum(count)[:-1]])
        places = np.arange(len(run.values)) + np.repeat(offsets, count)
        values[places] = run.values
        rows[places] = run.rows.astype(np.int64) + height
        free += count
        height += len(run.steps)
    places = np.flatnonzero(_kept(values.reshape(-1, _BUCKET)))
    steps = np.concatenate([run.steps for run in runs])
    level = max(run.level for run in runs) + 1
    return _run(steps, np.searchsorted(places, begins), rows[places], values[places], level)


def decimate(steps: Array, values: Array, points: int) -> tuple[Array, Array]:
    """Thin one column until it has at most so many points; extremes stay.

    Parameters
    ----------
    steps, values : ndarray
        ``(n,)``.
    points : int
        The most, at least 3.

    Examples
    --------
    >>> steps, values = decimate(np.arange(1000), np.where(np.arange(1000) == 637, 50.0, 1.0), 10)
    >>> len(steps) <= 10, steps[values == 50.0]
    (True, array([637]))
    """
    while len(steps) > max(points, _BUCKET - 1):
        padded = np.full(-(-len(values) // _BUCKET) * _BUCKET, ABSENT, values.dtype)
        padded[: len(values)] = values
        places = np.flatnonzero(_kept(padded.reshape(-1, _BUCKET)))
        steps, values = steps[places], values[places]
    return steps, values


def _kept(buckets: Array) -> Array:
    """Say which of four values ``(n, 4)`` stay."""
    # All first values, all second ones, ...: contiguous rows are quicker.
    rows = np.ascontiguousarray(buckets.T)
    finite = np.isfinite(rows)
    whole = bool(finite.all())
    low = rows if whole else np.where(finite, rows, np.inf)
    high = rows if whole else np.where(finite, rows, -np.inf)
    # Of equal values the first counts as lowest and the last as highest, so that a constant keeps both its ends.
    keep = _first(low == low.min(axis=0))
    keep |= _first((high == high.max(axis=0))[::-1])[::-1]
    if not whole:
        keep &= finite
        keep |= _first(~finite & ~is_absent(rows))
    return keep.T


def _first(marks: Array) -> Array:
    """Keep the first mark of each column of ``(4, n)``."""
    found = marks.copy()
    seen = marks[0].copy()
    for row, mark in zip(found[1:], marks[1:], strict=True):
        np.greater(mark, seen, out=row)
        seen |= mark
    return found


def _run(steps: Array, starts: Array, rows: Array, values: Array, level: int) -> Run:
    """Drop the steps of which no column kept a point."""
    used = np.zeros(len(steps), np.bool_)
    used[rows] = True
    places = np.cumsum(used) - 1
    kept = steps[used]
    small = np.uint16 if len(kept) <= np.iinfo(np.uint16).max else np.uint32
    return Run(kept, starts.astype(np.int64), places[rows].astype(small), values, level)


__all__ = ["ABSENT", "Run", "decimate", "is_absent", "thin_block", "thin_runs"]
