"""What the user logs: numbers, images, and the loss where it cannot be found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nnwidget.errors import InputError
from nnwidget.training.flight import FlightRecorder
from nnwidget.training.history import History
from nnwidget.training.losses import LossFinder, scalar
from nnwidget.training.rows import Rows


class UserLog:
    """Takes in what the user logs.

    Parameters
    ----------
    history : History
        Where numbers and images go.
    losses : LossFinder
        Takes the loss of the step under way.
    rows : Rows
        Where losses of steps go that nobody looks at.
    flight : FlightRecorder
        Told at once of a loss that is not finite.
    """

    def __init__(self, history: History, losses: LossFinder, rows: Rows, flight: FlightRecorder) -> None:
        self._history = history
        self._losses = losses
        self._rows = rows
        self._flight = flight
        # The step that nobody looks at and whose loss is known all the same.
        self._asleep = 0

    def take(self, step: int | None, values: Mapping[str, Any], under_way: int, *, looking: bool) -> None:
        """Take in scalars, 0-d tensors and images.

        Parameters
        ----------
        step : int or None
            The step they belong to, None for the one under way.
        values : mapping
            By name.
        under_way : int
            That step.
        looking : bool
            It will be looked at when it ends.
        """
        at = under_way if step is None else step
        for name, value in values.items():
            if getattr(value, "ndim", 0) >= 2:
                self._history.add_image(at, name, _picture(value))
                continue
            number = _number(name, value)
            if name == "loss" and step is None:
                self._take_loss(at, number, looking=looking)
            else:
                self._history.log(at, name, float(number))

    def stepped(self) -> None:
        """Keep what was logged in a step that nothing else is known of."""
        if not self._asleep:
            return
        step, self._asleep = self._asleep, 0
        value = self._losses.now.take()
        if value is not None:
            self._rows.add(step, {"loss": value})

    def _take_loss(self, step: int, value: float | Tensor, *, looking: bool) -> None:
        if self._asleep != step:
            self.stepped()
        self._losses.log(value)
        if looking:
            return
        self._asleep = step
        if isinstance(value, float) and not math.isfinite(value):
            self._flight.about_to_step(step, [value], None)


def _number(name: str, value: Any) -> float | Tensor:
    """Read what the user logs."""
    try:
        return scalar(value) if isinstance(value, Tensor) else float(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{name}={value!r:.80} is neither a number nor an image.",
            argument=name,
            remedy="Log numbers, tensors of one value, and images (rows, columns) or (rows, columns, 3).",
        ) from None


def _picture(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    value = value.detach().cpu()
    return (value.float() if value.dtype is torch.bfloat16 else value).numpy()
