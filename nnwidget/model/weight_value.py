"""The exact number under the pointer: one weight, or the mean of the weights that a pixel averages."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnwidget.errors import InputError
from nnwidget.model.filter_grid import mode_of, plane_of
from nnwidget.model.filters import arranged, chosen_part
from nnwidget.model.statistics import real
from nnwidget.model.weight_parts import gradient, parts, weight_tensors
from nnwidget.types import WeightView


@dataclass(frozen=True, slots=True)
class WeightPlace:
    """Where to read: a tile (of a grid), a row and a column, and how many of each one pixel averages."""

    tile: int
    row: int
    column: int
    rows: int = 1
    columns: int = 1


def weight_value(
    module: nn.Module, view: WeightView, place: WeightPlace, *, gradients: bool = False, name: str = ""
) -> list[float]:
    """Read what a pixel of the filters shows.

    Parameters
    ----------
    module : nn.Module
        The layer; call this inside the probe scope.
    view : WeightView
        The view that the pixel belongs to. ``window`` and ``sort`` are ignored: places are those of the tensor.
    place : WeightPlace
        Where; a block that reaches beyond the end averages what is there.
    gradients : bool
        Read the gradient instead.
    name : str
        The layer's name, for error messages.

    Returns
    -------
    list of float
        Three numbers where three input channels are drawn as colours, else one.

    Raises
    ------
    InputError
        The place lies outside, or there is no gradient.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> weight_value(layer, WeightView(), WeightPlace(0, 0, 1)) == [layer.weight[0, 1].item()]
    True
    """
    tensors = weight_tensors(module)
    part = chosen_part(parts(module, tensors), view, name)
    key, _, tensor = part.tensors[place.tile if part.kind == "strips" and place.tile < len(part.tensors) else 0]
    if gradients:
        beside, why = gradient(module, key)
        if beside is None:
            raise InputError(why, layer=name, argument="gradient")
        tensor = beside
    planes = _planes(tensor, part.kind, arranged(part, tensor, view, name)[0], view, name, place.tile)
    rows, columns = planes.shape[-2:]
    if not (0 <= place.row < rows and 0 <= place.column < columns):
        raise InputError(
            f"Row {place.row}, column {place.column} lies outside {rows}×{columns}.", layer=name, argument="row"
        )
    block = planes[
        :, place.row : place.row + max(1, place.rows), place.column : place.column + max(1, place.columns)
    ].flatten(1)
    if block.shape[1] == 1:
        return [float(value) for value in real(block, exact=True)[:, 0]]
    return [float(value) for value in real(block).to(torch.float64 if block.device.type != "mps" else None).mean(dim=1)]


def _planes(tensor: Tensor, kind: str, values: Tensor, view: WeightView, name: str, tile: int) -> Tensor:
    """Return the plane of one tile, (1, rows, columns), or (3, rows, columns) for colours."""
    if kind == "strips":
        return values.reshape(1, 1, -1)
    if kind == "matrix":
        return values.unsqueeze(0)
    if not 0 <= tile < len(values):
        raise InputError(f"There is no filter {tile}: the layer has {len(values)}.", layer=name, argument="tile")
    if kind == "planes":
        return values[tile].unsqueeze(0)
    kernels, _ = plane_of(values, view, name)
    kind, channel = mode_of(kernels, view.mode, name)
    one = kernels[tile]
    if kind == "rgb":
        return one
    if kind == "plane":
        return one.unsqueeze(0)
    shown = torch.linalg.vector_norm(real(one), dim=0) if channel is None else one[channel]
    return shown.reshape(1, 1, -1) if shown.ndim == 1 else shown.unsqueeze(0)


__all__ = ["WeightPlace", "weight_value"]
