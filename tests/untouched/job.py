"""What a loop under test is: something built from a fixed seed that trains, and whose every bit can be read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from tests.bits import bits, randomness, seed, state

# Called by the loop itself once a step, in watched and in plain runs alike.
Each = Callable[[int, Tensor], None]


@dataclass
class Job:
    """A training that is ready to run.

    ``optimizers`` and ``pinned`` have the keys of ``models``; pinned inputs are what ``explore`` takes. ``train`` is
    the user's loop: it calls ``each(step, loss)`` after every step and every validation. The last optimiser of a model
    steps in every ``stride``-th of them, and a scaler skips the ``skipped``.
    """

    models: Mapping[str, nn.Module]
    optimizers: Mapping[str, Sequence[Optimizer]]
    pinned: Mapping[str, Any]
    train: Callable[[Each], object]
    scaler: Any = None
    stride: int = 1
    skipped: frozenset[int] = frozenset()
    losses: list[Any] = field(default_factory=list)
    steps: int = 0

    def run(self, on_step: Callable[[int], None]) -> None:
        """Train; what the loop reports is kept as it was at that moment."""

        def each(step: int, loss: Tensor) -> None:
            self.losses.append(bits(loss))
            self.steps = step + 1
            on_step(step)

        self.train(each)


@dataclass(frozen=True)
class Loop:
    """One loop: ``make()`` gives the same job on every call."""

    name: str
    build: Callable[[], Job]
    notes: str = ""

    def make(self) -> Job:
        """Build it from a fixed seed; torch's warnings about what it no longer likes are not the loop's fault."""
        seed()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.build()


def everything(job: Job) -> dict[str, Any]:
    """Return every bit that a run leaves behind."""
    found: dict[str, Any] = {"losses": job.losses, **randomness()}
    for name, model in job.models.items():
        found |= {f"{what} of {name}": value for what, value in state(model).items()}
    for name, optimizers in job.optimizers.items():
        found[f"optimisers of {name}"] = [bits(optimizer.state_dict()) for optimizer in optimizers]
    if job.scaler is not None:
        found["scaler"] = bits(job.scaler.state_dict())
    return found
