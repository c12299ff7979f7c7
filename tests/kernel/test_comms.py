"""The remedy for re-routed comms, on the real comms of real kernels."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kernel.conftest import Kernel
from tools import kernels

FIGURE = """
import bqplot, ipywidgets
from bqplot.interacts import BrushIntervalSelector
from nnwidget.widgets.comms import keep_live, keep_on_subshell
scales = {"x": bqplot.LinearScale(), "y": bqplot.LinearScale()}
axis = bqplot.Axis(scale=scales["x"])
line = bqplot.Lines(x=[1, 2], y=[1, 2], scales=scales)
selector = BrushIntervalSelector(scale=scales["x"], marks=[line])
figure = bqplot.Figure(marks=[line], axes=[axis], interaction=selector)
box = ipywidgets.VBox([figure, ipywidgets.IntSlider()])
"""


def test_every_widget_inside_a_figure_is_reached(start_kernel: Callable[[str], Kernel]) -> None:
    kernel = start_kernel(kernels.CURRENT)
    kernel.run("import warnings; warnings.simplefilter('ignore')")
    kernel.run(FIGURE)
    rule = kernel.run("print(hasattr(figure.comm, '_reply_subshell_for'))") == "True\n"
    kernel.run("keep_live(box)")
    parts = "[box, figure, line, selector, axis, scales['x'], scales['y'], box.children[1], box.children[1].style]"
    treated = kernel.run(f"print([('_reply_subshell_for' in vars(part.comm)) for part in {parts}])")
    assert treated.count("True" if rule else "False") == 9


def test_the_page_decides_and_nothing_piles_up(start_kernel: Callable[[str], Kernel]) -> None:
    kernel = start_kernel(kernels.CURRENT)
    kernel.run(
        "import ipywidgets\nfrom nnwidget.widgets.comms import keep_on_subshell\nslider = ipywidgets.IntSlider()"
    )
    rule = kernel.run("print(hasattr(slider.comm, '_reply_subshell_for'))")
    assert kernel.run("print(keep_on_subshell(slider), keep_on_subshell(slider))") == f"{rule.strip()} {rule}"
    if rule == "True\n":
        kernel.run("for n in range(100): slider.send({'id': str(n)})")
        assert kernel.run("print(slider.comm._reply_subshell_for({'content': {'id': '3'}}, 'chosen'))") == "chosen\n"
        assert kernel.run("print(len(slider.comm._reply_subshell_ids))") == "0\n"


@pytest.mark.parametrize("name", ["ipykernel-7.3", "ipykernel-6.31"])
def test_kernels_without_the_rule_are_left_alone(start_kernel: Callable[[str], Kernel], name: str) -> None:
    kernel = start_kernel(name)
    kernel.run(
        "import ipywidgets\nfrom nnwidget.widgets.comms import keep_on_subshell\nslider = ipywidgets.IntSlider()"
    )
    assert kernel.run("print(keep_on_subshell(slider), '_reply_subshell_for' in vars(slider.comm))") == "False False\n"
    kernel.run("slider.close()")
    assert kernel.run("print(keep_on_subshell(slider))") == "False\n"
