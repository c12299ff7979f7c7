"""The probe scope: look at a model without moving anything of it."""

from __future__ import annotations

import contextlib
import random
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from nnwidget.errors import UnobservableError
from nnwidget.model.keeping import kept, put_back

# Exported by torch.autograd at run time only.
_preserve_version = getattr(torch.autograd, "_unsafe_preserve_version_counter")  # noqa: B009
# What every module has: its registries are kept apart, those of its hooks stay out.
_OWN = frozenset(nn.Module().__dict__)
_MISSING = object()
# Which classes are torch's own; weak, so that a class of a re-run cell can go.
_INERT: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()
# Containers that count their parts in plain attributes.
_COUNTING = (nn.ParameterList, nn.ParameterDict)
_PLAIN = (nn.Parameter, torch.Tensor)
_within = threading.local()
_SHARDED = "is sharded over processes; running it on one of them would hang the others"


@contextlib.contextmanager
def probe(model: nn.Module, *, train: bool | None = False, seed: int | None = None) -> Iterator[None]:
    """Run the model inside this scope and leave everything as it was found.

    Gradients are off (``no_grad``), autocast is off, and on leaving the scope these are as they were: the random
    state (torch on the CPU and on the model's CUDA devices, Python's ``random``, numpy's global one), all buffers
    (values, identity and version counters, so that a pending backward is not disturbed), ``training`` of every
    module, ``.grad``, the parameters and modules that each module has, and the plain attributes, tensors and containers
    (also those in containers, whose contents count by identity) that modules keep on themselves. Not put back are
    the attributes of other objects that modules hold, such as a cache of a class of its own, the values of tensors
    inside containers, the values of parameters that a forward writes to, and attributes that a forward replaces on
    torch's own layers (``self.dropout.p = 0.3``).
    Parametrised weights (``spectral_norm`` and others) are best read inside: reading them in training
    mode moves buffers.

    Parameters
    ----------
    model : torch.nn.Module
        The model to look at.
    train : bool or None, default False
        The mode of every module inside the scope; None leaves each as it is.
    seed : int, optional
        Seed the forked random state, so that two looks see the same noise.

    Raises
    ------
    UnobservableError
        If a lazy module has no parameters yet, parameters lie on the meta device, or the model is sharded
        over processes.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Dropout())
    >>> with probe(net):
    ...     y = net(torch.ones(2, 3))
    >>> y.requires_grad, net.training, int(net[0].num_batches_tracked)
    (False, True, 0)
    """
    with probe_modules(refuse(model), train=train, seed=seed):
        yield


def probing() -> bool:
    """Say whether this thread is inside a probe: what a model does now is none of the user's loop.

    Examples
    --------
    >>> with probe(nn.Linear(1, 1)):
    ...     inside = probing()
    >>> inside, probing()
    (True, False)
    """
    return bool(getattr(_within, "depth", 0))


@contextlib.contextmanager
def _marked() -> Iterator[None]:
    _within.depth = getattr(_within, "depth", 0) + 1
    try:
        yield
    finally:
        _within.depth -= 1


@contextlib.contextmanager
def probe_modules(
    modules: list[nn.Module], *, train: bool | None, seed: int | None, drew: list[bool] | None = None
) -> Iterator[None]:
    """Do what :func:`probe` does, for modules that :func:`refuse` has listed; ``drew`` is told of random draws."""
    found = _Survey(modules)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_marked())
        stack.enter_context(_random(found.cuda, seed, drew))
        stack.enter_context(_attributes(found))
        stack.enter_context(_tensors(found))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in found.kinds:
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if train is not None:
            for own in found.dicts:
                own["training"] = train
            for module in found.scripted:
                module.training = train
        yield


class _Survey:
    """What of the modules a forward can move, found in one pass."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self.scripted = [module for module in modules if isinstance(module, torch.jit.ScriptModule)]
        script = {id(module) for module in self.scripted}
        # The flag itself is written: users override train() and __setattr__.
        self.dicts = [module.__dict__ for module in modules if id(module) not in script]
        self.writing = [module.__dict__ for module in modules if not _inert(module) and id(module) not in script]
        registries = (module._buffers for module in modules) if script else (own["_buffers"] for own in self.dicts)
        buffers = {id(t): t for registry in registries for t in registry.values() if t is not None}
        for own in self.writing:
            for value in own.values():
                if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
                    buffers[id(value)] = value
        self.tensors = list(buffers.values())
        held = [t for module in modules for t in module._parameters.values() if t is not None and not t.is_cpu]
        devices = {tensor.device for tensor in (*held, *self.tensors)}
        self.cuda = [device.index or 0 for device in devices if device.type == "cuda"]
        self.kinds = {"cpu", *(device.type for device in devices if device.type != "meta")}


def refuse(model: nn.Module) -> list[nn.Module]:
    """Raise for a model that must not be run, else list its modules.

    Parameters
    ----------
    model : torch.nn.Module
        The model about to be run.

    Returns
    -------
    list of torch.nn.Module
        Every module once, the model first.

    Raises
    ------
    UnobservableError
        Naming the layer, the reason and the remedy.

    Examples
    --------
    >>> import torch
    >>> refuse(torch.nn.Linear(2, 2))
    [Linear(in_features=2, out_features=2, bias=True)]
    """
    modules = distinct(model)
    for module in modules:
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is None or (tensor.is_cpu and type(tensor) in _PLAIN):
                continue
            if is_lazy(tensor):
                raise _refusal(
                    model, module, "has no parameters yet; running it would draw them", "Run it once on a batch first."
                )
            if tensor.is_meta:
                raise _refusal(
                    model, module, "has tensors on the meta device, which hold no values", "Load its weights first."
                )
            if type(tensor).__name__ == "DTensor":
                raise _refusal(model, module, _SHARDED, "Look at an unsharded copy.")
        if type(module).__name__ == "FullyShardedDataParallel":
            raise _refusal(model, module, _SHARDED, "Look at an unsharded copy.")
    return modules


def distinct(model: nn.Module) -> list[nn.Module]:
    """List every module once, the model first; several times faster than ``model.modules()``.

    Examples
    --------
    >>> distinct(torch.nn.Sequential(torch.nn.ReLU()))[1]
    ReLU()
    """
    found: dict[int, nn.Module] = {}
    stack = [model]
    while stack:
        module = stack.pop()
        if id(module) not in found:
            found[id(module)] = module
            if module._modules:
                stack.extend(child for child in reversed(module._modules.values()) if child is not None)
    return list(found.values())


def _refusal(model: nn.Module, module: nn.Module, reason: str, remedy: str) -> UnobservableError:
    """Word the error for a module that must not be run."""
    name = next((name for name, other in model.named_modules() if other is module), "")
    where = f"Layer {name!r}" if name else "The model"
    return UnobservableError(f"{where} ({type(module).__name__}) {reason}.", layer=name, remedy=remedy)


@contextlib.contextmanager
def _random(cuda: list[int], seed: int | None, drew: list[bool] | None) -> Iterator[None]:
    """Put back every random state that a forward drew from; the others are not even written.

    Threads share these states: one that draws beside us must not be thrown back by a forward that drew nothing.
    """
    before = _states(cuda)
    if seed is not None:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        for index in cuda:
            torch.cuda.default_generators[index].manual_seed(seed)
    begun = before if seed is None else _states(cuda)
    try:
        yield
    finally:
        ended = _states(cuda)
        if drew is not None:
            drew.append(not all(map(_equal, ended, begun)))
        for number, (now, then) in enumerate(zip(ended, before, strict=True)):
            if not _equal(now, then):
                _restore_state(number, then, cuda)


def _states(cuda: list[int]) -> list[Any]:
    """Every random state: Python's, NumPy's, torch's, each accelerator's."""
    legacy: Any = np.random.get_state()
    devices = [torch.cuda.get_rng_state(index) for index in cuda]
    return [random.getstate(), legacy, torch.default_generator.get_state(), *devices]


def _equal(one: Any, other: Any) -> bool:
    """Compare two random states of one kind."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    # NumPy's state holds an array; the position in it moves with every draw.
    if isinstance(one[1], np.ndarray):
        return bool(one[2:] == other[2:] and np.array_equal(one[1], other[1]))
    return bool(one == other)


def _restore_state(number: int, state: Any, cuda: list[int]) -> None:
    """Put one random state back."""
    if number == 0:
        random.setstate(state)
    elif number == 1:
        np.random.set_state(state)
    elif number == 2:
        torch.default_generator.set_state(state)
    else:
        torch.cuda.set_rng_state(state, cuda[number - 3])


@contextlib.contextmanager
def _attributes(found: _Survey) -> Iterator[None]:
    """Restore what modules hold: attributes by identity, registries and plain containers by content."""
    scripted = [(module, module.training) for module in found.scripted]
    flags = [own.get("training") for own in found.dicts]
    saved = [(own, dict(own)) for own in found.writing]
    sizes = [*map(len, found.dicts)]
    # Registries of torch's own layers too: a forward may add to its ModuleList or set the weight of a Linear.
    contents = [
        (registry, registry.copy() if registry else None)
        for own in found.dicts
        for registry in (own["_parameters"], own["_buffers"], own["_modules"])
    ]
    contents += kept(value for _, before in saved for key, value in before.items() if key not in _OWN)
    try:
        yield
    finally:
        for module, flag in scripted:
            if module.training != flag:
                module.training = flag
        for live, before in saved:
            _restore_mapping(live, before)
        for own, size in zip(found.dicts, sizes, strict=True):
            # Set from outside on one of torch's own layers; a tensor there hides the parameter of that name.
            for key in list(own)[size:] if len(own) > size else ():
                del own[key]
        for own, mode in zip(found.dicts, flags, strict=True):
            if mode is not None:
                own["training"] = mode
        put_back(contents)


def _inert(module: nn.Module) -> bool:
    """Whether it is one of torch's own layers, whose forwards write nothing but buffers; hooks may write anything."""
    kind = type(module)
    known = _INERT.get(kind)
    if known is None:
        known = kind.__module__.startswith("torch.nn.modules.") and not issubclass(kind, _COUNTING)
        _INERT[kind] = known
    return known and not module.__dict__["_forward_pre_hooks"] and not module.__dict__["_forward_hooks"]


def _restore_mapping(live: dict[Any, Any], before: dict[Any, Any]) -> None:
    """Put back entries by identity; dictionaries that did not change are not written."""
    for key, value in before.items():
        if live.get(key, _MISSING) is not value:
            live[key] = value
    if len(live) != len(before):
        for key in [key for key in live if key not in before]:
            del live[key]


@contextlib.contextmanager
def _tensors(found: _Survey) -> Iterator[None]:
    """Restore buffers and plain tensor attributes by value, version counters included."""
    versions = [(tensor, tensor._version) for tensor in found.tensors if not tensor.is_inference()]
    groups: dict[tuple[torch.dtype, torch.device, bool] | int, list[torch.Tensor]] = {}
    for tensor in found.tensors:
        strided = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_nested
        groups.setdefault((tensor.dtype, tensor.device, tensor.ndim == 0) if strided else id(tensor), []).append(tensor)
    with torch.no_grad():
        kept = [(members, _flat(members) if isinstance(key, tuple) else None) for key, members in groups.items()]
        odd = [(members[0], members[0].clone()) for members, flat in kept if flat is None]
    try:
        yield
    finally:
        with torch.no_grad():
            for members, flat in kept:
                if flat is not None and not _same_bits(_flat(members), flat):
                    for tensor, before in zip(members, torch.split(flat, [t.numel() for t in members]), strict=True):
                        tensor.detach().copy_(before.reshape(tensor.shape))
            for tensor, before in odd:
                tensor.detach().copy_(before)
        for tensor, version in versions:
            if tensor._version != version:
                _set_version(tensor, version)


def _flat(members: list[torch.Tensor]) -> torch.Tensor:
    """All values in one new tensor, so that many small buffers cost one operation."""
    if members[0].ndim == 0:
        return torch.stack(members)
    return torch.cat([tensor if tensor.ndim == 1 else tensor.reshape(-1) for tensor in members])


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two contiguous tensors hold the same bits; NaN equals itself."""
    return a.shape == b.shape and torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def _set_version(tensor: torch.Tensor, version: int) -> None:
    """Set a version counter back, so that a pending backward takes the restored values for what it saved."""
    guard = _preserve_version(tensor)
    # The attribute was singular before several tensors were allowed.
    guard.prev_version, guard.prev_versions = version, (version,)
    guard.__exit__()
