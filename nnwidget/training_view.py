"""Composition: what shows a training to pages, live or recorded: the service, its panel, its way through the kernel."""

from __future__ import annotations

from typing import Any

from nnwidget.session.shown import Shown
from nnwidget.session.training_service import TrainingService
from nnwidget.widgets.cells import CellEvents, replace_earlier
from nnwidget.widgets.panel import Panel, TrainingPanel, deliver
from nnwidget.widgets.panel_set import PanelSet
from nnwidget.widgets.regime import Regime


class TrainingView:
    """Shows one training for as long as the kernel runs; the next run of the cell that made it closes it.

    Parameters
    ----------
    shown : Shown
        The training.
    summary : str
        What is shown where widgets cannot be.
    """

    def __init__(self, shown: Shown, summary: str) -> None:
        self._regime = Regime(deliver)
        self._service = TrainingService(shown, self._regime.heard)
        self._panels = PanelSet(self._service, summary, _nothing, TrainingPanel)
        self._cells: CellEvents | None = CellEvents(self._cell_began, self._cell_ended)
        # Shown by a cell, and told when that cell is over.
        self._service.in_cell = True
        replace_earlier(self)

    @property
    def closed(self) -> bool:
        """True after :meth:`close`."""
        return self._cells is None

    @property
    def widget(self) -> Panel:
        """The panel as an ipywidgets widget."""
        return self._panels.frame

    def close(self) -> None:
        """Let go of the pages; calling it again changes nothing."""
        cells, self._cells = self._cells, None
        if cells is None:
            return
        self._service.tell(closed=True)
        cells.close()
        self._panels.close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._panels.frame._repr_mimebundle_(**kwargs)

    def _cell_began(self) -> None:
        self._service.in_cell = True
        self._service.tell()

    def _cell_ended(self) -> None:
        self._service.in_cell = False
        self._service.tell()


def _nothing() -> None:
    """Take the news that a panel was displayed: nothing has to be armed for it."""
