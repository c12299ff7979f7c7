"""Statistics and histograms of a tensor: exact, and quick enough to run beside a training step."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nnwidget.errors import InputError, UnobservableError
from nnwidget.types import Array, Histogram, Statistics

DENSE_LIMIT = 64_000_000
_SINGLE = (torch.float16, torch.bfloat16, torch.float32, torch.bool, torch.uint8, torch.int8, torch.int16)


def real(tensor: Tensor, *, exact: bool = False) -> Tensor:
    """Turn any tensor into a dense real floating-point one on the same device.

    Parameters
    ----------
    tensor : Tensor
        Any shape and dtype: float, integer, bool, complex (becomes its magnitude), sparse, quantised.
    exact : bool
        Keep float64, and take wide integers to float64 where the device has it; otherwise everything is float32.

    Returns
    -------
    Tensor
        The same shape; float32, or float64 with ``exact``. Shares memory where nothing had to change.

    Raises
    ------
    UnobservableError
        A tensor without values (meta), nested, or sparse with more than 64 million elements.

    Examples
    --------
    >>> real(torch.tensor([3 + 4j]))
    tensor([5.])
    """
    tensor = tensor.detach()
    if tensor.device.type == "meta":
        raise UnobservableError(
            "The tensor is on the meta device and has no values.", remedy="Move the model to a real device."
        )
    tensor = dense(tensor)
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.is_complex():
        tensor = tensor.abs()
    wide = exact and tensor.dtype not in _SINGLE and tensor.device.type != "mps"
    return tensor.resolve_neg().to(torch.float64 if wide else torch.float32)


def dense(tensor: Tensor) -> Tensor:
    """Write a sparse tensor out in full, so that its axes can be taken apart; others are returned as they are.

    Raises
    ------
    UnobservableError
        A nested tensor, or a sparse one with more than 64 million elements.

    Examples
    --------
    >>> dense(torch.eye(2).to_sparse())[1]
    tensor([0., 1.])
    """
    if tensor.is_nested:
        raise UnobservableError("Nested tensors cannot be shown.", remedy="Pad them to one length.")
    if tensor.layout == torch.strided:
        return tensor
    if tensor.numel() > DENSE_LIMIT:
        raise UnobservableError(
            f"The sparse tensor has {tensor.numel():,} elements, too many to show.", remedy="Choose a smaller layer."
        )
    return tensor.to_dense()


def statistics(tensor: Tensor) -> Statistics:
    """Count, range, mean and spread of a tensor's finite values, and how many are zero, NaN or infinite.

    Accumulates in float32 with a shift where the mean would swamp the spread, in float64 where float32 would overflow.

    Parameters
    ----------
    tensor : Tensor
        Any shape (empty and 0-d too), dtype and device; of complex numbers the magnitudes count.

    Returns
    -------
    Statistics
        ``std`` is that of the population (division by the count). Without finite values they are None.

    Raises
    ------
    UnobservableError
        See :func:`real`.

    Examples
    --------
    >>> statistics(torch.tensor([0.0, 2.0, float("nan")])).mean
    1.0
    """
    values = real(tensor, exact=True)
    if values.numel() == 0:
        return Statistics(0, None, None, None, None, 0.0, 0, 0, 0)
    flat = values.reshape(-1)
    if flat.device.type != "cpu":
        return _on_device(flat)
    return _on_host(flat)


def histogram(tensor: Tensor, bins: int = 64, range: tuple[float, float] | None = None) -> Histogram:
    """Count a tensor's finite values in equal bins.

    Parameters
    ----------
    tensor : Tensor
        Any shape, dtype and device; of complex numbers the magnitudes count.
    bins : int
        How many bins, 1 to 4,096.
    range : (float, float), optional
        Lowest and highest edge; values outside are not counted. Without it, the range of the finite values, widened a
        little when they are all equal.

    Returns
    -------
    Histogram
        ``edges`` float64 ``(bins + 1,)``, ``counts`` int64 ``(bins,)``.

    Raises
    ------
    InputError
        ``bins`` or ``range`` make no sense.
    UnobservableError
        See :func:`real`.

    Examples
    --------
    >>> histogram(torch.tensor([0.0, 0.0, 1.0]), bins=2).counts
    array([2, 1])
    """
    if isinstance(bins, bool) or not isinstance(bins, int) or not 1 <= bins <= 4096:
        raise InputError(f"{bins!r} bins cannot be counted.", argument="bins", remedy="Use a number from 1 to 4,096.")
    flat = real(tensor, exact=True).reshape(-1)
    if range is None:
        found = statistics(flat)
        low, high = (found.minimum, found.maximum) if found.minimum is not None else (0.0, 1.0)
        assert low is not None and high is not None
    else:
        low, high = float(range[0]), float(range[1])
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise InputError(f"The range {range!r} is not a pair of rising numbers.", argument="range")
    edges = _edges(low, high, bins)
    return Histogram(edges, _counts(flat, edges))


def _on_host(flat: Tensor) -> Statistics:
    """Go the quick way for finite values of ordinary size, else the careful way."""
    count = flat.numel()
    low, high = (float(v) for v in flat.aminmax())
    # aminmax passes NaN on, and infinities show as a bound.
    if not (math.isfinite(low) and math.isfinite(high)):
        return _careful(flat)
    zeros = int(np.count_nonzero(flat.numpy() == 0)) / count
    largest = max(-low, high)
    if flat.dtype == torch.float64 or not 1e-12 < largest < 1e12:
        return _careful(flat, zeros)
    mean = float(flat.sum()) / count
    variance = float(flat.dot(flat)) / count - mean * mean
    # Cancellation: the difference of two nearly equal numbers says nothing, so shift first.
    if mean * mean > 16 * variance:
        return _careful(flat, zeros)
    return Statistics(count, low, high, mean, math.sqrt(max(variance, 0.0)), zeros, 0, 0, 0)


def _careful(flat: Tensor, zeros: float | None = None) -> Statistics:
    """Float64 on the host, whatever the values are."""
    array = flat.numpy()
    nan = int(np.count_nonzero(np.isnan(array)))
    posinf = int(np.count_nonzero(array == np.inf))
    neginf = int(np.count_nonzero(array == -np.inf))
    if zeros is None:
        zeros = int(np.count_nonzero(array == 0)) / array.size
    if nan + posinf + neginf:
        array = array[np.isfinite(array)]
    if array.size == 0:
        return Statistics(flat.numel(), None, None, None, None, zeros, nan, posinf, neginf)
    low, high = float(array.min()), float(array.max())
    # Scaled by a power of two, sums of the largest doubles stay finite and nothing is rounded.
    scale = 2.0**1000 if max(-low, high) > 1e100 else 1.0
    scaled = array.astype(np.float64) / scale
    mean = float(scaled.mean())
    scaled -= mean
    spread = float(np.abs(scaled).max())
    std = spread * math.sqrt(float(np.square(scaled / spread).mean())) if spread > 0 else 0.0
    return Statistics(flat.numel(), low, high, mean * scale, std * scale, zeros, nan, posinf, neginf)


def _on_device(flat: Tensor) -> Statistics:
    """All reductions on the accelerator, one copy to the host."""
    wide = torch.float32 if flat.device.type == "mps" else torch.float64
    finite = flat.isfinite()
    n = finite.sum(dtype=wide)
    mean = flat.where(finite, 0).sum(dtype=wide) / n
    square = (flat.to(wide) - mean).where(finite, 0).square().sum()
    parts = [
        flat.where(finite, math.inf).min().to(wide),
        flat.where(finite, -math.inf).max().to(wide),
        mean,
        (square / n).sqrt(),
        n,
        (flat == 0).sum(dtype=wide),
        flat.isnan().sum(dtype=wide),
        (flat == math.inf).sum(dtype=wide),
    ]
    low, high, middle, std, found, zeros, nan, posinf = torch.stack(parts).tolist()
    count = flat.numel()
    neginf = count - int(found) - int(nan) - int(posinf)
    if not found:
        return Statistics(count, None, None, None, None, 0.0, int(nan), int(posinf), neginf)
    return Statistics(count, low, high, middle, std, zeros / count, int(nan), int(posinf), neginf)


def _edges(low: float, high: float, bins: int) -> Array:
    """Strictly rising float64 edges, also where all values are equal or doubles run out."""
    pad = 0.5
    while True:
        # Halves, because the difference of the largest doubles overflows.
        steps = np.arange(bins + 1, dtype=np.float64) / bins
        edges = (low * (1 - steps)) + (high * steps)
        edges[0], edges[-1] = low, high
        if np.all(np.diff(edges / 4) > 0):
            return edges
        low, high = max(low - pad, -1.7e308), min(high + pad, 1.7e308)
        pad *= 4


def _counts(flat: Tensor, edges: Array) -> Array:
    """How many finite values lie in each bin; the last one is closed."""
    bounds = torch.from_numpy(edges)
    if flat.device.type == "mps":
        flat = flat.cpu()
    # In double precision: a float32 comparison would round the edges.
    flat = flat.to(torch.float64)
    flat = flat[(flat >= float(edges[0])) & (flat <= float(edges[-1]))]
    found = torch.bucketize(flat, bounds.to(flat.device), right=True).sub_(1).clamp_(0, len(edges) - 2)
    counts: Array = torch.bincount(found, minlength=len(edges) - 1).cpu().numpy()
    return counts


__all__ = ["DENSE_LIMIT", "histogram", "real", "statistics"]
