"""Composition: the panel of a history, which follows it while it grows and a page shows it."""

from __future__ import annotations

from typing import Any

from nnwidget.session.recorded import Recorded
from nnwidget.session.ticker import Ticker
from nnwidget.training.history import History
from nnwidget.training_view import TrainingView

_EVERY = 1.0  # seconds between two looks


class HistoryPanel(TrainingView):
    """Shows one history; reads it about once a second while the kernel is idle and a page shows it.

    While a cell runs, pages ask by themselves.

    Parameters
    ----------
    history : History
        Loaded, or of a watch of this kernel.
    """

    def __init__(self, history: History) -> None:
        self._recorded = Recorded(history)
        super().__init__(self._recorded, repr(history))
        self._ticker = Ticker(self._look, _EVERY)
        self._service.on_asked = self._ticker.start

    def close(self) -> None:
        """Let go of the pages and stop following; calling it again changes nothing."""
        self._ticker.close()
        super().close()

    def _look(self) -> bool:
        if self.closed or not self._service.watched():
            return False
        self._recorded.catch_up()
        self._service.while_waiting()
        return True

    def _cell_began(self) -> None:
        self._recorded.catch_up()
        super()._cell_began()

    def _cell_ended(self) -> None:
        self._recorded.catch_up()
        super()._cell_ended()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        # A display without a page (nbconvert, a script) shows how it stands by now.
        self._panels.frame.summary = repr(self._recorded.history)
        return super()._repr_mimebundle_(**kwargs)
