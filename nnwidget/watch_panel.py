"""Composition: the panel of one watched training, and the loop that feeds it."""

from __future__ import annotations

import numpy as np

from nnwidget.session.play import Moment, Play
from nnwidget.training.engine import Engine
from nnwidget.training.history import History
from nnwidget.training_view import TrainingView
from nnwidget.types import Array
from nnwidget.widgets.curve_figure import CurveFigure

_POINTS = 2_000  # of a figure at most: bqplot draws them as SVG


class WatchPanel(TrainingView):
    """Shows a training of this kernel, also after its end.

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
        super().__init__(play, summary)

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
