"""Copies of what flows through the layers during the user's own calls."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from nnwidget.errors import BudgetError, InputError, UnobservableError
from nnwidget.model.copies import Copier, OverBudgetError
from nnwidget.model.fused import fused_notes
from nnwidget.model.gradients import Gradients
from nnwidget.model.names import Layers, compiled_regions, refusal, select, unknown, walk
from nnwidget.model.structure import opaque
from nnwidget.model.taps import Taps


def capture(
    model: nn.Module,
    layers: Layers = None,
    *,
    gradients: bool = False,
    inputs: bool = False,
    reduce: Callable[[Tensor], Any] | None = None,
    to: str | torch.device | torch.dtype | None = None,
    max_bytes: int | None = None,
) -> Capture:
    """Capture what layers give during your own calls of the model.

    Parameters
    ----------
    model : torch.nn.Module
        The model; it is only hooked inside the ``with`` block.
    layers : str, module, iterable of these, or None
        Names, globs such as ``"layer*.conv?"``, or modules. None captures every layer that can be observed.
    gradients : bool
        Also keep the gradients of the outputs, when a backward runs inside the block.
    inputs : bool
        Also keep copies of positional and keyword arguments, as they were before the call.
    reduce : callable, optional
        ``reduce(tensor) -> tensor or number``, applied on the tensor's device instead of copying it whole.
    to : device or dtype, optional
        Where copies go; a dtype applies to floating point tensors.
    max_bytes : int, optional
        Limit for all copies together. When it is reached, copying stops, the forward goes on, and reading a layer that
        is missing raises :class:`~nnwidget.errors.BudgetError`.

    Returns
    -------
    Capture
        A context manager and a mapping from names to lists with one entry per call.

    Raises
    ------
    UnknownLayerError
        A layer that does not exist; the message names the nearest.
    UnobservableError
        A layer that was asked for by name and cannot be observed.
    InputError
        The model is not a module, or an argument has the wrong type.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with capture(model, "?") as seen:
    ...     _ = model(torch.ones(4, 2))
    >>> {name: tuple(calls[0].shape) for name, calls in seen.items()}
    {'0': (4, 3), '1': (4, 3)}
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"The model is a {type(model).__name__}, not a torch.nn.Module.", argument="model")
    if max_bytes is not None and max_bytes < 0:
        raise InputError(f"max_bytes is {max_bytes}.", argument="max_bytes", remedy="Pass a number of bytes or None.")
    return Capture(model, layers, gradients, inputs, Copier(reduce, to, max_bytes))


class Capture(Mapping[str, list[Any]]):
    """What :func:`capture` gives: names to lists with one entry per call, structure kept, detached copies.

    A layer that was never called has an empty list. A module with several names is listed under the first and found
    under each; modules themselves serve as keys, too.

    Attributes
    ----------
    order : list of str
        One name per captured call, in the order in which the calls returned.
    recomputed : dict of str to int
        How often a layer ran again inside a backward (activation checkpointing); such calls are not in the lists.
    """

    def __init__(self, model: nn.Module, layers: Layers, gradients: bool, inputs: bool, copier: Copier) -> None:
        named = walk(model)
        chosen = select(model, layers, named)
        compiled = compiled_regions(named)
        self._all = [name for item in named for name in (item.name, *item.aliases)]
        self._refused: dict[str, str] = {}
        for item in chosen:
            reason = refusal(item.module)
            if item.name in compiled:
                reason = "it runs inside a region of torch.compile, where hooks would change what is computed"
            if reason:
                self._refused[item.name] = reason
        if layers is not None and self._refused:
            name, reason = next(iter(self._refused.items()))
            raise UnobservableError(
                f"Layer {name!r} cannot be observed: {reason}.",
                layer=name,
                remedy="Leave it out, or run the model eagerly.",
            )
        chosen = [item for item in chosen if item.name not in self._refused]
        self._root: nn.Module | None = None if compiled.get("") is not None else model
        self._targets = [(item.name, item.module) for item in chosen]
        self._names = {name: item.name for item in chosen for name in (item.name, *item.aliases)}
        self._modules = {id(item.module): (weakref.ref(item.module), item.name) for item in chosen}
        fused = fused_notes(named)
        fused_names = [item.name for item in chosen if item.name in fused]
        self._notes = [f"{_listed(fused_names)}: {next(iter(fused.values()))}"] if fused_names else []
        self._calls: dict[str, list[Any]] = {item.name: [] for item in chosen}
        self._inputs: dict[str, list[Any]] | None = {item.name: [] for item in chosen} if inputs else None
        self._gradients = Gradients(copier, [item.name for item in chosen]) if gradients else None
        self._copier = copier
        self._missing: set[str] = set()
        self._broken: dict[str, Exception] = {}
        self._asides: dict[str, list[str]] = {}
        self._pending: dict[int, list[tuple[str, int, Any]]] = {}
        self._taps: Taps | None = None
        self._done = False
        self.order: list[str] = []
        self.recomputed: dict[str, int] = {}

    @property
    def uncalled(self) -> list[str]:
        """Names of the layers that were not called."""
        called = {*self.order, *self._missing, *self._broken}
        return [name for name in self._calls if name not in called]

    @property
    def gradients(self) -> Mapping[str, list[Any]]:
        """Gradients of the outputs: one entry per call, structure kept, None where none arrived."""
        if self._gradients is None:
            raise InputError("Gradients were not captured.", argument="gradients", remedy="Pass gradients=True.")
        return _View(self, self._gradients.of)

    @property
    def inputs(self) -> Mapping[str, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
        """Arguments of each call as ``(args, kwargs)``, copied before the call."""
        if self._inputs is None:
            raise InputError("Inputs were not captured.", argument="inputs", remedy="Pass inputs=True.")
        return _View(self, self._inputs.__getitem__)

    @property
    def notes(self) -> list[str]:
        """What one must know to read the values: layers left out and why, other code paths, copies that are missing."""
        notes = list(self._notes)
        reasons: dict[str, list[str]] = {}
        for name, reason in self._refused.items():
            reasons.setdefault(reason, []).append(name)
        notes += [f"Not observed: {_listed(names)}: {reason}." for reason, names in reasons.items()]
        notes += [f"Stood aside at {_listed(names)}: {reason}." for reason, names in self._asides.items()]
        notes += [f"Observing layer {name!r} failed: {error!r}." for name, error in self._broken.items()]
        if self._done and self._calls and not self.order and not self._missing and not self._asides:
            notes.append(
                "No layer was called: calls inside compiled functions and of module.forward itself pass hooks by."
            )
        if self._missing:
            notes.append(f"Copying stopped; missing: {_listed(sorted(self._missing))}. {self._copier.summary()}")
        return notes

    def __getitem__(self, key: str | nn.Module) -> list[Any]:
        """Return the calls of a layer."""
        return self._calls[self.resolve(key)]

    def __contains__(self, key: object) -> bool:
        """Tell whether a layer was asked for and can be observed."""
        return key in self._names or (id(key) in self._modules and self._modules[id(key)][0]() is key)

    def __iter__(self) -> Iterator[str]:
        """Iterate over first names in the order of the model."""
        return iter(self._calls)

    def __len__(self) -> int:
        """Count the layers."""
        return len(self._calls)

    def __repr__(self) -> str:
        """Say how much was captured."""
        return f"<Capture of {len(self._calls)} layers, {len(self.order)} calls, {self._copier.used:,} bytes>"

    def resolve(self, key: str | nn.Module) -> str:
        """Return the name under which a layer is listed.

        Raises
        ------
        UnknownLayerError
            The layer was not asked for or does not exist.
        UnobservableError
            It cannot be observed, or observing it failed.
        BudgetError
            Copies of it are missing because of ``max_bytes``.
        """
        if isinstance(key, nn.Module):
            ref, name = self._modules.get(id(key), (None, ""))
            if ref is None or ref() is not key:
                raise unknown(type(key).__name__, list(self._names))
        elif key in self._names:
            name = self._names[key]
        elif key in self._refused:
            raise UnobservableError(f"Layer {key!r} was not observed: {self._refused[key]}.", layer=key)
        else:
            raise unknown(key, list(self._names))
        if name in self._broken:
            raise UnobservableError(f"Observing layer {name!r} failed.", layer=name) from self._broken[name]
        if name in self._missing:
            raise BudgetError(
                f"Copies of layer {name!r} are missing. {self._copier.summary()}",
                layer=name,
                argument="max_bytes",
                remedy="Raise max_bytes, choose fewer layers, or pass reduce=.",
            )
        return name

    def __enter__(self) -> Capture:
        """Attach the hooks."""
        if self._taps is not None or (not self._targets and self._calls):
            raise InputError("This capture was used already.", remedy="Make a new one with capture(...).")
        self._taps = Taps(self._root, on_error=self._failed, on_aside=self._aside)
        try:
            for name, module in self._targets:
                before = self._before if self._inputs is not None else None
                self._taps.add(name, module, before=before, after=self._after)
        except BaseException:
            self.close()
            raise
        self._targets, self._root = [], None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the hooks; the copies stay."""
        self.close()

    def close(self) -> None:
        """Remove every hook, also those on tensors; the copies stay."""
        if self._taps is not None:
            self._taps.close()
        if self._gradients is not None:
            self._gradients.close()
        self._done = True
        self._pending.clear()
        self._targets, self._root = [], None

    def _before(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Copy the arguments before the call can change them."""
        copied: Any = None
        try:
            copied = self._copier.structure((tuple(args), dict(kwargs)))
        except OverBudgetError:
            self._missing.add(name)
        self._pending.setdefault(threading.get_ident(), []).append((name, id(module), copied))

    def _after(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Copy the output; what runs inside a backward is a recomputation."""
        given = self._given(name, module) if self._inputs is not None else None
        if torch._C._current_graph_task_id() != -1:
            self.recomputed[name] = self.recomputed.get(name, 0) + 1
            if self._gradients is not None:
                self._gradients.recomputed(name, output)
            return
        try:
            copied = self._copier.structure(output)
        except OverBudgetError:
            self._missing.add(name)
            return
        for kind in () if type(output) is Tensor else set(opaque(output)):
            note = f"Layer {name!r} gives a {kind}, which is kept as it is and not copied."
            if note not in self._notes:
                self._notes.append(note)
        if self._inputs is not None:
            self._inputs[name].append(given)
        if self._gradients is not None:
            self._gradients.arm(name, output, copied)
        self._calls[name].append(copied)
        self.order.append(name)

    def _given(self, name: str, module: nn.Module) -> Any:
        """Take this call's arguments from the thread's stack; calls above it on the stack have raised."""
        stack = self._pending.get(threading.get_ident(), [])
        while stack:
            found, key, copied = stack.pop()
            if found == name and key == id(module):
                return copied
        return None

    def _failed(self, name: str, error: Exception) -> None:
        self._broken[name] = error

    def _aside(self, name: str, reason: str) -> None:
        self._asides.setdefault(reason, []).append(name)


class _View(Mapping[str, list[Any]]):
    """The inputs or gradients of a capture, read under the same names and with the same errors."""

    def __init__(self, owner: Capture, read: Callable[[str], list[Any]]) -> None:
        self._owner = owner
        self._read = read

    def __getitem__(self, key: str | nn.Module) -> list[Any]:
        return self._read(self._owner.resolve(key))

    def __contains__(self, key: object) -> bool:
        return key in self._owner

    def __iter__(self) -> Iterator[str]:
        return iter(self._owner)

    def __len__(self) -> int:
        return len(self._owner)


def _listed(names: list[str]) -> str:
    """Write out a few names and count the rest."""
    shown = ", ".join(repr(name) for name in names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


__all__ = ["Capture", "capture"]
