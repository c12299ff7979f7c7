"""When a saved picture is made: once somebody displayed the explorer, while nothing trains, and seldom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from nnwidget.session.owner import Job
from nnwidget.session.session import Session
from nnwidget.training.worker import running_on

log = logging.getLogger("nnwidget")

_SETTLE = 1.0  # seconds that a choice must last
_SHARE = 0.02  # of the kernel's time, as for all pictures that nobody clicked for


class StillKeeper:
    """Keeps a picture up to date that nobody waits for.

    Nothing is made before :meth:`shown`, during a training, or after :meth:`close`.

    Parameters
    ----------
    session : Session
        Owns the model.
    make : callable
        Makes the picture; called by the model's owner.
    publish : callable
        Takes each picture that differs from the one before.
    """

    def __init__(self, session: Session, make: Callable[[], str], publish: Callable[[str], None]) -> None:
        self._session = session
        self._make: Callable[[], str] | None = make
        self._publish = publish
        self._shown = False
        self._planned = False
        self._stepped = False
        self._cost = 0.0
        self.picture: str | None = None

    def shown(self) -> None:
        """Note that the explorer was displayed; its first picture follows when the cell ends."""
        self._shown = True
        self.changed()

    def stepped(self) -> None:
        """Note a step of a training; called at each of them."""
        self._stepped = True
        if not self._planned:
            self.changed()

    def changed(self) -> None:
        """Note that the picture may no longer be true; from any thread."""
        if self._shown and not self._planned and self._make is not None:
            wait = max(_SETTLE, self._cost / _SHARE)
            self._planned = self._session.owner.later(wait, self._due)

    def cell_ended(self) -> None:
        """Make the picture at once if it is the first or the cell has trained: who runs notebooks waits no longer."""
        if not self._shown or self._make is None:
            return
        if (self.picture is None or self._stepped) and not self._training():
            with self._session.owner.ownership():
                self._refresh()
        else:
            self.changed()

    def close(self) -> None:
        """Make no further picture; again it changes nothing."""
        self._make = None

    def _training(self) -> bool:
        return self._session.boundary.alive()[0] is not None or running_on(self._session.model) is not None

    def _due(self) -> None:
        """Look on the event loop's thread whether it is time."""
        self._planned = False
        if self._make is not None:
            self._session.owner.post(("still", id(self)), Job(self._job, lambda: None))

    def _job(self) -> None:
        # Also when a loop in a thread took the job up: nobody asked for this picture.
        if self._training():
            self.changed()
        else:
            self._refresh()

    def _refresh(self) -> None:
        make = self._make
        if make is None or not self._shown:
            return
        started, self._stepped = time.monotonic(), False
        try:
            picture = make()
        except Exception:  # a picture that fails must cost nobody a cell
            log.exception("nnwidget could not make the picture that is saved with the notebook")
            self.close()
            return
        self._cost = time.monotonic() - started
        if picture != self.picture:
            self.picture = picture
            self._publish(picture)


__all__ = ["StillKeeper"]
