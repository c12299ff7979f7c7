"""From what people hand over to positional and keyword arguments of a model's forward."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nnwidget.errors import InputError

_CONVOLUTIONS: dict[type[nn.Module], int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}


def arguments(
    model: nn.Module, batch: Any, *, from_loader: bool = False, checked: bool = True
) -> tuple[tuple[Any, ...], dict[str, Any], list[str]]:
    """Spread a batch over the arguments of the model's forward.

    Parameters
    ----------
    model : torch.nn.Module
        Its forward's signature decides.
    batch : object
        A tuple is positional arguments, a mapping keywords, a list a stack of inputs (or, from a DataLoader, positional
        arguments), anything else the only argument.
    from_loader : bool
        Whether a DataLoader made the batch.
    checked : bool
        False where a callable of the user's runs the model, so that the forward's signature says nothing.

    Returns
    -------
    tuple
        Positional arguments, keyword arguments, and notes for the user.

    Raises
    ------
    InputError
        The forward does not take these arguments; a ``(x, y)`` pair gets the exact call to write.
    """
    notes: list[str] = []
    if isinstance(batch, Mapping):
        return _keywords(model, dict(batch), notes) if checked else ((), dict(batch), notes)
    if type(batch) is tuple or (from_loader and isinstance(batch, list)):
        return _positional(model, tuple(batch), from_loader, notes) if checked else tuple(batch), {}, notes
    if isinstance(batch, list):
        batch = _stack(batch)
    elif isinstance(batch, (str, bytes)) or not _usable(batch):
        raise InputError(
            f"The inputs are a {type(batch).__name__}.",
            argument="inputs",
            remedy="Pass a tensor, an array, a tuple, a dict or a DataLoader, or preprocess= that makes one.",
        )
    return (_with_batch_axis(model, batch, notes),), {}, notes


def first_batch(loader: DataLoader[Any]) -> Any:
    """Draw the first batch in this process and leave every random state as it was.

    Parameters
    ----------
    loader : torch.utils.data.DataLoader
        No worker is started; generators of the loader and its samplers are restored.

    Raises
    ------
    InputError
        The loader gives nothing, or drawing from it failed.
    """
    with _untouched_random(loader):
        try:
            return _draw(loader)
        except StopIteration:
            raise InputError("The DataLoader is empty.", argument="inputs", remedy="Pass one with data.") from None
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"The DataLoader failed: {error}", argument="inputs") from error


def to_tensors(value: Any, model: nn.Module, notes: list[str]) -> Any:
    """Turn arrays anywhere in tuples, lists and dicts into tensors; float64 takes the model's dtype."""
    if isinstance(value, np.ndarray):
        return _from_numpy(value, model, notes)
    if type(value) in (tuple, list):
        return type(value)(to_tensors(part, model, notes) for part in value)
    if type(value) is dict:
        return {key: to_tensors(part, model, notes) for key, part in value.items()}
    return value


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer, the CPU for a model that has none."""
    first = next(itertools.chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


def dtype_of(model: nn.Module) -> torch.dtype:
    """Return the dtype of the first floating point parameter or buffer, else torch's default."""
    found = (tensor.dtype for tensor in itertools.chain(model.parameters(), model.buffers()))
    return next((dtype for dtype in found if dtype.is_floating_point), torch.get_default_dtype())


def batch_axis_of(model: nn.Module) -> int:
    """Return 1 for recurrent and transformer roots that put time first, else 0."""
    if isinstance(model, nn.RNNBase):
        return 0 if model.batch_first else 1
    part: Any = model
    if isinstance(part, (nn.TransformerEncoder, nn.TransformerDecoder)):
        part = part.layers[0] if len(part.layers) else part
    if isinstance(part, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
        part = part.self_attn
    if isinstance(part, (nn.MultiheadAttention, nn.Transformer)):
        return 0 if part.batch_first else 1
    return 0


def _signature(model: nn.Module) -> inspect.Signature | None:
    """Read what the model takes, from an overridden ``__call__`` if there is one."""
    target: Any = model.forward
    if type(model).__call__ is not nn.Module.__call__ and not isinstance(model, torch.jit.ScriptModule):
        target = model.__call__
    try:
        return inspect.signature(target)
    except (TypeError, ValueError):
        return None


def _most_positional(model: nn.Module) -> int | None:
    """Count the positional arguments that forward takes at most; None when there is no limit or it is not known."""
    signature = _signature(model)
    if signature is None:
        return None
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    return sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)


def _positional(model: nn.Module, args: tuple[Any, ...], from_loader: bool, notes: list[str]) -> tuple[Any, ...]:
    """Check positional arguments against the forward."""
    if not args:
        raise InputError("The tuple of inputs is empty.", argument="inputs", remedy="Pass a batch.")
    if len(args) == 1:
        return (_with_batch_axis(model, args[0], notes),)
    most = _most_positional(model)
    if most is None or len(args) <= most:
        return args
    if len(args) == 2 and most == 1 and _labels(args[1], args[0]):
        example = "images, labels = next(iter(loader)); " if from_loader else "images, labels = inputs; "
        raise InputError(
            "The inputs are a pair whose second part looks like class labels, and the model takes one argument.",
            argument="inputs",
            remedy=f"Pass the labels as targets: {example}explore(model, images, targets=labels).",
        )
    raise InputError(
        f"The inputs are a tuple of {len(args)}, and the model's forward takes {most} positional argument(s).",
        argument="inputs",
        remedy="A tuple is spread over the arguments: pass what forward takes, and what to compare with as targets=.",
    )


def _labels(labels: Any, inputs: Any) -> bool:
    """Tell whether something looks like one integer class per input."""
    if isinstance(labels, (list, tuple)) and all(isinstance(label, int) for label in labels):
        labels = np.asarray(labels)
    if isinstance(labels, Tensor):
        whole = not labels.is_floating_point() and not labels.is_complex()
    elif isinstance(labels, np.ndarray):
        whole = labels.dtype.kind in "iub"
    else:
        return False
    vector = labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1)
    shape = getattr(inputs, "shape", None)
    return bool(whole and vector and shape is not None and len(shape) and shape[0] == labels.shape[0])


def _keywords(
    model: nn.Module, kwargs: dict[Any, Any], notes: list[str]
) -> tuple[tuple[Any, ...], dict[str, Any], list[str]]:
    """Check keyword arguments against the forward; a forward with one argument may want the mapping itself."""
    if not kwargs:
        raise InputError("The mapping of inputs is empty.", argument="inputs", remedy="Pass a batch.")
    signature = _signature(model)
    if signature is None:
        return (), kwargs, notes
    parameters = signature.parameters.values()
    named = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL, p.POSITIONAL_ONLY)}
    strange = [str(key) for key in kwargs if key not in named]
    if not strange or (
        any(p.kind is p.VAR_KEYWORD for p in parameters) and all(isinstance(key, str) for key in kwargs)
    ):
        return (), kwargs, notes
    if _most_positional(model) == 1 and len(strange) == len(kwargs):
        notes.append("The mapping goes in as the only argument, since forward has no such keywords.")
        return (kwargs,), {}, notes
    raise InputError(
        f"The model's forward takes no {', '.join(strange)}.",
        argument="inputs",
        remedy=f"It takes {', '.join(sorted(named))}: leave the others out.",
    )


def _usable(value: Any) -> bool:
    """Tell whether a single argument may hold tensors."""
    return (not isinstance(value, (bool, int, float, complex, type, Iterator)) and not callable(value)) or isinstance(
        value, Tensor
    )


def _stack(items: list[Any]) -> Any:
    """Stack a list of inputs into a batch."""
    if not items:
        raise InputError("The batch is empty.", argument="inputs", remedy="Pass at least one input.")
    if all(isinstance(item, Tensor) for item in items):
        if len({item.shape for item in items}) > 1:
            raise InputError(
                f"The inputs in the list have different shapes: {sorted({tuple(item.shape) for item in items})}.",
                argument="inputs",
                remedy="Pad them to one shape, or pass a tuple to give them as separate arguments.",
            )
        return torch.stack(items)
    try:
        array = np.asarray(items)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "iufbc":
        raise InputError(
            f"The inputs are a list of {type(items[0]).__name__} that does not make an array of numbers.",
            argument="inputs",
            remedy="Pass tensors or arrays of one shape, or preprocess= that makes a batch.",
        )
    return array


def _with_batch_axis(model: nn.Module, value: Any, notes: list[str]) -> Any:
    """Make a batch of one out of a single picture, when the first convolution shows that it is one."""
    if not isinstance(value, (Tensor, np.ndarray)):
        return value
    first = next((m for m in model.modules() if type(m) in _CONVOLUTIONS), None)
    if first is not None:
        convolution = cast(nn.Conv2d, first)
        axes = _CONVOLUTIONS[type(first)] + 1
        if value.ndim == axes and value.shape[0] == convolution.in_channels:
            notes.append(
                "A batch axis was added: the inputs are one picture." if axes == 3 else "A batch axis was added."
            )
            return value[None]
    return value


def _from_numpy(array: np.ndarray[Any, Any], model: nn.Module, notes: list[str]) -> Tensor:
    """Copy an array into a tensor."""
    if array.dtype.kind not in "iufbc":
        raise InputError(
            f"An array of {array.dtype} does not hold numbers.", argument="inputs", remedy="Pass an array of numbers."
        )
    tensor = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), copy=True, order="C"))
    dtype = dtype_of(model)
    if tensor.dtype == torch.float64 and dtype != torch.float64:
        note = f"Converted from float64 to {str(dtype)[6:]}."
        if note not in notes:
            notes.append(note)
        tensor = tensor.to(dtype)
    return tensor


def _draw(loader: DataLoader[Any]) -> Any:
    """Do what a loader without workers does for its first batch; a loader that iterates its own way is asked itself."""
    if type(loader).__iter__ is not DataLoader.__iter__:
        iterator = iter(loader)
        try:
            return next(iterator)
        finally:
            shutdown = getattr(iterator, "_shutdown_workers", None)
            if shutdown is not None:
                shutdown()
    dataset: Any = loader.dataset
    collate = loader.collate_fn
    sampler = loader.batch_sampler
    if isinstance(dataset, torch.utils.data.IterableDataset):
        if loader.batch_size is None:
            return collate(next(iter(dataset)))
        items = list(itertools.islice(iter(dataset), loader.batch_size))
        if not items:
            raise StopIteration
        return collate(items)
    if sampler is None:
        return collate(dataset[next(iter(loader.sampler))])
    indices = list(next(iter(sampler)))
    many = getattr(dataset, "__getitems__", None)
    return collate(many(indices) if many is not None else [dataset[index] for index in indices])


@contextlib.contextmanager
def _untouched_random(loader: DataLoader[Any]) -> Iterator[None]:
    """Restore every random state that drawing a batch can move."""
    python, legacy = random.getstate(), np.random.get_state()
    holders = (loader, loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None))
    generators = [
        g for g in (getattr(holder, "generator", None) for holder in holders) if isinstance(g, torch.Generator)
    ]
    states = [(generator, generator.get_state()) for generator in generators]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)
            for generator, state in states:
                generator.set_state(state)


__all__ = ["arguments", "batch_axis_of", "device_of", "dtype_of", "first_batch", "to_tensors"]
