"""The scalars of every step on their way to the history, a batch at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from nnwidget.training.courier import Courier
from nnwidget.training.history import History
from nnwidget.training.thinning import ABSENT
from nnwidget.types import Array


class Rows:
    """Collects one row a step and delivers batches of them; values may still be on an accelerator.

    Parameters
    ----------
    history : History
        Where the rows go.
    arrived : callable
        ``arrived(steps, columns)`` with what is on the host now, before it goes there.
    """

    def __init__(self, history: History, arrived: Callable[[Array, dict[str, Array]], None]) -> None:
        self._history = history
        self._arrived = arrived
        self._steps: list[int] = []
        self._walls: list[float] = []
        self._values: list[dict[str, float | Tensor]] = []
        self._under_way: list[tuple[Courier, list[int], list[float], dict[str, list[float]]]] = []

    def add(self, step: int, values: dict[str, float | Tensor], wall: float | None = None) -> None:
        """Note the scalars of a step, which are kept as they are; tensors are 0-d.

        It ended now, unless ``wall`` says when.
        """
        self._steps.append(step)
        self._walls.append(time.time() if wall is None else wall)
        self._values.append(values)

    def note(self, name: str, value: float) -> None:
        """Add a scalar to the last step."""
        self._values[-1][name] = value

    def deliver(self, *, wait: bool = False) -> None:
        """Start what has to be copied, and hand the history what has arrived."""
        if self._steps:
            courier = Courier()
            columns: dict[str, list[float]] = {}
            for index, row in enumerate(self._values):
                for name, value in row.items():
                    column = columns.get(name)
                    if column is None:
                        column = columns[name] = [ABSENT] * len(self._steps)
                    if isinstance(value, Tensor):
                        courier.add(value, _setter(column, index))
                    else:
                        column[index] = value
            courier.send()
            self._under_way.append((courier, self._steps, self._walls, columns))
            self._steps, self._walls, self._values = [], [], []
        while self._under_way and self._under_way[0][0].arrived(wait=wait):
            _, steps, walls, columns = self._under_way.pop(0)
            arrays = {name: np.array(column, np.float64) for name, column in columns.items()}
            numbers = np.array(steps, np.int64)
            self._arrived(numbers, arrays)
            self._history.add_steps(numbers, np.array(walls, np.float64), arrays)


def _setter(into: list[float], index: int) -> Callable[[Array], None]:
    return lambda values: into.__setitem__(index, float(values[0]))


def mean(values: Sequence[float | Tensor]) -> float | Tensor:
    """Average the losses of one step (micro-batches, closures); NaN without any.

    Examples
    --------
    >>> mean([1.0, 3.0]), mean([])
    (2.0, nan)
    """
    if not values:
        return math.nan
    if len(values) == 1:
        return values[0]
    plain = [value for value in values if not isinstance(value, Tensor)]
    if len(plain) == len(values):
        return math.fsum(plain) / len(plain) if all(map(math.isfinite, plain)) else sum(plain) / len(plain)
    return torch.stack([torch.as_tensor(value).reshape(()).float() for value in values]).mean()
