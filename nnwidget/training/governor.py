"""The price of recording: estimates it, and keeps it under the user's budget by recording less often, then less."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass
from typing import Literal

# Elements measured of each tensor, from all of them to a small strided sample.
LEVELS: tuple[int | None, ...] = (None, 16_384, 4_096)

# A level is left for a cheaper one when its cadence would be slower than this.
_SPARSEST = (25, 100, math.inf)
_AT_LEAST = 2_000  # steps between two recorded ones at most
_MOST_STRIDE = 100  # steps between two looks at loss and gradient norm at most
_LOOKS_SHARE = 0.6  # of the budget, for those looks and the losses in between
SNAPSHOTS_SHARE = 0.25  # of the budget, for snapshots of pinned inputs where there are any
_LEAST_SHARE = 0.2  # of the budget, for recorded steps, where the looks cost more than their share
_PATIENCE = 4  # times the usual gap at most, to save what was overspent
_UNSEEN = 1.6  # what hooks cost against what timers inside them see
_SURELY = 3.0  # the same, at most
_UNSEEN_LOOK = 6e-5  # seconds at most that the timers of a look do not see: a few calls of hooks, whatever the model
_LOSS_SHARE = 0.8  # of the budget at most, for hearing the loss of steps that are not looked at
_LOSS, _LOSS_COLD = 1.2e-5, 0.004  # what that costs: seconds, and the part of a step, since long ones clear the caches
_IDLE = 5e-6  # seconds that a hook costs in steps in which nothing is done
_ALERT = 200  # steps in which every one is looked at after something smelt


@dataclass(frozen=True, slots=True)
class Cost:
    """What watching costs, as fractions of the time the loop would take alone.

    Attributes
    ----------
    looks : float
        Loss, gradient norm and finite check.
    stride : int
        Steps from one such look to the next: 1 unless the steps are too short for their price. In between the loss is
        heard where even that is not too much.
    recorded_steps : float
        What recorded steps cost more, spread over all steps.
    showing : float
        Pictures and curves sent to pages.
    total : float
        Their sum.
    every : float
        Steps from one recorded step to the next.
    step : float
        Seconds a step takes alone.
    pairs : int
        Comparisons of a recorded step with its neighbours that the estimate rests on.
    snapshots : float
        Runs of the pinned inputs between steps, feature maps and weights written down.
    """

    looks: float
    stride: int
    recorded_steps: float
    showing: float
    every: float
    step: float
    pairs: int
    snapshots: float = 0.0

    @property
    def total(self) -> float:
        """Everything together."""
        return self.looks + self.recorded_steps + self.showing + self.snapshots

    def __str__(self) -> str:
        """Say it in a sentence."""
        if not self.step:
            return "Nothing was measured yet."
        snapshots = f", {self.snapshots:.1%} for snapshots of the pinned inputs" if self.snapshots else ""
        return (
            f"Watching adds {self.total:.1%}: "
            f"{self.looks:.1%} for losses and the gradient norm of {_each(self.stride)}, "
            f"{self.recorded_steps:.1%} for recording {_each(self.every)}, "
            f"{self.showing:.1%} for showing it{snapshots}."
        )


class Governor:
    """Chooses the steps to look at and the steps to record.

    A look takes the loss, the gradient norm and a finite check; a record takes everything of every layer. What a record
    costs is its step's duration against that of its neighbours, since timers inside hooks miss a third of it; what a
    look costs is what its timers saw and an allowance. Medians over recent steps keep validation phases and other work
    on the machine out of the estimate. Every step is looked at unless that alone would cost more than its share of the
    budget; in between the loss is still heard, unless steps are so short that this would cost too much too.

    Parameters
    ----------
    budget : float or None
        The fraction of step time that watching may cost; None: no limit.
    every : int or ``"auto"``
        Record exactly every k-th step, or as the budget allows.
    start : int
        The number of the step before the first.

    Examples
    --------
    >>> governor = Governor(None, 5)
    >>> [step for step in range(1, 12) if governor.records(step)]
    [5, 10]
    """

    def __init__(self, budget: float | None, every: int | Literal["auto"], start: int = 0) -> None:
        self._budget = budget
        self._every = every
        self._plain: deque[float] = deque(maxlen=15)
        self._inside: deque[float] = deque(maxlen=15)
        self._looks: deque[float] = deque(maxlen=15)
        self._extra: deque[float] = deque(maxlen=9)
        self._late: deque[float] = deque(maxlen=9)
        self._alone: deque[float] = deque(maxlen=15)
        self._start = start
        self._spent = 0.0
        self._next = start + 3
        self._gap = 1
        self._recorded = 0
        self._alert_until = 0
        self._showing = 0.0
        self._snapped = 0.0
        self._time = 0.0
        self._last_look = start
        self.stride = 1
        self.level = 0
        # The part of the budget that recording leaves to snapshots.
        self.reserved = 0.0

    def records(self, step: int) -> bool:
        """Say whether a step is to be recorded."""
        if self._every != "auto":
            return step % self._every == 0
        return step >= self._next

    def looks(self, step: int) -> bool:
        """Say whether a step is to be looked at."""
        return self.stride == 1 or step >= self._last_look + self.stride or step < self._alert_until

    @property
    def overhears(self) -> bool:
        """True where the loss alone is cheap enough to hear in steps that are not looked at."""
        return self._budget is None or self._overheard <= _LOSS_SHARE * self._budget * self.step

    @property
    def _overheard(self) -> float:
        return _LOSS + _LOSS_COLD * self.step

    def wake(self, step: int) -> int:
        """Return the next step after this one that has to be prepared: the step before one that is seen."""
        if self.stride == 1:
            return step + 1
        ahead = self._next if self._every == "auto" else step + self._every - step % self._every
        return max(min(ahead, self._last_look + self.stride) - 1, step + 1)

    def alert(self, step: int) -> None:
        """Look at every step for a while."""
        self._alert_until = step + _ALERT
        self.stride = 1

    def passed(self, step: int, steps: int, took: float) -> None:
        """Take in steps that nothing was done in: ``took`` seconds for all of them."""
        self._time += took
        if steps > 0:
            self._plain.append(took / steps)

    def looked(self, step: int, took: float, inside: float, after: float) -> None:
        """Take in a step that was looked at.

        Parameters
        ----------
        step : int
            Its number.
        took : float
            Seconds from the last boundary to this one, our hooks included.
        inside : float
            Seconds of it that our hooks saw themselves take.
        after : float
            Seconds in our code at its boundary.
        """
        self._time += took + after
        self._last_look = step
        seen = inside + after
        # Not from its neighbours: steps differ by more than a look costs.
        self._looks.append(seen + min((_UNSEEN - 1) * seen, _UNSEEN_LOOK))
        if self.stride == 1:
            self._plain.append(took)
            self._inside.append(inside)
        self._pace(step)

    def recorded(self, step: int, took: float, inside: float, after: float) -> None:
        """Take in a step that was recorded; the arguments are those of :meth:`looked`."""
        self._time += took + after
        self._last_look = step
        self._recorded += 1
        if self._plain:
            before = statistics.median(list(self._plain)[-3:])
            more = max(took - before, 0.0)
            # Pairs that differ much may say something of the loop: a validation in between, another machine load.
            if took > 20 * before:
                more = min(more, _SURELY * inside)
            self._extra.append(more + after)
            self._spent += self._extra[-1]
        else:
            # No other step to compare with: what the hooks saw has to do.
            self._alone.append(max(took - _UNSEEN * inside, 1e-9))
            self._extra.append(_UNSEEN * inside + after)
        self._choose(step)

    def delivered(self, records: int, seconds: float) -> None:
        """Take in time that went into measuring what recorded steps had taken."""
        self._time += seconds
        self._spent += seconds
        self._late.append(seconds / records)

    def extra(self, took: float, inside: float) -> float:
        """Return what a recorded step took more than those before it, or by its own hooks where there are none."""
        return max(took - statistics.median(list(self._plain)[-3:]), 0.0) if self._plain else _UNSEEN * inside

    def showed(self, seconds: float) -> None:
        """Take in time that went into pictures and curves."""
        self._showing += seconds

    def snapped(self, seconds: float) -> None:
        """Take in time that went into a snapshot."""
        self._snapped += seconds

    @property
    def for_snapshots(self) -> float:
        """Seconds a step that snapshots may take; 0 while it is not known how long a step takes."""
        return math.inf if self._budget is None else self.reserved * self._budget * self.step

    @property
    def step(self) -> float:
        """Seconds a step takes without us."""
        if not self._plain:
            return statistics.median(self._alone) if self._alone else 0.0
        inside = statistics.median(self._inside) if self.stride == 1 and self._inside else 0.0
        return max(statistics.median(self._plain) - _UNSEEN * inside - _IDLE, 1e-9)

    @property
    def cost(self) -> Cost:
        """The present estimate."""
        step = self.step
        if not step:
            return Cost(0.0, 1, 0.0, 0.0, 0.0, 0.0, 0)
        every = float(self._every) if self._every != "auto" else float(self._gap)
        extra = self._record()
        showing = self._showing / self._time if self._time else 0.0
        snapped = self._snapped / self._time if self._time else 0.0
        looks, pairs = self._looking() / step, len(self._extra)
        return Cost(looks, self.stride, extra / every / step, showing, every, step, pairs, snapped)

    def _record(self) -> float:
        """Seconds a recorded step costs, what is measured of it later included."""
        late = statistics.median(self._late) if self._late else 0.0
        return (statistics.median(self._extra) if self._extra else 0.0) + late

    def _look(self) -> float:
        return statistics.median(self._looks) if self._looks else 0.0

    def _looking(self) -> float:
        """Seconds a step that looks cost, spread over all steps."""
        overheard = self._overheard if self.stride > 1 and self.overhears else 0.0
        return _IDLE + overheard + self._look() / self.stride

    def _pace(self, step: int) -> None:
        """Set how often to look: every step where that is cheap."""
        if self._budget is None or step < self._alert_until or len(self._looks) < 3 or self._last_look % 3:
            return
        allowed = max(_LOOKS_SHARE * self._budget * self.step - _IDLE, 1e-9)
        wanted = math.ceil(self._look() / allowed)
        if wanted > 1 and self.overhears:
            wanted = math.ceil(self._look() / max(allowed - self._overheard, 1e-9))
        wanted = min(max(wanted, 1), _MOST_STRIDE)
        if (wanted == 1) != (self.stride == 1):
            # Steps without a look take less time than those with one.
            self._plain.clear()
        self.stride = wanted

    def _choose(self, step: int) -> None:
        """Set the next step to record, and how much of it."""
        if self._every != "auto":
            return
        owed = 0
        if self._budget is None:
            self._gap = 1
        elif len(self._extra) < 3:
            # Too little is known: a few comparisons, further apart each time.
            self._gap = 4 * self._recorded
        else:
            alone = self.step
            allowed = (1 - self.reserved) * self._budget * alone
            left = max(allowed - self._looking(), _LEAST_SHARE * self._budget * alone)
            self._gap = math.ceil(max(self._record() / left, 1))
            # What the first comparisons cost beyond the budget is saved afterwards.
            owed = min(int(self._spent / left) - (step - self._start), _PATIENCE * self._gap)
            if self._gap > _SPARSEST[self.level]:
                self.level += 1
                self._extra.clear()
                self._late.clear()
        self._gap = min(self._gap, _AT_LEAST)
        self._next = step + max(self._gap, owed)


def _each(stride: float) -> str:
    return "each step" if stride == 1 else f"one step in {stride:.0f}"
