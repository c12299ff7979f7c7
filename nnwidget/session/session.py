"""The session of one model: its owner, its boundaries, and the benches that look at it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

from torch import nn

from nnwidget.session.boundary import Boundary
from nnwidget.session.owner import Owner
from nnwidget.training.worker import running_on
from nnwidget.types import Status

T = TypeVar("T")

_sessions: weakref.WeakValueDictionary[int, Session] = weakref.WeakValueDictionary()
_registry = threading.Lock()


class Session:
    """Joins a user's loops around one model and keeps everybody else off it meanwhile.

    Use :meth:`of`: there is one session per model, however many explorers show it.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.owner = Owner(self._alive)
        self.boundary = Boundary(model, self._reached, self.owner)
        self.in_cell = False
        self._listeners: list[Callable[[str], None]] = []
        self._held_at: int | None = None

    @classmethod
    def of(cls, model: nn.Module) -> Session:
        """Return the model's session, made on first use; it lives as long as somebody holds it."""
        with _registry:
            found = _sessions.get(id(model))
            if found is None or found.model is not model:
                found = _sessions[id(model)] = cls(model)
            return found

    @classmethod
    def find(cls, model: nn.Module) -> Session | None:
        """Return the model's session if there is one."""
        found = _sessions.get(id(model))
        return found if found is not None and found.model is model else None

    def arm(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Attach the boundary hooks for as long as somebody listens; returns the way out."""
        if listener not in self._listeners:
            self._listeners.append(listener)
        self.boundary.arm()

        def leave() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)
            if not self._listeners:
                self.boundary.disarm()

        return leave

    def do(self, work: Callable[[], T]) -> T:
        """Do work on the model that the caller waits for, at a moment when no loop is at it.

        A run in a thread owns the model from its beginning: the work waits for one of its boundaries, or for its end.
        """
        if running_on(self.model) is None:
            return self.owner.do(work)
        leave = self.arm(self._serve)
        try:
            return self.owner.do(work)
        finally:
            leave()

    def _serve(self, kind: str) -> None:
        self.owner.serve_at_boundary()

    def _alive(self) -> tuple[int | None, float]:
        thread, interval = self.boundary.alive()
        if thread is None and self.boundary.armed:
            run = running_on(self.model)
            thread = None if run is None else run.ident
        return thread, interval

    def cell_began(self) -> None:
        """Note that a cell starts: from now on only its loop can answer."""
        self.in_cell = True

    def cell_ended(self) -> None:
        """Note that the cell is over: the event loop owns the model again."""
        self.in_cell = False
        self.boundary.forget()

    def wait_at_boundary(self, step: int) -> None:
        """Serve from a loop that somebody holds after this step, on its own thread; called many times a second.

        The loop counts as running for as long as it waits, and nothing of its time is lost by serving.
        """
        first, self._held_at = step != self._held_at, step
        self.boundary.keep_alive(stepped=first)
        # The step's own hook comes only after the wait.
        self._reached("step" if first else "waiting")
        self.owner.serve()

    def status(self, regime: str = "unknown", error: str = "") -> Status:
        """Return the state of play."""
        thread, interval = self.boundary.alive()
        looping = thread is not None and self.boundary.kind is not None
        state = ("training" if self.boundary.kind == "step" else "evaluating") if looping else "idle"
        if not looping and self.in_cell:
            state = "busy"
        return Status(
            state=state,  # type: ignore[arg-type]  # one of the four words above
            regime=regime,  # type: ignore[arg-type]  # the widget floor's words
            step=self.boundary.steps or None,
            interval=interval or None,
            error=error,
        )

    def _reached(self, kind: str) -> None:
        for listener in list(self._listeners):
            listener(kind)
