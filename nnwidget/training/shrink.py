"""Large tensors made small enough to keep: feature maps by averaging blocks, weights by strides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnwidget.model.axes import layout, view
from nnwidget.model.reduce import pool_mean
from nnwidget.model.statistics import real
from nnwidget.types import Array

# Pictures with fewer pixels a side say little: rather fewer inputs than smaller ones.
_EDGE = 8
# What half precision holds to a thousandth of the largest value.
_HALF = (1e-2, 6e4)


def feature_maps(
    module: nn.Module | None, output: Tensor, *, inputs: int, nbytes: int, batched: bool = True, batch_axis: int = 0
) -> tuple[Array, dict[str, Any]]:
    """Bring a layer's output to a bound of bytes.

    Parameters
    ----------
    module : nn.Module or None
        What tells the axes.
    output : Tensor
        Of a whole batch.
    inputs : int
        The first so many inputs at most.
    nbytes : int
        The bound, in half precision; where that would lose too much, twice as many are used.
    batched, batch_axis
        See :func:`nnwidget.model.axes.layout`.

    Returns
    -------
    values : ndarray
        float16 or float32, the inputs first: maps ``(inputs, channels, rows, columns)``, tokens and signals
        ``(inputs, rows, columns)``, vectors ``(inputs, units)``, scalars ``(inputs,)``.
    about : dict
        ``kind`` and ``shape`` of the layer's output, ``pool`` (the block that one value averages) and ``channels``
        (every how many-th is kept).

    Raises
    ------
    NNWidgetError
        The tensor cannot be read.

    Examples
    --------
    >>> values, about = feature_maps(nn.Conv2d(3, 8, 3), torch.ones(6, 8, 32, 32), inputs=4, nbytes=4096)
    >>> values.shape, values.dtype.name, about["pool"]
    ((4, 8, 8, 8), 'float16', [4, 4])
    """
    told = layout(module, output, batched=batched, batch_axis=batch_axis)
    count = 1 if told.batch is None else min(inputs, output.shape[told.batch])
    room = max(nbytes // 2, 1)
    one = real(view(output, told, 0))
    shape, stride = tuple(one.shape), 1
    if told.kind == "maps":
        stride = -(-shape[0] // room)
        channels = -(-shape[0] // stride)
        while count > 1 and count * channels * min(_EDGE, max(shape[1:])) ** 2 > room:
            count -= 1
        edge = max(1, math.isqrt(room // (count * channels)))
    elif told.kind in ("tokens", "signal"):
        edge = max(1, math.isqrt(room // count))
    else:
        edge = max(1, room // count)
    parts = [one, *(real(view(output, told, index)) for index in range(1, count))]
    whole = torch.stack([part[::stride] if told.kind == "maps" else part for part in parts])
    if told.kind == "scalar":
        pool: tuple[int, int] = (1, 1)
    else:
        # Three axes: planes, rows, columns.
        planes = whole.reshape(-1, *(whole.shape[-2:] if told.kind != "vector" else (1, whole.shape[-1])))
        small, pool = pool_mean(planes, edge, square=told.kind == "maps")
        whole = small.reshape(*whole.shape[: 2 if told.kind == "maps" else 1], *small.shape[1:])
        whole = whole[:, 0] if told.kind == "vector" else whole
    values: Array = np.ascontiguousarray(whole.cpu().numpy())
    peak = float(np.abs(values).max(initial=0.0))
    if peak == 0.0 or _HALF[0] <= peak <= _HALF[1]:
        values = values.astype(np.float16)
    about = {"kind": told.kind, "shape": list(output.shape), "pool": list(pool), "channels": stride}
    return values, about


def strided(tensor: Tensor, nbytes: int) -> tuple[Array, list[int]]:
    """Take every k-th value along the longest axes until the rest fits.

    Parameters
    ----------
    tensor : Tensor
        Any shape.
    nbytes : int
        The bound, in float32.

    Returns
    -------
    values : ndarray
        float32, exact values, with the tensor's number of axes.
    strides : list of int
        The distance along each axis.

    Examples
    --------
    >>> values, strides = strided(torch.zeros(100, 8, 3, 3), 4_000)
    >>> values.shape, strides
    ((13, 8, 3, 3), [8, 1, 1, 1])
    """
    sizes, strides = list(tensor.shape), [1] * tensor.ndim
    left = list(sizes)
    while math.prod(left) * 4 > nbytes and max(left) > 1:
        longest = left.index(max(left))
        strides[longest] += max(1, strides[longest] // 8)
        left[longest] = -(-sizes[longest] // strides[longest])
    part = tensor.detach()[tuple(slice(None, None, step) for step in strides)]
    # A copy: what lies on the host would change with the next step.
    values: Array = np.array(real(part).cpu().numpy(), np.float32)
    return values, strides


__all__ = ["feature_maps", "strided"]
