"""The batch of the step under way, kept so that a step that went wrong can be run again as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnwidget.model.probe import probing
from nnwidget.training.bare_hook import BareHook
from nnwidget.training.gauges import batch_size

_in_backward = torch._C._current_graph_task_id
_generator = torch.default_generator


@dataclass(slots=True)
class Batch:
    """One forward of the root: its arguments, and the random and autocast state it began with.

    ``number`` counts the training forwards of the loop from 1.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    number: int
    random: Tensor
    autocast: Mapping[str, torch.dtype] | None = None
    loss: nn.Module | None = None
    loss_args: tuple[Any, ...] = ()
    cuda: Tensor | None = None


class BatchKeeper:
    """Holds on to what the root was last called with, until the step has proved sound.

    Only references: the tensors are the loop's own, and are let go at each :meth:`release`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model: nn.Module | None = model
        self._hook: Any = None
        self._held = False
        self._cuda = any(p.is_cuda for p in model.parameters())
        self._kinds = ("cpu", "cuda") if self._cuda else ("cpu",)
        self.last: Batch | None = None
        self.number = 0
        # Told of an error in a hook, which ends all of it.
        self.gave_up: Callable[[Exception], None] | None = None
        self._within = self._each = self.samples = 0
        # Samples are counted where somebody wants to know.
        self.counts = False
        # Called at forwards without a graph: a validation begins, which may be long.
        self.resting: Callable[[], None] = _nothing

    def listen(self, on: bool) -> None:
        """Keep batches from the next forward on, or no more."""
        if on == (self._hook is not None) or self._model is None or isinstance(self._model, torch.jit.ScriptModule):
            return
        if on:
            hook = BareHook(self, BatchKeeper._called)
            self._hook = self._model.register_forward_pre_hook(hook, with_kwargs=True)
        else:
            self._hook.remove()
            self._hook = None

    def heard(self, module: nn.Module | None, args: tuple[Any, ...]) -> None:
        """Note the loss module and what it was given."""
        if self.last is not None and not self._held:
            self.last.loss, self.last.loss_args = module, args

    def hold(self) -> None:
        """Keep this batch, whatever else the step calls the root with: its loss is not finite."""
        self._held = True

    def release(self) -> None:
        """Let go of the batch."""
        self.last, self._held = None, False
        self._each, self._within = self._within, 0
        self.samples = 0

    def slept(self, steps: int) -> None:
        """Count the batches of steps that nobody listened to: as many each as in the last one that was heard."""
        self.number += steps * self._each

    def close(self) -> None:
        """Let go of everything."""
        self.listen(False)
        self.release()

    def let_go(self) -> None:
        """Keep no module, for good."""
        self.close()
        self._model = None

    def _called(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        if kwargs is None or _in_backward() != -1:
            # Without: taken off by a hook before it in this very call; torch then forgets that it wants keywords.
            return
        if probing():
            return
        if not torch.is_grad_enabled():
            self.resting()
            return
        self.number += 1
        self._within += 1
        if self.counts:
            self.samples += batch_size(args, kwargs)
        if not self._held:
            last = self.last = Batch(args, kwargs, self.number, _generator.get_state())
            for kind in self._kinds:
                if torch.is_autocast_enabled(kind):
                    last.autocast = {**(last.autocast or {}), kind: torch.get_autocast_dtype(kind)}
            if self._cuda:
                last.cuda = torch.cuda.get_rng_state()


def _nothing() -> None:
    """Stand in until somebody wants to know of validations."""
