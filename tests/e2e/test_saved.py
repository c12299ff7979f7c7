"""A notebook that is saved and opened again without its kernel: the picture is there, and only then is it seen."""

from __future__ import annotations

import json
import re
from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.e2e.lab import RESULTS, Lab, NotebookPage
from tests.e2e.microscope import EXPLORE, SETUP, Microscope

PIXELS = EXPLORE.replace("class_names", "save_pixels=True, class_names")


def saved_page(notebook: NotebookPage) -> str:
    """Return the picture as it is in the notebook now."""
    return "".join(notebook.outputs(1)[-1]["data"]["text/html"])


def heights(notebook: NotebookPage) -> list[float]:
    """Return the heights of the outputs of the explorer's cell."""
    script = "cell => [...cell.querySelectorAll('.jp-OutputArea-child')].map(e => e.getBoundingClientRect().height)"
    result: list[float] = notebook.cell(1).evaluate(script)
    return result


def until_it_shows(notebook: NotebookPage, text: str) -> None:
    """Wait until the picture in the notebook holds these words."""
    notebook.page.wait_for_function(
        """text => {
            const outputs = window.jupyterapp.shell.currentWidget.content.widgets[1].model.outputs.toJSON();
            return [].concat(outputs.at(-1).data["text/html"]).join("").includes(text);
        }""",
        arg=text,
        timeout=30_000,
        polling=50,
    )


def contrast(notebook: NotebookPage) -> float:
    """Return the contrast of the picture's text against the ground it lies on."""
    ratio: float = notebook.page.locator(".nnw-saved td").first.evaluate(
        """cell => {
            const light = colour => {
                const parts = colour.match(/[\\d.]+/g).slice(0, 3)
                    .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
            };
            let ground = cell;
            const clear = /^rgba\\(.*, 0\\)$/;
            while (clear.test(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
            const both = [light(getComputedStyle(cell).color), light(getComputedStyle(ground).backgroundColor)];
            return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
        }"""
    )
    return ratio


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_notebook_opened_without_its_kernel_shows_the_picture(lab: Lab, theme: Literal["light", "dark"]) -> None:
    notebook = lab.open([SETUP, PIXELS], theme=theme, width=1200)
    notebook.run(0)
    notebook.run(1)
    scope = Microscope(notebook).wait()
    before = heights(notebook)
    scope.choose("features.2")
    scope.shows("features.2")
    until_it_shows(notebook, "Output of features.2")
    # Nothing of the picture is seen beside the widget, the widget is still the same one, and nothing moved.
    assert heights(notebook) == before and before[1] == 0 and before[0] > 500
    scope.shows("features.2")
    notebook.save()
    lab.server.close_sessions(notebook.path)
    notebook.reload()
    picture = notebook.page.locator(".nnw-saved")
    expect(picture).to_be_visible(timeout=60_000)
    expect(notebook.cell(1).get_by_text("Error displaying widget")).to_be_hidden()
    # JupyterLab says on the console too that the widget is gone.
    assert all("widget model not found" in error for error in notebook.console_errors)
    notebook.console_errors.clear()
    expect(picture.locator("tr", has_text="ReLU").first).to_contain_text("2 ◂")
    expect(picture).to_contain_text("Output of features.2")
    loaded = picture.locator("img").evaluate_all("images => images.map(i => i.complete && i.naturalWidth > 0)")
    assert len(loaded) == 10 and all(loaded)
    assert contrast(notebook) >= 4.5
    picture.scroll_into_view_if_needed()
    picture.screenshot(path=str(RESULTS / f"saved-{theme}.png"))


def test_pixels_of_inputs_and_maps_are_not_in_the_file_unless_wanted(lab: Lab) -> None:
    notebook = lab.open([SETUP, EXPLORE], width=1200)
    notebook.run(0)
    notebook.run(1)
    scope = Microscope(notebook).wait()
    scope.choose("features.0")
    scope.shows("features.0")
    until_it_shows(notebook, "<b>\N{EM SPACE}0 ◂")
    notebook.save()
    # What is no weight may not be there: the same explorer with other inputs has the same picture.
    page = saved_page(notebook)
    assert len(re.findall("data:image", page)) == 1 and "Inputs" not in page
    other = notebook.ask(
        "with nnwidget.explore(model, images[:8] * 0) as other:\n"
        "    other.layers.selected = ['features.0']\n"
        "    print(other._still_picture() == ex._still.picture)"
    )
    assert other.strip() == "True"
    file = (lab.server.root / notebook.path).read_text()
    assert file.count("data:image/png") == 1 and 'image/png"' not in file


def test_a_trusted_notebook_without_any_kernel_shows_the_picture(lab: Lab) -> None:
    notebook = lab.open([SETUP, EXPLORE], width=1200)
    notebook.run(0)
    notebook.run(1)
    Microscope(notebook).wait()
    until_it_shows(notebook, "<table")
    notebook.save()
    book = json.loads((lab.server.root / notebook.path).read_text())
    # Without this JupyterLab asks for a kernel and starts none.
    book["metadata"] = {}
    path = f"kernelless-{notebook.path}"
    (lab.server.root / path).write_text(json.dumps(book))
    other = NotebookPage(lab.server, lab.chromium.new_page(), path)
    lab.opened.append(other)
    other.goto()
    other.page.locator(".jp-Dialog").get_by_role("button", name="No Kernel").click(timeout=60_000)
    picture = other.page.locator(".nnw-saved")
    # Not trusted yet: neither widget nor style, but all of the words and pictures.
    expect(picture).to_be_visible(timeout=60_000)
    expect(picture.locator("style")).to_have_count(0)
    expect(picture.locator("img")).to_have_count(1)
    other.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:trust'); }")
    other.page.locator(".jp-Dialog").get_by_role("button", name="Trust").click()
    expect(picture.locator("style")).to_have_count(1)
    expect(picture).to_be_visible(timeout=30_000)
    expect(other.cell(1).get_by_text("Loading widget")).to_be_hidden()


def test_a_closed_explorer_leaves_its_last_picture(lab: Lab) -> None:
    notebook = lab.open([SETUP, EXPLORE, "ex.close()"], width=1200)
    notebook.run(0)
    notebook.run(1)
    Microscope(notebook).wait()
    expect(notebook.page.locator(".nnw-saved")).to_be_hidden()
    notebook.run(2)
    expect(notebook.page.locator(".nnw-saved")).to_be_visible()
    expect(notebook.page.locator(".nnw")).to_have_count(0)
