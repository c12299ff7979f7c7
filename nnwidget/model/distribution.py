"""Histograms of several tensors over the same bins: exact up to a size, then of evenly spaced values, which is said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nnwidget.model.statistics import dense, histogram, real, statistics
from nnwidget.types import Array, LayoutKind, Statistics

BINS = 64
# Counted whole up to here, about half a second; of larger tensors every n-th value.
EXACT = 1 << 24
_CHUNK = 1 << 20
_MOST_CHANNELS = 4096


@dataclass(frozen=True, slots=True)
class Spread:
    """What is counted of one tensor.

    ``statistics`` is of all values. ``values`` holds those that the bins count, flat, every ``stride``-th of them.
    """

    values: Tensor
    statistics: Statistics
    stride: int
    whole: bool
    complex: bool


def spread(tensor: Tensor) -> Spread:
    """Get a tensor of any dtype ready for counting.

    Parameters
    ----------
    tensor : Tensor
        Any shape and dtype; of complex numbers the magnitudes count.

    Returns
    -------
    Spread
        ``whole`` says that the values are integers or booleans.

    Raises
    ------
    UnobservableError
        The tensor has no values that could be counted: meta, nested, or sparse and too large.

    Examples
    --------
    >>> spread(torch.tensor([[0.0, 2.0]])).statistics.maximum
    2.0
    """
    tensor = tensor.detach()
    if tensor.device.type == "meta":
        # The message of everything else that reads values.
        real(tensor)
    plain = dense(tensor)
    # One scale a channel cannot be flattened.
    flat = (plain.dequantize() if plain.is_quantized else plain).reshape(-1)
    stride = max(1, math.ceil(flat.numel() / EXACT))
    whole = not (flat.is_floating_point() or flat.is_complex())
    return Spread(flat[::stride], _of_all(flat), stride, whole, flat.is_complex())


def common_edges(spreads: Iterable[Spread], bins: int = BINS) -> Array:
    """Return equal bins over the finite values of all tensors.

    Parameters
    ----------
    spreads : iterable of Spread
        Where all hold whole numbers, each bin holds equally many of them.
    bins : int
        How many bins at most.

    Returns
    -------
    ndarray
        float64 ``(bins + 1,)``, rising; 0 to 1 where nothing is finite.

    Examples
    --------
    >>> common_edges([spread(torch.tensor([3, 5]))]).tolist()
    [2.5, 3.5, 4.5, 5.5]
    """
    found = [item for item in spreads if item.statistics.minimum is not None]
    lows = [item.statistics.minimum for item in found if item.statistics.minimum is not None]
    highs = [item.statistics.maximum for item in found if item.statistics.maximum is not None]
    if not lows:
        return histogram(torch.zeros(0), bins=bins).edges
    low, high = min(lows), max(highs)
    # Beyond 2^52 a half is no number of its own.
    if all(item.whole for item in found) and max(-low, high) < 2**52:
        size = math.ceil((high - low + 1) / bins)
        count = math.ceil((high - low + 1) / size)
        edges: Array = low - 0.5 + size * np.arange(count + 1, dtype=np.float64)
        return edges
    return histogram(torch.zeros(0), bins=bins, range=(low, high)).edges


def counted(item: Spread, edges: Array) -> Array:
    """Count the values in equal bins.

    Parameters
    ----------
    item : Spread
        What is counted.
    edges : ndarray
        Of :func:`common_edges`.

    Returns
    -------
    ndarray
        int64 ``(bins,)``; the last bin is closed.

    Examples
    --------
    >>> item = spread(torch.tensor([0.0, 0.0, 1.0]))
    >>> counted(item, common_edges([item], bins=2))
    array([2, 1])
    """
    ends = (float(edges[0]), float(edges[-1]))
    found: Array = np.zeros(len(edges) - 1, np.int64)
    for part in torch.split(item.values, _CHUNK):
        found += histogram(part, bins=len(edges) - 1, range=ends).counts
    return found


def channel_shares(tensor: Tensor, kind: LayoutKind, edges: Array) -> Array | None:
    """Say for each channel which share of its values lies in each bin.

    Parameters
    ----------
    tensor : Tensor
        One activation in its kind's order: ``(channel, row, column)``, ``(channel, place)``, ``(token, feature)`` or
        ``(unit,)``.
    kind : LayoutKind
        Which axis the channel is.
    edges : ndarray
        Of :func:`common_edges`.

    Returns
    -------
    ndarray or None
        uint8 ``(channels, bins)``: 0 none, 255 all, and at least 1 where there is any. None where there are no
        channels, or more than 4,096 of them or too many values to count them all.

    Examples
    --------
    >>> maps = torch.tensor([[[0.0, 0.0]], [[0.0, 1.0]]])
    >>> channel_shares(maps, "maps", common_edges([spread(maps)], bins=2)).tolist()
    [[255, 0], [128, 128]]
    """
    if kind == "scalar" or tensor.ndim == 0 or not 0 < tensor.numel() <= EXACT:
        return None
    rows = dense(tensor.detach())
    rows = rows.dequantize() if rows.is_quantized else rows
    rows = rows.movedim(-1, 0) if kind in ("tokens", "vector") else rows
    rows = rows.reshape(rows.shape[0], -1)
    if rows.shape[0] > _MOST_CHANNELS:
        return None
    bins = len(edges) - 1
    bounds = torch.from_numpy(edges)
    parts = []
    for part in torch.split(rows, max(1, _CHUNK // rows.shape[1])):
        values = real(part, exact=True)
        values = (values.cpu() if values.device.type == "mps" else values).to(torch.float64).contiguous()
        # NaN and infinities lie in no bin: they go to one of their own, which is cut off.
        inside = (values >= float(edges[0])) & (values <= float(edges[-1]))
        places = torch.bucketize(values, bounds.to(values.device), right=True).sub_(1).clamp_(0, bins - 1)
        places = places.where(inside, bins) + torch.arange(len(part), device=values.device)[:, None] * (bins + 1)
        counts = torch.bincount(places.reshape(-1), minlength=len(part) * (bins + 1))
        parts.append(counts.cpu().numpy().reshape(len(part), bins + 1)[:, :bins])
    shares: Array = np.ceil(np.concatenate(parts) * (255 / rows.shape[1]) - 1e-9).astype(np.uint8)
    return shares


def _of_all(flat: Tensor) -> Statistics:
    """Statistics of every value, a part at a time, so that a large tensor is never copied whole."""
    if flat.numel() <= _CHUNK:
        return statistics(flat)
    return _merged([statistics(part) for part in torch.split(flat, _CHUNK)])


def _merged(parts: Sequence[Statistics]) -> Statistics:
    """Statistics of several parts as those of one."""
    count = sum(part.count for part in parts)
    zeros = sum(part.zeros * part.count for part in parts) / count
    nan, posinf, neginf = (sum(getattr(part, name) for part in parts) for name in ("nan", "posinf", "neginf"))
    finite = [
        (part.count - part.nan - part.posinf - part.neginf, part.minimum, part.maximum, part.mean, part.std)
        for part in parts
        if part.minimum is not None and part.maximum is not None and part.mean is not None and part.std is not None
    ]
    if not finite:
        return Statistics(count, None, None, None, None, zeros, nan, posinf, neginf)
    sizes, lows, highs, means, stds = (np.array(column, np.float64) for column in zip(*finite, strict=True))
    weights = sizes / sizes.sum()
    mean = float(weights @ means)
    # Divided first: squares of the largest doubles would overflow.
    largest = float(np.abs(np.concatenate([means - mean, stds])).max()) or 1.0
    square = float(weights @ (np.square(stds / largest) + np.square((means - mean) / largest)))
    std = largest * math.sqrt(square)
    return Statistics(count, float(lows.min()), float(highs.max()), mean, std, zeros, nan, posinf, neginf)


__all__ = ["BINS", "EXACT", "Spread", "channel_shares", "common_edges", "counted", "spread"]
