"""The distribution of a layer in a real JupyterLab: its numbers, its brush and its curves, by mouse and by key."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.lab import Lab, NotebookPage
from tests.e2e.microscope import EXPLORE, SETUP, Microscope
from tools import kernels


def opened(lab: Lab, *more: str, **options) -> tuple[NotebookPage, Microscope]:
    notebook = lab.open([SETUP, EXPLORE, *more], **options)
    notebook.run(0)
    notebook.run(1)
    notebook.ask("ex.layers.selected = ['features.2']")
    scope = Microscope(notebook).wait()
    scope.root.get_by_role("tab", name="Distribution").click()
    shown(scope)
    return notebook, scope


def shown(scope: Microscope) -> None:
    expect(scope.root.locator(".nnw-chart[data-state=shown] .bqplot .curve").first).to_be_visible(timeout=30_000)


def numbers(notebook: NotebookPage, code: str):
    return json.loads(notebook.ask(f"import json; print(json.dumps({code}))"))


def until(notebook: NotebookPage, code: str, tries: int = 100) -> None:
    """Wait until Python finds an expression true: what is chosen is kept a moment later."""
    for _ in range(tries):
        if numbers(notebook, code):
            return
        notebook.page.wait_for_timeout(100)
    raise AssertionError(f"{code} did not become true")


def histc(notebook: NotebookPage, values: str, low: str, high: str) -> list[float]:
    """Return torch's own histogram of an expression."""
    return numbers(notebook, f"torch.histc(({values}).double().flatten(), 64, float({low}), float({high})).tolist()")


def table(scope: Microscope, column: int = 0) -> list[int]:
    """Read one column of the table, and go back to the chart."""
    scope.button("as table").click()
    expect(scope.root.locator(".nnw-counts tbody tr")).to_have_count(64)
    cells = scope.root.locator(f".nnw-counts td:nth-of-type({column + 1})").all_inner_texts()
    scope.button("as chart").click()
    return [int(cell.replace(",", "")) for cell in cells]


def outline(curve: Locator) -> np.ndarray:
    """Return the drawn curve in pixels, ``(points, 2)``."""
    path = curve.locator("path.line").get_attribute("d")
    return np.array(re.findall(r"[ML]?(-?[\d.]+),(-?[\d.]+)", path), float)


def test_the_counts_are_torchs_and_the_curve_shows_them(lab: Lab) -> None:
    notebook, scope = opened(lab)
    notebook.ask("values = torch.from_numpy(ex.activation('features.2'))")
    truth = histc(notebook, "values", "values.min()", "values.max()")
    assert table(scope) == truth
    zeros = numbers(notebook, "int((values == 0).sum())")
    expect(scope.root.locator(".nnw-legend")).to_contain_text(f"{zeros} of 1,024 values zero")
    scope.button("linear").click()
    expect(scope.root.locator(".nnw-chart text", has_text="values per bin")).to_be_visible()

    def heights() -> list[float]:
        ys = outline(scope.root.locator(".nnw-chart .curve").first)[:, 1]
        bars = (ys[0] - ys[1:-1:2]) / (ys[0] - ys.min())
        return bars.tolist()

    expected = pytest.approx([count / max(truth) for count in truth], abs=0.01)
    for _ in range(50):
        if heights() == expected:
            break
        notebook.page.wait_for_timeout(200)
    assert heights() == expected


def test_a_brushed_range_leaves_the_tiles_with_a_value_in_it(lab: Lab) -> None:
    notebook, scope = opened(lab)
    area = scope.root.locator(".nnw-brush").bounding_box()
    mouse, y = notebook.page.mouse, area["y"] + 20
    # By its lower end, at the left edge.
    mouse.move(area["x"] + 2, y)
    mouse.down()
    mouse.move(area["x"] + area["width"] * (48.5 / 64), y, steps=6)
    mouse.up()
    truth = numbers(
        notebook,
        "(lambda v: ((v >= v.max() * 48 / 64).any((1, 2)).nonzero()[0].tolist(), int((v >= v.max() * 48 / 64).sum())))"
        "(ex.activation('features.2'))",
    )
    channels, count = truth
    assert 0 < len(channels) < 16, "the range tells channels apart"
    said = scope.root.locator(".nnw-foot [role=status]")
    expect(said).to_contain_text(f"{count} of 1,024 values")
    expect(said).to_contain_text(f"in {len(channels)} of 16 channels")
    tiles = scope.root.locator(".nnw-distribution-tiles [data-channel]")
    expect(tiles).to_have_count(len(channels))
    assert sorted(int(tile.get_attribute("data-channel")) for tile in tiles.all()) == channels
    scope.root.get_by_role("tab", name="Feature maps").click()
    expect(scope.root.locator(".nnw-only")).to_contain_text(f"Only the {len(channels)} of 16 channels")
    assert sorted(int(tile.get_attribute("data-channel")) for tile in scope.tiles().all()) == channels
    scope.button("show all channels").click()
    expect(scope.tiles()).to_have_count(16)
    # Another layer has other values: nothing is left of the brush.
    scope.root.get_by_role("tab", name="Distribution").click()
    shown(scope)
    scope.choose("features.0")
    expect(scope.root.locator(".nnw-legend")).to_contain_text("features.0")
    expect(scope.root.locator(".nnw-brush-in")).to_have_count(0)


def test_the_brush_is_complete_by_key(lab: Lab) -> None:
    notebook, scope = opened(lab)
    cells = notebook.cell_count()
    lower = scope.root.get_by_role("slider", name="Lower end of the range")
    upper = scope.root.get_by_role("slider", name="Upper end of the range")
    lower.focus()
    for key in ("PageUp", "PageUp", "ArrowRight"):
        notebook.page.keyboard.press(key)
    expect(lower).to_have_attribute("aria-valuenow", "17")
    upper.focus()
    notebook.page.keyboard.press("PageDown")
    expect(upper).to_have_attribute("aria-valuenow", "56")
    high = numbers(notebook, "float(ex.activation('features.2').max())")
    assert float(upper.get_attribute("aria-valuetext")) == pytest.approx(high * 56 / 64, rel=0.005)
    inside = numbers(
        notebook,
        f"(lambda v: int(((v >= {high} * 17 / 64) & (v < {high} * 56 / 64)).sum()))(ex.activation('features.2'))",
    )
    expect(scope.root.locator(".nnw-foot [role=status]")).to_contain_text(f"{inside} of 1,024 values")
    notebook.page.keyboard.press("Escape")
    expect(scope.root.locator(".nnw-brush-in")).to_have_count(0)
    assert notebook.cell_count() == cells


def test_layers_are_compared_by_stroke_over_the_same_bins(lab: Lab) -> None:
    notebook, scope = opened(lab)
    scope.root.locator("select[title='compare with another layer']").select_option("features.0")
    expect(scope.root.locator(".nnw-legend li")).to_have_count(2)
    until(notebook, "ex.layers.selected == ['features.2', 'features.0']")
    curves = scope.root.locator(".nnw-chart .curve path.line:visible")
    expect(curves).to_have_count(2)
    strokes = {curve.evaluate("path => getComputedStyle(path).strokeDasharray") for curve in curves.all()}
    assert len(strokes) == 2
    notebook.ask(
        "a, b = (torch.from_numpy(ex.activation(name)) for name in ('features.2', 'features.0'))\n"
        "low, high = min(a.min(), b.min()), max(a.max(), b.max())"
    )
    assert table(scope, 0) == histc(notebook, "a", "low", "high")
    assert table(scope, 1) == histc(notebook, "b", "low", "high")
    scope.button("Take features.0 out of the chart").click()
    expect(scope.root.locator(".nnw-legend li")).to_have_count(1)
    until(notebook, "ex.layers.selected == ['features.2']")


def test_gradients_are_those_of_the_last_backward_and_none_is_said(lab: Lab) -> None:
    notebook, scope = opened(
        lab, "optimizer.zero_grad(); nn.functional.cross_entropy(model(images[:8]), labels[:8]).backward()"
    )
    notebook.ask("optimizer.zero_grad()")
    scope.choose("features.3")
    scope.button("gradients").click()
    expect(scope.root.locator(".nnw-distribution .nnw-empty")).to_contain_text("no gradient now")
    notebook.run(2)
    # The end of the cell is reason enough to look again.
    expect(scope.root.locator(".nnw-legend")).to_contain_text("features.3.weight")
    notebook.ask("g = model.features[3].weight.grad")
    shown(scope)
    assert table(scope) == histc(notebook, "g", "g.min()", "g.max()")
    scope.root.locator("select[title=which]").select_option("bias")
    expect(scope.root.locator(".nnw-legend")).to_contain_text("features.3.bias")
    notebook.ask("g = model.features[3].bias.grad")
    assert table(scope) == histc(notebook, "g", "g.min()", "g.max()")


def test_alone_in_a_cell_it_follows_the_selection_and_its_figure_is_python_s(lab: Lab) -> None:
    notebook = lab.open(
        [SETUP, EXPLORE.replace("\nex\n", "\nex.distribution\n"), "ex.distribution.figure"], theme="dark"
    )
    notebook.run(0)
    notebook.run(1)
    scope = Microscope(notebook).wait()
    shown(scope)
    notebook.ask("ex.layers.selected = ['features.3']; ex.distribution.figure.marks[0].colors = ['#aa00aa']")
    expect(scope.root.locator(".nnw-legend")).to_contain_text("features.3")
    line = scope.root.locator(".nnw-chart .curve path.line").first
    expect(line).to_have_css("stroke", "rgb(170, 0, 170)")
    # The figure by itself has a height of its own.
    notebook.run(2)
    itself = notebook.cell(2).locator(".bqplot")
    expect(itself.locator(".curve path.line").first).to_have_css("stroke", "rgb(170, 0, 170)")
    assert itself.bounding_box()["height"] >= 170
    # In a dark theme what is written on the axes is light.
    colour = scope.root.locator(".nnw-chart .axislabel").first.evaluate("label => getComputedStyle(label).fill")
    assert min(int(part) for part in re.findall(r"\d+", colour)[:3]) > 120


@pytest.mark.parametrize("kernel", [kernels.CURRENT, "ipykernel-6.31"])
def test_it_is_counted_and_drawn_while_a_cell_trains_and_not_while_hidden(lab: Lab, kernel: str) -> None:
    notebook = lab.open([SETUP, EXPLORE, "train(wait=0.01)"], kernel=kernel)
    notebook.run(0)
    notebook.run(1)
    scope = Microscope(notebook).wait()
    notebook.ask("ex.layers.selected = ['features.2']")
    scope.shows("features.2")
    notebook.run_async(2)
    expect(scope.root.locator(".nnw-state")).to_contain_text("training")
    # The figure itself is made by the loop's own thread.
    scope.root.get_by_role("tab", name="Distribution").click()
    shown(scope)
    words = scope.root.locator(".nnw-legend")
    before = words.inner_text()
    expect(words).not_to_have_text(before, timeout=30_000)
    curve = scope.root.locator(".nnw-chart .curve path.line").first
    tall = curve.get_attribute("d")
    scope.button("linear").click()
    expect(scope.button("linear")).to_have_attribute("aria-pressed", "true")
    expect(curve).not_to_have_attribute("d", tall)
    assert notebook.busy()
    scope.root.get_by_role("tab", name="Feature maps").click()
    expect(scope.root.locator(".nnw-chart")).to_have_count(0)
    scope.root.get_by_role("tab", name="Distribution").click()
    shown(scope)
    assert notebook.busy()
    notebook.enough()
    notebook.wait_idle()
    values = "torch.from_numpy(ex.activation('features.2'))"
    truth = histc(notebook, values, f"{values}.min()", f"{values}.max()")
    expect(scope.root.locator(".nnw-state")).to_contain_text("idle")
    scope.button("as table").click()
    cells = scope.root.locator(".nnw-counts td")
    expect(cells).to_have_text([f"{int(count):,}" for count in truth])
