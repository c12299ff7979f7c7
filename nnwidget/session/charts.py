"""What the panel of a training draws, taken from a history: a curve, the gradients of the layers, the events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnwidget.training.history_reading import Reading
from nnwidget.training.history_views import LayerSeries

POINTS = 5_000  # of a curve at most
MEANS = 200  # stretches of which the mean is drawn
COLUMNS = 240  # of the strip at most; twice as many come before it is thinned
EVENTS = 60  # the newest ones
NOTHING = -1.0  # where a layer has no norm; norms are never negative
_LAST = ("total_grad_norm", "lr", "weight_decay", "step_time")
_UNSHOWN = ("wall_time",)


def scalars(history: Reading) -> list[str]:
    """Return the numbers of each step: the loss, what the user logged, then what is recorded by itself.

    Examples
    --------
    >>> from nnwidget.training.history import History
    >>> history = History([], memory=1_000_000)
    >>> row = {"step_time": np.ones(1), "loss": np.ones(1)}
    >>> history.add_steps(np.array([1]), np.zeros(1), row)
    >>> history.log(1, "accuracy", 0.5)
    >>> scalars(history)
    ['loss', 'accuracy', 'step_time']
    """

    def rank(name: str) -> int:
        found = [place for place, known in enumerate(_LAST) if name.split("/")[0] == known]
        return -1 if name == "loss" else found[0] + 1 if found else 0

    return sorted((name for name in history.scalars if name not in _UNSHOWN), key=rank)


def curve(history: Reading, name: str) -> dict[str, Any] | None:
    """Return one number over the steps, and its mean over equal stretches of steps.

    Where there are more than `POINTS`, the extremes stay at their true steps. Means are of what is kept; a stretch
    without a finite value has none.
    """
    if name not in history.scalars:
        return None
    series = history.series(name)
    thin = series.thinned(POINTS)
    finite = np.isfinite(series.values)
    found: dict[str, Any] = {
        "name": name,
        "steps": thin.steps,
        "values": thin.values,
        "count": len(series.steps),
        "window": 0,
        "mean_steps": np.zeros(0, np.int64),
        "means": np.zeros(0),
    }
    window = max(5, -(-int(finite.sum()) // MEANS))
    starts = np.arange(0, int(finite.sum()), window)
    if len(starts) > 1:
        sizes = np.diff(np.append(starts, finite.sum()))
        with np.errstate(over="ignore"):
            found["means"] = np.add.reduceat(series.values[finite], starts) / sizes
        found["mean_steps"] = np.add.reduceat(series.steps[finite], starts) // sizes
        found["window"] = window
    return found


class Strip:
    """One norm of every layer over the recorded steps, in columns of which each keeps the largest of its steps.

    Parameters
    ----------
    quantity : str
        A quantity of layers that is never negative.

    Examples
    --------
    >>> from nnwidget.training.history import History
    >>> history = History(["0", "2"], memory=1_000_000)
    >>> history.add_sample(3, {"grad_norm": np.array([0.5, 2.0], np.float32)}, {})
    >>> strip = Strip("grad_norm")
    >>> strip.update(history)
    >>> strip.result()["values"]
    array([[0.5],
           [2. ]], dtype=float32)
    """

    def __init__(self, quantity: str) -> None:
        self.quantity = quantity
        self._names: list[str] = []
        self._first = self._last = np.zeros(0, np.int64)
        self._values = np.zeros((0, 0), np.float32)
        self._taken_back = 0

    def update(self, history: Reading) -> None:
        """Read what was recorded since the last time."""
        if self.quantity not in history:
            return
        layers: LayerSeries = history[self.quantity]
        if list(layers) != self._names or history.taken_back != self._taken_back:
            # A layer that took part for the first time: its row belongs where the model has it. Or steps became void.
            self._names, self._taken_back = list(layers), history.taken_back
            self._first = self._last = np.zeros(0, np.int64)
            self._values = np.zeros((len(self._names), 0), np.float32)
        since = int(self._last[-1]) + 1 if len(self._last) else None
        new = [history.series(self.quantity, name, since=since) for name in self._names]
        steps = np.unique(np.concatenate([series.steps for series in new]))
        if not len(steps):
            return
        values = np.full((len(new), len(steps)), NOTHING, np.float32)
        for row, series in enumerate(new):
            values[row, np.searchsorted(steps, series.steps)] = series.values
        self._first = np.concatenate([self._first, steps])
        self._last = np.concatenate([self._last, steps])
        self._values = np.concatenate([self._values, values], axis=1)
        while len(self._last) > 2 * COLUMNS:
            self._thin()

    def result(self) -> dict[str, Any] | None:
        """Return it as the page wants it; None before the first recorded step."""
        if not len(self._last):
            return None
        return {
            "quantity": self.quantity,
            "names": self._names,
            "first": self._first,
            "last": self._last,
            "values": self._values,
        }

    def _thin(self) -> None:
        even = len(self._last) // 2 * 2
        # NaN wins, so that it is never hidden.
        merged = np.maximum(self._values[:, 0:even:2], self._values[:, 1:even:2])
        self._values = np.concatenate([merged, self._values[:, even:]], axis=1)
        self._first = np.concatenate([self._first[0:even:2], self._first[even:]])
        self._last = np.concatenate([self._last[1:even:2], self._last[even:]])


def events(history: Reading) -> tuple[list[dict[str, Any]], int]:
    """Return the newest events, newest first, and how many there are."""
    found = history.events
    newest: Sequence[Any] = found[: -EVENTS - 1 : -1]
    return [{"step": event.step, "kind": event.kind, "text": event.text} for event in newest], len(found)


__all__ = ["POINTS", "Strip", "curve", "events", "scalars"]
