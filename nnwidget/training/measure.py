"""Statistics of one activation or gradient, cheap enough to take during a training step."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from nnwidget.model.statistics import statistics
from nnwidget.types import Array

BINS = 64
SAMPLE = 2048

# Of tensors with more values than so many, mean, deviation and zeros are estimated from so many, in blocks.
USUAL = 8_192
BLOCK = 64


@dataclass(slots=True)
class Moments:
    """Running statistics over the calls of one step; ``squares`` is the sum of squared deviations from ``mean``."""

    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0
    zeros: int = 0
    nan: int = 0
    inf: int = 0
    finite: int = 0
    samples: list[Array] = field(default_factory=list)

    def add(self, other: Moments) -> None:
        """Take another call's values in (Chan, Golub and LeVeque 1979)."""
        total = self.finite + other.finite
        if other.finite:
            delta = other.mean - self.mean
            self.squares += other.squares + delta * delta * self.finite * other.finite / total
            self.mean += delta * other.finite / total
            self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.finite = total
        self.count += other.count
        self.zeros += other.zeros
        self.nan += other.nan
        self.inf += other.inf
        self.samples += other.samples

    @property
    def std(self) -> float:
        """Population deviation of the finite values; NaN without any."""
        return math.sqrt(max(self.squares, 0.0) / self.finite) if self.finite else math.nan


def usable(tensor: Tensor) -> str:
    """Say why a tensor is left out; empty when it can be measured.

    Examples
    --------
    >>> usable(torch.zeros(2)), usable(torch.zeros(2, dtype=torch.int64))
    ('', 'integers are not measured')
    """
    if tensor.dtype is torch.float32 and tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_nested):
        # What nearly all are, quickly.
        return ""
    if tensor.device.type == "meta":
        return "it has no values (meta device)"
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized:
        return "sparse, nested and quantised tensors are not measured"
    if tensor.is_complex():
        return "complex numbers are not measured"
    if not tensor.is_floating_point():
        return "integers are not measured"
    return ""


Vector = TypeVar("Vector", Tensor, Array)


def sample(flat: Vector, size: int = SAMPLE) -> Vector:
    """Return about ``size`` values at equal distances, a view; the distance is odd, so that it falls on all columns.

    Examples
    --------
    >>> sample(torch.arange(10.0), 3)
    tensor([0., 5.])
    """
    count = len(flat)
    return flat if count <= size else flat[:: -(-count // size) | 1]


@dataclass(frozen=True, slots=True)
class Part:
    """What was taken of a tensor: how many values it has, and all of them, or some with the extremes of all.

    ``places`` are where the blocks begin in memory, of which ``values`` are a copy.
    """

    count: int
    values: Array
    low: float | None = None
    high: float | None = None
    places: Array | None = None

    def copies(self, tensor: Tensor) -> bool:
        """Say whether this is a copy of a tensor as it stands."""
        return self.values.size == tensor.numel() and tensor.dtype is torch.float32 and tensor.is_contiguous()


def on_host(tensor: Tensor, limit: int | None = None) -> Moments:
    """Measure a tensor on the CPU now.

    The extremes, NaN and infinities are those of all values; mean, deviation and zeros are those of all values up to
    :data:`USUAL`, and estimated from as many of them in larger tensors.

    Parameters
    ----------
    tensor : Tensor
        Floating point, any shape; half precision is measured in float32.
    limit : int, optional
        Measure a strided sample of about this many values instead of all.

    Examples
    --------
    >>> found = on_host(torch.tensor([0.0, 2.0, 4.0]))
    >>> found.mean, found.low, found.high, found.zeros
    (2.0, 0.0, 4.0, 1)
    """
    with np.errstate(all="ignore"):
        return moments(take(tensor, limit))


def take(tensor: Tensor, limit: int | None = None) -> Part | Moments:
    """Copy what :func:`moments` needs, in few calls: amid a forward each costs several times what it does in a row.

    The arguments are those of :func:`on_host`; what needs care is measured at once.
    """
    flat = in_memory_order(tensor.detach())
    if limit is not None:
        flat = sample(flat, limit)
    if flat.dtype is torch.float64:
        return _carefully(flat.contiguous()) if flat.numel() else Moments()
    ours = flat.dtype is not torch.float32 or not flat.is_contiguous()
    if ours:
        flat = flat.float().contiguous()
    values = flat.numpy()
    count = values.size
    if limit is not None or count <= USUAL:
        return Part(count, values if ours else values.copy())
    # One after the other: numpy's are three times as fast as torch's aminmax.
    low, high = float(np.minimum.reduce(values)), float(np.maximum.reduce(values))
    if not (math.isfinite(low) and math.isfinite(high)):
        return _carefully(flat)
    return Part(count, blocks(values), low, high, _starts(count))


def moments(part: Part | Moments) -> Moments:
    """Measure what :func:`take` took; numpy must be told not to mind values out of range."""
    if isinstance(part, Moments):
        return part
    values, size = part.values, part.values.size
    if not size:
        return Moments()
    low = float(np.minimum.reduce(values)) if part.low is None else part.low
    high = float(np.maximum.reduce(values)) if part.high is None else part.high
    total, squares = float(np.add.reduce(values)), float(values.dot(values))
    # Squares run over and under long before values do.
    if not (math.isfinite(total) and 1e-28 < squares < math.inf) and (low or high):
        return _of_all(_carefully(torch.from_numpy(values)), part)
    kept = values if size <= SAMPLE else sample(values).copy()
    mean = total / size
    deviations = squares - size * mean * mean
    # Where the mean swamps the spread, the difference of two nearly equal numbers says nothing.
    if size * mean * mean > 256 * deviations:
        middle = float(kept.mean())
        shifted = values - middle
        offset = float(shifted.sum()) / size
        deviations = float(shifted.dot(shifted)) - size * offset * offset
        mean = middle + offset
    zeros = int(np.count_nonzero(values == 0))
    return _of_all(Moments(size, low, high, mean, max(deviations, 0.0), zeros, 0, 0, size, [kept]), part)


def _of_all(found: Moments, part: Part) -> Moments:
    """Say of all values what was found in a part of them."""
    if found.count < part.count and part.low is not None and part.high is not None:
        share = part.count / found.count
        found.zeros, found.squares = round(found.zeros * share), found.squares * share
        found.count = found.finite = part.count
        found.low, found.high = part.low, part.high
    return found


def in_memory_order(tensor: Tensor) -> Tensor:
    """Return all values as a vector, without a copy also of channels-last tensors.

    Examples
    --------
    >>> images = torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last)
    >>> in_memory_order(images).data_ptr() == images.data_ptr()
    True
    """
    if tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.reshape(-1)


def blocks(values: Array) -> Array:
    """Copy :data:`USUAL` values in blocks from all over a longer vector.

    Blocks, since a value by itself costs as much to fetch as those around it; at distances that differ, since equal
    ones would meet the same channels again and again.

    Examples
    --------
    >>> found = blocks(np.arange(2.0**18))
    >>> len(found), found[:2].tolist(), float(found[-1] - found[-BLOCK])
    (8192, [0.0, 1.0], 63.0)
    """
    found: Array = sliding_window_view(values, BLOCK)[_starts(values.size)].reshape(-1)
    return found


@functools.lru_cache(256)
def _starts(count: int) -> Array:
    # Multiples of the golden ratio are spread evenly and without a period.
    starts: Array = np.sort(np.arange(USUAL // BLOCK) * 0.6180339887 % 1.0 * (count - BLOCK)).astype(np.int64)
    return starts


def _carefully(flat: Tensor) -> Moments:
    found = statistics(flat)
    kept = sample(flat).numpy()
    moments = Moments(found.count, nan=found.nan, inf=found.posinf + found.neginf)
    moments.zeros = round(found.zeros * found.count)
    moments.finite = found.count - moments.nan - moments.inf
    with np.errstate(over="ignore"):
        moments.samples = [kept[np.isfinite(kept)].astype(np.float32)]
    if found.mean is not None and found.std is not None and found.minimum is not None and found.maximum is not None:
        moments.low, moments.high, moments.mean = found.minimum, found.maximum, found.mean
        moments.squares = found.std * found.std * moments.finite
    return moments


def on_device(tensor: Tensor, limit: int | None = None) -> Tensor:
    """Measure on an accelerator without waiting for it; :func:`from_device` reads the result once it is on the host.

    Returns
    -------
    Tensor
        float32 ``(8 + sample,)`` on the tensor's device.
    """
    flat = tensor.detach().reshape(-1)
    if limit is not None:
        flat = sample(flat, limit)
    flat = flat.float()
    part = sample(flat)
    if not flat.numel():
        return torch.zeros(8, device=flat.device)
    finite = flat.isfinite()
    n = finite.sum()
    # In parts of the whole, whose sums and squares stay in range.
    mean = (torch.where(finite, flat, 0) / n).sum()
    deviations = torch.where(finite, flat - mean, 0)
    spread = deviations.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    std = spread * ((deviations / spread).square().sum() / n).sqrt()
    head = [
        n,
        torch.where(finite, flat, math.inf).min(),
        torch.where(finite, flat, -math.inf).max(),
        mean,
        std,
        (flat == 0).sum(),
        flat.isnan().sum(),
        flat.isinf().sum(),
    ]
    return torch.cat([torch.stack([value.float() for value in head]), part])


def from_device(values: Array) -> Moments:
    """Read what :func:`on_device` made.

    Parameters
    ----------
    values : ndarray
        float32 ``(8 + sample,)``.

    Examples
    --------
    >>> from_device(on_device(torch.tensor([0.0, 2.0, math.inf])).numpy()).mean
    1.0
    """
    finite, low, high, mean, std, zeros, nan, inf = (float(value) for value in values[:8])
    kept = values[8:]
    moments = Moments(round(finite + nan + inf), zeros=round(zeros), nan=round(nan), inf=round(inf))
    moments.finite = round(finite)
    moments.samples = [kept[np.isfinite(kept)]]
    if moments.finite:
        moments.low, moments.high, moments.mean, moments.squares = low, high, mean, std * std * finite
    return moments
