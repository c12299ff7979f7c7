"""Composition: the panel of one watched training, its way to the pages, and the loop that feeds it."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnwidget.session.play import Moment, Play
from nnwidget.session.training_service import TrainingService
from nnwidget.training.engine import Engine
from nnwidget.training.history import History
from nnwidget.types import Array
from nnwidget.widgets.cells import CellEvents, replace_earlier
from nnwidget.widgets.curve_figure import CurveFigure
from nnwidget.widgets.panel import Panel, TrainingPanel, deliver
from nnwidget.widgets.panel_set import PanelSet
from nnwidget.widgets.regime import Regime

_POINTS = 2_000  # of a figure at most: bqplot draws them as SVG


class WatchPanel:
    """Shows one training for as long as the kernel runs, also after its end; the next run of its cell closes it.

    Parameters
    ----------
    engine : Engine
        Joins the loop.
    play : Play
        Its state of play.
    summary : str
        What is shown where widgets cannot be.
    """

    def __init__(self, engine: Engine, play: Play, summary: str) -> None:
        self._engine = engine
        self._play = play
        self._regime = Regime(deliver)
        self._service = TrainingService(play, self._regime.heard)
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

    def follow(self, moment: Moment) -> None:
        """Hear and show what there is; on the loop's thread."""
        if self.closed:
            return
        if moment == "end":
            self._service.tell()
            self._service.push(always=True)
            return
        self._regime.poll()
        if moment == "step":
            self._service.at_boundary()
        else:
            self._service.while_waiting()

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
        if not self._engine.closed and not self._play.live:
            # Rows are handed over a batch at a time, and no further step will do it.
            self._engine.flush(wait=True)
            self._play.measure()
            self._service.push(always=True)
        self._service.tell()


def curve_figure(history: History, scalar: str, *, log: bool) -> CurveFigure:
    """Return a figure of one number of each step."""

    def read() -> tuple[Array, Array]:
        return history.series(scalar).thinned(_POINTS) if scalar in history.scalars else (np.zeros(0), np.zeros(0))

    return CurveFigure(scalar, read, log=log)


def _nothing() -> None:
    """Take the news that a panel was displayed: nothing has to be armed for it."""
