"""Apply edits to a layer's output, never in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from nnwidget.errors import InputError, UnobservableError
from nnwidget.model.axes import layout
from nnwidget.model.edits import Ablate, Clamp, Edit, Replace, Scale
from nnwidget.model.heads import head_count, mixed, mixes_heads, side_by_side
from nnwidget.model.structure import get_at, replace_at, tensors

# What a layer was called with: args and kwargs.
Given: TypeAlias = "tuple[tuple[Any, ...], Mapping[str, Any]]"


def apply_edit(
    edit: Edit,
    output: Any,
    *,
    module: nn.Module,
    name: str,
    teller: nn.Module | None = None,
    given: Given | None = None,
    batch_axis: int = 0,
    mean: Tensor | None = None,
) -> Any:
    """Return a layer's output with one edit done to it; what is not edited keeps its bits.

    Parameters
    ----------
    edit : Edit
        What to do, and where.
    output : object
        The layer's output, a tensor or a structure of tensors.
    module : nn.Module
        The layer.
    name : str
        Its name, for messages.
    teller : nn.Module, optional
        The module that decides where the channels are, see :func:`nnwidget.model.axes.teller`; the layer by default.
    given : (args, kwargs), optional
        What the layer was called with; edits of the heads of a ``MultiheadAttention`` need it, since its output has
        them mixed already.
    batch_axis : int, default 0
        Where the batch lies, see :func:`nnwidget.model.axes.layout`.
    mean : Tensor, optional
        Shape ``(channels,)``: what ``Ablate(value="mean")`` puts in; without it, the mean of this output.

    Returns
    -------
    object
        The same structure, with a new tensor of the same shape, dtype and device in the edited place.

    Raises
    ------
    InputError
        No such output or channel, values that are not dense real numbers, or a replacement that does not fit.
    UnobservableError
        The output is a nested tensor.

    Examples
    --------
    >>> apply_edit(Scale(0.0, channel=1), torch.ones(1, 3), module=nn.Linear(3, 3), name="fc")
    tensor([[1., 0., 1.]])
    """
    path, whole = find_output(edit, output, name)
    tensor = edited_tensor(edit, output, module=module, name=name, given=given)
    axis = channel_axis(edit, tensor, module=teller or module, batch_axis=batch_axis)
    index = _index(edit, tensor, axis, module, name)
    new = tensor.clone()
    if index is None:
        new.copy_(_changed(edit, tensor, name, _default_mean(edit, tensor, axis, mean), axis, None))
    else:
        assert axis is not None
        place = (*(slice(None),) * axis, index)
        part = tensor[place]
        new[place] = _changed(edit, part, name, _default_mean(edit, tensor, axis, mean), axis, index)
    if tensor is not whole:
        new = mixed(module, whole, tensor, new)
    return replace_at(output, path, new)


def edited_tensor(edit: Edit, output: Any, *, module: nn.Module, name: str, given: Given | None) -> Tensor:
    """Return the tensor whose channels, units or heads an edit counts: of the output, or of the heads before mixing."""
    tensor = find_output(edit, output, name)[1]
    _check_editable(tensor, name)
    if edit.head is None or given is None or not mixes_heads(module) or tensor.ndim < 2:
        return tensor
    heads = side_by_side(module, *given)
    return heads if heads.shape == tensor.shape else tensor


def _check_editable(tensor: Tensor, name: str) -> None:
    """Raise for an output whose values are not real numbers one after another."""
    if tensor.is_nested:
        raise UnobservableError(
            f"The output of layer {name!r} is a nested tensor (inputs of different lengths), which cannot be edited.",
            layer=name,
            remedy="Choose a layer before or after it, or pad the inputs to one length.",
        )
    kind = str(tensor.dtype)[6:] if tensor.layout == torch.strided else f"{str(tensor.layout)[6:]} values"
    if not tensor.is_floating_point() or tensor.layout != torch.strided:
        raise InputError(
            f"The output of layer {name!r} holds {kind}, which cannot be edited.",
            layer=name,
            argument="output",
            remedy="Edit a layer whose output is dense and floating point.",
        )


def find_output(edit: Edit, output: Any, name: str) -> tuple[str, Tensor]:
    """Return path and tensor that the edit names in a layer's output."""
    if isinstance(edit.output, str):
        return edit.output, get_at(output, edit.output)
    found = list(tensors(output))
    if not -len(found) <= edit.output < len(found):
        raise InputError(
            f"Layer {name!r} has {len(found)} output tensor{'s' * (len(found) != 1)}, not an output {edit.output}.",
            layer=name,
            argument="output",
            remedy=f"Use one of the paths {[path for path, _ in found]}." if found else "It returns no tensor.",
        )
    return found[edit.output]


def channel_axis(edit: Edit, tensor: Tensor, *, module: nn.Module, batch_axis: int = 0) -> int | None:
    """Return the axis of the full tensor that channels, units and heads are counted on."""
    axis: Any = edit.axis
    if edit.head is not None and axis == "auto":
        return tensor.ndim - 1
    where = batch_axis if tensor.ndim == 3 else 0
    if isinstance(axis, int) and axis % max(tensor.ndim, 1) == where:
        return layout(None, tensor, axis=axis, batched=False).channel
    return layout(module, tensor, axis=axis, batch_axis=where).channel


def channel_mean(tensor: Tensor, axis: int | None) -> Tensor:
    """Mean over everything but one axis, shape ``(channels,)``, or ``()`` without an axis; no gradient flows."""
    with torch.no_grad():
        values = tensor.detach()
        exact = values if values.dtype == torch.float64 else values.float()
        if axis is None:
            return exact.mean()
        return exact.movedim(axis, 0).flatten(1).mean(1) if tensor.ndim > 1 else exact


def as_sequence(what: Edit | Sequence[Edit]) -> tuple[Edit, ...]:
    """One edit or several as a tuple; refuse anything else."""
    items = tuple(what) if isinstance(what, (list, tuple)) else (what,)
    for item in items:
        if not isinstance(item, (Scale, Clamp, Ablate, Replace)):
            raise InputError(
                f"{type(item).__name__} is not an edit.",
                argument="edits",
                remedy="Pass Scale, Clamp, Ablate or Replace, or a list of them.",
            )
    return items


def _index(edit: Edit, tensor: Tensor, axis: int | None, module: nn.Module, name: str) -> Any:
    """Say what to index the channel axis with: None for everything, a slice where one serves, else a list."""
    chosen = edit.channel if edit.channel is not None else edit.unit
    word = "channels"
    if edit.head is None and chosen is None:
        return None
    if axis is None:
        raise InputError(
            f"The output of layer {name!r} has no channel axis.", layer=name, argument="channel", remedy="Pass axis=."
        )
    size = tensor.shape[axis]
    count, width = size, 1
    if edit.head is not None:
        count, word = head_count(edit.heads, module, name), "heads"
        if size % count:
            raise InputError(
                f"The {size} features of layer {name!r} cannot be split into {count} heads.",
                layer=name,
                argument="head",
                remedy="Pass heads= or choose the layer inside the attention that has them side by side.",
            )
        chosen, width = edit.head, size // count
    wanted = sorted(chosen)  # type: ignore[arg-type]
    if wanted[-1] >= count:
        raise InputError(
            f"Layer {name!r} has {count} {word} (0 to {count - 1}), not {wanted[-1]}.",
            layer=name,
            argument=word[:-1],
            remedy="Choose one it has, or say where they are with axis=.",
        )
    if isinstance(edit, Ablate) and edit.others:
        wanted = [index for index in range(count) if index not in set(wanted)]
    flat = [index * width + offset for index in wanted for offset in range(width)]
    if flat and flat[-1] - flat[0] + 1 == len(flat):
        return slice(flat[0], flat[-1] + 1)
    return torch.tensor(flat, dtype=torch.long, device=tensor.device)


def _default_mean(edit: Edit, tensor: Tensor, axis: int | None, mean: Tensor | None) -> Tensor | None:
    """Give the means an Ablate puts in, over this very batch unless told."""
    if isinstance(edit, Ablate) and edit.value == "mean":
        return channel_mean(tensor, axis) if mean is None else mean
    return None


def _changed(edit: Edit, part: Tensor, name: str, mean: Tensor | None, axis: int | None, index: Any) -> Tensor:
    """Compute the new values of the part of the tensor that is edited."""
    if isinstance(edit, Scale):
        return part * edit.factor
    if isinstance(edit, Clamp):
        return part.clamp(edit.min, edit.max)
    if isinstance(edit, Ablate):
        if mean is None:
            return torch.full_like(part, float(edit.value))
        values = mean.to(part.device) if index is None or axis is None else mean.to(part.device)[index]
        shape = [1] * part.ndim
        if axis is not None:
            shape[axis] = -1
        return values.to(part.dtype).reshape(shape).expand_as(part)
    return _replacement(edit, part, name)


def _replacement(edit: Replace, part: Tensor, name: str) -> Tensor:
    """Give what Replace puts in, fitted to shape, dtype and device."""
    value = edit.value
    if not isinstance(value, Tensor) and callable(value):
        value = value(part)
    new = torch.as_tensor(value, device=part.device).to(part.dtype)
    try:
        return new.expand_as(part)
    except RuntimeError as error:
        raise InputError(
            f"A replacement of shape {tuple(new.shape)} does not fit the {tuple(part.shape)} of layer {name!r}.",
            layer=name,
            argument="value",
            remedy="Give it that shape, or one that broadcasts to it.",
        ) from error


__all__ = ["apply_edit", "as_sequence", "channel_axis", "channel_mean", "edited_tensor"]
