"""The panels of one explorer or training: made when asked for, following one selection, closed together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from nnwidget.widgets.panel import FramePanel, Panel
from nnwidget.wire.dispatch import Dispatcher, Service


class PanelSet:
    """Makes panels and keeps what they have in common.

    Parameters
    ----------
    service : Service
        Answers their pages.
    summary : str
        What is shown where widgets cannot be.
    shown : callable
        Called on the thread that displays a panel, each time one is displayed.
    first : type of Panel
        The panel that is made at once.
    **state
        What the first panel starts with, e.g. ``selected=["conv1"]``.
    """

    def __init__(
        self, service: Service, summary: str, shown: Callable[[], None], first: type[Panel] = FramePanel, **state: Any
    ) -> None:
        self._service = service
        self._summary = summary
        self._shown = shown
        self._writing = threading.RLock()
        self._panels: dict[type[Panel], Panel] = {}
        self._dispatchers: dict[Panel, Dispatcher] = {}
        self.frame = self._make(first, state)

    def get(self, kind: type[Panel]) -> Panel:
        """Return the panel of this kind."""
        return self._panels.get(kind) or self._make(kind, self.durable())

    def durable(self) -> dict[str, Any]:
        """Return the state that outlives a page."""
        return self.frame.durable()

    def write(self, state: Mapping[str, Any]) -> None:
        """Set traits of all panels."""
        for panel in list(self._panels.values()):
            panel.write(state)

    def dispatcher(self, panel: Panel) -> Dispatcher:
        """Return what routes the messages of a panel's pages."""
        return self._dispatchers[panel]

    def close(self) -> None:
        """Cancel what pages wait for and close all panels."""
        for dispatcher in self._dispatchers.values():
            dispatcher.drop()
        for panel in self._panels.values():
            panel.unobserve_all()
            panel.close()
        self._panels.clear()
        self._dispatchers.clear()

    def _make(self, kind: type[Panel], state: Mapping[str, Any]) -> Panel:
        panel = kind(self._heard, self._summary, self._writing, **state)
        panel.on_shown = lambda _: self._shown()
        self._panels[kind] = panel
        self._dispatchers[panel] = Dispatcher(self._service, panel.say)
        panel.observe(self._follow, names=list(panel.durable()))
        return panel

    def _heard(self, panel: Panel, content: object) -> None:
        dispatcher = self._dispatchers.get(panel)
        if dispatcher is not None:
            dispatcher.handle(content)

    def _follow(self, change: Any) -> None:
        for panel in list(self._panels.values()):
            if panel is not change["owner"]:
                panel.write({change["name"]: change["new"]})
