"""What must hold on the screen for large models, for NaN, for filters, and in the two fallbacks of old kernels."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.e2e.lab import Lab
from tests.e2e.microscope import EXPLORE, SETUP, Microscope

MANY = """
import torch, nnwidget
from torch import nn
torch.set_num_threads(1)
class Stage(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a, self.b, self.act = nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU()
    def forward(self, x):
        return self.act(self.b(self.a(x)))
stages = [Stage(4) if i % 2 == 0 else nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for i in range(600)]
model = nn.Sequential(*stages)
model.eval()
ex = nnwidget.explore(model, torch.rand(2, 4))
print(len(ex._bench.table))
ex
"""


def test_two_thousand_modules_stay_a_hundred_rows(lab: Lab) -> None:
    notebook = lab.open([MANY])
    notebook.run(0)
    assert int(notebook.output_text(0).split()[0]) >= 2000
    scope = Microscope(notebook).wait()
    rows = scope.root.locator("[role=treeitem]")
    expect(rows.nth(5)).to_be_visible()
    assert rows.count() < 120
    scope.root.get_by_placeholder("Find a layer").fill("598.act")
    expect(scope.layer("598.act")).to_be_visible()
    scope.choose("598.act")
    expect(scope.root.locator(".nnw-layer-name")).to_have_text("598.act")
    notebook.page.keyboard.press("Escape")
    tree = scope.root.locator(".nnw-tree-scroll")
    frames = tree.evaluate(
        """async el => {
            const times = [];
            for (let i = 0; i < 40; i++) {
                el.scrollTop = (i * 997) % Math.max(1, el.scrollHeight - el.clientHeight);
                await new Promise(done => requestAnimationFrame(now => { times.push(now); done(); }));
            }
            return times.at(-1) - times[0];
        }"""
    )
    assert frames < 40 * 200, "a scrolled tree must not hang"
    assert rows.count() < 120


def test_nan_is_hatched_and_counted(lab: Lab) -> None:
    notebook = lab.open(
        [
            SETUP,
            "with torch.no_grad():\n    model.features[0].weight[3] = float('nan')\n" + EXPLORE,
        ]
    )
    notebook.run(0)
    notebook.run(1)
    scope = Microscope(notebook).wait()
    scope.choose("features.0")
    scope.shows("features.0")
    expect(scope.root).to_contain_text("64 NaN")
    sick = scope.pixels(scope.tile(3).locator(".nnw-tile-picture"))
    picture = np.array(sick["data"]).reshape(sick["height"], sick["width"], 4)[..., :3]
    inner = picture[4:-4, 4:-4].reshape(-1, 3)
    # A hatching has two colours that alternate; no value's colour fills the tile.
    assert len(np.unique(inner, axis=0)) >= 2
    assert (inner == inner[0]).all(axis=1).mean() < 0.95


def test_filters_are_the_weights(lab: Lab) -> None:
    notebook = lab.open([SETUP, EXPLORE])
    notebook.run(0)
    notebook.run(1)
    scope = Microscope(notebook).wait()
    scope.choose("features.0")
    scope.shows("features.0")
    scope.root.get_by_role("tab", name="Filters").click()
    grid = scope.root.get_by_role("tabpanel").locator("[role=grid]")
    expect(grid).to_be_visible()
    weights = np.array(eval(notebook.ask("print(model.features[0].weight.detach()[:, 0].tolist())")))
    cell = grid.locator('[data-channel="4"] .nnw-tile-picture')
    notebook.page.wait_for_timeout(300)
    pixels = scope.pixels(cell)
    picture = np.array(pixels["data"]).reshape(pixels["height"], pixels["width"], 4)[..., :3].astype(float)
    ys = ((np.arange(3) + 0.5) * pixels["height"] / 3).astype(int)
    xs = ((np.arange(3) + 0.5) * pixels["width"] / 3).astype(int)
    red_minus_blue = (picture[np.ix_(ys, xs)][..., 0] - picture[np.ix_(ys, xs)][..., 2]).reshape(-1)
    shown, truth = red_minus_blue, weights[4].reshape(-1)
    strong = np.abs(truth) > 0.3 * np.abs(weights).max()
    assert strong.any()
    assert (np.sign(shown[strong]) == np.sign(truth[strong])).all(), "red is positive, blue negative"
    scope.choose("features.2")
    expect(scope.root.get_by_role("tabpanel")).to_contain_text("no weights")


@pytest.mark.parametrize(("without", "regime"), [(("install",), "polling"), (("install", "available"), "after-cell")])
def test_the_last_two_ways_on_an_old_kernel(lab: Lab, without: tuple[str, ...], regime: str) -> None:
    off = "import nnwidget.widgets.regime as way\n" + "".join(f"way.{name} = lambda *_: False\n" for name in without)
    notebook = lab.open([SETUP, off + EXPLORE, "train(wait=0.02);"], kernel="ipykernel-6.31")
    notebook.run(0)
    notebook.run(1)
    scope = Microscope(notebook).wait()
    notebook.run_async(2)
    state = scope.root.locator(".nnw-state")
    expect(state).to_contain_text("training")
    scope.choose("features.3")
    if regime == "polling":
        scope.shows("features.3")
        assert notebook.busy()
    else:
        expect(state).to_contain_text("controls apply when the cell ends")
        notebook.page.wait_for_timeout(1000)
        assert notebook.busy()
        expect(scope.root.locator(".nnw-layer-name")).not_to_have_text("features.3")
    notebook.enough()
    notebook.wait_idle(60)
    scope.shows("features.3")
    assert notebook.ask("print(ex.status.regime)").strip() == regime
