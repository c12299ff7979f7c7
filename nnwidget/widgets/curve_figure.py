"""One number of a training as a bqplot figure, to be restyled, linked and put into boxes from Python."""

from __future__ import annotations

import time
from collections.abc import Callable

import bqplot
import numpy as np

from nnwidget.types import Array
from nnwidget.widgets.comms import keep_live

_GAP = 0.2  # seconds between two updates at least
_SHARE = 0.01  # of the loop's time, for updates


class CurveFigure:
    """A figure that follows a series.

    Parameters
    ----------
    name : str
        What the vertical axis is called.
    read : callable
        Returns steps and values, ``(n,)`` each.
    log : bool
        Give it a logarithmic axis; values of 0 or less are left out then.

    Examples
    --------
    >>> curve = CurveFigure("loss", lambda: (np.arange(3), np.array([0.9, 0.5, 0.4])))
    >>> curve.figure.marks[0].y
    array([0.9, 0.5, 0.4])
    """

    def __init__(self, name: str, read: Callable[[], tuple[Array, Array]], *, log: bool = False) -> None:
        self._read = read
        self._log = log
        self._next = 0.0
        self._still = False
        x, y = bqplot.LinearScale(), bqplot.LogScale() if log else bqplot.LinearScale()
        self._line = bqplot.Lines(scales={"x": x, "y": y}, labels=[name], stroke_width=1.5)
        self.figure = bqplot.Figure(
            marks=[self._line],
            axes=[
                bqplot.Axis(scale=x, label="step", tick_format=",d"),
                bqplot.Axis(scale=y, label=name, side="left"),
            ],
            title="",
            fig_margin={"top": 16, "bottom": 48, "left": 64, "right": 16},
        )
        self.update()
        # After an update from a running cell, other messages to these widgets would wait for its end.
        keep_live(self.figure)

    def update(self) -> None:
        """Show what there is now."""
        steps, values = self._read()
        if self._log:
            # NaN is a gap.
            values = np.where(values > 0, values, np.nan)
        with self._line.hold_sync():
            self._line.x, self._line.y = steps, values

    def follow(self, moment: str) -> None:
        """Update after a step, at most five times a second and within one per cent of the time; else when it is new."""
        started = time.monotonic()
        shown, self._still = self._still, moment == "waiting"
        if self.figure.comm is None or (moment == "step" and started < self._next) or (shown and self._still):
            return
        self.update()
        self._next = started + max(_GAP, (time.monotonic() - started) / _SHARE)
