"""The weight tensors of any layer: which there are, what their axes mean, and where their gradients lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nnwidget.model.names import walk

PartKind: TypeAlias = Literal["kernels", "planes", "matrix", "strips"]

_GATES: tuple[tuple[type[nn.Module], tuple[str, ...]], ...] = (
    (nn.LSTM, ("input gate", "forget gate", "cell candidate", "output gate")),
    (nn.LSTMCell, ("input gate", "forget gate", "cell candidate", "output gate")),
    (nn.GRU, ("reset gate", "update gate", "candidate")),
    (nn.GRUCell, ("reset gate", "update gate", "candidate")),
)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_NORMS = ("BatchNorm", "InstanceNorm", "LayerNorm", "GroupNorm", "RMSNorm")
_NORM_WORDS = {
    "weight": "scale",
    "bias": "shift",
    "running_mean": "running mean",
    "running_var": "running variance",
}
_MATRIX_OF_INPUTS_BY_OUTPUTS = "Conv1D"
_SPATIAL = (3, 4, 5)


@dataclass(frozen=True, slots=True)
class Part:
    """What can be chosen of a layer: one tensor as kernels, planes or a matrix, or all its vectors as strips.

    ``tensors`` are as the layer has them, with words for people; ``arrange`` brings one into order: kernels (output,
    input within the group, *kernel), planes (n, rows, columns), a matrix (rows, columns), a strip (n,).
    """

    name: str
    label: str
    kind: PartKind
    tensors: tuple[tuple[str, str, Tensor], ...]
    arrange: Callable[[Tensor], Tensor]
    axes: tuple[str, str] = ("row", "column")
    sections: tuple[str, ...] = ()


def weight_tensors(module: nn.Module) -> dict[str, Tensor]:
    """List a layer's own tensors by name, the weight first, as the layer uses them.

    Parametrised weights are computed by being read, so call this inside the probe scope. The output projection
    of an attention layer counts as its own; so do the running statistics of a normalisation.

    Examples
    --------
    >>> list(weight_tensors(nn.BatchNorm1d(3)))
    ['weight', 'bias', 'running_mean', 'running_var']
    """
    found: dict[str, Tensor] = {}
    for name in ("weight", "bias"):
        try:
            value = getattr(module, name, None)
        except Exception:
            # A property of the user's own; the parameters behind it are listed all the same.
            continue
        if hasattr(module, "_packed_params") and callable(value):
            # Quantised layers have methods of these names.
            value = value()
        if isinstance(value, Tensor):
            found[name] = value
    if parametrize.is_parametrized(module):
        found |= {name: getattr(module, name) for name in module.parametrizations}  # type: ignore[union-attr]
    for name, parameter in module.named_parameters(recurse=False):
        found.setdefault(name, parameter)
    if is_norm(module):
        for name in ("running_mean", "running_var"):
            value = getattr(module, name, None)
            if isinstance(value, Tensor):
                found[name] = value
    if isinstance(module, nn.MultiheadAttention):
        found |= {f"out_proj.{name}": value for name, value in module.out_proj.named_parameters(recurse=False)}
    return found


def is_norm(module: nn.Module) -> bool:
    """Whether a layer normalises, judged by its class and those it derives from."""
    return any(word in kind.__name__ for kind in type(module).__mro__ for word in _NORMS)


def is_convolution(module: nn.Module) -> bool:
    """Whether a layer convolves; quantised ones and those of other libraries are known by their attributes."""
    return all(hasattr(module, word) for word in ("kernel_size", "groups", "in_channels"))


def parts(module: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Part]:
    """Sort a layer's tensors into what can be chosen.

    Parameters
    ----------
    module : nn.Module
        The layer.
    tensors : dict of str to Tensor
        What :func:`weight_tensors` found; none of them lazy.

    Returns
    -------
    dict of str to Part
        By name; all vectors together are one part, named after the first of them.

    Examples
    --------
    >>> lstm = nn.LSTM(3, 4)
    >>> found = parts(lstm, weight_tensors(lstm))
    >>> list(found), found["weight_hh_l0"].sections[1]
    (['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0'], 'forget gate')
    """
    found: dict[str, Part] = {}
    vectors: list[tuple[str, str, Tensor]] = []
    place = None
    for name, tensor in tensors.items():
        part = _part(module, name, tensor)
        if part is not None:
            found[name] = part
            continue
        word = _NORM_WORDS.get(name, name) if is_norm(module) else name
        vectors.append((name, word, tensor))
        if place is None:
            place = name
            # Keeps its place among the others.
            found[name] = Part(name, word, "strips", (), _flat)
    if place is not None:
        words = [word for _, word, _ in vectors]
        label = "biases" if len(words) > 2 and all("bias" in word for word in words) else ", ".join(words)
        found[place] = Part(place, label, "strips", tuple(vectors), _flat)
    return found


def _part(module: nn.Module, name: str, tensor: Tensor) -> Part | None:
    """Describe one tensor; None for a vector."""
    own = ((name, name, tensor),)
    if name == "weight" and is_convolution(module) and tensor.ndim in _SPATIAL:
        if set(tensor.shape[2:]) == {1} and _seen(module, tensor) > 1:
            # A kernel without extent has nothing to see but its input channels.
            return Part(
                name, name, "matrix", own, lambda values: _kernels(module, values).flatten(1), ("output", "input")
            )
        axes = ("input channel", "tap") if tensor.ndim == 3 else ("row", "column")
        return Part(name, name, "kernels", own, lambda values: _kernels(module, values), axes)
    if tensor.ndim < 2 or (is_norm(module) and name in _NORM_WORDS):
        return None
    if tensor.ndim == 2 and (name.endswith("weight") or name.startswith("weight") or 1 not in tensor.shape):
        turned = name == "weight" and type(module).__name__ == _MATRIX_OF_INPUTS_BY_OUTPUTS
        sections = _sections(module, name)
        arrange = torch.t if turned else _same
        return Part(name, name, "matrix", own, arrange, _matrix_axes(module, name), sections)
    if tensor.numel() == max(tensor.shape):
        return None
    axes = ("first input", "second input") if isinstance(module, nn.Bilinear) else ("row", "column")
    lead = [size for size in tensor.shape[:-2] if size != 1]
    if not lead:
        return Part(name, name, "matrix", own, lambda values: values.reshape(values.shape[-2:]), axes)
    return Part(name, name, "planes", own, lambda values: values.reshape(-1, *values.shape[-2:]), axes)


def _sections(module: nn.Module, name: str) -> tuple[str, ...]:
    """Name the equal parts of a matrix's rows."""
    if name == "in_proj_weight" and isinstance(module, nn.MultiheadAttention):
        return ("query", "key", "value")
    if name.startswith(("weight_ih", "weight_hh")):
        return next((gates for kind, gates in _GATES if isinstance(module, kind)), ())
    return ()


def _matrix_axes(module: nn.Module, name: str) -> tuple[str, str]:
    """Words for the rows and columns of a matrix."""
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return ("entry", "feature")
    if isinstance(module, _RECURRENT):
        return ("unit", "input" if name.startswith("weight_ih") else "hidden unit")
    return ("output", "input") if name.endswith("weight") else ("row", "column")


def _same(values: Tensor) -> Tensor:
    return values


def _flat(values: Tensor) -> Tensor:
    return values.reshape(-1)


def _seen(module: nn.Module, weight: Tensor) -> int:
    """How many input channels one filter sees."""
    groups = module.groups
    assert isinstance(groups, int)
    return weight.shape[0] // groups if _transposed(module) else weight.shape[1]


def _transposed(module: nn.Module) -> bool:
    return bool(getattr(module, "transposed", "Transpose" in type(module).__name__))


def _kernels(module: nn.Module, values: Tensor) -> Tensor:
    """Bring a convolution's weight into (output channel, input channel within the group, *kernel)."""
    groups = module.groups
    assert isinstance(groups, int)
    if _transposed(module):
        inputs, outputs, *kernel = values.shape
        divided = values.reshape(groups, inputs // groups, outputs, *kernel)
        return divided.transpose(1, 2).reshape(groups * outputs, inputs // groups, *kernel)
    return values


def gradient(module: nn.Module, name: str) -> tuple[Tensor | None, str]:
    """Return the gradient that lies beside a weight now, or why there is none.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> gradient(layer, "weight")[1]
    'There is no gradient now: run a backward pass and look before zero_grad() clears it.'
    """
    owner, _, local = name.rpartition(".")
    holder = module.get_submodule(owner) if owner else module
    parameter = dict(holder.named_parameters(recurse=False)).get(local)
    if parameter is None:
        if f"{local}_orig" in holder._parameters:
            return None, f"This weight is computed by pruning: choose {local}_orig to see its gradient."
        if f"{local}_v" in holder._parameters:
            return None, f"This weight is computed by weight normalisation: choose {local}_v to see its gradient."
        if parametrize.is_parametrized(holder, local):
            return (
                None,
                "This weight is computed by a parametrisation: the tensors it is computed from get the gradients.",
            )
        return None, "This is no parameter, so it gets no gradient."
    if not parameter.requires_grad:
        return None, "This weight is frozen (requires_grad is False), so it gets no gradient."
    if parameter.grad is None:
        return None, "There is no gradient now: run a backward pass and look before zero_grad() clears it."
    return parameter.grad, ""


def tied(model: nn.Module, module: nn.Module, names: tuple[str, ...]) -> list[str]:
    """Name the other parameters of the model that are the same tensor as one of these.

    Examples
    --------
    >>> net = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    >>> net[1].weight = net[0].weight
    >>> tied(net, net[0], ("weight",))
    ['1.weight']
    """
    own = {id(p) for name, p in module.named_parameters() if name in names}
    inside = {id(child) for child in module.modules()}
    found = []
    for item in walk(model) if own else ():
        if id(item.module) in inside:
            continue
        for name, parameter in item.module.named_parameters(recurse=False):
            if id(parameter) in own:
                found.append(f"{item.name}.{name}" if item.name else name)
    return found


__all__ = ["Part", "gradient", "is_convolution", "is_norm", "parts", "tied", "weight_tensors"]
