"""Which layer went wrong first: the failed step is run again, as it was, and every layer is looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nnwidget.model.names import walk
from nnwidget.model.probe import probe
from nnwidget.model.structure import map_tensors, tensors
from nnwidget.model.taps import Taps
from nnwidget.training.batch import Batch
from nnwidget.training.layer_set import Watched
from nnwidget.training.losses import loss_in
from nnwidget.training.parameters import local


@dataclass(frozen=True, slots=True)
class Culprit:
    """Where values stopped being finite.

    ``layer`` is empty for the loss itself and the model's inputs. ``direction`` says what was not finite: the layer's
    output, the gradient of its output, its parameters, the inputs of the model, or the loss. ``nan`` and ``inf``
    count values of ``count``; ``tensor`` is that tensor in full, on the host. ``at`` says whose gradient it is.
    ``exact`` is False where it was told from the gradients of parameters alone.
    """

    layer: str
    kind: str
    direction: Literal["input", "parameters", "forward", "loss", "backward"]
    nan: int
    inf: int
    count: int
    tensor: Tensor | None = None
    exact: bool = True
    at: Literal["input", "output", "parameters"] = "output"


def investigate(model: nn.Module, batch: Batch) -> Culprit | None:
    """Run a step again and name the first layer whose values are not finite.

    The parameters must be those of the step: this is for the moment before the optimiser changes them. Nothing of the
    model, its gradients or the random state is moved.

    Parameters
    ----------
    model : nn.Module
        What the loop called.
    batch : Batch
        What it was called with.

    Returns
    -------
    Culprit or None
        None when every value of the second run is finite.

    Raises
    ------
    NNWidgetError
        The model cannot be run again here (sharded, say).

    Examples
    --------
    >>> class Root(nn.Module):
    ...     def forward(self, x):
    ...         return x.sqrt()
    >>> model = nn.Sequential(nn.Linear(1, 1), Root())
    >>> batch = Batch((torch.tensor([[-1e4], [1e4]]),), {}, 1, torch.get_rng_state())
    >>> investigate(model, batch).layer
    '1'
    """
    for _, tensor in tensors((batch.args, batch.kwargs)):
        found = _bad(tensor)
        # Masks hold minus infinity.
        if found is not None and not _mask(tensor):
            return Culprit("", "input", "input", *found, tensor.detach().cpu())
    for named in walk(model):
        for parameter in named.module.parameters(recurse=False):
            found = _bad(parameter)
            if found is not None:
                return Culprit(named.name, type(named.module).__name__, "parameters", *found, parameter.detach().cpu())
    with _again(model, batch):
        return _forward(model, batch) or _backward(model, batch)


def from_gradients(layers: Sequence[Watched]) -> Culprit | None:
    """Name the layer nearest to the loss whose parameters have gradients that are not finite.

    For steps whose batch was not kept: layers without parameters, and losses, cannot be told apart so.

    Examples
    --------
    >>> from nnwidget.training.layer_set import layer_set
    >>> model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    >>> model[0].weight.grad = torch.tensor([[torch.nan]])
    >>> from_gradients(layer_set(model)[0]).layer
    '0'
    """
    for layer in reversed(layers):
        for parameter in layer.parameters:
            # Of a sharded gradient the part at hand: to ask for all of it would hang the other ranks.
            gradient = None if parameter.grad is None else local(parameter.grad.detach())
            found = None if gradient is None else _bad(gradient)
            if found is not None and gradient is not None:
                kind = type(layer.module).__name__
                return Culprit(layer.name, kind, "backward", *found, gradient.cpu(), exact=False, at="parameters")
    return None


@contextlib.contextmanager
def _again(model: nn.Module, batch: Batch) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(probe(model, train=None))
        for kind, dtype in (batch.autocast or {}).items():
            stack.enter_context(torch.autocast(kind, dtype=dtype))
        yield


def _draw_as_then(batch: Batch) -> None:
    torch.set_rng_state(batch.random)
    if batch.cuda is not None:
        torch.cuda.set_rng_state(batch.cuda)


def _forward(model: nn.Module, batch: Batch) -> Culprit | None:
    first: list[Culprit] = []

    def after(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if first:
            return
        for _, tensor in tensors(output):
            found = _bad(tensor)
            if found is not None:
                first.append(Culprit(name, type(module).__name__, "forward", *found, tensor.detach().cpu()))
                return

    with Taps() as taps:
        for named in walk(model):
            with contextlib.suppress(RuntimeError):
                taps.add(named.name, named.module, after=after)
        loss = _run(model, batch)
        found = None if first or loss is None else _bad(loss)
        if found is not None and loss is not None:
            first.append(Culprit("", type(batch.loss or model).__name__, "loss", *found, loss.detach().cpu()))
    return first[0] if first else None


def _backward(model: nn.Module, batch: Batch) -> Culprit | None:
    """Go the whole way with a graph of our own; the gradients of the loop's parameters are not touched."""
    seen: list[tuple[Tensor, Culprit]] = []

    def hook(at: Literal["input", "output"], name: str, module: nn.Module, value: Any) -> None:
        def back(gradient: Tensor) -> None:
            # Several may look at one tensor: what a layer gave and what the next one was given.
            if seen and seen[0][0].data_ptr() != gradient.data_ptr():
                return
            found = _bad(gradient)
            if found is not None:
                kept = seen[0][1].tensor if seen else gradient.detach().cpu()
                culprit = Culprit(name, type(module).__name__, "backward", *found, kept, at=at)
                seen.append((gradient.detach(), culprit))

        for _, tensor in tensors(value):
            # The copies of the inputs are leaves, and nobody's but ours.
            if tensor.requires_grad and not isinstance(tensor, nn.Parameter):
                tensor.register_hook(back)  # type: ignore[no-untyped-call]

    def before(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        hook("input", name, module, (args, kwargs))

    def after(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        hook("output", name, module, output)

    with torch.enable_grad(), Taps() as taps:
        for named in walk(model):
            with contextlib.suppress(RuntimeError):
                taps.add(named.name, named.module, before=before, after=after)
        loss = _run(model, batch)
        if loss is None or not loss.requires_grad:
            return None
        wanted = {name: p for name, p in model.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    if seen:
        # The innermost layer that was given this tensor made a bad gradient of a good one.
        given = [culprit for _, culprit in seen if culprit.at == "input"]
        return given[-1] if given else seen[0][1]
    for name, gradient in zip(wanted, gradients, strict=True):
        found = None if gradient is None else _bad(gradient)
        if found is not None and gradient is not None:
            layer = name.rpartition(".")[0]
            kind = type(model.get_submodule(layer)).__name__
            return Culprit(layer, kind, "backward", *found, gradient.cpu(), at="parameters")
    return None


def _run(model: nn.Module, batch: Batch) -> Tensor | None:
    """Run the step again up to its loss; None where that cannot be told."""
    _draw_as_then(batch)
    # Copies: the model may write to its inputs.
    args, kwargs = map_tensors((batch.args, batch.kwargs), _copy)
    result = model(*args, **kwargs)
    if batch.loss is None:
        return loss_in(result)[0]
    given = _with_result(batch, result)
    loss = None if given is None else batch.loss(*given)
    return loss if isinstance(loss, Tensor) else None


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _with_result(batch: Batch, result: Any) -> tuple[Any, ...] | None:
    """Give the loss the new run's outputs in the places of the old ones; None where it was given something else."""
    outputs = [tensor for _, tensor in tensors(result)]
    args = list(batch.loss_args)
    for index, given in enumerate(args):
        if isinstance(given, Tensor) and given.requires_grad:
            args[index] = next((match for tensor in outputs if (match := _same(tensor, given)) is not None), None)
            if args[index] is None:
                return None
    return tuple(args) or None


def _same(tensor: Tensor, given: Tensor) -> Tensor | None:
    """Return the tensor in the shape of another that holds the same values, as losses of sequences ask for."""
    if tensor.numel() != given.numel():
        return None
    tensor = tensor.to(given.dtype)
    shapes = [tensor.reshape(given.shape)]
    if tensor.dim() > 2:
        shapes += [turned.reshape(given.shape) for turned in (tensor.transpose(1, -1), tensor.transpose(0, 1))]
    with torch.no_grad():
        return next((shape for shape in shapes if torch.allclose(shape, given, equal_nan=True)), None)


def _mask(tensor: Tensor) -> bool:
    return not bool(tensor.isnan().any() | tensor.isposinf().any())


def _bad(tensor: Tensor) -> tuple[int, int, int] | None:
    """Count NaN and infinities; None when all values are finite."""
    if not tensor.is_floating_point() or not tensor.numel() or tensor.layout is not torch.strided:
        return None
    values = tensor.detach()
    # One sum tells in the usual case; a sum that overflowed is looked at again.
    if bool(values.float().sum().isfinite()):
        return None
    nan, inf = int(values.isnan().sum()), int(values.isinf().sum())
    return (nan, inf, values.numel()) if nan + inf else None
