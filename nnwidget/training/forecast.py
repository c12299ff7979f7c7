"""How much longer a loop runs that says nothing of its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any


class Forecast:
    """Estimates the rest of a loop from what can be known without touching it.

    A progress bar of tqdm that moves knows the end; of nested ones the outermost that has moved is asked, and the rest
    of its laps is expected to take as long as those so far. Without one, a loop that has run for t seconds is expected
    to run for t more: with nothing else known, it is as likely to be in its first half as in its second.

    Parameters
    ----------
    clock : callable
        Seconds.
    bars : callable
        The progress bars that are open now.

    Examples
    --------
    >>> now = [0.0]
    >>> forecast = Forecast(lambda: now[0], bars=tuple)
    >>> now[0] = 90.0
    >>> forecast.remaining()
    90.0
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, bars: Callable[[], Iterable[Any]] | None = None
    ) -> None:
        self._clock = clock
        self._bars = bars or progress_bars
        self._began = clock()
        # Bars that an interrupted cell left open stand still.
        self._at = {id(bar): bar.n for bar in self._bars()}

    def remaining(self) -> float:
        """Return the seconds that the loop is expected to go on for."""
        moving = [bar for bar in self._bars() if bar.total and self._at.setdefault(id(bar), bar.n) < bar.n < bar.total]
        if moving:
            outermost = min(moving, key=lambda bar: bar.start_t)
            elapsed = outermost.format_dict["elapsed"]
            return float(elapsed * (outermost.total - outermost.n) / (outermost.n - outermost.initial))
        return self._clock() - self._began


def progress_bars() -> list[Any]:
    """Return the bars of tqdm that are open, if anybody has imported it."""
    module = sys.modules.get("tqdm.std")
    # tqdm has no public list of them.
    known = getattr(getattr(module, "tqdm", None), "_instances", ())
    return [bar for bar in list(known) if not bar.disable]
