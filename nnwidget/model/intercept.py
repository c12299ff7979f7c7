"""Stand between every module call and torch, in one thread, without writing anything on the model."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, TypeAlias

import torch
from torch import nn

Handler: TypeAlias = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]

_WRAPPERS = ("DataParallel", "DistributedDataParallel")
_IMPL = "_call_impl"
_lock = threading.RLock()
_local = threading.local()
# What is replaced now, by name: the method itself, how many scopes need it, its own code, and a copy that runs it.
_replaced: dict[str, _Kept] = {}


# Every method that was ever replaced.
_methods: dict[str, FunctionType] = {}


class _Kept:
    """A replaced method."""

    def __init__(self, method: FunctionType) -> None:
        self.method, self.code, self.scopes = method, method.__code__, 0
        self.copy = FunctionType(
            self.code, method.__globals__, method.__name__, method.__defaults__, method.__closure__
        )
        self.copy.__kwdefaults__ = method.__kwdefaults__


@contextlib.contextmanager
def intercepted(handler: Handler, *, compiled: bool = False) -> Iterator[None]:
    """Send this thread's module calls to a handler, as ``torch.fx`` does while it traces.

    The code of what ``nn.Module.__call__`` leads to is replaced for the length of the scope; other threads pass
    straight through to the original, and scopes may nest (the innermost handler serves). The classes themselves stay as
    they are: assigning a method to ``nn.Module`` empties the lookup caches of every module class, and Python 3.13 stops
    caching a class for good after a thousand assignments.

    Parameters
    ----------
    handler : callable
        ``handler(module, args, kwargs)`` returns the output; :func:`run` runs the module itself.
    compiled : bool, default False
        Whether the model has parts for ``torch.compile``, which are then called eagerly: for these ``__call__`` is
        replaced as well.

    Examples
    --------
    >>> seen = []
    >>> def handler(module, args, kwargs):
    ...     seen.append(type(module).__name__)
    ...     return run(module, args, kwargs)
    >>> with intercepted(handler):
    ...     _ = nn.Sequential(nn.ReLU())(torch.ones(1))
    >>> seen
    ['Sequential', 'ReLU']
    """
    stack: list[Handler] = _local.__dict__.setdefault("stack", [])
    methods = {_IMPL: vars(nn.Module)["_call_impl"]}
    if compiled:
        methods["__call__"] = vars(nn.Module)["__call__"]
    for name, method in methods.items():
        _replace(name, method)
    stack.append(handler)
    try:
        yield
    finally:
        stack.pop()
        for name in methods:
            _restore(name)


def run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a module eagerly with its hooks, around what ``torch.compile`` and data-parallel wrappers put in its way."""
    inner = wrapped(module)
    if inner is not None:
        return inner(*args, **kwargs)
    return _original(_IMPL)(module, *args, **kwargs)


def wrapped(module: nn.Module) -> nn.Module | None:
    """Return the module inside ``torch.compile(model)``, ``DataParallel`` or ``DistributedDataParallel``, else None."""
    # The registry of a ScriptModule has no get().
    if "_orig_mod" in module._modules:
        return module._modules["_orig_mod"]
    return module._modules.get("module") if type(module).__name__ in _WRAPPERS else None


def intercepting() -> bool:
    """Whether this thread is inside a scope, so that what is called is a look and not the user's own forward.

    Examples
    --------
    >>> intercepting()
    False
    """
    return bool(getattr(_local, "stack", None))


def _replace(name: str, method: FunctionType) -> None:
    """Replace the code of a method with the first scope of all threads that needs it."""
    with _lock:
        kept = _replaced.get(name)
        if kept is None:
            kept = _replaced[name] = _Kept(method)
            _methods[name] = method
            consts = tuple(name if value == "name" else value for value in _template.__code__.co_consts)
            method.__code__ = _template.__code__.replace(co_consts=consts)
        kept.scopes += 1


def _restore(name: str) -> None:
    """Give a method its code back with the last scope of all threads."""
    with _lock:
        kept = _replaced[name]
        kept.scopes -= 1
        if kept.scopes == 0:
            kept.method.__code__ = kept.code
            del _replaced[name]


def _original(name: str) -> Any:
    """Return what a method does by itself."""
    kept = _replaced.get(name)
    # Another thread may have come in here just before the code was given back.
    return kept.copy if kept is not None else _methods[name]


def _template(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    # Runs with the globals of torch, hence the import; "name" becomes the name of the method.
    from nnwidget.model.intercept import _instead

    return _instead("name", self, args, kwargs)


def _instead(name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Serve a call of a replaced method: the handler in threads that have one, the original elsewhere."""
    stack = getattr(_local, "stack", None)
    if not stack or torch.compiler.is_compiling():
        return _original(name)(module, *args, **kwargs)
    if name == _IMPL:
        return stack[-1](module, args, kwargs)
    # Around the compiled call.
    return nn.Module._call_impl(module, *args, **kwargs)  # type: ignore[no-untyped-call]


__all__ = ["Handler", "intercepted", "intercepting", "run", "wrapped"]
