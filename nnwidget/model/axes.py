"""Which axis of an activation is what: a labelled guess, or what the user said."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from nnwidget.errors import InputError
from nnwidget.model.statistics import dense
from nnwidget.types import Layout, LayoutKind

_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
_PLANAR = ("Conv", "Pool", "Norm", "Pad", "Dropout")
_SEQUENCES = (nn.RNNBase, nn.MultiheadAttention, nn.Transformer, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
_STACKS = (nn.TransformerEncoder, nn.TransformerDecoder)
_MAP_WORDS = ("row", "column")
_ATTENTION_WORDS = ("query", "key")


def layout(
    module: nn.Module | None,
    tensor: Tensor,
    *,
    axis: int | Literal["auto"] = "auto",
    batched: bool = True,
    batch_axis: int = 0,
) -> Layout:
    """Say which axis of a layer's output is the batch, the channel, the row, the token.

    Decided from the module's type first (a container by its last child), then from sizes; nothing is read from the
    tensor's values. See :class:`nnwidget.types.Layout` for the kinds.

    Parameters
    ----------
    module : nn.Module or None
        The layer that returned the tensor, if known.
    tensor : Tensor
        The activation, batch axis included; any dtype and device, only its shape is read.
    axis : int or "auto"
        The channel's axis in the full tensor (negative counts from the end); overrides the guess.
    batched : bool
        False when the tensor has no batch axis.
    batch_axis : int
        Where the batch lies. Recurrent layers and transformers with ``batch_first=False`` put it at 1 by themselves;
        1 is meant for (token, batch, feature) only: matrices, attention weights and layers with channels first keep 0.

    Returns
    -------
    Layout
        ``order`` counts the axes that are left when the batch is taken out, as ``Tensor.permute`` then wants them.

    Raises
    ------
    InputError
        ``axis`` or ``batch_axis`` is not an axis of the tensor, or both are the same.
    UnobservableError
        The tensor is nested, so that its axes have no one size.

    Examples
    --------
    >>> layout(nn.Conv2d(3, 8, 3), torch.zeros(2, 8, 5, 5)).order
    (0, 1, 2)
    >>> layout(nn.LayerNorm(8), torch.zeros(2, 5, 5, 8)).channel
    3
    """
    if tensor.is_nested:
        dense(tensor)
    leaf = _leaf(module)
    batch = _batch(leaf, module, tensor, batched, batch_axis)
    rest = [a for a in range(tensor.ndim) if a != batch]
    if axis != "auto":
        return _told(tensor, axis, batch, rest)
    if len(rest) == 0:
        return Layout("scalar", batch, None, (), ())
    if len(rest) == 1:
        return Layout("vector", batch, rest[0], (0,), ("unit",))
    if len(rest) == 2:
        return _two(leaf, tensor, batch, rest)
    return _many(leaf, module, tensor, batch, rest)


def view(tensor: Tensor, layout: Layout, index: int) -> Tensor:
    """Take one input out of an activation and bring its axes into the kind's order.

    Parameters
    ----------
    tensor : Tensor
        The activation, batch axis included.
    layout : Layout
        What :func:`layout` said of it.
    index : int
        Which input of the batch; ignored without a batch axis.

    Returns
    -------
    Tensor
        A view: maps ``(C, H, W)``, tokens ``(T, D)``, signal ``(C, L)``, vector ``(U,)``, scalar ``()``. Of a sparse
        tensor, a dense copy.

    Raises
    ------
    InputError
        The batch has no such input, or the tensor does not fit the layout.
    UnobservableError
        The tensor is nested, or sparse with more than 64 million elements.

    Examples
    --------
    >>> image = torch.zeros(2, 5, 5, 8)
    >>> view(image, layout(nn.LayerNorm(8), image), 1).shape
    torch.Size([8, 5, 5])
    """
    tensor = dense(tensor)
    if layout.batch is not None:
        if tensor.ndim <= layout.batch:
            raise InputError("The activation has fewer axes than its layout.", argument="layout")
        size = tensor.shape[layout.batch]
        if not 0 <= index < size:
            raise InputError(
                f"Input {index} is asked for and the activation holds {size}.",
                argument="input",
                remedy="Choose a smaller number, or say which axis is the batch.",
            )
        tensor = tensor.select(layout.batch, index)
    if tensor.ndim != len(layout.order):
        raise InputError(f"The activation of shape {tuple(tensor.shape)} does not fit its layout.", argument="layout")
    tensor = tensor.permute(layout.order)
    if layout.kind == "maps" and layout.channel is None:
        return tensor.unsqueeze(0)
    while tensor.ndim > {"maps": 3, "tokens": 2, "signal": 2, "vector": 1, "scalar": 0}[layout.kind]:
        if tensor.shape[0] == 0:
            raise InputError("The activation is empty.", remedy="Choose another layer or input.")
        tensor = tensor[tensor.shape[0] // 2]
    return tensor


def sequence_first(model: nn.Module, layer: str) -> bool:
    """Whether a layer lies inside a recurrent layer or transformer whose tensors are (token, batch, feature).

    Such a layer cannot tell by itself, so pass ``batch_axis=1`` to :func:`layout` for its three-axis outputs.

    Examples
    --------
    >>> sequence_first(nn.Sequential(nn.TransformerEncoderLayer(4, 2)), "0.linear1")
    True
    """
    module, inside = model, _batch_first(model)
    for part in layer.split(".") if layer else []:
        module = module.get_submodule(part)
        own = _batch_first(module)
        inside = inside if own is None else own
    return inside is False


def teller(model: nn.Module, layer: str) -> nn.Module:
    """Find the module whose type tells the axes of a layer's output, to pass to :func:`layout`.

    That is the layer itself; for activations and dropouts, which work on any axes, the nearest one registered before.

    Examples
    --------
    >>> teller(nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU()), "1")
    Conv1d(3, 4, kernel_size=(3,), stride=(1,))
    """
    module = model.get_submodule(layer)
    if not _elementwise(module):
        return module
    while layer:
        layer, _, own = layer.rpartition(".")
        before = None
        for name, child in model.get_submodule(layer).named_children():
            if name == own:
                break
            before = before if _elementwise(_leaf(child)) else child
        if before is not None:
            return before
    return module


def _elementwise(module: nn.Module | None) -> bool:
    """Recognise what works on any axes; a softmax and attention do not."""
    if isinstance(module, (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d, nn.MultiheadAttention)):
        return False
    kind = type(module).__module__
    return kind in ("torch.nn.modules.activation", "torch.nn.modules.dropout") or isinstance(module, nn.Identity)


def _leaf(module: nn.Module | None, above: tuple[int, ...] = ()) -> nn.Module | None:
    """Find what decides for a container: its last child that works on certain axes, as deep as it goes."""
    if module is None or isinstance(module, _SEQUENCES + _STACKS):
        return module
    # A module may hold its own parent.
    above = (*above, id(module))
    children = [child for child in module.children() if id(child) not in above]
    if not children or (type(module).__module__.startswith("torch.nn.modules.") and not _is_container(module)):
        return module
    for child in reversed(children):
        leaf = _leaf(child, above)
        if not _elementwise(leaf):
            return leaf
    return _leaf(children[-1], above)


def _is_container(module: nn.Module) -> bool:
    """Containers of torch that only pass things on."""
    return isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))


def _batch_first(module: nn.Module | None) -> bool | None:
    """Ask the module itself, None where it does not say."""
    if isinstance(module, _STACKS):
        module = next(iter(module.layers), None)
    if isinstance(module, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
        module = module.self_attn
    return bool(module.batch_first) if isinstance(module, _SEQUENCES) else None


def _batch(
    leaf: nn.Module | None, module: nn.Module | None, tensor: Tensor, batched: bool, batch_axis: int
) -> int | None:
    """Find the batch's axis, None without one."""
    if not batched or tensor.ndim == 0:
        return None
    if not -tensor.ndim <= batch_axis < tensor.ndim:
        raise InputError(
            f"Axis {batch_axis} cannot be the batch of a tensor of shape {tuple(tensor.shape)}.",
            argument="batch_axis",
            remedy="Name one of its axes.",
        )
    batch = batch_axis % tensor.ndim
    if batch > 1:
        return batch
    first = tensor.ndim < 3 or _averaged_attention(leaf, tensor) or _is_attention(leaf, module, tensor)
    if first or (leaf is not None and _dimensions(leaf, tensor) is not None):
        return 0
    return 1 if tensor.ndim == 3 and _batch_first(leaf) is False else batch


def _averaged_attention(leaf: nn.Module | None, tensor: Tensor) -> bool:
    """Recognise MultiheadAttention's second output: (N, query, key), whatever ``batch_first`` says."""
    return isinstance(leaf, nn.MultiheadAttention) and tensor.ndim == 3 and tensor.shape[-1] != leaf.embed_dim


def _told(tensor: Tensor, axis: int, batch: int | None, rest: list[int]) -> Layout:
    """Take the user's channel axis; the other axes keep their order."""
    if isinstance(axis, bool) or not isinstance(axis, int) or not -tensor.ndim <= axis < tensor.ndim:
        raise InputError(
            f"Axis {axis!r} is not an axis of a tensor of shape {tuple(tensor.shape)}.",
            argument="axis",
            remedy=f"Use a number from 0 to {max(tensor.ndim - 1, 0)} or 'auto'.",
        )
    channel = axis % tensor.ndim
    if channel == batch:
        raise InputError(
            f"Axis {channel} is the batch and cannot be the channel too.",
            argument="axis",
            remedy="Name another axis, or say batch_axis.",
        )
    if len(rest) == 1:
        return Layout("vector", batch, channel, (0,), ("unit",), guessed=False)
    if len(rest) == 2:
        first = rest.index(channel) == 0
        kind: LayoutKind = "signal" if first else "tokens"
        return Layout(kind, batch, channel, (0, 1), _words(kind), guessed=False)
    return _maps(tensor, batch, rest, channel, guessed=False)


def _two(leaf: nn.Module | None, tensor: Tensor, batch: int | None, rest: list[int]) -> Layout:
    """Two axes besides the batch: a signal, tokens, or averaged attention."""
    if batch == 0 and _averaged_attention(leaf, tensor):
        return Layout("maps", batch, None, (0, 1), _ATTENTION_WORDS, note="attention, averaged over the heads")
    kind: LayoutKind = "tokens"
    if leaf is not None and _dimensions(leaf, tensor) == 1:
        kind = "signal"
    return Layout(kind, batch, rest[0] if kind == "signal" else rest[1], (0, 1), _words(kind))


def _many(
    leaf: nn.Module | None, module: nn.Module | None, tensor: Tensor, batch: int | None, rest: list[int]
) -> Layout:
    """Three axes or more besides the batch: maps, the channel first or last."""
    if len(rest) == 3 and _is_attention(leaf, module, tensor):
        return Layout("maps", batch, rest[0], (0, 1, 2), _ATTENTION_WORDS, note="one map for each attention head")
    if _channels_last(leaf, tensor, rest):
        return _maps(tensor, batch, rest, rest[-1], note="channels last")
    return _maps(tensor, batch, rest, rest[0])


def _maps(
    tensor: Tensor, batch: int | None, rest: list[int], channel: int, *, guessed: bool = True, note: str = ""
) -> Layout:
    """Show the last two of the other axes, those before them at their middle."""
    others = [i for i, a in enumerate(rest) if a != channel]
    order = (*others[:-2], rest.index(channel), *others[-2:])
    if len(others) > 2:
        middle = ", ".join(str(tensor.shape[rest[i]] // 2) for i in others[:-2])
        sizes = ", ".join(str(tensor.shape[rest[i]]) for i in others[:-2])
        note = "; ".join(filter(None, (note, f"slice {middle} of {sizes}, the middle")))
    return Layout("maps", batch, channel, order, _MAP_WORDS, guessed, note)


def _words(kind: LayoutKind) -> tuple[str, ...]:
    """Names of the two shown axes."""
    return ("channel", "position") if kind == "signal" else ("token", "feature")


def _dimensions(leaf: nn.Module, tensor: Tensor) -> int | None:
    """1, 2 or 3 for layers with channels first that say so in their type, else None."""
    name = type(leaf).__name__
    if isinstance(leaf, nn.BatchNorm1d) or (isinstance(leaf, _BATCH_NORMS) and not name[-2:-1].isdigit()):
        return max(tensor.ndim - 2, 1)
    if name[-2:] in ("1d", "2d", "3d") and any(word in name for word in _PLANAR):
        return int(name[-2])
    if isinstance(leaf, nn.modules.conv._ConvNd):
        return len(leaf.kernel_size)
    if isinstance(leaf, (nn.GroupNorm, nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle)):
        return tensor.ndim - 2
    return None


def _is_attention(leaf: nn.Module | None, module: nn.Module | None, tensor: Tensor) -> bool:
    """(N, head, query, key): by the module, never by the shape alone."""
    if tensor.ndim != 4:
        return False
    if isinstance(leaf, nn.MultiheadAttention):
        return True
    if isinstance(leaf, nn.Softmax):
        return leaf.dim in (-1, tensor.ndim - 1)
    square = tensor.shape[-1] == tensor.shape[-2]
    return square and module is not None and "attention" in type(module).__name__.lower()


def _channels_last(leaf: nn.Module | None, tensor: Tensor, rest: list[int]) -> bool:
    """Linear and one-axis LayerNorm work on the last axis; without a word from the module, H = W decides."""
    last = tensor.shape[-1]
    if isinstance(leaf, nn.LayerNorm):
        return tuple(leaf.normalized_shape) == (last,)
    if isinstance(leaf, nn.Linear) and leaf.out_features == last:
        return True
    normalized = getattr(leaf, "normalized_shape", None)
    if isinstance(normalized, (tuple, list, torch.Size)):
        return tuple(normalized) == (last,)
    if leaf is not None and _dimensions(leaf, tensor) is not None:
        return False
    sizes = [tensor.shape[a] for a in rest]
    return len(sizes) == 3 and sizes[0] == sizes[1] != sizes[2] and sizes[0] > 1


__all__ = ["layout", "sequence_first", "teller", "view"]
