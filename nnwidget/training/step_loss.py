"""What the losses heard during one step come to."""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor

from nnwidget.training.rows import mean


class StepLoss:
    """Collects the losses of a step.

    Calls of one source are averaged (micro-batches, closures), different sources are added up: their weights in the
    user's sum are not known. What the user logs counts instead of all that. Losses heard before an optimiser of another
    model stepped were that model's (a GAN's two nets share a criterion), unless none came later.

    Examples
    --------
    >>> losses = StepLoss()
    >>> for value, source in ((1.0, "ce"), (3.0, "ce"), (0.5, "mse")):
    ...     losses.hear(value, source)
    >>> losses.value, losses.take(), losses.value
    (2.5, 2.5, None)
    """

    def __init__(self) -> None:
        self._heard: list[tuple[float | Tensor, Hashable]] = []
        self._logged: list[float | Tensor] = []
        self._others = 0

    def __len__(self) -> int:
        return len(self._heard)

    def hear(self, value: float | Tensor, source: Hashable) -> None:
        """Take in one call of a loss; tensors are 0-d."""
        self._heard.append((value, source))

    def log(self, value: float | Tensor) -> None:
        """Take in what the user says the loss is."""
        self._logged.append(value)

    def drop(self, source: Hashable) -> None:
        """Forget a source: it turned out to be a part of another, or no loss."""
        self._heard = [entry for entry in self._heard if entry[1] != source]
        self._others = min(self._others, len(self._heard))

    def others_stepped(self) -> None:
        """Know that what was heard so far belongs to another model, if more is heard."""
        self._others = len(self._heard)

    @property
    def values(self) -> list[float | Tensor]:
        """The losses one by one, for a look at whether they are finite."""
        if len(self._heard) == 1 and not self._logged:
            return [self._heard[0][0]]
        return [*self._logged, *(value for value, _ in self._mine())]

    @property
    def value(self) -> float | Tensor | None:
        """The loss of the step; None without any."""
        if self._logged:
            return mean(self._logged)
        if len(self._heard) == 1:
            return self._heard[0][0]
        by_source: dict[Hashable, list[float | Tensor]] = {}
        for value, source in self._mine():
            by_source.setdefault(source, []).append(value)
        total: float | Tensor | None = None
        for values in by_source.values():
            total = mean(values) if total is None else total + mean(values)
        return total

    def take(self) -> float | Tensor | None:
        """Return the loss of the step, and begin another."""
        value = self.value
        self._heard.clear()
        self._logged.clear()
        self._others = 0
        return value

    def _mine(self) -> list[tuple[float | Tensor, Hashable]]:
        return self._heard[self._others :] or self._heard
