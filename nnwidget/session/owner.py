"""The owner: the one thread at a time that may touch the model, and the work waiting for it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from nnwidget.errors import CancelledError

log = logging.getLogger("nnwidget")
T = TypeVar("T")

SHARE = 0.2  # of the user's time, while a person clicks


@dataclass(slots=True)
class Job:
    """Work on the model: ``run`` does it and answers, ``drop`` answers when a newer one takes its place."""

    run: Callable[[], None]
    drop: Callable[[], None]
    posted: float = field(default_factory=time.monotonic)


class Owner:
    """Serves jobs on the thread that owns the model: a loop's boundary, else the kernel's event loop.

    Parameters
    ----------
    alive : callable
        Says whether a user's loop is running and reaches boundaries, on which thread, and how often:
        ``alive() -> (thread id or None, seconds between boundaries)``.
    """

    def __init__(self, alive: Callable[[], tuple[int | None, float]]) -> None:
        self._alive = alive
        self._model = threading.Lock()
        self._waiting_lock = threading.Lock()
        self._waiting: dict[Hashable, Job] = {}
        self._thread: int | None = None
        self._rest_until = 0.0
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    @property
    def serving(self) -> bool:
        """Say whether this very thread is inside work of ours."""
        return self._thread == threading.get_ident()

    @property
    def busy(self) -> bool:
        """Say whether work waits."""
        return bool(self._waiting)

    @contextmanager
    def ownership(self) -> Iterator[None]:
        """Own the model for a while; waits for whoever owns it now. Re-entrant on one thread."""
        if self.serving:
            yield
            return
        with self._model:
            self._thread = threading.get_ident()
            try:
                yield
            finally:
                self._thread = None

    def do(self, work: Callable[[], T]) -> T:
        """Do work that the caller waits for: at the next boundary of a loop in another thread, else here and now."""
        thread, _ = self._alive()
        if self.serving or thread is None or thread == threading.get_ident():
            with self.ownership():
                return work()
        done = threading.Event()
        result: list[T] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                result.append(work())
            except BaseException as error:
                raised.append(error)
            finally:
                done.set()

        self.post(done, Job(run, done.set))
        while not done.wait(0.1):
            if self._alive()[0] is None:
                self.serve()
        if raised:
            raise raised[0]
        if not result:
            raise CancelledError("The explorer was closed before its turn came.")
        return result[0]

    def wait(self) -> None:
        """Return once no other thread is at work on the model."""
        if self._thread is not None and not self.serving:
            with self._model:
                pass

    def post(self, slot: Hashable, job: Job) -> None:
        """Queue work; a job still waiting in the same slot is dropped: the newest wins."""
        with self._waiting_lock:
            old = self._waiting.pop(slot, None)
            self._waiting[slot] = job
        if old is not None:
            old.drop()
        self.wake()

    def wake(self) -> None:
        """Have the event loop serve what waits, unless a user's loop gets there first."""
        loop = self._loop
        if loop is None:
            thread, _ = self._alive()
            if thread is None or thread == threading.get_ident():
                self.serve()
        elif not loop.is_closed():
            loop.call_soon_threadsafe(self._idle)

    def later(self, seconds: float, work: Callable[[], None]) -> bool:
        """Do something small on the event loop's thread after a while; False where there is no loop."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return False
        loop.call_soon_threadsafe(lambda: loop.call_later(seconds, work))
        return True

    def _idle(self) -> None:
        thread, interval = self._alive()
        if thread is not None and thread != threading.get_ident():
            # A loop in another thread owns the model; look again in case it ended meanwhile.
            if self._loop is not None and self._waiting:
                self._loop.call_later(min(1.0, max(0.05, interval)), self._idle)
            return
        self.serve(limit=1)
        if self._waiting and self._loop is not None:
            # One job a turn: messages (a cancel, a newer click) get their chance in between.
            self._loop.call_soon(self._idle)

    def serve_at_boundary(self, extra: Callable[[], None] | None = None) -> None:
        """Serve inside the user's loop, within our share of its time."""
        if self.serving or not (self._waiting or extra):
            return
        started = time.monotonic()
        if started < self._rest_until:
            return
        self.serve()
        if extra is not None:
            with self.ownership():
                extra()
        spent = time.monotonic() - started
        self._rest_until = started + spent / SHARE

    def serve(self, limit: int | None = None) -> None:
        """Serve what waits, oldest first, on the calling thread."""
        served = 0
        while limit is None or served < limit:
            with self._waiting_lock:
                if not self._waiting:
                    return
                job = self._waiting.pop(next(iter(self._waiting)))
            with self.ownership():
                try:
                    job.run()
                except Exception:  # the user's step must go on; jobs answer their own errors
                    log.exception("nnwidget could not serve a request")
            served += 1

    def clear(self) -> None:
        """Drop everything that waits."""
        with self._waiting_lock:
            waiting, self._waiting = list(self._waiting.values()), {}
        for job in waiting:
            job.drop()
