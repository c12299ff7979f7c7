"""What a GradScaler does to gradients: whether they are still scaled, and which steps it skips."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from nnwidget.model.probe import probing
from nnwidget.training.bare_hook import BareHook


class Scaling:
    """Reads a gradient scaler; never changes it.

    A skipped step is known at the next forward of the root: the scaler has been updated, it has looked at an optimiser
    of this model, and no step has ended. Nothing is read from an accelerator for that.

    Parameters
    ----------
    scaler : torch.amp.GradScaler or None
        As the loop uses it. Without it, only fused optimisers tell.
    """

    def __init__(self, scaler: Any) -> None:
        self._scaler = scaler
        self._hook: Any = None
        self._seen: Any = None
        # Told of an error in a hook, which ends all of it.
        self.gave_up: Callable[[Exception], None] | None = None
        self._count = -1

    @property
    def active(self) -> bool:
        """True while gradients that are not finite are part of the plan: the scaler skips such steps."""
        return self._scaler is not None and bool(self._scaler.is_enabled())

    def watch(
        self,
        model: nn.Module,
        count: Callable[[], int],
        optimizers: Callable[[], Iterable[Optimizer]],
        skipped: Callable[[], None],
    ) -> None:
        """Call ``skipped`` before the forward that follows a skipped step; ``count`` tells how many have ended."""
        self._ask, self._optimizers, self._skipped = count, optimizers, skipped
        if self.active and not isinstance(model, torch.jit.ScriptModule):
            self._seen, self._count = self._states(), count()
            self._hook = model.register_forward_pre_hook(BareHook(self, Scaling._called))

    def close(self) -> None:
        """Remove the hook; calling it again changes nothing."""
        hook, self._hook = self._hook, None
        if hook is not None:
            hook.remove()

    def divisor(self, optimizer: Optimizer | None) -> float:
        """Return what the gradients of parameters have to be divided by before the step; 1 where they are not scaled.

        A fused optimiser divides within its step, so that hooks before it see gradients that are still scaled.
        """
        scale = getattr(optimizer, "grad_scale", None)
        return float(scale) if isinstance(scale, Tensor) else 1.0

    def left(self, optimizer: Optimizer | None) -> float:
        """Return what they have to be divided by after the step: fused optimisers that go ahead have divided them."""
        return self.divisor(optimizer) if self.skips(optimizer) else 1.0

    def scale(self, optimizer: Optimizer | None) -> float:
        """Return what the gradients of outputs were multiplied by in this backward: nobody divides those."""
        return float(self._scaler.get_scale()) if self.active else self.divisor(optimizer)

    def skips(self, optimizer: Optimizer | None) -> bool:
        """Say whether the optimiser, though called, leaves the parameters alone this time."""
        found = getattr(optimizer, "found_inf", None)
        return isinstance(found, Tensor) and bool(found.item())

    def minds(self, optimizer: Optimizer) -> bool:
        """Say whether a scaler looks after gradients that are not finite, also one that is not known."""
        return self.active or isinstance(getattr(optimizer, "found_inf", None), Tensor)

    def _states(self) -> Any:
        # What the scaler knows of each optimiser; an update begins a new one.
        return getattr(self._scaler, "_per_optimizer_states", None)

    def _called(self, module: nn.Module, args: Any) -> None:
        if not torch.is_grad_enabled() or torch._C._current_graph_task_id() != -1 or probing():
            return
        before, count = self._seen, self._count
        self._seen, self._count = self._states(), self._ask()
        if before is self._seen or count != self._count:
            return
        if any(id(optimizer) in before for optimizer in self._optimizers()):
            self._skipped()
            self._count = self._ask()
