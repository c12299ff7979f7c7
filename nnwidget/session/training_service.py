"""Answers the pages that show a training: at once from its history, and by itself as that grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from nnwidget.errors import MessageError
from nnwidget.session.charts import Strip, curve, events, scalars
from nnwidget.session.shown import Shown
from nnwidget.types import Status
from nnwidget.wire.codec import encode
from nnwidget.wire.dispatch import Send, Ticket
from nnwidget.wire.messages import Charts, Control, FiltersOf, Look, Nothing, Rate

_GAP = 0.2  # seconds between two pushes at least
_SHARE = 0.01  # of the loop's time, for pushes
_PATIENCE = 1.0  # seconds without an acknowledgement after which one push a second is sent all the same
_GONE = 60.0  # seconds after which a page that acknowledges nothing counts as gone; it asks when it wakes up


@dataclass(slots=True)
class _Page:
    """The way to one page, the number whose curve it shows, and the credit it has."""

    send: Send
    scalar: str | None = None
    sent: int = 0
    acknowledged: int = 0
    last: float = 0.0
    since: float = 0.0  # when what it has not acknowledged was first sent


class TrainingService:
    """The service behind the panel of one training; see :class:`nnwidget.wire.dispatch.Service`.

    Parameters
    ----------
    shown : Shown
        The training.
    regime : callable
        Told of every greeting ``(control: bool)``; returns how messages reach us while a cell runs.
    """

    def __init__(self, shown: Shown, regime: Callable[[bool | None], str]) -> None:
        self._shown = shown
        self._regime = regime
        self._pages: dict[str, _Page] = {}
        self._reading = threading.Lock()
        self._strip = Strip("grad_norm")
        self._seq = 0
        self._next = 0.0
        self._told: Any = None
        self._seen: object = None
        self._behind = False
        self.in_cell = False
        self.on_asked: Callable[[], None] | None = None

    def welcome(self, client: str, control: bool, send: Send) -> dict[str, Any]:
        """Greet a page."""
        self._pages.setdefault(client, _Page(send))
        return {"status": asdict(self._status(control)), "durable": {}, "play": self._shown.facts()}

    def goodbye(self, client: str) -> None:
        """Forget a page."""
        self._pages.pop(client, None)

    def watch(self, client: str, look: Look | None, filters: FiltersOf | None) -> None:
        """Follow nothing any more: the page has no display."""
        page = self._pages.get(client)
        if page is not None:
            page.scalar = None

    def acknowledge(self, client: str, seq: int) -> None:
        """Give a page its credit back."""
        page = self._pages.get(client)
        if page is not None:
            page.acknowledged = max(page.acknowledged, min(seq, page.sent))

    def request(self, ticket: Ticket) -> None:
        """Answer at once: a history may be read, and a gate be told, from any thread."""
        self._regime(None)
        match ticket.request.params:
            case Charts(scalar):
                self._shown.catch_up()
                page = self._pages.get(ticket.request.client)
                if page is not None:
                    page.scalar = scalar
                ticket.reply(self._charts(scalar))
                if self.on_asked is not None:
                    self.on_asked()
            case Control() | Rate() as wanted:
                facts = self._shown.serve(wanted)
                self.tell()
                ticket.reply(facts)
            case Nothing():
                ticket.reply({})
            case _:
                raise MessageError(f"A training has no {ticket.request.method}.", argument="method")

    def watched(self) -> bool:
        """Say whether any page shows something."""
        now = time.monotonic()
        for page in list(self._pages.values()):
            if page.acknowledged != page.sent and now - page.since > _GONE:
                page.scalar = None
        return any(page.scalar is not None for page in list(self._pages.values()))

    def at_boundary(self) -> None:
        """Show the pages what is new, at most five times a second, within our share of the loop's time."""
        started = time.monotonic()
        if started < self._next:
            return
        self._show()
        took = time.monotonic() - started
        self._next = started + max(_GAP, took / _SHARE)

    def while_waiting(self) -> None:
        """Show the pages what is new where no step hurries, each as soon as it has credit."""
        news = self._shown.news()
        if news == self._seen:
            return
        self._behind = False
        self._show()
        if not self._behind:
            self._seen = news

    def _show(self) -> None:
        self._shown.measure()
        self.tell()
        self.push()

    def tell(self, *, closed: bool = False) -> None:
        """Say what the state of play is, if it changed."""
        play = self._shown.facts()
        status = Status("closed") if closed else self._status(None)
        told = (status.state, play | {"step": 0, "cost": None, "groups": None, "ago": None})
        if told == self._told:
            return
        self._told = told
        # Two windows on one notebook share a way: one message reaches both.
        for send in {page.send for page in list(self._pages.values())}:
            send({"k": "status", "status": asdict(status), "play": play}, [])

    def push(self, *, always: bool = False) -> None:
        """Send every page that has credit what it shows; ``always`` those without too, for the end of a loop."""
        now = time.monotonic()
        for client, page in list(self._pages.items()):
            scalar = page.scalar
            if scalar is None:
                continue
            if not (always or page.acknowledged == page.sent or now - page.last > _PATIENCE):
                self._behind = True
                continue
            tree, buffers = encode(self._charts(scalar))
            self._seq += 1
            if page.acknowledged == page.sent:
                page.since = now
            page.sent, page.last = self._seq, now
            page.send({"k": "charts", "client": client, "seq": self._seq, "result": tree}, buffers)

    def _charts(self, scalar: str) -> dict[str, Any]:
        history = self._shown.history
        with self._reading:
            self._strip.update(history)
            strip = self._strip.result()
        happened, count = events(history)
        return {
            "play": self._shown.facts(),
            "status": asdict(self._status(None)),
            "scalars": scalars(history),
            "curve": curve(history, scalar),
            "layers": strip,
            "events": happened,
            "event_count": count,
        }

    def _status(self, control: bool | None) -> Status:
        facts = self._shown.facts()
        state = "training" if self._shown.live else "busy" if self.in_cell else "idle"
        return Status(
            state=state,  # type: ignore[arg-type]  # one of the three words above
            regime=self._regime(control),  # type: ignore[arg-type]  # the widget floor's words
            step=facts["step"],
            interval=facts["cost"]["step"] if facts["cost"] else None,
            error=facts["problem"],
        )
