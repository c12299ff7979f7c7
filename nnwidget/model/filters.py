"""The weights of a layer as pictures: filters in a grid, a matrix as a heat map, or why there are none."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nnwidget.errors import InputError, UnobservableError
from nnwidget.model.reduce import LEVELS, MISSING, NEGATIVE, POSITIVE, pool_mean, tiles
from nnwidget.model.statistics import real, statistics
from nnwidget.types import FilterBank, Tiles

NO_WEIGHTS = "This layer has no weights."
_MATRIX_OF_INPUTS_BY_OUTPUTS = "Conv1D"


def filters(
    module: nn.Module, *, mode: Literal["auto", "norm"] | int = "auto", edge: int = 64, name: str = ""
) -> FilterBank:
    """Show a layer's weights.

    2-d convolutions (transposed, grouped and depthwise ones too) give one tile for each output channel: in colour where
    a filter sees three input channels, as they are where it sees one, else the L2 norm over the input channels or one
    chosen input channel. Matrices give one heat map, outputs by inputs.

    Parameters
    ----------
    module : nn.Module
        The layer. Its attribute ``weight`` is read, so call this inside the probe scope where it is parametrised.
    mode : "auto", "norm" or int
        What to show of a convolution's input channels; a number chooses one, counted within the group.
    edge : int
        Largest number of rows and of columns of a tile; larger ones are mean-pooled, and the note says so.
    name : str
        The layer's name, for the error message.

    Returns
    -------
    FilterBank
        ``inputs`` is the number of input channels that one filter sees. Colour tiles share one range around zero, so
        that grey is zero.

    Raises
    ------
    InputError
        The mode is unknown, or there is no such input channel.

    Examples
    --------
    >>> bank = filters(nn.Conv2d(3, 8, 5))
    >>> bank.kind, bank.tiles.codes.shape
    ('rgb', (8, 5, 5, 3))
    >>> filters(nn.ReLU()).reason
    'This layer has no weights.'
    """
    if isinstance(mode, bool) or (mode not in ("auto", "norm") and not isinstance(mode, int)):
        raise InputError(
            f"{mode!r} is not a way to show filters.",
            layer=name,
            argument="mode",
            remedy="Use 'auto', 'norm' or the number of an input channel.",
        )
    weight = getattr(module, "weight", None)
    if callable(weight) and not isinstance(weight, Tensor):
        # Quantised layers have a method of this name.
        weight = weight()
    reason = _reason(module, weight)
    if reason or not isinstance(weight, Tensor):
        return FilterBank("none", (), None, None, reason=reason or NO_WEIGHTS)
    shape = tuple(weight.shape)
    try:
        values = real(weight)
        found = statistics(weight)
    except UnobservableError as error:
        return FilterBank("none", shape, None, None, reason=str(error))
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        kernels, note = _kernels(module, values)
        return dataclasses.replace(_bank(kernels, mode, edge, name, note), shape=shape, statistics=found)
    if type(module).__name__ == _MATRIX_OF_INPUTS_BY_OUTPUTS:
        values = values.t()
    picture = tiles(values, "tokens", edge=edge)
    return FilterBank("matrix", shape, picture, found, inputs=values.shape[1], note=_pooled(picture))


def _reason(module: nn.Module, weight: object) -> str:
    """Why there is nothing to show, or nothing yet; empty when there is."""
    kind = type(module).__name__
    if not isinstance(weight, Tensor):
        if any(True for _ in module.parameters(recurse=False)):
            return (
                f"The weights of {kind} are several tensors; their pictures come later. "
                "Meanwhile read them with dict(layer.named_parameters())."
            )
        if any(True for _ in module.parameters()):
            return "This layer has no weights of its own. Select one of the layers inside it."
        return NO_WEIGHTS
    if is_lazy(weight):
        return "The weights are not initialised yet. Run the model once."
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        return ""
    if weight.ndim != 2 or isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return f"Pictures of the weights of {kind} come later. Meanwhile read them as layer.weight."
    return ""


def _kernels(module: nn.Conv2d | nn.ConvTranspose2d, values: Tensor) -> tuple[Tensor, str]:
    """Weights as (output channel, input channel within the group, row, column), and what to say of groups."""
    groups = module.groups
    if isinstance(module, nn.ConvTranspose2d):
        inputs, outputs, rows, columns = values.shape
        parts = values.reshape(groups, inputs // groups, outputs, rows, columns)
        values = parts.transpose(1, 2).reshape(groups * outputs, inputs // groups, rows, columns)
    if groups == 1:
        return values, ""
    if values.shape[1] == 1:
        return values, "depthwise: each filter sees one input channel of its own"
    return values, f"{groups} groups: each filter sees {values.shape[1]} of {module.in_channels} input channels"


def _bank(kernels: Tensor, mode: str | int, edge: int, name: str, note: str) -> FilterBank:
    """Draw the grid of filters, without shape and statistics."""
    inputs = kernels.shape[1]
    if mode == "auto" and inputs == 3:
        picture = _colour(kernels, edge)
        return FilterBank("rgb", (), picture, None, inputs, None, note=_join(note, _pooled(picture)))
    channel = 0 if mode == "auto" and inputs == 1 else mode
    if isinstance(channel, int):
        if not 0 <= channel < inputs:
            raise InputError(
                f"There is no input channel {channel}: each filter of {name or 'this layer'} sees {inputs}.",
                layer=name,
                argument="mode",
                remedy=f"Use a number from 0 to {inputs - 1}.",
            )
        picture = tiles(kernels[:, channel], "maps", edge=edge)
        return FilterBank("channel", (), picture, None, inputs, channel, note=_join(note, _pooled(picture)))
    picture = tiles(torch.linalg.vector_norm(kernels, dim=1), "maps", edge=edge)
    return FilterBank("norm", (), picture, None, inputs, None, note=_join(note, _pooled(picture)))


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


def _pooled(picture: Tiles) -> str:
    """Note the pooling, if there was any."""
    rows, columns = picture.pool
    return "" if picture.pool == (1, 1) else f"each pixel averages {rows} × {columns} weights"


def _join(*notes: str) -> str:
    """One line of what was said."""
    return "; ".join(note for note in notes if note)


__all__ = ["NO_WEIGHTS", "filters"]
