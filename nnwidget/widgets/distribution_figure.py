"""Histograms of up to four layers as one bqplot figure, to be restyled, linked and put into boxes from Python."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import bqplot
import ipywidgets
import numpy as np

from nnwidget.types import Array
from nnwidget.widgets.comms import keep_live

# Told apart by their stroke first; the colours have a contrast of 3:1 on white and on near-black.
_STROKES = ("solid", "dashed", "dotted", "dash_dotted")
_COLOURS = ("#2a78d6", "#c96a0a", "#0f8a6a", "#9a55d8")
_MARGIN = {"top": 8, "bottom": 40, "left": 64, "right": 16}


class DistributionFigure:
    """A figure whose curves are replaced as the person chooses; may be told from any thread.

    Parameters
    ----------
    log : bool
        Whether the counts are on a logarithmic axis.

    Attributes
    ----------
    figure : bqplot.Figure
        Its four marks are ``Lines``; those that are not needed are invisible. What is restyled from Python stays.

    Examples
    --------
    >>> shown = DistributionFigure(log=False)
    >>> result = {"lo": 0.0, "hi": 2.0, "bins": 2, "quantity": "weights", "parameter": "bias"}
    >>> facts = shown.show(result | {"series": [{"layer": "conv", "counts": np.array([3, 1])}]})
    >>> shown.figure.marks[0].y
    array([0., 3., 3., 1., 1., 0.])
    >>> shown.close()
    """

    def __init__(self, *, log: bool = True) -> None:
        self._lock = threading.Lock()
        self._log = log
        self._result: Mapping[str, Any] | None = None
        self._x = bqplot.LinearScale(allow_padding=False)
        self._counts = {False: bqplot.LinearScale(min=0.0), True: bqplot.LogScale()}
        self._lines = [
            bqplot.Lines(
                scales={"x": self._x, "y": self._counts[log]},
                x=[],
                y=[],
                colors=[colour],
                line_style=stroke,
                stroke_width=2,
                fill="inside" if stroke == "solid" else "none",
                fill_opacities=[0.16],
                visible=False,
            )
            for colour, stroke in zip(_COLOURS, _STROKES, strict=True)
        ]
        self._across = bqplot.Axis(scale=self._x, grid_lines="none", tick_format=".3~g", label_offset="28px")
        # An axis does not follow when its scale is replaced: each scale has its own.
        self._up = {
            kind: bqplot.Axis(scale=scale, side="left", tick_format=".3~g", label_offset="44px")
            for kind, scale in self._counts.items()
        }
        self.figure = bqplot.Figure(
            marks=list(self._lines),
            axes=[self._across, self._up[log]],
            title="",
            fig_margin=dict(_MARGIN),
            padding_x=0.0,
            padding_y=0.0,
            display_toolbar=False,
            # The ground is the page's own, light or dark.
            background_style={"fill-opacity": "0"},
            layout=ipywidgets.Layout(width="100%", height="100%", min_width="0", min_height="170px"),
        )
        # After an update from a running cell, other messages to these widgets would wait for its end.
        keep_live(self.figure)

    @property
    def log(self) -> bool:
        """Whether the counts are on a logarithmic axis; the figure follows at once."""
        return self._log

    @log.setter
    def log(self, value: bool) -> None:
        with self._lock:
            if value == self._log or self.figure.comm is None:
                return
            self._log = value
            # A logarithmic scale must never meet a zero: the curves leave it before, and reach it after they change.
            if not value:
                self._put(value)
            if self._result is not None:
                self._draw(self._result)
            if value:
                self._put(value)

    def show(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Draw the curves of a ``DistributionResult``.

        Returns
        -------
        dict
            ``id`` of the figure, its ``margin`` in pixels, and ``strokes`` and ``colours`` of the curves as they are.
        """
        with self._lock:
            if self.figure.comm is not None:
                self._result = result
                self._draw(result)
            return {
                "id": self.figure.model_id or "",
                "margin": dict(self.figure.fig_margin),
                "strokes": [line.line_style for line in self._lines],
                "colours": [str(line.colors[0]) for line in self._lines],
            }

    def close(self) -> None:
        """Close the figure and all it is made of."""
        with self._lock:
            parts: list[ipywidgets.Widget] = [*self._lines, self._across, *self._up.values(), self._x]
            parts += self._counts.values()
            for widget in [*parts, self.figure.scale_x, self.figure.scale_y, self.figure.layout, self.figure]:
                widget.close()
            self._result = None

    def _put(self, log: bool) -> None:
        for line in self._lines:
            line.scales = {"x": self._x, "y": self._counts[log]}
        self.figure.axes = [self._across, self._up[log]]

    def _draw(self, result: Mapping[str, Any]) -> None:
        series = [item for item in result["series"] if item["counts"] is not None][: len(self._lines)]
        shared = len(series) > 1
        heights = [_heights(item["counts"], shared) for item in series]
        floor, top = _span(heights, log=self._log, shared=shared)
        self._x.min, self._x.max = float(result["lo"]), float(result["hi"])
        scale = self._counts[self._log]
        with scale.hold_sync():
            scale.min, scale.max = floor, top
        edges = np.linspace(result["lo"], result["hi"], result["bins"] + 1)
        for at, line in enumerate(self._lines):
            with line.hold_sync():
                line.visible = at < len(series)
                if at < len(series):
                    line.x, line.y = _steps(edges, np.maximum(heights[at], floor), floor)
                    line.labels = [series[at]["layer"]]
        what = {"activations": "activation", "weights": "value", "gradients": "gradient"}[result["quantity"]]
        what = {"activations": "activation", "weights": "value", "gradients": "gradient"}[result["quantity"]]
        self._across.label = f"{what} of {result['parameter']}" if result["parameter"] else what
        self._across.tick_values = _round_numbers(result["lo"], result["hi"], 6)
        sampled = any(item.get("stride", 1) > 1 for item in series)
        up = self._up[self._log]
        # The format first: numbers that are written already are not written again.
        up.tick_format = ".3~g" if shared else ".3~s"
        numbers = _decades(floor, top) if self._log else _round_numbers(0.0, top, 5)
        # A fraction of a count is none.
        up.tick_values = numbers if shared else numbers[numbers == np.round(numbers)]
        up.label = "% per bin" if shared else f"{'sampled ' if sampled else ''}values per bin"


def _heights(counts: Array, shared: bool) -> Array:
    """Return counts as they are, or, where layers of several sizes are compared, per cent of their sum."""
    total = int(counts.sum())
    return counts * (100.0 / total) if shared and total else counts.astype(np.float64)


def _span(heights: Sequence[Array], *, log: bool, shared: bool) -> tuple[float, float]:
    """Return where the axis begins and ends; on the floor of a logarithmic one, half of the least, lies nothing."""
    top = max((float(item.max(initial=0.0)) for item in heights), default=0.0) or 1.0
    if not log:
        return 0.0, top * 1.04
    least = min((float(item[item > 0].min(initial=top)) for item in heights), default=top) if shared else 1.0
    return min(least, top) / 2, top * 1.2


def _steps(edges: Array, heights: Array, floor: float) -> tuple[Array, Array]:
    """Return the outline of the bars, from the floor and back to it."""
    return np.repeat(edges, 2), np.concatenate(([floor], np.repeat(heights, 2), [floor]))


def _round_numbers(low: float, high: float, most: int) -> Array:
    """Return at most so many round numbers from low to high, and about half as many at least."""
    # Divided first: the difference of the largest doubles overflows.
    rough = high / most - low / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(part * power for part in (1, 2, 5, 10) if part * power >= rough * 0.999)
    found: Array = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1) * step
    return found


def _decades(low: float, high: float) -> Array:
    """Return the powers of ten from low to high, at most five of them; with only one, also twice and five times it."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last <= first:
        found = np.array([part * 10.0**power for power in (first - 1, first) for part in (1, 2, 5)])
        return found[(found >= low) & (found <= high)]
    powers = np.arange(first, last + 1, math.ceil((last - first + 1) / 5))
    decades: Array = 10.0**powers
    return decades
