"""Small duties at their own pace, done by the loop's thread at its boundaries and while it waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger("nnwidget")


class Pulse:
    """Calls each duty once in so many seconds, whenever it is asked.

    A duty that raises is given up, and said so once.

    Examples
    --------
    >>> now, done = [0.0], []
    >>> pulse = Pulse(lambda: now[0])
    >>> pulse.every(60.0, lambda: done.append(now[0]))
    >>> for now[0] in (30.0, 61.0, 62.0, 200.0):
    ...     pulse.beat()
    >>> done
    [61.0, 200.0]
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._duties: list[tuple[float, Callable[[], None]]] = []
        self._at: list[float] = []
        self.due = float("inf")

    def every(self, seconds: float, duty: Callable[[], None]) -> None:
        """Add a duty, for the first time after ``seconds``."""
        self._duties.append((seconds, duty))
        self._at.append(self._clock() + seconds)
        self.due = min(self._at)

    def beat(self) -> None:
        """Do what is due."""
        now = self._clock()
        if now < self.due:
            return
        for index, (seconds, duty) in enumerate(self._duties):
            if now < self._at[index]:
                continue
            self._at[index] = now + seconds
            try:
                duty()
            except Exception:  # never break the user's step
                log.exception("nnwidget gives up a duty beside this training")
                self._at[index] = float("inf")
        self.due = min(self._at)
