"""What the optimisers of a training say at a step: the norm of all gradients, learning rates and weight decay."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from nnwidget.training.losses import scalar
from nnwidget.training.parameters import total_norm
from nnwidget.training.scaler import Scaling

_RATES = ("lr", "weight_decay")
_CLEARED = "The gradients are cleared before the step can be seen: call w.step() right after the update."


class Optimizers:
    """Knows the optimisers of a training weakly, and reads what they hold.

    Parameters
    ----------
    given : sequence of Optimizer
        Those the user named; others are met as they step.
    scaling : Scaling
        Says by what gradients are to be divided.

    Attributes
    ----------
    norm : float, Tensor or None
        The norm of all gradients of the step under way, of all optimisers together, once known.
    cleared : bool
        The loop had cleared the gradients before they could be read.

    Examples
    --------
    >>> import torch
    >>> model = nn.Linear(1, 1)
    >>> model(torch.ones(2, 1)).sum().backward()
    >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> optimizers, row = Optimizers([sgd], Scaling(None)), {}
    >>> optimizers.take(sgd)
    >>> optimizers.rates(row)
    >>> round(optimizers.norm, 3), row
    (2.828, {'lr': 0.1, 'weight_decay': 0.0})
    """

    def __init__(self, given: Sequence[Optimizer], scaling: Scaling) -> None:
        self._known: list[weakref.ref[Optimizer]] = [weakref.ref(optimizer) for optimizer in given]
        self._last: Callable[[], Optimizer | None] = _none
        self._scaling = scaling
        self.norm: float | Tensor | None = None
        self.cleared = False
        # Told once, with the remedy, when gradients are cleared too early.
        self.on_cleared: Callable[[str], None] | None = None

    def __bool__(self) -> bool:
        return bool(self._known)

    def meet(self, optimizer: Optimizer) -> None:
        """Know an optimiser that steps."""
        if self._last() is optimizer:
            return
        self._last = weakref.ref(optimizer)
        if all(known() is not optimizer for known in self._known):
            self._known.append(self._last)

    def live(self) -> list[Optimizer]:
        """Return those that are still there."""
        return [optimizer for known in self._known if (optimizer := known()) is not None]

    def groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups of all of them."""
        return [group for optimizer in self.live() for group in optimizer.param_groups]

    def rates(self, row: dict[str, float | Tensor]) -> None:
        """Write learning rate and weight decay of each parameter group into a row."""
        groups = self.groups()
        for index, group in enumerate(groups):
            suffix = f"/{index}" if len(groups) > 1 else ""
            for name in _RATES:
                value = group.get(name)
                if value is not None:
                    # A copy: a schedule changes tensors in place.
                    row[name + suffix] = scalar(value) if isinstance(value, Tensor) else float(value)

    def take(self, optimizer: Optimizer) -> None:
        """Add the gradients of one optimiser to the norm."""
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not gradients:
            return
        norm, divisor = total_norm(gradients), self._scaling.divisor(optimizer)
        if divisor != 1.0:
            norm = norm / divisor
        known = self.norm
        self.norm = norm if known is None else (norm**2 + known**2) ** 0.5

    def take_left(self, model: nn.Module | None) -> None:
        """Read the gradients after a step without an optimiser, unless the loop has cleared them."""
        gradients = [p.grad for p in model.parameters() if p.grad is not None] if model is not None else []
        norm = total_norm(gradients) if gradients else 0.0
        self.cleared = not float(norm)
        if not self.cleared:
            self.norm = norm
        elif self.on_cleared is not None:
            told, self.on_cleared = self.on_cleared, None
            told(_CLEARED)

    def stepped(self) -> None:
        """Begin another step."""
        self.norm, self.cleared = None, False


def _none() -> None:
    """Stand in until an optimiser has stepped."""
