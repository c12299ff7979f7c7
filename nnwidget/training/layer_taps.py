"""The hooks of one sampled step: what flowed out of every layer, and what flowed back into it."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import getpid
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnwidget.model.probe import probing
from nnwidget.model.standaside import stand_aside
from nnwidget.model.structure import tensors
from nnwidget.model.taps import OBSERVE, Hook, fit, noop_reduction
from nnwidget.training.courier import Courier
from nnwidget.training.layer_set import Watched
from nnwidget.training.measure import USUAL, Moments, Part, from_device, moments, on_device, take, usable

log = logging.getLogger("nnwidget")

_in_backward = torch._C._current_graph_task_id


@dataclass(slots=True)
class Flow:
    """What one sampled step saw: statistics by layer index, complete once the courier has arrived.

    ``calls`` counts them, ``ahead`` are the layers that were called before the backward, ``seconds`` is what the hooks
    saw themselves take.
    """

    activations: dict[int, Moments] = field(default_factory=dict)
    gradients: dict[int, Moments] = field(default_factory=dict)
    calls: dict[int, int] = field(default_factory=dict)
    ahead: set[int] = field(default_factory=set)
    seconds: float = 0.0
    courier: Courier = field(default_factory=Courier)
    _taken: list[tuple[dict[int, Moments], int, Part | Moments]] = field(default_factory=list)

    def add(self, into: dict[int, Moments], index: int, tensor: Tensor, limit: int | None) -> Part | None:
        """Take what is to be measured of a tensor, without waiting where it is not on the host."""
        if tensor.is_cpu:
            if not self._taken:
                self.courier.later(self._measure)
            part = take(tensor, limit)
            self._taken.append((into, index, part))
            return part if isinstance(part, Part) else None
        self.courier.add(on_device(tensor, limit), lambda values: _add(into, index, from_device(values)))
        return None

    def _measure(self) -> None:
        with np.errstate(all="ignore"):
            for into, index, part in self._taken:
                _add(into, index, moments(part))
        self._taken.clear()


class LayerTaps:
    """Observes the layers during one step at a time.

    Between :meth:`arm` and :meth:`harvest`, forwards of the root with gradients enabled are observed; validation in
    between is not, and neither are recomputed forwards of activation checkpoints that were seen already.

    Parameters
    ----------
    root : nn.Module
        The module whose forward begins a step.
    layers : sequence of Watched
        What to observe.
    failed : callable
        ``failed(name, exception)`` when observing a layer failed; that layer is then given up.
    """

    def __init__(self, root: nn.Module, layers: Sequence[Watched], failed: Callable[[str, Exception], None]) -> None:
        self._root: nn.Module | None = root
        self._layers = [layer for layer in layers if layer.observed]
        self._failed = failed
        self._gone: set[str] = set()
        self._names = {layer.index: layer.name for layer in layers}
        self._handles: list[Any] = []
        self._armed = False
        self._lock = threading.RLock()
        self.pid = getpid()
        # By number, so that a graph that lives on has no hold on what its step saw.
        self._flows: dict[int, Flow] = {}
        self._part = 0
        self._limit: int | None = None
        self._gradients = True
        self._keep: Callable[[str, str, Tensor, Part | None], None] | None = None
        self.left_out: dict[str, str] = {}
        # Layers whose tensors are so large that some of their statistics are estimates.
        self.in_part: set[str] = set()
        self.seen_root = True

    def arm(
        self,
        *,
        limit: int | None = None,
        gradients: bool = True,
        directly: bool = False,
        begun: bool = False,
        keep: Callable[[str, str, Tensor, Part | None], None] | None = None,
    ) -> None:
        """Observe the coming step.

        Parameters
        ----------
        limit : int, optional
            Measure about this many values of each tensor instead of all.
        gradients : bool
            Observe what flows back too.
        directly : bool
            Do not wait for a forward of the root: for loops that call parts of the model.
        begun : bool
            A forward of the root is under way already.
        keep : callable, optional
            ``keep(kind, layer, tensor, part)`` is handed every tensor, during the hook, and what was taken of it.
        """
        self.disarm()
        self._begin_part()
        self._limit, self._gradients, self._keep = limit, gradients, keep
        self.seen_root = begun
        if not self._layers or self._root is None:
            return
        if directly or begun:
            self._arm_layers()
            return
        hook = fit(_Begins, self._root)(self, 0, post=False, rank=OBSERVE)
        self._handles.append(self._root.register_forward_pre_hook(hook))

    def split(self) -> None:
        """Set aside what was seen so far: it counts only if nothing more is seen before :meth:`harvest`."""
        flow = self._flows.get(self._part)
        if flow is not None and flow.calls:
            self._flows = {self._part: flow}
            self._begin_part()

    def harvest(self) -> Flow:
        """Stop observing and return what was seen."""
        flows = list(self._flows.values())
        self.disarm()
        return next((flow for flow in reversed(flows) if flow.calls), flows[-1] if flows else Flow())

    def disarm(self) -> None:
        """Remove every hook and let go of what was not harvested; calling it again changes nothing."""
        handles, self._handles = self._handles, []
        for handle in handles:
            handle.remove()
        self._armed = False
        self._flows = {}

    def close(self) -> None:
        """Let go of the model too, for good."""
        self.disarm()
        self._root, self._layers = None, []

    @property
    def given_up(self) -> set[str]:
        """Layers whose observation failed."""
        return set(self._gone)

    def _begin_part(self) -> None:
        self._part += 1
        self._flows[self._part] = Flow()

    def root_called(self, args: Any) -> None:
        """Attach the hooks to the layers: the step has begun."""
        if self._armed or not torch.is_grad_enabled() or probing():
            return
        try:
            aside = stand_aside(args)
        except Exception:  # arguments that cannot be looked through
            aside = ""
        if not aside:
            self.seen_root = True
            self._arm_layers()

    def _arm_layers(self) -> None:
        self._armed = True
        for layer in self._layers:
            if layer.name not in self._gone:
                hook = fit(_Out, layer.module)(self, layer.index, post=True, rank=OBSERVE)
                self._handles.append(layer.module.register_forward_hook(hook))

    def _broke(self, name: str, error: Exception) -> None:
        if name not in self._gone:
            self._gone.add(name)
            log.warning("Observing %r failed and was given up: %s: %s", name, type(error).__name__, error)
            with contextlib.suppress(Exception):
                self._failed(name, error)

    def flowed(self, index: int, output: Any) -> None:
        """Measure what a layer returned, while a step is observed; an error ends the observation of this layer."""
        flow = self._flows.get(self._part)
        if flow is None:
            return
        name = self._names[index]
        if not torch.is_grad_enabled() or probing() or name in self._gone:
            return
        try:
            if not stand_aside(output):
                with self._lock:
                    self._measure(flow, index, name, output)
        except Exception as error:  # never break the user's forward
            self._broke(name, error)

    def _measure(self, flow: Flow, index: int, name: str, output: Any) -> None:
        started = time.perf_counter()
        found, reason = _measurable(output)
        if found is None:
            if index not in flow.calls:
                self.left_out[name] = reason
            return
        # A recomputation, unless the first run was without gradients and so unseen (a re-entrant checkpoint).
        recomputing = _in_backward() != -1
        if not recomputing or index not in flow.ahead:
            if not recomputing:
                flow.ahead.add(index)
            flow.calls[index] = flow.calls.get(index, 0) + 1
            part = flow.add(flow.activations, index, found, self._limit)
            if found.numel() > USUAL and found.is_cpu:
                self.in_part.add(name)
            if self.left_out:
                self.left_out.pop(name, None)
            if self._keep is not None:
                self._keep("activation", name, found.detach(), part)
        # The gradient of a leaf is not that of an output, and a hook on it would outlive the step.
        if self._gradients and found.requires_grad and not found.is_leaf:
            found.register_hook(_Back(self, self._part, index, name))  # type: ignore[no-untyped-call]
        flow.seconds += time.perf_counter() - started


class _Begins(Hook):
    """A hook on the root, attached until a step begins."""

    __slots__ = ()

    def __call__(self, module: nn.Module, args: Any, kwargs: Any = None, output: Any = None) -> None:
        """Say that the root is called; dynamo sees nothing but the first return."""
        if torch.compiler.is_compiling():
            return
        owner = self._owner()
        if owner is not None and getpid() == owner.pid:
            owner.root_called(args)


class _Out(Hook):
    """A hook on one layer, attached for one step; ``key`` is the layer's index."""

    __slots__ = ()

    def __call__(self, module: nn.Module, args: Any, output: Any = None, _: Any = None) -> None:  # type: ignore[override]
        """Pass the output on to be measured; dynamo sees nothing but the first return."""
        if torch.compiler.is_compiling():
            return
        owner = self._owner()
        if owner is not None and getpid() == owner.pid:
            owner.flowed(self.key, output)


class _Back:
    """A tensor hook that measures the gradient of one output; it keeps nothing alive and may be saved along."""

    __slots__ = ("index", "name", "owner", "part")

    __torch_unserializable__ = True

    def __init__(self, owner: LayerTaps, part: int, index: int, name: str) -> None:
        self.owner = weakref.ref(owner)
        self.part = part
        self.index = index
        self.name = name

    def __call__(self, gradient: Tensor) -> None:
        owner = self.owner()
        # A graph that is kept for later steps must not write into their record.
        flow = None if owner is None else owner._flows.get(self.part)
        if owner is None or flow is None or self.name in owner._gone or usable(gradient):
            return
        started = time.perf_counter()
        try:
            with torch.no_grad():
                part = flow.add(flow.gradients, self.index, gradient, owner._limit)
                if owner._keep is not None:
                    owner._keep("output_grad", self.name, gradient.detach(), part)
            flow.seconds += time.perf_counter() - started
        except Exception as error:  # never break the user's backward
            owner._broke(self.name, error)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave a no-op behind."""
        return noop_reduction()


def _measurable(output: Any) -> tuple[Tensor | None, str]:
    """Return the first tensor in an output that can be measured, else why there is none."""
    if type(output) is Tensor:
        reason = usable(output)
        return (None, reason) if reason else (output, "")
    first = ""
    for _, tensor in tensors(output):
        reason = usable(tensor)
        if not reason:
            return tensor, ""
        first = first or reason
    return None, first or "its output holds no tensor"


def _add(into: dict[int, Moments], index: int, found: Moments) -> None:
    known = into.get(index)
    if known is None:
        into[index] = found
    else:
        known.add(found)
