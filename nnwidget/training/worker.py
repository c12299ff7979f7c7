"""A training in a thread of its own: the prompt comes back, and a page that is reloaded finds the kernel answering."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from nnwidget.training.gate import StopTraining
from nnwidget.training.inherit import torch_state

NAME = "nnwidget-run"
_OURS = str(Path(__file__).resolve().parents[1])
_SLICE = 0.2  # seconds; waits that cannot be interrupted elsewhere than on Linux are cut into these

log = logging.getLogger("nnwidget")

_active: list[Run] = []


class Place(Protocol):
    """Where a run shows what it prints and what it raises.

    ``daemon`` says that the process need not wait for the run when it ends.
    """

    daemon: bool

    def entered(self) -> AbstractContextManager[None]:
        """Return a scope for the run's thread, in which output goes to this place."""

    def failed(self, error: BaseException, trace: TracebackType | None) -> None:
        """Show an error; called in the run's thread, within the scope."""


class Console:
    """The place of a script: its own streams. The process waits for the run before it ends."""

    daemon = False

    def entered(self) -> AbstractContextManager[None]:
        """Return a scope that changes nothing."""
        return contextlib.nullcontext()

    def failed(self, error: BaseException, trace: TracebackType | None) -> None:
        """Print the traceback."""
        traceback.print_exception(type(error), error, trace, file=sys.stderr)


class Run:
    """A training that runs in a thread; made by ``w.run``.

    Ctrl-C does not reach threads: end it with :meth:`stop`, ``w.stop()`` or the panel's button.

    Parameters
    ----------
    work : callable
        The training.
    model : nn.Module
        What it trains.
    name : str
        What to call it.
    place : Place
        Where its output goes.
    stop : callable
        Asks it to end.
    began, ended : callable
        Called in the run's thread around the work; ``ended(run)``.

    Attributes
    ----------
    error : BaseException or None
        What it raised.
    stopped : bool
        It was ended by a stop.
    watch : Watch
        What records it.

    Examples
    --------
    >>> run = Run(lambda: 6 * 7, threading, "work", Console(), stop=lambda: None)
    >>> run.result(), run
    (42, <Run of work: done>)
    """

    def __init__(
        self,
        work: Callable[[], Any],
        model: object,
        name: str,
        place: Place,
        *,
        stop: Callable[[], None],
        began: Callable[[], None] = lambda: None,
        ended: Callable[[Run], None] = lambda run: None,
    ) -> None:
        self.name = name
        self.error: BaseException | None = None
        self.stopped = False
        self._stop: Callable[[], None] | None = stop
        self.watch: Any = None
        self._model: Callable[[], object] = weakref.ref(model)
        self._result: Any = None
        self._done = threading.Event()
        # Contexts carry where a kernel sends output, and what numpy, decimal and others keep for each thread.
        main, scope = contextvars.copy_context().run, torch_state()
        self._thread = threading.Thread(
            target=main, args=(self._main, work, place, scope, began, ended), name=NAME, daemon=place.daemon
        )
        _active.append(self)
        try:
            self._thread.start()
        except BaseException:
            _active.remove(self)
            raise

    @property
    def ident(self) -> int | None:
        """The thread it runs in, as :func:`threading.get_ident` says there."""
        return self._thread.ident

    @property
    def done(self) -> bool:
        """True once it has ended, however."""
        return self._done.is_set()

    def stop(self) -> None:
        """Ask it to end at its next forward; of no effect once it has."""
        stop = self._stop
        if stop is not None:
            stop()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end and say whether it came.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most. Ctrl-C ends the waiting, not the training.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self._done.wait(_SLICE if until is None else max(0.0, min(_SLICE, until - time.monotonic()))):
            if until is not None and time.monotonic() >= until:
                return False
        if self._thread is not threading.current_thread():
            # It has nothing left to do; afterwards it is no longer among the process's threads.
            self._thread.join()
        return True

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return what the function returned; None if it was stopped.

        Raises
        ------
        TimeoutError
            It has not ended within ``timeout`` seconds.
        BaseException
            What the function raised.
        """
        if not self.join(timeout):
            raise TimeoutError(f"{self.name} has not ended within {timeout} s.")
        if self.error is not None:
            raise self.error
        return self._result

    def __repr__(self) -> str:
        """Return one line."""
        if not self.done:
            state = "running in a thread. Ctrl-C does not reach it: end it with .stop()"
        elif self.error is not None:
            state = f"ended by {type(self.error).__name__}: {self.error}"
        else:
            state = "stopped" if self.stopped else "done"
        return f"<Run of {self.name}: {state}>"

    def _main(
        self,
        work: Callable[[], Any],
        place: Place,
        scope: Callable[[], AbstractContextManager[None]],
        began: Callable[[], None],
        ended: Callable[[Run], None],
    ) -> None:
        try:
            with place.entered():
                try:
                    with scope():
                        began()
                        self._result = work()
                except StopTraining:
                    self.stopped = True
                except BaseException as error:
                    self.error = error
                _active.remove(self)
                try:
                    ended(self)
                except Exception:  # what the user's function did is told in any case
                    log.exception("nnwidget could not finish its record of this run")
                if self.error is not None:
                    place.failed(self.error, users_own(self.error.__traceback__))
        finally:
            self._stop = None
            self._done.set()


def running_on(model: object) -> Run | None:
    """Return the run that trains this model now."""
    return next((run for run in list(_active) if run._model() is model), None)


def users_own(trace: TracebackType | None) -> TracebackType | None:
    """Leave out our own frames at the beginning of a traceback."""
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return trace
