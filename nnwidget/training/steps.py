"""Where a step of a training ends: at an optimiser, before the next forward, or where the user says so."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import UninitializedParameter
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from nnwidget.model.taps import Taps
from nnwidget.training.parameters import local

Source: TypeAlias = Literal["optimizer", "any optimizer", "forward", "manual"]

# Steps of other optimisers without one of the leader, after which the leader is taken to have gone.
_GONE = 4

# Parameters that are looked at to tell whether a loop without optimisers has changed them.
_PARTS = 8


class Steps:
    """Finds the ends of steps around one model and reports them.

    With several optimisers a step ends with the last one given (the leader); when that one no longer steps, with
    whichever does. Without any, every optimiser that holds parameters of the model counts, and the one that joined last
    leads; in a loop without optimisers a step has ended when the next forward of the root finds other parameters than
    the last one did.

    Parameters
    ----------
    model : nn.Module
        The model, known weakly.
    optimizers : sequence of Optimizer
        Those the user named; may be empty.
    before : callable
        ``before(optimizer, closure)`` when an optimiser is about to change parameters, while :meth:`alert`.
    after : callable
        ``after(optimizer, ended)`` when it has; ``ended`` says that this ends a step. The optimiser is None where there
        is none.

    Attributes
    ----------
    count : int
        Steps that ended.
    source : str
        What ends a step.
    quiet_until : int
        ``after`` is not called for steps that end before this one, unless ``pressing``.
    others : callable
        Called after steps of optimisers of other models, while :meth:`heed_others`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        before: Callable[[Optimizer, bool], None],
        after: Callable[[Optimizer | None, bool], None],
        count: int = 0,
    ) -> None:
        self._model = weakref.ref(model)
        self._before = before
        self._after = after
        self._leader = weakref.ref(optimizers[-1]) if optimizers else None
        self._missing = 0
        self._begun = count
        self._ours: weakref.WeakKeyDictionary[Optimizer, tuple[int, bool]] = weakref.WeakKeyDictionary()
        self._joined: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._optimizers = weakref.WeakSet(optimizers)
        self._handles: list[Any] = []
        self._early: list[Any] = []
        self._taps: Taps | None = None
        self._values: Tensor | None = None
        self.count = count
        self._sole = len(optimizers) == 1
        self.quiet_until = 0
        self.pressing = False
        self.others: Callable[[], None] | None = None
        self._elsewhere: Any = None
        self._heeds = False
        self.source: Source = "optimizer" if optimizers else "any optimizer"
        if optimizers:
            self._handles = [optimizer.register_step_post_hook(self._stepped) for optimizer in optimizers]
            return
        self._handles.append(register_optimizer_step_post_hook(self._stepped_somewhere))
        if not isinstance(model, torch.jit.ScriptModule):
            self._taps = Taps(serial=False)
            self._taps.add("", model, before=self._before_forward)

    def attend(self, on: bool) -> None:
        """Have ``before`` called from the next step on, or no more: a hook that does nothing costs too."""
        if on == bool(self._early):
            return
        for handle in self._early:
            handle.remove()
        self._early.clear()
        if not on:
            return
        if self._optimizers:
            self._early = [optimizer.register_step_pre_hook(self._about_to_step) for optimizer in self._optimizers]
        else:
            self._early = [register_optimizer_step_pre_hook(self._about_to_step_somewhere)]

    def heed_others(self, on: bool) -> None:
        """Have ``others`` called, or no more."""
        self._heeds = on
        if self._optimizers and on == (self._elsewhere is None):
            if on:
                self._elsewhere = register_optimizer_step_post_hook(self._stepped_elsewhere)
            else:
                self._elsewhere.remove()
                self._elsewhere = None

    def manual(self) -> None:
        """End a step here; from now on nothing else does."""
        counted = self.source != "manual" and self.count > self._begun
        self.source, self._sole = "manual", False
        self._drop_taps()
        # The first step of a loop with an optimiser has been counted there.
        if not counted:
            self._ended(None)

    def skipped(self) -> None:
        """Count a step that was skipped without the optimiser being called."""
        self._ended(None)

    def close(self, *, stepping: bool = False) -> None:
        """Remove every hook; calling it again changes nothing.

        Parameters
        ----------
        stepping : bool
            Called from a hook after a step: torch walks over these hooks, so that only the last of each kind can go.
        """
        self.attend(False)
        # Of all optimisers, which torch comes to after those of one.
        self.heed_others(False)
        for handle in list(self._handles):
            if not stepping or _is_last(handle):
                handle.remove()
                self._handles.remove(handle)
        self._drop_taps()

    @property
    def closed(self) -> bool:
        """True once every hook is gone."""
        return not self._handles

    def _drop_taps(self) -> None:
        taps, self._taps = self._taps, None
        if taps is not None:
            taps.close()

    def _about_to_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # A closure computes the gradients only after this hook.
        closure = (len(args) > 1 and args[1] is not None) or (bool(kwargs) and kwargs.get("closure") is not None)
        self._before(optimizer, closure)

    def _stepped(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # First what is in every step of nearly every training.
        if self._sole and self.count + 1 < self.quiet_until and not self.pressing:
            self.count += 1
        elif self.source != "manual" and self._ends(optimizer):
            self._ended(optimizer)
        elif self._early:
            self._after(optimizer, False)

    def _ended(self, optimizer: Optimizer | None) -> None:
        self.count += 1
        if self.count >= self.quiet_until or self.pressing:
            self._after(optimizer, True)

    def _ends(self, optimizer: Optimizer) -> bool:
        if self._leader is None or self._leader() is optimizer:
            self._missing = 0
            return True
        self._missing += 1
        if self._missing >= _GONE or self._leader() is None:
            self._leader, self._missing = weakref.ref(optimizer), 0
            return True
        return False

    def _before_forward(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        if not torch.is_grad_enabled() or self.source == "manual":
            return
        now = _sample(module)
        before, self._values = self._values, now
        if before is not None and (before.shape != now.shape or not torch.equal(before, now)):
            self.source = "forward"
            self._ended(None)

    def _about_to_step_somewhere(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._holds(optimizer):
            self._about_to_step(optimizer, args, kwargs)

    def _stepped_elsewhere(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._heeds and self.others is not None and optimizer not in self._optimizers:
            self.others()

    def _stepped_somewhere(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self._holds(optimizer):
            if self._heeds and self.others is not None:
                self.others()
            return
        if self._taps is not None:
            # An optimiser marks the steps, so that forwards need not.
            self._drop_taps()
            if self.source == "forward":
                self.source = "any optimizer"
        joins = optimizer not in self._joined
        if joins and self._leader is not None and self._leader() is not None and self.source != "manual":
            # The iteration ends with this one, but has been counted.
            self._leader, self._missing = weakref.ref(optimizer), 0
            if self._early:
                self._after(optimizer, False)
        else:
            self._leader = self._leader or weakref.ref(optimizer)
            self._stepped(optimizer, args, kwargs)
        if joins:
            self._joined.add(optimizer)

    def _holds(self, optimizer: Optimizer) -> bool:
        groups, found = self._ours.get(optimizer, (0, False))
        if groups != len(optimizer.param_groups):
            model = self._model()
            mine = {id(p) for p in model.parameters()} if model is not None else set()
            found = any(id(p) in mine for group in optimizer.param_groups for p in group["params"])
            self._ours[optimizer] = len(optimizer.param_groups), found
        return found


def _is_last(handle: Any) -> bool:
    """Say whether a hook is the last of its dictionary."""
    hooks = handle.hooks_dict_ref()
    return hooks is None or next(reversed(hooks), None) == handle.id


def _sample(model: nn.Module) -> Tensor:
    """Take a few values of a few trainable parameters: enough to tell that somebody changed them."""
    parts: list[Tensor] = []
    there = [parameter for parameter in model.parameters() if not isinstance(parameter, UninitializedParameter)]
    found = [parameter for parameter in there if parameter.requires_grad and parameter.numel()]
    # From the first to the last layer: some may not have moved.
    for parameter in found[:: -(-len(found) // _PARTS) or 1] + found[-1:]:
        flat = local(parameter.detach()).reshape(-1)
        parts.append(flat[:: max(1, flat.numel() // 8)][:8].to("cpu", torch.float32))
    return torch.cat(parts) if parts else torch.zeros(0)
