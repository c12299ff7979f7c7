"""Something small done now and then on the kernel's event loop, for as long as somebody needs it; no thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

log = logging.getLogger("nnwidget")

_SHARE = 0.1  # of the event loop's time at most


class Ticker:
    """Calls ``work`` about once in ``seconds`` until it returns False, and from then on when it is started again.

    While a cell keeps the event loop busy, nothing is called.

    Parameters
    ----------
    work : callable
        Called on the thread of the event loop in which the ticker is made; where there is none, never.
    seconds : float
        Between two calls.
    """

    def __init__(self, work: Callable[[], bool], seconds: float) -> None:
        self._work = work
        self._seconds = seconds
        self._closed = False
        # Made, cancelled and forgotten on the loop's own thread only.
        self._next: asyncio.TimerHandle | None = None
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    @property
    def waiting(self) -> bool:
        """Say whether a call is planned."""
        return self._next is not None

    def start(self) -> None:
        """See to it that calls are made; from any thread."""
        self._soon(self._plan)

    def close(self) -> None:
        """Make no further call; from any thread. Again it changes nothing."""
        self._closed = True
        self._soon(self._cancel)

    def _soon(self, call: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def _plan(self, seconds: float | None = None) -> None:
        if self._next is None and not self._closed and self._loop is not None:
            self._next = self._loop.call_later(seconds or self._seconds, self._tick)

    def _cancel(self) -> None:
        planned, self._next = self._next, None
        if planned is not None:
            planned.cancel()

    def _tick(self) -> None:
        self._next, started = None, time.monotonic()
        try:
            again = not self._closed and self._work()
        except Exception:  # the loop is the kernel's
            log.exception("nnwidget could not bring a page up to date and no longer tries")
            return
        if again:
            self._plan(max(self._seconds, (time.monotonic() - started) / _SHARE))


__all__ = ["Ticker"]
