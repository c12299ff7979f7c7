"""What a person sees and does in a real JupyterLab, with mouse and keyboard, on a network trained on real digits."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.e2e.lab import Lab, NotebookPage
from tests.e2e.microscope import EXPLORE, SETUP, Microscope


def opened(lab: Lab, *more: str, **options) -> tuple[NotebookPage, Microscope]:
    notebook = lab.open([SETUP, EXPLORE, *more], **options)
    notebook.run(0)
    notebook.run(1)
    return notebook, Microscope(notebook).wait()


def array(notebook: NotebookPage, code: str) -> np.ndarray:
    """Return an array that Python computes."""
    return np.array(json.loads(notebook.ask(f"import json; print(json.dumps(({code}).tolist()))")))


def colours_of(pixels: dict, rows: int, columns: int) -> np.ndarray:
    """Return the colour in the middle of each pixel of a tile, ``(rows, columns, 3)``."""
    picture = np.array(pixels["data"]).reshape(pixels["height"], pixels["width"], 4)
    ys = ((np.arange(rows) + 0.5) * pixels["height"] / rows).astype(int)
    xs = ((np.arange(columns) + 0.5) * pixels["width"] / columns).astype(int)
    return picture[np.ix_(ys, xs)][..., :3].astype(float)


def test_the_tiles_pixels_are_torchs_values(lab: Lab) -> None:
    notebook, scope = opened(lab)
    scope.choose("features.2")
    scope.shows("features.2")
    scope.root.locator("select[title=colours]").select_option("viridis")
    truth = array(notebook, "ex.activation('features.2')")
    bar = scope.root.locator(".nnw-colourbar").first
    lo, hi = float(bar.get_attribute("data-lo")), float(bar.get_attribute("data-hi"))
    assert (lo, hi) == pytest.approx((truth.min(), truth.max()), abs=1e-5)
    seen, expected = [], []
    for channel in (0, 5, 11):
        cell = scope.tile(channel).locator(".nnw-tile-picture")
        cell.scroll_into_view_if_needed()
        notebook.page.wait_for_timeout(200)
        seen.append(colours_of(scope.pixels(cell), 8, 8).reshape(-1, 3))
        expected.append(truth[channel].reshape(-1))
    colours, values = np.concatenate(seen), np.concatenate(expected)
    # Each colour's place on the page's own colour bar gives the value back.
    scale = scope.root.locator(".nnw-colourbar-scale").first
    stops = scale.evaluate(
        """el => { const c = document.createElement('canvas'); c.width = 253; c.height = 1;
            const g = c.getContext('2d'); const stops = getComputedStyle(el).backgroundImage.match(/rgb\\([^)]*\\)/g);
            const fill = g.createLinearGradient(0, 0, 253, 0);
            stops.forEach((stop, i) => fill.addColorStop(i / (stops.length - 1), stop));
            g.fillStyle = fill; g.fillRect(0, 0, 253, 1);
            return Array.from(g.getImageData(0, 0, 253, 1).data); }"""
    )
    table = np.array(stops).reshape(253, 4)[:, :3].astype(float)
    place = ((colours[:, None] - table[None]) ** 2).sum(-1).argmin(1) / 252
    assert np.abs(lo + place * (hi - lo) - values).max() <= 0.03 * (hi - lo)


def test_the_slider_moves_mark_bars_and_numbers(lab: Lab) -> None:
    notebook, scope = opened(lab)
    scope.choose("features.0")
    scope.shows("features.0")
    scope.tile(2).click()
    scope.slider().scroll_into_view_if_needed()
    box = scope.slider().bounding_box()
    page = notebook.page
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 6, box["y"] + box["height"] / 2, steps=8)
    page.mouse.up()
    expect(scope.slider()).to_have_attribute("aria-valuetext", "0.00×")
    expect(scope.root.locator(".nnw-prediction")).to_contain_text("1 edit")
    expect(scope.root.locator(".nnw-prediction .nnw-stale")).to_have_count(0)
    notebook.page.wait_for_timeout(1000)
    truth = json.loads(
        notebook.ask(
            "import json; p = ex.predictions()\n"
            "print(json.dumps([p.before[0].tolist(), p.after[0].tolist(), ex.widget.edits]))"
        )
    )
    assert truth[2] == [{"layer": "features.0", "op": "scale", "channel": 2, "factor": 0.0}]
    said = scope.predictions()
    assert len(said) >= 5
    for name, (before, after) in said.items():
        assert before == pytest.approx(truth[0][int(name)], abs=6e-4)
        assert after == pytest.approx(truth[1][int(name)], abs=6e-4)
    assert any(before != after for before, after in said.values())
    # The same as code, run by the user.
    code = notebook.ask("print(ex.code())")
    notebook.ask("model.eval(); inputs = images[1500:1501]\nexec(ex.code())")
    edited = array(notebook, "output.softmax(1).detach()[0]")
    assert "nnwidget.Scale(0.0, channel=2)" in code
    assert edited == pytest.approx(np.array(truth[1]), abs=1e-5)
    scope.slider().press("Backspace")
    expect(scope.slider()).to_have_attribute("aria-valuetext", "1.00×")
    expect(scope.root.locator(".nnw-prediction")).not_to_contain_text("1 edit")


def test_zero_before_a_normalisation_says_what_it_becomes(lab: Lab) -> None:
    _, scope = opened(lab)
    scope.choose("features.0")
    scope.shows("features.0")
    scope.tile(2).click()
    scope.button("Zero").click()
    expect(scope.root.locator(".nnw-zero-note")).to_contain_text("0 here becomes")
    expect(scope.root.locator(".nnw-zero-note")).to_contain_text("BatchNorm2d")


def test_the_keyboard_alone_is_enough_and_never_reaches_the_notebook(lab: Lab) -> None:
    notebook, scope = opened(lab)
    cells = notebook.cell_count()
    scope.layer("features.0").click()
    scope.shows("features.0")
    notebook.page.keyboard.press("ArrowDown")
    notebook.page.keyboard.press("ArrowDown")
    notebook.page.keyboard.press("Enter")
    scope.shows("features.2")
    scope.tiles().first.focus()
    notebook.page.keyboard.press("ArrowRight")
    notebook.page.keyboard.press("Enter")
    expect(scope.root.locator("[role=gridcell][aria-selected=true]")).to_have_count(1)
    chosen = int(scope.root.locator("[role=gridcell][aria-selected=true]").get_attribute("data-channel"))
    notebook.page.keyboard.press("a")
    expect(scope.tile(chosen)).to_contain_text("mean")
    notebook.page.keyboard.press("r")
    expect(scope.tile(chosen)).not_to_contain_text("mean")
    notebook.page.keyboard.press("]")
    expect(scope.tile(chosen + 1 if chosen < 15 else 0)).to_have_attribute("aria-selected", "true")
    notebook.page.keyboard.press("/")
    notebook.page.keyboard.type("pool")
    expect(scope.layer("features.6")).to_be_visible()
    expect(scope.layer("features.0")).to_have_count(0)
    notebook.page.keyboard.press("Escape")
    expect(scope.layer("features.0")).to_be_visible()
    for key in ("b", "d", "d", "x", "m", "y", "j", "k", "?"):
        notebook.page.keyboard.press(key)
    assert notebook.cell_count() == cells
    assert notebook.output_text(0) == ""


@pytest.mark.parametrize("windowing", ["default", "full"])
def test_it_works_in_the_notebooks_own_windowing_modes(lab: Lab, windowing: str) -> None:
    notebook, scope = opened(lab, windowing=windowing)
    scope.choose("features.3")
    scope.shows("features.3")
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.scrollToItem?.(0)")
    notebook.page.wait_for_timeout(300)
    scope.root.scroll_into_view_if_needed()
    scope.choose("features.0")
    scope.shows("features.0")


def test_running_the_cell_again_closes_what_it_made(lab: Lab) -> None:
    notebook, _scope = opened(lab)
    count = (
        "import torch.optim.optimizer as o\n"
        "hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())\n"
        "print(len(o._global_optimizer_post_hooks), hooks, len(nnwidget.running()))"
    )
    first = notebook.ask(count)
    for _ in range(3):
        notebook.run(1)
    Microscope(notebook).wait()
    assert notebook.ask(count) == first
    assert first.split()[2] == "1"


def test_two_displays_stay_in_step(lab: Lab) -> None:
    notebook, scope = opened(lab, "ex", "ex.layers")
    notebook.run(2)
    notebook.run(3)
    second = Microscope(notebook, 1).wait()
    scope.choose("features.3")
    scope.shows("features.3")
    second.shows("features.3")
    channel = int(second.tiles().first.get_attribute("data-channel"))
    second.tile(channel).click()
    second.button("Use mean").click()
    expect(scope.tile(channel)).to_contain_text("mean")
    alone = Microscope(notebook, 2)
    expect(alone.layer("features.3")).to_have_attribute("aria-selected", "true")
    alone.choose("features.0")
    scope.shows("features.0")
    notebook.ask("ex.layers.selected = ['features.5']")
    scope.shows("features.5")
    second.shows("features.5")


def test_a_reload_of_an_idle_page_restores_within_three_seconds(lab: Lab) -> None:
    notebook, scope = opened(lab)
    scope.choose("features.3")
    scope.shows("features.3")
    scope.tile(7).click()
    scope.button("Use mean").click()
    expect(scope.tile(7)).to_contain_text("mean")
    notebook.page.wait_for_timeout(1000)
    notebook.save()
    begun = time.monotonic()
    notebook.reload()
    started = time.monotonic()
    # On a machine that needs longer to open JupyterLab itself, as long as that.
    limit = max(3.0, started - begun)
    scope.shows("features.3", timeout=limit)
    expect(scope.tile(7)).to_contain_text("mean", timeout=limit * 1000)
    assert time.monotonic() - started < limit


def test_closing_says_so_and_leaves_nothing(lab: Lab) -> None:
    notebook, _scope = opened(lab, "ex.close()")
    notebook.run(2)
    left = notebook.ask(
        "import gc, weakref; r = weakref.ref(model); from nnwidget.model.taps import active\n"
        "print(active(), nnwidget.running(), sum(len(m._forward_hooks) for m in model.modules()))"
    )
    assert left.split() == ["[]", "[]", "0"]


def test_a_model_that_fails_shows_what_was_captured_and_the_error(lab: Lab) -> None:
    notebook = lab.open(
        [
            "import torch, nnwidget\nfrom torch import nn\n"
            "model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(7, 2))\n"
            "ex = nnwidget.explore(model, torch.rand(2, 1, 8, 8))\nex"
        ]
    )
    notebook.run(0)
    scope = Microscope(notebook).wait()
    scope.choose("1")
    scope.shows("1")
    expect(scope.root).to_contain_text("Linear")
    expect(scope.root).to_contain_text("mat1 and mat2 shapes cannot be multiplied")
    scope.choose("0")
    scope.shows("0")


def test_names_with_html_are_text(lab: Lab) -> None:
    notebook = lab.open(
        [
            "import torch, nnwidget\nfrom torch import nn\n"
            "model = nn.Sequential()\n"
            "model.add_module('<img src=x onerror=hacked=1>', nn.Linear(4, 3))\n"
            "nnwidget.explore(model, torch.rand(2, 4), class_names=['<b>a</b>', 'b', 'c'], captions=['<i>', '&amp;'])"
        ]
    )
    notebook.run(0)
    root = notebook.page.locator(".nnw").first
    expect(root).to_contain_text("<img src=x onerror=hacked=1>", timeout=20000)
    expect(root).to_contain_text("<b>a</b>")
    assert notebook.page.evaluate("() => window.hacked === undefined")
