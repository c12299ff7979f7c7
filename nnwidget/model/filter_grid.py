"""Filters as tiles: what of a kernel is drawn, as colours, as numbers, as norms or whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from nnwidget.errors import InputError
from nnwidget.model.matrix import row_norms, whole_statistics
from nnwidget.model.reduce import LEVELS, MISSING, NEGATIVE, POSITIVE, pool_mean, tiles
from nnwidget.model.statistics import real
from nnwidget.model.weight_parts import Part
from nnwidget.types import FilterBank, Tiles, WeightView


def grid(module: nn.Module, part: Part, tensor: Tensor, whole: Tensor, view: WeightView, name: str) -> FilterBank:
    """Draw one tile for each filter.

    Parameters
    ----------
    module, part : nn.Module and Part
        The layer, and what of it is drawn.
    tensor : Tensor
        The weight or its gradient as the layer has it.
    whole : Tensor
        The same in the part's order: (output, input, *kernel) or (n, rows, columns).
    view : WeightView
        What to show.
    name : str
        The layer's name, for error messages.

    Returns
    -------
    FilterBank
        Of kind ``rgb``, ``channel``, ``norm`` or ``plane``.
    """
    values, at = plane_of(whole, view, name)
    if part.kind == "planes":
        bank = FilterBank("plane", (), tiles(values, "maps", edge=view.edge), None)
    else:
        bank = _kernels(real(values), view, name)
    return replace(
        bank,
        shape=tuple(tensor.shape),
        statistics=whole_statistics(tensor),
        note=join(_groups(module, whole) if part.kind == "kernels" else "", pooled(bank.tiles)),
        axes=part.axes,
        slice=at,
        slices=whole.shape[2] if whole.ndim == 5 else 1,
        norms=row_norms(whole).cpu().numpy(),
    )


def plane_of(values: Tensor, view: WeightView, name: str) -> tuple[Tensor, int | None]:
    """Take one slice of kernels with depth, (output, input, depth, row, column); says which."""
    if values.ndim != 5:
        return values, None
    depth = values.shape[2]
    at = depth // 2 if view.slice is None else view.slice
    if not 0 <= at < depth:
        raise InputError(
            f"There is no slice {at}: the kernels are {depth} deep.",
            layer=name,
            argument="slice",
            remedy=f"Use a number from 0 to {depth - 1}.",
        )
    return values[:, :, at], at


def mode_of(values: Tensor, mode: str | int, name: str) -> tuple[str, int | None]:
    """Say how kernels (output, input, *kernel) without depth are drawn: a kind, and the input channel if it is one."""
    inputs = values.shape[1]
    if mode == "auto":
        if inputs == 1:
            return "channel", 0
        if values.ndim == 3:
            return "plane", None
        return ("rgb" if inputs == 3 else "norm"), None
    if mode == "norm":
        return "norm", None
    assert isinstance(mode, int)
    if not 0 <= mode < inputs:
        raise InputError(
            f"There is no input channel {mode}: each filter of {name or 'this layer'} sees {inputs}.",
            layer=name,
            argument="mode",
            remedy=f"Use a number from 0 to {inputs - 1}.",
        )
    return "channel", mode


def _kernels(values: Tensor, view: WeightView, name: str) -> FilterBank:
    """Draw kernels (output, input, *kernel) of one or two dimensions."""
    inputs = values.shape[1]
    kind, channel = mode_of(values, view.mode, name)
    if kind == "rgb":
        return FilterBank("rgb", (), _colour(values, view.edge), None, inputs)
    if kind == "plane":
        pooled, pool = pool_mean(values, view.edge, square=False)
        picture = replace(tiles(pooled, "maps", edge=max(1, *pooled.shape[1:])), pool=pool)
        return FilterBank("plane", (), picture, None, inputs)
    shown = values[:, channel] if channel is not None else torch.linalg.vector_norm(values, dim=1)
    if shown.ndim == 2:
        shown = shown.unsqueeze(1)
    picture = tiles(shown, "maps", edge=view.edge)
    return FilterBank("norm" if channel is None else "channel", (), picture, None, inputs, channel)


def _groups(module: nn.Module, kernels: Tensor) -> str:
    """Say how much of the input a filter sees."""
    groups, inputs = getattr(module, "groups", 1), kernels.shape[1]
    if groups == 1:
        return ""
    if inputs == 1:
        return "depthwise: each filter sees one input channel of its own"
    return f"{groups} groups: each filter sees {inputs} of {module.in_channels} input channels"


def _colour(kernels: Tensor, edge: int) -> Tiles:
    """Three input channels as red, green and blue, one range around zero for all."""
    n = len(kernels)
    pooled, pool = pool_mean(kernels.flatten(0, 1), edge, square=True)
    values = pooled.reshape(n, 3, *pooled.shape[1:]).movedim(1, 3).to("cpu", torch.float64).numpy()
    finite = np.isfinite(values)
    safe = np.where(finite, values, 0.0)
    # All zero: any range around zero says so, and an empty one would draw black.
    bound = float(np.abs(safe).max(initial=0.0)) or 1.0
    codes = ((safe / bound + 1) * (LEVELS / 2) + 0.5).astype(np.uint8)
    codes[values == -np.inf], codes[values == np.inf], codes[np.isnan(values)] = NEGATIVE, POSITIVE, MISSING
    counts = np.maximum(finite.sum(axis=(1, 2, 3)), 1)
    return Tiles(
        codes=codes,
        lo=np.full(n, -bound, np.float32),
        hi=np.full(n, bound, np.float32),
        activity=(np.abs(safe).sum(axis=(1, 2, 3)) / counts).astype(np.float32),
        index=np.arange(n, dtype=np.int32),
        pool=pool,
    )


def pooled(picture: Tiles | None) -> str:
    """Note the pooling, if there was any."""
    if picture is None or picture.pool == (1, 1):
        return ""
    return f"each pixel averages {picture.pool[0]} × {picture.pool[1]} weights"


def join(*notes: str) -> str:
    """One line of what was said."""
    return "; ".join(note for note in notes if note)


__all__ = ["grid", "join", "mode_of", "plane_of", "pooled"]
