"""The losses of steps that nobody looks at."""

from __future__ import annotations

import time
from collections.abc import Hashable

from torch import Tensor

from nnwidget.training.rows import Rows
from nnwidget.training.step_loss import StepLoss


class Overheard:
    """Notes losses in few calls, and makes them rows later.

    Parameters
    ----------
    rows : Rows
        Where they go.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._heard: list[tuple[int, float, float | Tensor, Hashable]] = []

    def hear(self, step: int, value: float | Tensor, source: Hashable) -> None:
        """Note one call of a loss; tensors are 0-d."""
        self._heard.append((step, time.time(), value, source))

    def drop(self, step: int) -> None:
        """Forget what was heard of a step: the user says what its loss is."""
        while self._heard and self._heard[-1][0] == step:
            self._heard.pop()

    def stepped(self, step: int) -> None:
        """Make rows of all steps up to this one."""
        if not self._heard:
            return
        heard, self._heard = self._heard, []
        loss, last, at = StepLoss(), 0, 0.0
        for place, (number, wall, value, source) in enumerate(heard):
            if number > step:
                self._heard = heard[place:]
                break
            if last and number != last:
                self._row(last, loss, at)
            loss.hear(value, source)
            last, at = number, wall
        if last:
            self._row(last, loss, at)

    def _row(self, step: int, loss: StepLoss, wall: float) -> None:
        value = loss.take()
        if value is not None:
            self._rows.add(step, {"loss": value}, wall)
