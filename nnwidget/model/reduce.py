"""From an activation to what a person sees of it: select, pool and quantise on the tensor's own device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from nnwidget.errors import InputError
from nnwidget.model.statistics import real
from nnwidget.types import Array, LayoutKind, Tiles

LEVELS = 252
NEGATIVE, POSITIVE, MISSING = 253, 254, 255
_AXES: dict[LayoutKind, int] = {"maps": 3, "tokens": 2, "signal": 2, "vector": 1, "scalar": 0}


def tiles(activation: Tensor, kind: LayoutKind, *, edge: int, index: Sequence[int] | None = None) -> Tiles:
    """Quantise an activation to pictures of at most ``edge`` pixels a side.

    Maps give one tile a channel, every other kind one tile in all: tokens ``(T, D)``, signal ``(C, L)``, vector
    ``(1, U)``, scalar ``(1, 1)``. A larger tile is mean-pooled by whole blocks (square ones for maps, so that pictures
    keep their shape); a ragged border averages what is there. A block with NaN is NaN, one with an infinity infinite.

    Parameters
    ----------
    activation : Tensor
        One input's activation in the kind's order, as :func:`nnwidget.model.axes.view` returns it; any dtype.
        Complex numbers are shown by magnitude.
    kind : str
        The layout's kind.
    edge : int
        Largest number of rows and of columns, at least 1.
    index : sequence of int, optional
        Channels wanted, in this order; all without it. Only maps have several tiles, so only for maps.

    Returns
    -------
    Tiles
        On the host; see :class:`nnwidget.types.Tiles` for the codes. Constant channels have code 0 everywhere, channels
        without a finite value ``lo = hi = 0``.

    Raises
    ------
    InputError
        ``edge`` or ``index`` cannot be used, or the activation does not have the kind's axes.
    UnobservableError
        A tensor without values, see :func:`nnwidget.model.statistics.real`.

    Examples
    --------
    >>> tiles(torch.tensor([[[0.0, 1.0], [2.0, float("nan")]]]), "maps", edge=8).codes.tolist()
    [[[0, 126], [252, 255]]]
    """
    _check(activation, kind)
    if isinstance(edge, bool) or not isinstance(edge, int) or edge < 1:
        raise InputError(f"Tiles of {edge!r} pixels cannot be drawn.", argument="edge", remedy="Use 1 or more.")
    if index is not None:
        activation = _select(activation, kind, index)
    planes = _planes(real(activation), kind)
    pooled, pool = pool_mean(planes, edge, square=kind == "maps")
    codes, lo, hi, activity = quantise(pooled.reshape(len(pooled), math.prod(pooled.shape[1:])))
    names = np.asarray(range(len(planes)) if index is None else index, dtype=np.int32)
    return Tiles(codes.reshape(tuple(pooled.shape)), lo, hi, activity, names, pool)


def plane(activation: Tensor, kind: LayoutKind, channel: int, limit: int = 512) -> tuple[Array, tuple[int, int]]:
    """One channel's exact values, pooled only beyond ``limit``.

    Parameters
    ----------
    activation : Tensor
        One input's activation in the kind's order.
    kind : str
        The layout's kind. A channel is a map, a row of a signal, a column of tokens, a unit of a vector.
    channel : int
        Which one, from 0.
    limit : int
        Largest number of rows and of columns.

    Returns
    -------
    values : ndarray
        float32 ``(rows, columns)``.
    pool : (int, int)
        The block of rows and columns that one value averages.

    Raises
    ------
    InputError
        There is no such channel.

    Examples
    --------
    >>> plane(torch.eye(2).reshape(1, 2, 2), "maps", 0)[0].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    _check(activation, kind)
    activation = _channel(activation, kind, channel)
    values, pool = pool_mean(real(activation).reshape(1, *activation.shape), limit, square=kind == "maps")
    array: Array = np.ascontiguousarray(values[0].cpu().numpy())
    return array, pool


def exact(activation: Tensor, kind: LayoutKind, channel: int, row: int, column: int) -> float | int | complex | bool:
    """Read the number at one place, in the tensor's own precision.

    Parameters
    ----------
    activation : Tensor
        One input's activation in the kind's order.
    kind : str
        The layout's kind; only maps have a channel beside row and column, the other kinds ignore it, and a vector
        ignores the row.
    channel, row, column : int
        Where, from 0.

    Returns
    -------
    float, int, bool or complex
        As ``Tensor.item`` gives it.

    Raises
    ------
    InputError
        The place lies outside.

    Examples
    --------
    >>> exact(torch.arange(6).reshape(1, 2, 3), "maps", 0, 1, 2)
    5
    """
    _check(activation, kind)
    place = {"maps": (channel, row, column), "vector": (column,), "scalar": ()}.get(kind, (row, column))
    for where, size in zip(place, activation.shape, strict=True):
        if not 0 <= where < size:
            raise InputError(
                f"Place {tuple(place)} lies outside {tuple(activation.shape)}.",
                remedy="Count from 0 to the size less 1.",
            )
    value = activation.detach()
    if value.layout != torch.strided or value.is_quantized:
        value = real(value, exact=True)
    found: float | int | complex | bool = value[place].item()
    return found


def pool_mean(
    planes: Tensor, edge: int | tuple[int, int], *, square: bool, pool: tuple[int, int] | None = None
) -> tuple[Tensor, tuple[int, int]]:
    """Mean-pool ``(n, rows, columns)`` float32 by whole blocks until no edge exceeds ``edge``.

    Parameters
    ----------
    planes : Tensor
        float32 ``(n, rows, columns)``.
    edge : int or (int, int)
        Largest number of rows and of columns afterwards.
    square : bool
        Use one block size for both directions.
    pool : (int, int), optional
        The block, where it is known already; ``edge`` and ``square`` then say nothing.

    Returns
    -------
    pooled : Tensor
        float32 ``(n, ceil(rows / block), ceil(columns / block))``.
    pool : (int, int)
        The block's rows and columns.
    """
    rows, columns = planes.shape[1:]
    if pool is None:
        high, wide = (edge, edge) if isinstance(edge, int) else edge
        blocks = [max(1, math.ceil(rows / high)), max(1, math.ceil(columns / wide))]
        if square:
            blocks = [max(blocks)] * 2
        pool = (max(1, min(blocks[0], rows)), max(1, min(blocks[1], columns)))
    if pool == (1, 1) or planes.numel() == 0:
        return planes, (1, 1)
    return avg_pool2d(planes.unsqueeze(0), pool, ceil_mode=True, count_include_pad=False)[0], pool


def quantise(values: Tensor) -> tuple[Array, Array, Array, Array]:
    """Affine uint8 of each row, with the reserved codes of :class:`nnwidget.types.Tiles`.

    Parameters
    ----------
    values : Tensor
        float32 ``(n, m)``, on any device.

    Returns
    -------
    codes, lo, hi, activity : ndarray
        uint8 ``(n, m)`` and three float32 ``(n,)``, on the host after a single copy.
    """
    n, m = values.shape
    if n * m == 0:
        zeros = np.zeros(n, np.float32)
        return np.zeros((n, m), np.uint8), zeros, zeros.copy(), zeros.copy()
    if values.device.type == "cpu":
        quick = _quantise_quickly(values)
        if quick is not None:
            return quick
        codes, lo, hi, activity = (p.numpy() for p in _quantise_carefully(values))
        return codes, lo, hi, activity
    return _in_one_copy(_quantise_carefully(values))


def _in_one_copy(parts: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Array, Array, Array, Array]:
    """Bring codes and ranges to the host together: each copy from an accelerator waits for it."""
    codes, *ranges = parts
    n = len(codes)
    packed = torch.cat((torch.stack(ranges).view(torch.uint8).reshape(-1), codes.reshape(-1))).cpu().numpy()
    lo, hi, activity = packed[: 12 * n].view(np.float32).reshape(3, n)
    return packed[12 * n :].reshape(codes.shape), lo, hi, activity


def _quantise_quickly(values: Tensor) -> tuple[Array, Array, Array, Array] | None:
    """For finite values of ordinary size on the host; None where they are not."""
    # One by one: aminmax along an axis takes four times as long, as do a 1-norm and a conversion to uint8 in torch.
    lo, hi = values.amin(dim=1), values.amax(dim=1)
    span = hi - lo
    largest = float(torch.maximum(hi.amax(), -lo.amin()))
    # A comparison with NaN is false, so NaN and infinities leave here too.
    if not largest < 1e30 or bool(((span > 0) & (span < 1e-30)).any()):
        return None
    scale = torch.where(span > 0, LEVELS / span, 0.0).unsqueeze(1)
    low = lo.unsqueeze(1)
    if bool((torch.maximum(hi, -lo) <= 16 * span).all()):
        scaled = (values * scale).add_(0.5 - low * scale)
    else:
        # Far from zero the product would lose what the difference keeps.
        scaled = (values - low).mul_(scale).add_(0.5)
    codes = scaled.numpy().astype(np.uint8)
    magnitude = values if bool((lo >= 0).all()) else torch.abs(values, out=scaled)
    return codes, lo.numpy(), hi.numpy(), magnitude.mean(dim=1).numpy()


def _quantise_carefully(values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For any values, without a word from the device in between."""
    finite = values.isfinite()
    some = finite.any(dim=1)
    lo = values.where(finite, math.inf).amin(dim=1).where(some, 0.0)
    hi = values.where(finite, -math.inf).amax(dim=1).where(some, 0.0)
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    # Doubles, because the span of large floats overflows and that of tiny ones underflows.
    low = lo.to(wide).unsqueeze(1)
    span = hi.to(wide).unsqueeze(1) - low
    safe = values.where(finite, lo.unsqueeze(1)).to(wide)
    unit = (safe - low) / span.where(span > 0, 1.0)
    codes = (unit * LEVELS + 0.5).clamp_(0, LEVELS).to(torch.uint8)
    codes = codes.masked_fill(values == -math.inf, NEGATIVE).masked_fill(values == math.inf, POSITIVE)
    codes = codes.masked_fill(values.isnan(), MISSING)
    magnitude = values.abs().where(finite, 0.0).to(wide).sum(dim=1)
    return codes, lo, hi, (magnitude / finite.sum(dim=1).clamp(min=1)).to(torch.float32)


def _check(activation: Tensor, kind: LayoutKind) -> None:
    """Refuse an activation that has not as many axes as its kind."""
    if kind not in _AXES:
        raise InputError(f"{kind!r} is not a kind of layout.", argument="kind", remedy=f"Use one of {list(_AXES)}.")
    if activation.ndim != _AXES[kind]:
        raise InputError(
            f"An activation of shape {tuple(activation.shape)} is not of kind {kind!r}.",
            argument="activation",
            remedy="Bring it into order with nnwidget.model.axes.view.",
        )


def _select(activation: Tensor, kind: LayoutKind, index: Sequence[int]) -> Tensor:
    """Pick the wanted channels, in the wanted order."""
    if kind != "maps":
        raise InputError("Only maps have channels to choose from.", argument="index", remedy="Leave index out.")
    for number in index:
        _check_channel(number, activation.shape[0])
    # A strided slice stays a view where the channels lie at equal distances.
    if len(index) > 0 and list(index) == list(range(index[0], index[0] + len(index))):
        return activation[index[0] : index[0] + len(index)]
    return activation.detach().index_select(0, torch.tensor(list(index), dtype=torch.long, device=activation.device))


def _check_channel(number: int, total: int) -> None:
    """Refuse a channel that does not exist."""
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number < total:
        raise InputError(
            f"There is no channel {number!r}: the layer has {total}.",
            argument="channel",
            remedy=f"Use a number from 0 to {total - 1}." if total else "Choose another layer.",
        )


def _channel(activation: Tensor, kind: LayoutKind, channel: int) -> Tensor:
    """One channel as ``(rows, columns)``."""
    axis = {"tokens": 1, "scalar": None}.get(kind, 0)
    total = 1 if axis is None else activation.shape[axis]
    _check_channel(channel, total)
    if kind == "maps":
        return activation[channel]
    if kind == "tokens":
        return activation[:, channel].unsqueeze(1)
    if kind == "signal":
        return activation[channel].unsqueeze(0)
    return activation.reshape(-1)[channel].reshape(1, 1)


def _planes(values: Tensor, kind: LayoutKind) -> Tensor:
    """Bring values into the shape of tiles, ``(n, rows, columns)``."""
    if kind == "maps":
        return values
    if kind in ("tokens", "signal"):
        return values.unsqueeze(0)
    return values.reshape(1, 1, -1)


__all__ = ["LEVELS", "MISSING", "NEGATIVE", "POSITIVE", "exact", "plane", "pool_mean", "quantise", "tiles"]
