"""Where a loop that is to wait or to end is met besides its steps: at forwards of the root."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nnwidget.model.probe import probing
from nnwidget.model.taps import Taps
from nnwidget.training.gate import Gate, StopTraining


class ForwardGate:
    """Asks the gate before forwards of the root, while somebody wants the loop to wait or to end.

    A stop is raised at the next forward that is not spared; a pause holds there only where no graph can wait
    for its backward, as in a validation. Only the loop's own forwards count: not ours, and not those that the user
    makes beside it on another thread.

    Parameters
    ----------
    gate : Gate
        What people asked for.
    mine : callable
        Says whether the calling thread is the loop's.
    hold : callable
        Waits at the gate.
    stopping : callable
        Says whether a forward is to raise the stop.

    Examples
    --------
    >>> gate, model = Gate(), nn.Linear(1, 1)
    >>> forwards = ForwardGate(gate, lambda: True, gate.wait, lambda: gate.should_stop)
    >>> gate.stop()
    >>> forwards.attach(model)
    >>> model(torch.ones(1, 1))
    Traceback (most recent call last):
    nnwidget.training.gate.StopTraining: The training was stopped.
    >>> forwards.detach()
    """

    def __init__(
        self, gate: Gate, mine: Callable[[], bool], hold: Callable[[], object], stopping: Callable[[], bool]
    ) -> None:
        self._gate = gate
        self._mine = mine
        self._hold = hold
        self._stopping = stopping
        self._taps: Taps | None = None
        # Called instead, in a loop that is to be left alone from now on.
        self.leave: Callable[[], None] | None = None

    def attach(self, model: nn.Module | None) -> None:
        """Ask from the next forward on; calling it again changes nothing."""
        if self._taps is not None or model is None or isinstance(model, torch.jit.ScriptModule):
            return
        self._taps = taps = Taps(serial=False)
        taps.add("", model, before=self._before)

    def detach(self) -> None:
        """Leave forwards alone; calling it again changes nothing."""
        taps, self._taps = self._taps, None
        if taps is not None:
            taps.close()

    def _before(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        # A recomputation within a backward is none of the loop's forwards either.
        if probing() or torch._C._current_graph_task_id() != -1 or not self._mine():
            return
        if self.leave is not None:
            self.leave()
            return
        if self._gate.pressed and not torch.is_grad_enabled():
            self._hold()
        if self._stopping():
            raise StopTraining("The training was stopped.")
