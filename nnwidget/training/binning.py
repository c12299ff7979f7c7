"""Histograms of all layers of a recorded step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nnwidget.training.measure import BINS
from nnwidget.types import Array, HistogramBlock


def binned(size: int, kinds: Mapping[str, Mapping[int, Sequence[Array]]]) -> dict[str, HistogramBlock]:
    """Count the samples of each layer in equal bins between their lowest and highest finite value.

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
    with np.errstate(all="ignore"):
        for kind, layers in kinds.items():
            none = np.full(size, np.nan, np.float32)
            found = {
                index: parts[0] if len(parts) == 1 else np.concatenate([*parts, _NOTHING])
                for index, parts in layers.items()
            }
            # Two bytes a count where they do.
            few = all(values.size <= _TWO_BYTES for values in found.values())
            counts = np.zeros((size, BINS), np.uint16 if few else np.uint32)
            blocks[kind] = block = HistogramBlock(counts, none, none.copy())
            for index, values in found.items():
                if values.size:
                    counts[index], block.lo[index], block.hi[index] = _counted(values)
    return blocks


def _counted(values: Array) -> tuple[Array, float, float]:
    """Count float32 values in bins between their extremes; group by group, since each is in the cache then."""
    low, high = float(np.minimum.reduce(values)), float(np.maximum.reduce(values))
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = values[np.isfinite(values)]
        return _counted(finite) if finite.size else (np.zeros(BINS, np.uint16), math.nan, math.nan)
    width = high - low
    # All values equal: the middle bin.
    if not width:
        counts = np.zeros(BINS, np.uint16)
        counts[BINS // 2] = values.size
        return counts, low, high
    factor = BINS / width
    if not _LEAST < factor < _MOST:
        # Ranges so wide or so narrow that single precision runs out.
        values = values.astype(np.float64)
    places = ((values - low) * factor).astype(np.intp)
    np.minimum(places, BINS - 1, out=places)
    return np.bincount(places, minlength=BINS), low, high


_NOTHING = np.zeros(0, np.float32)
_TWO_BYTES = np.iinfo(np.uint16).max
_LEAST, _MOST = 1e-36, 1e36
