"""Pause, single steps, stop: where a training waits for a person, or is ended by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Seconds. Short enough that Ctrl-C and clicks are answered at once, also where waits cannot be interrupted.
_SLICE = 0.05


class StopTraining(BaseException):
    """Ends a training that a person stopped; ``with nnwidget.watch(...)`` swallows it at its edge."""


class Gate:
    """Lets a training through, holds it, or ends it; asked by the loop's thread, told by any other.

    Examples
    --------
    >>> gate = Gate()
    >>> gate.pause()
    >>> gate.paused
    True
    >>> gate.advance()
    >>> gate.wait()
    0.0
    >>> gate.resume()
    >>> gate.stop()
    >>> gate.should_stop
    True
    """

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self._steps = 0
        self._lock = threading.Lock()
        self.should_stop = False
        # The step after which the loop last asked whether to stop, and was told no.
        self._looked = -2
        self._unmet = False
        self.waiting = False
        # A pause that no boundary has met yet: it holds wherever the loop can be held.
        self.pressed = False
        # Called on the asking thread when the next boundary has to look here.
        self.on_shut: Callable[[], None] = _nothing

    @property
    def paused(self) -> bool:
        """True from a pause to the next resume, also during single steps."""
        return not self._open.is_set()

    def pause(self) -> None:
        """Hold the training at its next boundary."""
        with self._lock:
            self._steps = 0
            self._open.clear()
            self.pressed = True
        self.on_shut()

    def resume(self) -> None:
        """Let the training go on."""
        self.pressed = False
        self._open.set()

    def advance(self, steps: int = 1) -> None:
        """Let a paused training make some steps; one that runs is paused after them."""
        with self._lock:
            self.pressed = False
            self._steps += steps
            self._open.clear()
        self.on_shut()

    def stop(self) -> None:
        """End the training at its next forward."""
        self.should_stop = True
        self.pressed = False
        self._open.set()
        self.on_shut()

    def forget_stop(self) -> None:
        """Take a stop back, once the loop it was meant for has ended."""
        self.should_stop = self._unmet = False

    def look(self, step: int) -> bool:
        """Answer a loop that asks after ``step`` steps whether to stop: it then ends by itself, if it does so soon."""
        if not self.should_stop:
            self._looked = step
        return self.should_stop

    def ends(self, step: int) -> bool:
        """Say whether a loop that made ``step`` steps is to be ended, wherever it is met."""
        # One that asks in each step is about to learn of the stop: an exception would skip what it does at its end.
        return self.should_stop and step > self._looked + 1

    def pass_by(self, step: int) -> None:
        """Let a loop pass that is met after a step, or end it.

        Raises
        ------
        StopTraining
            It has made a whole step without a forward that could have been met.
        """
        if self._unmet and self.ends(step):
            raise StopTraining("The training was stopped.")
        self._unmet = self.should_stop

    def wait(self, meanwhile: Callable[[], None] | None = None) -> float:
        """Hold the calling loop for as long as it is paused and return the seconds waited.

        Parameters
        ----------
        meanwhile : callable, optional
            Called about twenty times a second, e.g. to answer clicks.
        """
        if self._open.is_set() or self._granted():
            return 0.0
        started = time.perf_counter()
        self.waiting = True
        try:
            while not self._open.wait(_SLICE):
                if meanwhile is not None:
                    meanwhile()
                if self._granted():
                    break
        finally:
            self.waiting = False
        return time.perf_counter() - started

    def _granted(self) -> bool:
        """Take one of the single steps, if there is one."""
        with self._lock:
            granted = self._steps > 0
            self._steps -= granted
        return granted


def _nothing() -> None:
    """Stand in until an engine listens."""
