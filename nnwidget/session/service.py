"""Answers a page: at once from what is on the host, else through the owner of the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nnwidget.errors import CancelledError, MessageError, NNWidgetError
from nnwidget.model.what_zero import what_zero_becomes
from nnwidget.session.bench import Bench, Scored
from nnwidget.session.distributions import Draw, distribution_result
from nnwidget.session.owner import Job
from nnwidget.session.page_edits import as_code
from nnwidget.session.pictures import (
    channel_result,
    layer_row,
    look_result,
    maps_result,
    prediction_result,
    value_result,
)
from nnwidget.session.play import Play
from nnwidget.session.ranking import ranking_result
from nnwidget.session.session import Session
from nnwidget.session.weights import filters_result, weight_result
from nnwidget.types import Status
from nnwidget.wire.codec import encode
from nnwidget.wire.dispatch import Send, Ticket
from nnwidget.wire.messages import (
    Code,
    Control,
    DistributionOf,
    Durable,
    FiltersOf,
    Inputs,
    Look,
    Nothing,
    PageEdit,
    RankingOf,
    ValueAt,
    WeightAt,
    error_json,
)

_LIVE_SHARE = 0.02  # of the loop's time, for pictures that nobody clicked for
_LIVE_GAP = 0.5  # seconds between such pictures at least
_PART = 0.25  # seconds of ranking after which the page gets what there is, and other clicks their turn
_PATIENCE = 1.0  # seconds without an acknowledgement after which one picture a second is sent all the same


@dataclass(slots=True)
class _Page:
    """The way to one page, what it follows, and the credit it has."""

    send: Send
    look: Look | None = None
    filters: FiltersOf | None = None
    sent: int = 0
    acknowledged: int = 0
    last: float = 0.0
    next: float = 0.0


class ExplorerService:
    """The service behind one explorer; see :class:`nnwidget.wire.dispatch.Service`.

    Parameters
    ----------
    session, bench
        Who owns the model, and its pinned inputs.
    apply : callable
        Writes durable state into the traits: ``apply({"selected": [...]})``.
    durable : callable
        Returns the durable state, for a page that arrives.
    draw : callable, optional
        Draws the curves of a distribution, on the owner's thread.
    regime : callable
        Told of every greeting ``(control: bool)``; returns how messages reach us while a cell runs.
    """

    def __init__(
        self,
        session: Session,
        bench: Bench,
        *,
        apply: Callable[[dict[str, Any]], None],
        durable: Callable[[], dict[str, Any]],
        regime: Callable[[bool | None], str],
        thumbnails: Callable[[int], dict[str, Any]],
        model_words: dict[str, Any],
        call_words: str,
        play: Play | None = None,
        draw: Draw | None = None,
    ) -> None:
        self._session = session
        self._bench = bench
        self._apply = apply
        self._durable = durable
        self._regime = regime
        self._thumbnails = thumbnails
        self._model_words = model_words
        self._call_words = call_words
        self._play = play
        self._draw = draw
        self._pages: dict[str, _Page] = {}
        self._seq = 0
        self._shown: Any = None
        self._shown_at = 0.0
        self._stepped = False
        self._suspect = False
        self._ending = False
        self.error = ""

    def welcome(self, client: str, control: bool, send: Send) -> dict[str, Any]:
        """Greet a page."""
        self._pages.setdefault(client, _Page(send))
        status = self._session.status(self._regime(control), self.error)
        play = None if self._play is None else self._play.facts()
        return {"status": asdict(status), "durable": self._durable(), "play": play}

    def goodbye(self, client: str) -> None:
        """Forget a page."""
        self._pages.pop(client, None)

    def watch(self, client: str, look: Look | None, filters: FiltersOf | None) -> None:
        """Follow what a page shows."""
        page = self._pages.get(client)
        if page is not None:
            page.look, page.filters = look, filters

    def acknowledge(self, client: str, seq: int) -> None:
        """Give a page its credit back."""
        page = self._pages.get(client)
        if page is not None:
            page.acknowledged = max(page.acknowledged, min(seq, page.sent))

    def request(self, ticket: Ticket) -> None:
        """Answer now, or post the work to the owner."""
        self._regime(None)
        match ticket.request.params:
            case Look() as look:
                self._post(ticket, lambda: self._look(look, ticket))
            case FiltersOf() as wanted:
                self._post(ticket, lambda: self._filters(wanted))
            case WeightAt() as weight:
                self._post(ticket, lambda: weight_result(self._bench, weight))
            case DistributionOf() as of:
                self._post(ticket, lambda: self._distribution(of, ticket))
            case RankingOf() as ranked:
                self._post(ticket, lambda: self._ranking(ranked, ticket))
            case ValueAt() as at:
                seen = self._bench.retained(at.look)
                if seen is None or seen.tensor.is_cuda:
                    self._post(ticket, lambda: self._value(at))
                else:
                    ticket.reply(value_result(at, seen))
            case Inputs(edge):
                self._post(ticket, lambda: self._thumbnails(edge))
            case Code(edits):
                self._post(ticket, lambda: {"code": self.code(edits)})
            case Durable(values):
                self._apply(dict(values))
                ticket.reply({})
            case Control() as control if self._play is not None:
                facts = self._play.serve(control)
                ticket.reply(facts)
                self.tell(self._session.status(self._regime(None), self.error))
            case Nothing():
                ticket.reply(self._layers() if ticket.request.method == "layers" else {})
            case _:
                raise MessageError(f"An explorer without a watch has no {ticket.request.method}.", argument="method")

    def at_boundary(self, kind: str) -> None:
        """Serve inside a user's loop: what was asked, then what is followed."""
        if kind == "step":
            # Weights moved; forgotten only when somebody looks, so that a step nobody watches costs nothing.
            self._stepped = True
        now = time.monotonic()
        if self._pages and (now - self._shown_at > 1.0 or kind == "waiting"):
            self.tell(self._session.status(self._regime(None), self.error))
            self._await_the_end()
        due = [(client, page) for client, page in self._pages.items() if self._due(page, now)] if self._stepped else []
        if due:

            def push() -> None:
                for item in due:
                    self._push(*item)

            self._session.owner.serve_at_boundary(push)
        elif self._session.owner.busy:
            self._session.owner.serve_at_boundary()

    def weights_may_have_moved(self) -> None:
        """Look at the weights before the next answer."""
        self._suspect = True

    def tell(self, status: Status) -> None:
        """Show the pages the state of play, if it changed."""
        self._shown_at = time.monotonic()
        play = None if self._play is None else self._play.facts()
        if self._pages and (status, play) != self._shown:
            self._shown = status, play
            self._broadcast({"k": "status", "status": asdict(status), "play": play})

    def _broadcast(self, message: dict[str, Any]) -> None:
        # Two windows on one notebook share a way: one message reaches both.
        for send in {page.send for page in list(self._pages.values())}:
            send(message, [])

    def refresh(self, *, always: bool = False) -> None:
        """Send every page what it shows, if that is no longer true; for the end of a loop or a cell."""

        def work() -> None:
            if self._freshen() or always:
                for item in list(self._pages.items()):
                    self._push(*item)

        if self._pages:
            self._session.owner.post("refresh", Job(work, lambda: None))

    def code(self, edits: Sequence[PageEdit]) -> str:
        """Return the edits as Python."""
        means = {
            edit: self._bench.mean(edit.layer, edit.channel)
            for edit in edits
            if edit.op == "mean" and edit.channel is not None
        }
        return as_code(edits, means, self._bench.python_edits, self._call_words)

    def _post(self, ticket: Ticket, work: Callable[[], dict[str, Any]]) -> None:
        def run() -> None:
            if ticket.cancelled:
                return
            try:
                self._freshen()
                ticket.reply(work())
            except Exception as error:
                ticket.fail(error)

        def drop() -> None:
            ticket.fail(CancelledError("A newer request took its place."))

        slot = (ticket.request.client, ticket.request.method)
        self._session.owner.post(slot, Job(run, drop))

    def _freshen(self) -> bool:
        """Forget what is no longer true; says whether there was anything."""
        if not (self._stepped or self._suspect):
            return False
        certainly, self._stepped, self._suspect = self._stepped, False, False
        return self._bench.moved(certainly=certainly)

    def _await_the_end(self) -> None:
        """Notice when a loop in another thread is over: no cell tells."""
        if not self._ending:
            self._ending = True
            self._session.owner.later(2.0, self._maybe_over)

    def _maybe_over(self) -> None:
        self._ending = False
        if self._session.boundary.alive()[0] is not None:
            self._await_the_end()
            return
        self.tell(self._session.status(self._regime(None), self.error))
        self.refresh()

    def _look(self, want: Look, ticket: Ticket | None) -> dict[str, Any]:
        bench = self._bench
        cached = bench.retained(want)
        in_loop = self._session.boundary.alive()[0] is not None
        stop = (lambda: ticket.cancelled) if ticket is not None else None
        # In a loop every step voids the captured outputs, so a cut would cost more than it saves.
        seen, before, after = bench.look(want, cut=not in_loop, should_stop=stop)
        maps = channel = prediction = None
        if seen is not None and "maps" in want.want:
            maps = maps_result(want, seen, bench.table[want.layer])
        if seen is not None and "channel" in want.want and want.channel is not None:
            channel = channel_result(want, seen, self._mean(want), self._zero(want))
        problem: Exception | None = None if seen is None else seen.error
        if before is not None and after is not None:
            try:
                prediction = self._prediction(want, before, after)
            except NNWidgetError as error:
                # Too few class names, say: the maps are worth seeing all the same.
                problem = error
        return look_result(
            want,
            seen,
            maps=maps,
            channel=channel,
            prediction=prediction,
            step=self._session.boundary.steps or None,
            cached=cached is not None,
            error=problem,
        )

    def _prediction(self, want: Look, before: Scored, after: Scored) -> dict[str, Any]:
        names = self._bench.names(int(before.values.numel()))
        targets = self._bench.pinned.targets
        target = targets[want.input] if targets else None
        made = len(want.edits) + sum(map(len, self._bench.python_edits.values()))
        return prediction_result(before, after, names, target, made)

    def _mean(self, want: Look) -> float | None:
        edit = next((e for e in want.edits if e.layer == want.layer and e.channel == want.channel), None)
        if edit is None or edit.op != "mean" or edit.channel is None:
            return None
        return self._bench.mean(want.layer, edit.channel, want.call)

    def _zero(self, want: Look) -> str:
        if want.channel is None:
            return ""
        return what_zero_becomes(self._bench.model, want.layer, want.channel, self._bench.table.order)

    def _value(self, at: ValueAt) -> dict[str, Any]:
        seen, _, _ = self._bench.look(replace(at.look, want=frozenset({"maps"})))
        assert seen is not None
        return value_result(at, seen)

    def _filters(self, want: FiltersOf) -> dict[str, Any]:
        return filters_result(self._bench, want, self._session.boundary.steps or None)

    def _distribution(self, want: DistributionOf, ticket: Ticket) -> dict[str, Any]:
        started, steps = time.perf_counter(), self._session.boundary.steps or None
        result = distribution_result(self._bench, want, steps, lambda: ticket.cancelled)
        # A question that is no longer asked must not change the curves of the one that is.
        draw = None if ticket.cancelled else self._draw
        figure = None if draw is None else draw(result)
        return result | {"figure": figure, "seconds": time.perf_counter() - started}

    def _ranking(self, want: RankingOf, ticket: Ticket) -> dict[str, Any]:
        until = time.monotonic() + _PART
        return ranking_result(
            self._bench,
            want,
            self._session.boundary.steps or None,
            lambda: ticket.cancelled,
            lambda: time.monotonic() > until or self._session.owner.busy,
        )

    def _layers(self) -> dict[str, Any]:
        failed = self._bench.table.error
        return {
            "model": self._model_words,
            "rows": [layer_row(info) for info in self._bench.table],
            "error": None if failed is None else error_json(failed),
        }

    def _due(self, page: _Page, now: float) -> bool:
        if (page.look is None and page.filters is None) or now < page.next:
            return False
        return page.acknowledged == page.sent or now - page.last > _PATIENCE

    def _push(self, client: str, page: _Page) -> None:
        look, wanted = page.look, page.filters
        started = time.monotonic()
        self._freshen()
        if look is not None and not self._send(client, page, "look", lambda: self._look(look, None)):
            page.look = None
        if wanted is not None and not self._send(client, page, "filters", lambda: self._filters(wanted)):
            page.filters = None
        page.last = time.monotonic()
        page.next = page.last + max(_LIVE_GAP, (page.last - started) / _LIVE_SHARE)

    def _send(self, client: str, page: _Page, kind: str, make: Callable[[], dict[str, Any]]) -> bool:
        """Push one answer; says whether there was one."""
        try:
            tree, buffers = encode(make())
        except NNWidgetError as error:
            self.error = str(error)
            return False
        self._seq += 1
        page.sent = self._seq
        page.send({"k": kind, "client": client, "seq": self._seq, "result": tree}, buffers)
        return True
