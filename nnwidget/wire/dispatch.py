"""From a page's message to one answer: parse, route, reply; errors travel as data."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from nnwidget.errors import CancelledError, MessageError
from nnwidget.wire.codec import encode
from nnwidget.wire.messages import PROTOCOL, Ack, Bye, Cancel, FiltersOf, Hello, Look, Request, Watch, error_json, parse

log = logging.getLogger("nnwidget")
Send = Callable[[dict[str, Any], Sequence[Any]], None]


class Ticket:
    """One question waiting for its one answer; settles once, from any thread."""

    def __init__(self, request: Request, send: Send, done: Callable[[Ticket], None]) -> None:
        self.request = request
        self._send = send
        self._done = done
        self._lock = threading.Lock()
        self._settled = False
        self.cancelled = False

    def cancel(self) -> None:
        """Stop the work as soon as it looks; the page is told."""
        self.cancelled = True
        self.fail(CancelledError("Cancelled."))

    def reply(self, result: Any) -> None:
        """Answer with a tree of JSON values and arrays."""
        tree, buffers = encode(result)
        self._settle({"ok": True, "result": tree}, buffers)

    def fail(self, error: BaseException) -> None:
        """Answer with an error as data."""
        self._settle({"ok": False, "error": error_json(error)}, [])

    def _settle(self, body: dict[str, Any], buffers: Sequence[Any]) -> None:
        with self._lock:
            if self._settled:
                return
            self._settled = True
        self._done(self)
        head = {"k": "response", "client": self.request.client, "id": self.request.id}
        self._send(head | body, buffers)


class Service(Protocol):
    """What answers; every method may be called from any thread and must not touch the model itself."""

    def welcome(self, client: str, control: bool, send: Send) -> dict[str, Any]:
        """Greet a page: its status and the durable state; ``send`` is the way to it from now on."""

    def request(self, ticket: Ticket) -> None:
        """Answer now, or hand the work to the owner of the model."""

    def watch(self, client: str, look: Look | None, filters: FiltersOf | None) -> None:
        """Follow (or stop following) what this page shows."""

    def acknowledge(self, client: str, seq: int) -> None:
        """Note that a pushed look was painted."""

    def goodbye(self, client: str) -> None:
        """Forget a page."""


class Dispatcher:
    """Routes messages; never raises, always answers what can be answered."""

    def __init__(self, service: Service, send: Send) -> None:
        self._service = service
        self._send = send
        self._open: dict[tuple[str, int], Ticket] = {}
        self._lock = threading.Lock()

    def handle(self, content: object) -> None:
        """Serve one message of the page, whatever it holds."""
        try:
            self._route(content)
        except MessageError as error:
            self._refuse(content, error)
        except Exception as error:  # a bug of ours must reach the page, not vanish on a kernel thread
            log.exception("nnwidget could not serve a message")
            self._refuse(content, error)

    def _route(self, content: object) -> None:
        message = parse(content)
        match message:
            case Hello(client, control):
                body = {"k": "welcome", "v": PROTOCOL, "client": client}
                self._send(body | self._service.welcome(client, control, self._send), [])
            case Request(client, number):
                ticket = Ticket(message, self._send, self._forget)
                with self._lock:
                    if (client, number) in self._open:
                        raise MessageError(f"Request {number} is already under way.", argument="id")
                    self._open[client, number] = ticket
                try:
                    self._service.request(ticket)
                except Exception as error:
                    ticket.fail(error)
                    if not isinstance(error, MessageError):
                        log.debug("request failed", exc_info=True)
            case Cancel(client, number):
                with self._lock:
                    found = self._open.get((client, number))
                if found is not None:
                    found.cancel()
            case Ack(client, seq):
                self._service.acknowledge(client, seq)
            case Watch(client, look, filters):
                self._service.watch(client, look, filters)
            case Bye(client):
                self.drop(client)
                self._service.goodbye(client)

    def drop(self, client: str | None = None) -> None:
        """Cancel what one page (or every page) still waits for."""
        with self._lock:
            waiting = [ticket for (owner, _), ticket in self._open.items() if client is None or owner == client]
        for ticket in waiting:
            ticket.cancel()

    def _forget(self, ticket: Ticket) -> None:
        with self._lock:
            self._open.pop((ticket.request.client, ticket.request.id), None)

    def _refuse(self, content: object, error: BaseException) -> None:
        source = content if isinstance(content, dict) else {}
        client, number = source.get("client"), source.get("id")
        head = {
            "k": "response",
            "client": client if isinstance(client, str) else "",
            "id": number if isinstance(number, int) and not isinstance(number, bool) and abs(number) <= 2**53 else -1,
        }
        self._send(head | {"ok": False, "error": error_json(error)}, [])
