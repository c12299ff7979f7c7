"""The mechanics of hooks for the whole house: scoped, listable, last in line, harmless when they fail."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias

import torch
from torch import nn

from nnwidget.model.standaside import stand_aside

Before: TypeAlias = Callable[[str, nn.Module, tuple[Any, ...], dict[str, Any]], Any]
After: TypeAlias = Callable[[str, nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]
Failed: TypeAlias = Callable[[str, Exception], None]
Aside: TypeAlias = Callable[[str, str], None]

# Hooks run in this order after the user's own: what changes values first, what looks at them last.
EDIT, OBSERVE = 0, 1

_log = logging.getLogger("nnwidget")
_live: weakref.WeakSet[Taps] = weakref.WeakSet()


class Hook:
    """What torch holds: a callable that knows its owner only weakly.

    A copy or a pickle of it is a no-op from the standard library, so that a tapped model can be copied and saved, also
    for places where nnwidget is not installed. It is also exempt from torch's warning about unserialisable hooks.
    """

    __slots__ = ("__weakref__", "_owner", "key", "post", "rank")

    __torch_unserializable__ = True

    def __init__(self, owner: Any, key: int, *, post: bool, rank: int) -> None:
        self._owner = weakref.ref(owner)
        self.key = key
        self.post = post
        self.rank = rank

    def __call__(self, module: nn.Module, args: Any, kwargs: Any = None, output: Any = None) -> Any:
        """Pass the call on to the owner; dynamo sees nothing but the first return."""
        if torch.compiler.is_compiling() and torch.compiler.is_dynamo_compiling():
            return None
        owner = self._owner()
        if owner is None:
            return None
        return owner._fire(self, module, args, kwargs or {}, output)

    def __getattr__(self, name: str) -> Any:
        """Say what to do instead of torch.jit.script, which compiles hooks and asks for their names."""
        remedy = ": leave the block that observes this model before torch.jit.script" if name == "__name__" else ""
        raise AttributeError(f"A hook of nnwidget has no {name}{remedy}.")

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave a no-op behind."""
        return noop_reduction()


def fit(kind: type[Hook], module: nn.Module) -> type[Hook]:
    """Return the kind of hook for a module: if it is compiled in place, one that its compiler leaves alone."""
    # Hooks of such a module run just outside its region, where torch would compile them too.
    return kind if getattr(module, "_compiled_call_impl", None) is None else _outside(kind)


def _outside(kind: Any) -> Any:
    """Make the kind of hook that runs where torch.compile is on, uncompiled: a compiler breaks its graph there."""
    if kind not in _outsides:

        class Outside(kind):  # type: ignore[misc]
            __slots__ = ()
            __call__ = torch.compiler.disable(kind.__call__)  # type: ignore[no-untyped-call]

        _outsides[kind] = Outside
    return _outsides[kind]


_outsides: dict[Any, Any] = {}


@dataclass(slots=True)
class _Tap:
    """One tapped module: its name, what to call, and the handles that undo it."""

    name: str
    before: Before | None
    after: After | None
    handles: list[Any]


class Taps:
    """A set of hooks on modules, removed together.

    Parameters
    ----------
    root : torch.nn.Module, optional
        The model that is called: before each call the hooks are moved behind those that the user registered since.
        Without it each module needs a second hook to that end.
    rank : int
        ``OBSERVE``, or ``EDIT`` for hooks whose return value replaces what torch passes on: they run before those that
        observe and after the user's own, also after hooks that the user registers later.
    on_error : callable, optional
        ``on_error(name, exception)``, called once when a callback fails. The tap is then gone; the user's step goes on.
    on_aside : callable, optional
        ``on_aside(name, reason)`` when a tap stood aside (tracing, exporting, vmap, …), once per name and reason.
    serial : bool
        One callback at a time, whatever the threads. False for callbacks that wait for another thread, which may be
        about to call the model too.
    compiled : bool
        Observe inside compiled regions too, which changes what is compiled; attach before the first compiled run.

    Examples
    --------
    >>> model, seen = nn.Linear(2, 3), []
    >>> with Taps() as taps:
    ...     taps.add("", model, after=lambda name, module, args, kwargs, output: seen.append(tuple(output.shape)))
    ...     _ = model(torch.ones(1, 2))
    >>> seen, len(model._forward_hooks)
    ([(1, 3)], 0)
    """

    def __init__(
        self,
        root: nn.Module | None = None,
        *,
        rank: int = OBSERVE,
        on_error: Failed | None = None,
        on_aside: Aside | None = None,
        serial: bool = True,
        compiled: bool = False,
    ) -> None:
        self.rank = rank
        self._compiled = compiled
        self._serial = threading.RLock() if serial else contextlib.nullcontext()
        self._on_error = on_error
        self._on_aside = on_aside
        self._taps: dict[int, _Tap] = {}
        self._asides: set[tuple[str, str]] = set()
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._next = 0
        # Held by the finaliser without the owner, so that a forgotten owner takes its hooks along.
        self._handles: dict[int, list[Any]] = {}
        self._rooted = False
        self._last_will: Any = None
        if root is not None and not isinstance(root, torch.jit.ScriptModule):
            self.add("", root, before=_settler(self))
            self._rooted = True

    @property
    def names(self) -> list[str]:
        """Names of the modules tapped now."""
        return [tap.name for tap in list(self._taps.values())]

    def add(self, name: str, module: nn.Module, *, before: Before | None = None, after: After | None = None) -> None:
        """Tap a module until :meth:`close`.

        Parameters
        ----------
        name : str
            How callbacks and reports call the module.
        module : nn.Module
            The module; only torch's own hook dictionaries on it are used.
        before, after : callable, optional
            ``before(name, module, args, kwargs)`` and ``after(name, module, args, kwargs, output)``. What they return
            is passed to torch only when ``rank`` is ``EDIT``.

        Raises
        ------
        RuntimeError
            The module refuses hooks (a ScriptModule).
        """
        with self._lock:
            if self._last_will is None:
                self._last_will = weakref.finalize(self, _remove_all, self._handles)
                self._last_will.atexit = False
                _live.add(self)
            key, self._next = self._next, self._next + 1
            handles: list[Any] = []
            self._handles[key] = handles
            self._taps[key] = _Tap(name, before, after, handles)
            kind = _outside(Hook) if self._compiled else fit(Hook, module)
            if before is not None or not self._rooted:
                pre = kind(self, key, post=False, rank=self.rank)
                handles.append(module.register_forward_pre_hook(pre, with_kwargs=True))
            if after is not None:
                post = kind(self, key, post=True, rank=self.rank)
                handles.append(module.register_forward_hook(post, with_kwargs=True))

    def settle(self) -> None:
        """Move the hooks behind those that the user registered since."""
        for tap in list(self._taps.values()):
            for handle in tap.handles:
                self._last_of(handle)

    def _last_of(self, handle: Any) -> None:
        """Move one hook to the end of its dictionary, which replicas of a module share with it."""
        hooks = handle.hooks_dict_ref()
        if hooks is not None:
            _last(hooks, handle.id, self.rank)

    def close(self) -> None:
        """Remove every hook; calling it again does nothing."""
        with self._lock:
            self._taps.clear()
            _remove_all(self._handles)
            will, self._last_will = self._last_will, None
        _live.discard(self)
        if will is not None:
            # Nothing of ours runs when it goes: Ctrl-C at such a moment would be lost.
            will.detach()

    def __enter__(self) -> Taps:
        """Return the taps; leaving the block removes them."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove every hook, whatever happened."""
        self.close()

    def _fire(self, hook: Hook, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """Serve one firing: never raise, hold the lock, drop a tap that fails."""
        tap = self._taps.get(hook.key)
        if tap is None:
            return None
        try:
            if tap.after is not None and next(reversed(module._forward_hooks), None) != tap.handles[-1].id:
                # Without a root to settle them, or when something else than the root is called.
                self._last_of(tap.handles[-1])
            if not hook.post and tap.before is None:
                return None
            reason = stand_aside(output if hook.post else args, pid=self._pid)
            if reason:
                self._stood_aside(tap.name, reason)
                return None
            with self._serial:
                if hook.post:
                    result = tap.after(tap.name, module, args, kwargs, output) if tap.after else None
                else:
                    result = tap.before(tap.name, module, args, kwargs) if tap.before else None
        except Exception as error:
            self._failed(hook.key, tap, error)
            return None
        return result if self.rank == EDIT else None

    def _stood_aside(self, name: str, reason: str) -> None:
        """Tell the owner once per name and reason."""
        if self._on_aside is not None and (name, reason) not in self._asides:
            self._asides.add((name, reason))
            self._on_aside(name, reason)

    def _failed(self, key: int, tap: _Tap, error: Exception) -> None:
        """Drop a tap whose callback raised and say so once."""
        with self._lock:
            if self._taps.pop(key, None) is None:
                return
            for handle in self._handles.pop(key, ()):
                handle.remove()
        _log.warning("Observing layer %r failed and was given up: %s: %s", tap.name, type(error).__name__, error)
        if self._on_error is not None:
            with contextlib.suppress(Exception):
                self._on_error(tap.name, error)


def active() -> list[str]:
    """List the names of all modules tapped now, in the whole process; empty means that nothing was left behind."""
    return [name for taps in list(_live) for name in taps.names]


def noop_reduction() -> tuple[Any, ...]:
    """Give the ``__reduce__`` value of a callable from the standard library that takes anything and returns None."""
    return getattr, (contextlib.nullcontext(), "__exit__")


def hooks_of(module: nn.Module) -> Iterator[Hook]:
    """Yield our hooks on a module, of whatever owner."""
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        yield from (hook for hook in list(hooks.values()) if isinstance(hook, Hook))


def _settler(taps: Taps) -> Before:
    """Make a callback that does not keep its own owner alive."""
    ref = weakref.ref(taps)

    def settle(*_: Any) -> None:
        owner = ref()
        if owner is not None:
            owner.settle()

    return settle


def _remove_all(handles: dict[int, list[Any]]) -> None:
    """Remove hooks by their handles; a handle whose module is gone does nothing."""
    for group in handles.values():
        for handle in group:
            handle.remove()
    handles.clear()


def _last(hooks: OrderedDict[int, Any], key: int, rank: int) -> None:
    """Move a hook behind all that are not ours or of lower rank; torch iterates over a copy, so this is safe."""
    for other in reversed(hooks):
        if other == key:
            return
        hook = hooks[other]
        if not isinstance(hook, Hook) or hook.rank < rank:
            higher = [k for k, h in hooks.items() if isinstance(h, Hook) and h.rank > rank]
            for moved in (key, *higher):
                if moved in hooks:
                    hooks.move_to_end(moved)
            return


__all__ = ["EDIT", "OBSERVE", "Hook", "Taps", "active", "fit", "hooks_of", "noop_reduction"]
