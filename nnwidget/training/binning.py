"""Histograms of all layers of a recorded step, counted in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nnwidget.training.measure import BINS
from nnwidget.types import Array, HistogramBlock


def binned(size: int, kinds: Mapping[str, Mapping[int, Sequence[Array]]]) -> dict[str, HistogramBlock]:
    """Count the samples of each layer in equal bins between their lowest and highest finite value, all in one pass.

    Parameters
    ----------
    size : int
        Number of layers.
    kinds : mapping
        Kind to layer index to samples, float32.

    Examples
    --------
    >>> block = binned(2, {"weight": {1: [np.array([0.0, 1.0, np.inf], np.float32)]}})["weight"]
    >>> int(block.counts[1, 0]), int(block.counts[1, -1]), float(block.lo[1]), float(block.hi[1])
    (1, 1, 0.0, 1.0)
    """
    blocks: dict[str, HistogramBlock] = {}
    rows: list[tuple[HistogramBlock, int]] = []
    groups: list[Array] = []
    for kind, layers in kinds.items():
        none = np.full(size, np.nan, np.float32)
        blocks[kind] = HistogramBlock(np.zeros((size, BINS), np.uint32), none, none.copy())
        for index, parts in layers.items():
            values = parts[0] if len(parts) == 1 else np.concatenate([*parts, _NOTHING])
            if values.size:
                groups.append(values)
                rows.append((blocks[kind], index))
    if not groups:
        return blocks
    counts, low, high = _counted(groups)
    for (block, index), row, lo, hi in zip(rows, counts, low, high, strict=True):
        block.counts[index], block.lo[index], block.hi[index] = row, lo, hi
    return blocks


def _counted(groups: list[Array]) -> tuple[Array, Array, Array]:
    """Count each group in its own bins: counts ``(groups, bins)``, lowest and highest value ``(groups,)``."""
    sizes = np.array([values.size for values in groups])
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    joined = np.concatenate(groups)
    with np.errstate(all="ignore"):
        low, high = np.minimum.reduceat(joined, starts), np.maximum.reduceat(joined, starts)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            return _counted_finite(groups)
        factor = BINS / (high.astype(np.float64) - low)
    # All values equal: the middle bin.
    flat = ~np.isfinite(factor)
    factor[flat] = 0.0
    # Ranges so wide or so narrow that single precision runs out.
    kind = np.float32 if np.all(flat | ((factor > 1e-36) & (factor < 1e36))) else np.float64
    places = ((joined.astype(kind, copy=False) - np.repeat(low, sizes)) * np.repeat(factor.astype(kind), sizes)).astype(
        np.int32
    )
    np.minimum(places, BINS - 1, out=places)
    places += np.repeat((np.where(flat, BINS // 2, 0) + BINS * np.arange(len(groups))).astype(np.int32), sizes)
    return np.bincount(places, minlength=BINS * len(groups)).reshape(-1, BINS), low, high


def _counted_finite(groups: list[Array]) -> tuple[Array, Array, Array]:
    finite = [values[np.isfinite(values)] for values in groups]
    counts = np.zeros((len(groups), BINS), np.int64)
    low = np.full(len(groups), np.nan, np.float32)
    high = low.copy()
    some = [index for index, values in enumerate(finite) if values.size]
    if some:
        counts[some], low[some], high[some] = _counted([finite[index] for index in some])
    return counts, low, high


_NOTHING = np.zeros(0, np.float32)
