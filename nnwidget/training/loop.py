"""The loop of a watched training: its thread, where it is held or ended, and how it is left alone."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable

from torch import nn

from nnwidget.training.forward_gate import ForwardGate
from nnwidget.training.gate import Gate
from nnwidget.training.pulse import Pulse
from nnwidget.training.steps import Steps

_PATIENCE = 1.0  # seconds to wait for a loop in another thread to take the hooks off itself


class Loop:
    """Meets the loop at its steps and, while somebody wants it to wait or to end, at forwards of the root.

    Parameters
    ----------
    model : nn.Module
        What the loop calls; known weakly.
    steps : Steps
        Finds the ends of its steps.
    flush : callable
        Hands over what was recorded; called before the loop waits and once it is over.
    remove : callable
        ``remove(stepping=...)`` takes every hook off and calls :meth:`let_go` once they are gone.

    Attributes
    ----------
    thread : int or None
        The thread it runs in, as far as it is known.
    stopped : bool
        Somebody ended the last loop.
    meanwhile : callable or None
        Called many times a second while the loop waits.
    """

    def __init__(
        self, model: nn.Module, steps: Steps, flush: Callable[[], None], remove: Callable[[bool], None]
    ) -> None:
        self._model = weakref.ref(model)
        self._steps = steps
        self._flush = flush
        self._remove = remove
        self._pid = os.getpid()
        self._left = False
        self._gone = threading.Event()
        self.gate = Gate()
        self.pulse = Pulse()
        self.thread: int | None = None
        self.stopped = False
        self.meanwhile: Callable[[], None] | None = None
        self._forwards = ForwardGate(self.gate, self.mine, self.hold, lambda: self.gate.ends(steps.count))
        self.gate.on_shut = self._press

    def began(self) -> None:
        """Know that the loop runs in the calling thread."""
        self.thread = threading.get_ident()

    def ended(self) -> None:
        """Know that the loop is over: a stop that was meant for it is void, and any thread may close."""
        if not self._left:
            self._flush()
        self.thread, self.stopped = None, self.gate.should_stop
        self.forget_stop()
        if self._left:
            self._remove(False)

    def mine(self) -> bool:
        """Say whether the calling thread is the loop's, as far as that is known."""
        return self.thread in (None, threading.get_ident()) and os.getpid() == self._pid

    def hold(self) -> None:
        """Wait for as long as somebody wants the loop to; called in its thread.

        Raises
        ------
        StopTraining
            Somebody wants it to end, and it cannot be met elsewhere.
        """
        if self.gate.paused:
            self._flush()
            self.gate.wait(self._while_waiting)
        if self._left:
            self._remove(True)
            return
        self.gate.pass_by(self._steps.count)
        self._steps.pressing = self.gate.paused or self.gate.should_stop
        if not self._steps.pressing:
            self._forwards.detach()

    def should_stop(self) -> bool:
        """Say whether somebody asked to stop; a loop that asks itself is left to end by itself."""
        return self.gate.look(self._steps.count) if self.mine() else self.gate.should_stop

    def forget_stop(self) -> None:
        """Take a stop back, once the loop it was meant for has ended."""
        self.gate.forget_stop()
        self._steps.pressing = self.gate.paused
        if not self.gate.paused and not self._left:
            self._forwards.detach()

    def leave(self) -> None:
        """Have every hook taken off: here, or by the loop itself if it runs in another thread."""
        self._left = True
        self._forwards.leave, self._steps.pressing = lambda: self._remove(False), True
        if self._elsewhere():
            # Torch may be walking over the hooks there: the loop takes them off itself, at a moment that is safe.
            self._forwards.attach(self._model())
        self.gate.resume()
        until = time.monotonic() + _PATIENCE
        while self._elsewhere() and time.monotonic() < until and not self._gone.wait(0.01):
            pass
        if not self._elsewhere():
            self._remove(False)

    def let_go(self) -> None:
        """Know that every other hook is gone."""
        self._forwards.detach()
        self._gone.set()

    def _elsewhere(self) -> bool:
        if self.mine() or os.getpid() != self._pid:
            return False
        return any(thread.ident == self.thread for thread in threading.enumerate())

    def _press(self) -> None:
        """Be asked at the very next boundary, and at forwards of the root."""
        self._steps.pressing = True
        if not self._left:
            self._forwards.attach(self._model())

    def _while_waiting(self) -> None:
        self.pulse.beat()
        if self.meanwhile is not None:
            self.meanwhile()
