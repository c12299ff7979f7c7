"""The weights of a layer as pictures: filters in a grid, matrices as heat maps, vectors as strips."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from nnwidget.errors import InputError, UnobservableError
from nnwidget.model import matrix
from nnwidget.model.filter_grid import grid, join, pooled
from nnwidget.model.filter_order import scores
from nnwidget.model.statistics import dense, real
from nnwidget.model.weight_parts import Part, gradient, is_convolution, is_norm, parts, weight_tensors
from nnwidget.types import Array, FilterBank, Strip, WeightView

NO_WEIGHTS = "This layer has no weights."
# Values of a strip beyond which neighbours are averaged.
LONGEST_STRIP = 4096


def filters(
    module: nn.Module, view: WeightView | None = None, *, name: str = "", activity: Tensor | None = None
) -> FilterBank:
    """Show a layer's weights.

    Convolutions (1-d to 3-d, transposed, grouped and depthwise ones too) give one tile for each output channel: in
    colour where a filter sees three input channels, as they are where it sees one, else the L2 norm over the input
    channels or one chosen input channel; filters of one dimension as input channels by taps. Matrices (linear,
    embedding, recurrent, attention) give a heat map of the window in sight, vectors (normalisations, biases) strips.

    Parameters
    ----------
    module : nn.Module
        The layer. Its weights are read, so call this inside the probe scope where they are parametrised.
    view : WeightView, optional
        What to show of them.
    name : str
        The layer's name, for error messages.
    activity : Tensor, optional
        ``(n,)``: how strongly each output channel answers, to sort by.

    Returns
    -------
    FilterBank
        ``inputs`` is the number of input channels that one filter sees. Colour tiles share one range around zero, so
        that grey is zero.

    Raises
    ------
    InputError
        The view names something that the layer does not have.

    Examples
    --------
    >>> bank = filters(nn.Conv2d(3, 8, 5))
    >>> bank.kind, bank.tiles.codes.shape
    ('rgb', (8, 5, 5, 3))
    >>> filters(nn.Linear(7, 5)).row_norms.shape
    (5,)
    >>> filters(nn.ReLU()).reason
    'This layer has no weights.'
    """
    view = view or WeightView()
    if isinstance(view.mode, bool) or (view.mode not in ("auto", "norm") and not isinstance(view.mode, int)):
        raise InputError(
            f"{view.mode!r} is not a way to show filters.",
            layer=name,
            argument="mode",
            remedy="Use 'auto', 'norm' or the number of an input channel.",
        )
    found = weight_tensors(module)
    reason = _reason(module, found)
    if reason:
        return FilterBank("none", (), None, None, reason=reason)
    every = parts(module, found)
    part = chosen_part(every, view, name)
    shape = tuple(part.tensors[0][2].shape) if part.tensors else ()
    try:
        bank = _bank(module, part, found, view, name, activity)
    except UnobservableError as error:
        bank = FilterBank("none", shape, None, None, reason=str(error))
    return replace(
        bank,
        part=part.name,
        parts={key: item.label for key, item in every.items()},
        note=join(bank.note, _storage(module, part)),
    )


def chosen_part(every: dict[str, Part], view: WeightView, name: str) -> Part:
    """Return the part that a view means.

    Raises
    ------
    InputError
        The layer has no such part.
    """
    if view.part is None:
        return next(iter(every.values()))
    if view.part not in every:
        raise InputError(
            f"{name or 'This layer'} has no weight '{view.part:.80}'.",
            layer=name,
            argument="part",
            remedy=f"It has {', '.join(every)}.",
        )
    return every[view.part]


def arranged(part: Part, tensor: Tensor, view: WeightView, name: str) -> tuple[Tensor, int | None]:
    """Bring a tensor into the part's order and cut out the section; says which section."""
    # Quantised tensors can hardly be cut.
    values = part.arrange(real(tensor) if tensor.is_quantized else dense(tensor.detach()))
    if not part.sections:
        return values, None
    section = 0 if view.section is None else view.section
    if not -1 <= section < len(part.sections):
        raise InputError(
            f"'{part.name}' has no part {section}.",
            layer=name,
            argument="section",
            remedy=f"Use 0 to {len(part.sections) - 1}, or -1 for all of it.",
        )
    size = len(values) // len(part.sections)
    return (values if section < 0 else values[section * size : (section + 1) * size]), section


def _reason(module: nn.Module, found: dict[str, Tensor]) -> str:
    """Why there is nothing to show, or nothing yet; empty when there is."""
    if any(is_lazy(tensor) for tensor in found.values()):
        return "The weights are not initialised yet. Run the model once."
    if found:
        return ""
    if hasattr(module, "_packed_params") or hasattr(module, "_all_weight_values"):
        return "The weights are packed by quantisation and cannot be read one by one."
    if is_norm(module):
        return "This layer normalises without weights of its own (no scale, no shift, no running statistics)."
    if any(True for _ in module.parameters()):
        return "This layer has no weights of its own. Select one of the layers inside it."
    return NO_WEIGHTS


def _bank(
    module: nn.Module, part: Part, found: dict[str, Tensor], view: WeightView, name: str, activity: Tensor | None
) -> FilterBank:
    """Draw one part, and its gradient where it is wanted and there."""
    if part.kind == "strips":
        return _strips(module, part, view)
    tensor = found[part.name]
    values, section = arranged(part, tensor, view, name)
    score = scores(values, view, name, activity)
    order = None if score is None else torch.argsort(score, descending=True, stable=True)
    if part.kind == "matrix":
        bank = replace(_matrix(values, part, view, order, name), section=section, sections=part.sections)
    else:
        bank = replace(grid(module, part, tensor, values, view, name), scores=score if score is None else _host(score))
    beside, why = gradient(module, part.name)
    if beside is None or not view.gradient:
        return replace(bank, gradient_note=why)
    values, _ = arranged(part, beside, view, name)
    if part.kind == "matrix":
        return replace(bank, gradient=_matrix(values, part, view, order, name))
    return replace(bank, gradient=grid(module, part, beside, values, view, name))


def _host(values: Tensor) -> Array:
    """Float32 on the host."""
    array: Array = values.to(torch.float32).cpu().numpy()
    return array


def _matrix(values: Tensor, part: Part, view: WeightView, order: Tensor | None, name: str) -> FilterBank:
    """Draw the window of a matrix, (rows, columns)."""
    found = matrix.whole_statistics(values)
    seen = matrix.picture(values, view.window, view.room, order, name)
    return FilterBank(
        "matrix",
        tuple(values.shape),
        seen.tiles,
        found,
        inputs=values.shape[1],
        axes=part.axes,
        note=pooled(seen.tiles),
        window=seen.window,
        row_norms=seen.row_norms,
        column_norms=seen.column_norms,
        order=seen.order,
    )


def _strips(module: nn.Module, part: Part, view: WeightView) -> FilterBank:
    """Draw vectors, each with its gradient where it is wanted and there."""
    found, why = [], ""
    for key, word, tensor in part.tensors:
        values = part.arrange(real(tensor))
        pool = -(-max(1, values.numel()) // LONGEST_STRIP)
        beside, reason = gradient(module, key)
        why = why or reason
        shown = None
        if beside is not None and view.gradient:
            shown = matrix.averaged(part.arrange(real(beside)), pool)
        found.append(Strip(word, matrix.averaged(values, pool), matrix.whole_statistics(tensor), pool, shown))
    if any(gradient(module, key)[0] is not None for key, _, _ in part.tensors):
        why = ""
    shape = tuple(part.tensors[0][2].shape)
    pool = max(strip.pool for strip in found)
    note = "" if pool == 1 else f"each value averages {pool} neighbours"
    return FilterBank("strips", shape, None, found[0].statistics, note=note, strips=tuple(found), gradient_note=why)


def _storage(module: nn.Module, part: Part) -> str:
    """Say where a weight is not simply a parameter of floating-point numbers."""
    notes: list[str] = []
    if part.kind == "matrix" and is_convolution(module):
        notes.append("kernels without extent: an output channel a row, an input channel a column")
    for key, _, tensor in part.tensors[:1]:
        dtype = str(tensor.dtype).removeprefix("torch.")
        if tensor.is_quantized:
            notes.append(f"quantised ({dtype}): shown as the numbers that are computed with")
        elif tensor.is_complex():
            notes.append("complex: shown by magnitude")
        elif not tensor.is_floating_point():
            notes.append(f"stored as {dtype}: whole numbers, before any scale that the layer applies")
        if tensor.layout != torch.strided:
            notes.append("sparse: what is not stored is zero")
        if parametrize.is_parametrized(module, key):
            kinds = ", ".join(type(step).__name__.lstrip("_") for step in module.parametrizations[key])  # type: ignore[index]
            notes.append(f"computed by a parametrisation ({kinds}), shown as the layer uses it")
        mask = getattr(module, f"{key}_mask", None)
        if isinstance(mask, Tensor) and mask.numel():
            notes.append(f"pruned: a mask holds {float((mask == 0).float().mean()):.0%} of it at zero")
    return join(*notes)


__all__ = ["LONGEST_STRIP", "NO_WEIGHTS", "arranged", "chosen_part", "filters"]
