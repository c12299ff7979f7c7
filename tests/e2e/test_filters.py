"""The filters panel in a real JupyterLab: every kind of weight, read back against torch."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e import microscope
from tests.e2e.lab import Lab, NotebookPage
from tests.e2e.microscope import Microscope

SETUP = """
import torch, nnwidget
from torch import nn
torch.manual_seed(0); torch.set_num_threads(1)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, padding=2)
        self.norm = nn.BatchNorm2d(8)
        self.wide = nn.Linear(8, 2048)
        self.big = nn.Linear(2048, 2048)
        self.lstm = nn.LSTM(2048, 16, batch_first=True)
        self.act = nn.ReLU()
        self.head = nn.Linear(16, 4)
    def forward(self, x):
        y = self.big(self.wide(self.norm(self.conv(x)).mean(dim=(2, 3))))
        return self.head(self.act(self.lstm(y.unsqueeze(1))[0][:, 0]))
model = Net()
with torch.no_grad():
    model.norm.weight.uniform_(-2, 2)
x = torch.rand(3, 3, 16, 16)
model(x).square().sum().backward()
"""
EXPLORE = "ex = nnwidget.explore(model, x)\nex"


@pytest.fixture
def notebook(lab: Lab) -> NotebookPage:
    notebook = lab.open([SETUP, EXPLORE, "with torch.no_grad():\n    model.head.weight[1, 2] = 9.0"])
    notebook.run(0)
    notebook.run(1)
    return notebook


@pytest.fixture
def scope(notebook: NotebookPage) -> Microscope:
    scope = Microscope(notebook).wait()
    scope.root.get_by_role("tab", name="Filters").click()
    return scope


def truth(notebook: NotebookPage, code: str) -> Any:
    """Return what torch says."""
    return json.loads(notebook.ask(f"import json\nprint(json.dumps({code}))"))


def show(scope: Microscope, layer: str) -> Locator:
    """Choose a layer and wait for its weights."""
    scope.choose(layer)
    scope.shows(layer)
    return scope.root.locator(".nnw-filters")


def point(scope: Microscope, target: Locator, across: float, down: float) -> None:
    """Point at a part of the width and height of something."""
    box = target.bounding_box()
    assert box is not None
    scope.page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])


def said(panel: Locator) -> str:
    """Return the exact words for the place under the pointer, once Python has said them."""
    foot = panel.locator(".nnw-foot-text")
    expect(foot).to_contain_text(re.compile(r": (red )?[−\d]"))
    return foot.inner_text().replace("−", "-")


def number(text: str) -> float:
    """Return the number after the last colon."""
    return float(text.rsplit(":", 1)[1])


def test_a_large_matrix_is_pooled_zoomed_by_a_drag_and_read_exactly(notebook: NotebookPage, scope: Microscope) -> None:
    panel = show(scope, "big")
    expect(panel.locator(".nnw-sentence")).to_contain_text("2,048 outputs as rows, 2,048 inputs as columns")
    expect(panel.locator(".nnw-foot-text")).to_contain_text(re.compile(r"pooled \d+×\d+"))
    low, high = truth(notebook, "[model.big.weight.min().item(), model.big.weight.max().item()]")
    ends = panel.locator(".nnw-foot-text").inner_text().replace("−", "-")
    assert [float(v) for v in re.findall(r"-?\d\.\d+", ends)[:2]] == [pytest.approx(v, rel=0.01) for v in (low, high)]
    picture = panel.locator(".nnw-heat-picture")
    point(scope, picture, 0.31, 0.62)
    words = said(panel)
    found = re.match(r"output (\d+)-(\d+), input (\d+)-(\d+), mean: ", words.replace("–", "-"))
    assert found, words
    top, bottom, left, right = map(int, found.groups())
    mean = truth(notebook, f"model.big.weight[{top}:{bottom + 1}, {left}:{right + 1}].double().mean().item()")
    assert number(words) == pytest.approx(mean, rel=1e-6)
    # A drag encloses what is to be enlarged.
    point(scope, picture, 0.5, 0.5)
    scope.page.mouse.down()
    point(scope, picture, 0.53, 0.55)
    point(scope, picture, 0.54, 0.56)
    scope.page.mouse.up()
    expect(panel.locator(".nnw-foot-text")).not_to_contain_text("mean")
    point(scope, picture, 0.4, 0.3)
    expect(panel.locator(".nnw-foot-text")).to_contain_text(re.compile(r"^output \d+, input \d+: "))
    words = said(panel)
    row, column = map(int, re.match(r"output (\d+), input (\d+): ", words).groups())  # type: ignore[union-attr]
    assert 900 < row < 1250 and 900 < column < 1250
    assert number(words) == pytest.approx(truth(notebook, f"model.big.weight[{row}, {column}].item()"), rel=1e-6)
    expect(scope.root.get_by_role("tooltip")).to_contain_text(f"output {row}, input {column}")
    # And the keys: the whole again, one step of the cross-hair.
    picture.focus()
    scope.page.mouse.move(2, 2)
    scope.page.keyboard.press("0")
    expect(picture).to_have_attribute("data-bottom", "2048")
    expect(scope.button("whole")).to_be_disabled()


def test_the_norms_sort_the_rows_and_the_number_stays_with_its_row(notebook: NotebookPage, scope: Microscope) -> None:
    panel = show(scope, "head")
    ticks = panel.locator(".nnw-heat-rows .nnw-tick")
    expect(ticks).to_have_text(["0", "1", "2", "3"])
    panel.locator('select[title="order"]').select_option("norm")
    order = truth(notebook, "model.head.weight.norm(dim=1).argsort(descending=True).tolist()")
    expect(ticks).to_have_text([str(row) for row in order])
    point(scope, panel.locator(".nnw-heat-picture"), 0.9, 0.1)
    words = said(panel)
    assert words.startswith(f"output {order[0]}, input 14: ")
    assert number(words) == pytest.approx(truth(notebook, f"model.head.weight[{order[0]}, 14].item()"), rel=1e-6)
    # Weights that a cell moves are on the screen without a click.
    scope.page.mouse.move(2, 2)
    notebook.run(2)
    expect(panel.locator(".nnw-foot-text")).to_contain_text("to 9 ")
    expect(ticks.first).to_have_text("1")


def test_kernels_stand_beside_their_gradients_and_are_sorted_by_likeness(
    notebook: NotebookPage, scope: Microscope
) -> None:
    panel = show(scope, "conv")
    expect(panel.locator(".nnw-sentence")).to_contain_text("8 filters over red, green and blue")
    tiles = panel.locator("[role=gridcell][data-channel]")
    expect(tiles).to_have_count(8)
    tiles.nth(3).click()
    panel.locator('select[title="order"]').select_option("similarity")
    likeness = "torch.cosine_similarity(model.conv.weight.flatten(1), model.conv.weight[3:4].flatten(1))"
    order = truth(notebook, f"{likeness}.argsort(descending=True).tolist()")
    expect(panel.locator(".nnw-sentence")).to_contain_text("most like filter 3 first")
    expect(tiles.first).to_have_attribute("data-channel", "3")
    assert [int(str(tile.get_attribute("data-channel"))) for tile in tiles.all()] == order
    # Another one is chosen where it lies; the order follows.
    panel.locator('[data-channel="6"]').click()
    expect(panel.locator(".nnw-sentence")).to_contain_text("most like filter 6 first")
    order = truth(notebook, f"{likeness.replace('[3:4]', '[6:7]')}.argsort(descending=True).tolist()")
    expect(tiles.first).to_have_attribute("data-channel", "6")
    assert [int(str(tile.get_attribute("data-channel"))) for tile in tiles.all()] == order
    panel.locator('select[title="order"]').select_option("number")
    panel.locator('select[title="show"]').select_option("1")
    scope.button("gradient").click()
    halves = panel.locator('[data-channel="5"] .nnw-tile-half')
    expect(halves).to_have_count(2)
    for which, tensor in enumerate(("model.conv.weight", "model.conv.weight.grad")):
        point(scope, halves.nth(which), 0.5, 0.1)
        expect(panel.locator(".nnw-foot-text")).to_contain_text(
            re.compile(f"^{'gradient of ' * which}filter 5, row 0, ")
        )
        assert number(said(panel)) == pytest.approx(truth(notebook, f"{tensor}[5, 1, 0, 2].item()"), rel=1e-6)


def test_gates_and_strips_are_read_back(notebook: NotebookPage, scope: Microscope) -> None:
    panel = show(scope, "lstm")
    panel.locator('select[title="weight"]').select_option("weight_hh_l0")
    panel.locator('select[title="part of it"]').select_option(label="forget gate")
    expect(panel.locator(".nnw-sentence")).to_contain_text("Forget gate: 16 units as rows, 16 hidden units as columns")
    point(scope, panel.locator(".nnw-heat-picture"), 0.03, 0.97)
    words = said(panel)
    assert words.startswith("unit 15, hidden unit 0: ")
    assert number(words) == pytest.approx(truth(notebook, "model.lstm.weight_hh_l0[31, 0].item()"), rel=1e-6)
    panel = show(scope, "norm")
    charts = panel.locator(".nnw-strip-chart")
    expect(charts).to_have_count(4)
    point(scope, charts.first, 0.55, 0.5)
    words = panel.locator(".nnw-foot-text").inner_text().replace("−", "-")
    scale, shift = truth(notebook, "[model.norm.weight[4].item(), model.norm.bias[4].item()]")
    found = re.match(r"value 4: scale (-?[\d.]+), shift (-?[\d.]+), running mean", words)
    assert found and [float(part) for part in found.groups()] == [pytest.approx(v, rel=1e-5) for v in (scale, shift)]


def test_what_has_no_weights_says_so_and_keys_stay_in_the_panel(notebook: NotebookPage, scope: Microscope) -> None:
    panel = scope.root.locator(".nnw-filters")
    scope.choose("act")
    expect(panel.locator(".nnw-empty")).to_have_text("This layer has no weights.")
    show(scope, "head")
    cells = notebook.cell_count()
    picture = panel.locator(".nnw-heat-picture")
    picture.focus()
    scope.page.keyboard.press("ArrowDown")
    scope.page.keyboard.press("ArrowDown")
    words = said(panel)
    row, column = map(int, re.match(r"output (\d+), input (\d+): ", words).groups())  # type: ignore[union-attr]
    assert number(words) == pytest.approx(truth(notebook, f"model.head.weight[{row}, {column}].item()"), rel=1e-6)
    scope.page.keyboard.press("+")
    expect(scope.button("zoom out")).to_be_enabled()
    scope.page.keyboard.press("Enter")
    expect(scope.root.get_by_text(re.compile(f"(Channel|Unit) {row}$"))).to_be_visible()
    for key in ("b", "a", "x", "m", "d", "d"):
        scope.page.keyboard.press(key)
    expect(picture).to_be_focused()
    assert notebook.cell_count() == cells


def test_weights_follow_a_training_and_a_panel_alone_shows_them_too(lab: Lab) -> None:
    notebook = lab.open([microscope.SETUP, microscope.EXPLORE, "ex.filters", "train(wait=0.02);"])
    for cell in range(3):
        notebook.run(cell)
    scope, alone = Microscope(notebook), Microscope(notebook, 1)
    scope.root.get_by_role("tab", name="Filters").click()
    show(scope, "classifier")
    # Both panels follow one selection.
    expect(alone.root.locator(".nnw-layer-name")).to_have_text("classifier")
    feet = [panel.root.locator(".nnw-filters .nnw-foot-text") for panel in (scope, alone)]
    before = feet[0].inner_text()
    expect(feet[1]).to_have_text(before)
    notebook.run_async(3)
    for foot in feet:
        expect(foot).not_to_have_text(before)
    assert notebook.busy(), "shown while the cell runs"
    notebook.enough()
    notebook.wait_idle()
    ends = truth(notebook, "[model.classifier.weight.min().item(), model.classifier.weight.max().item()]")
    words = f"weights {ends[0]:.3f} to {ends[1]:.3f} ".replace("-", "−")
    for foot in feet:
        expect(foot).to_contain_text(words)
