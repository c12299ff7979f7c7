"""The harness itself: a trivial widget renders, cells run, text comes back."""

from __future__ import annotations

import pytest

from tests.e2e.lab import Lab

WIDGET = """
import anywidget, traitlets
class Hello(anywidget.AnyWidget):
    _esm = "export default { render({ model, el }) { el.className = 'hello'; el.textContent = model.get('text'); } }"
    text = traitlets.Unicode("hello").tag(sync=True)
Hello(text="from Python")
"""


def test_a_widget_renders_and_cells_run(lab: Lab) -> None:
    notebook = lab.open(["1 + 1", WIDGET, "print('x' * 3)"])
    notebook.run_all()
    notebook.page.wait_for_selector(".hello")
    assert notebook.page.inner_text(".hello") == "from Python"
    assert notebook.cell(1).locator(".hello").count() == 1
    assert notebook.output_text(0) == "2"
    assert notebook.output_text(2) == "xxx\n"
    assert notebook.cell_count() == 3
    assert not notebook.busy()
    assert notebook.ask("print(6 * 7)") == "42\n"


@pytest.mark.parametrize(("windowing", "theme"), [("default", "light"), ("full", "dark")])
def test_settings_reach_the_page(lab: Lab, windowing: str, theme: str) -> None:
    notebook = lab.open(["1"], windowing=windowing, theme=theme, width=900)  # type: ignore[arg-type]
    light = notebook.page.evaluate("() => document.body.dataset.jpThemeLight")
    assert light == ("true" if theme == "light" else "false")
    mode = notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.notebookConfig.windowingMode")
    assert mode == ("full" if windowing == "full" else "contentVisibility")
    assert notebook.page.evaluate("() => innerWidth") == 900


def test_an_exception_in_a_cell_fails(lab: Lab) -> None:
    notebook = lab.open(["1 / 0"])
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        notebook.run(0)
    assert "ZeroDivisionError" in notebook.run(0, errors=True)
