"""Channels ranked in a real JupyterLab: by influence with its progress and its cancel, and by class selectivity."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from playwright.sync_api import expect

from tests.e2e.lab import Lab, NotebookPage
from tests.e2e.microscope import EXPLORE, SETUP, Microscope

# A model whose runs take as long as those of a large one, until the test has seen enough of that.
SLOW = """
import time
class Slow(nn.Module):
    wait = 0.4
    def forward(self, x):
        time.sleep(Slow.wait)
        return x
model.classifier = nn.Sequential(Slow(), model.classifier)
"""
# By brute force: a hook for each channel, all outputs, no nnwidget.
TRUTH = """
import json
def changes(name, inputs):
    layer, found, seen = model.get_submodule(name), [], []
    with torch.no_grad():
        handle = layer.register_forward_hook(lambda m, args, out: seen.append(out.clone()))
        model(inputs); handle.remove()
        means = seen[0].mean((0, 2, 3))
        before = model(inputs[:1])[0]
        for channel in range(len(means)):
            def swap(m, args, out):
                out = out.clone(); out[:, channel] = means[channel]
                return out
            handle = layer.register_forward_hook(swap)
            found.append(model(inputs[:1])[0] - before); handle.remove()
    return before, torch.stack(found)
"""


BARE = "bare = nnwidget.explore(model, images[1500:1508])\nbare"


def opened(lab: Lab, *more: str) -> tuple[NotebookPage, Microscope]:
    notebook = lab.open([SETUP, *more, EXPLORE, TRUTH, BARE])
    for cell in range(len(more) + 3):
        notebook.run(cell)
    notebook.ask("ex.layers.selected = ['features.4']")
    scope = Microscope(notebook).wait()
    scope.shows("features.4")
    return notebook, scope


def order(scope: Microscope, by: str) -> None:
    scope.root.locator('.nnw-maps select[title="order"]').select_option(by)


def channels(scope: Microscope) -> list[int]:
    return [int(str(tile.get_attribute("data-channel"))) for tile in scope.tiles().all()]


def said(scope: Microscope, channel: int) -> float:
    """Return the number in the words of a tile."""
    words = str(scope.tile(channel).get_attribute("aria-label")).replace("−", "-")
    found = re.search(r"(?:by|selectivity) ([+-]?[\d.e-]+)", words)
    assert found, words
    return float(found.group(1).rstrip("."))


def truth(notebook: NotebookPage, code: str) -> Any:
    return json.loads(notebook.ask(f"print(json.dumps({code}))"))


def agrees(scope: Microscope, scores: list[float], *, size: bool = True) -> None:
    """Tiles in sight lie in the order of the scores, up to what rounding may exchange, and each tells its own."""
    shown = channels(scope)
    assert len(shown) == len(set(shown)) >= 12
    sizes = [abs(scores[channel]) if size else scores[channel] for channel in shown]
    rounding = 1e-4 * max(sizes)
    assert all(one >= other - rounding for one, other in itertools.pairwise(sizes))
    assert sizes[0] >= max(abs(score) if size else score for score in scores) - rounding
    for channel in shown[:8]:
        assert abs(said(scope, channel) - scores[channel]) <= 0.006 * abs(scores[channel]) + 1e-6


def test_influence_shows_progress_is_cancelled_and_read_back_against_torch(lab: Lab) -> None:
    notebook, scope = opened(lab, SLOW)
    line = scope.root.locator(".nnw-order")
    expect(line).to_contain_text("Most active first")
    active = channels(scope)
    order(scope, "influence")
    # A part of the ranking is there while the rest is under way.
    expect(line).to_contain_text(re.compile(r"[1-9]\d* of 32 channels ranked"), timeout=60_000)
    bar = scope.root.get_by_role("progressbar", name="Ranked channels")
    expect(bar).to_be_visible()
    assert 0 < int(str(bar.get_attribute("aria-valuenow"))) < 100
    scope.button("Cancel").click()
    expect(line).to_contain_text(re.compile(r"Stopped: \d+ of 32 channels ranked"))
    expect(bar).to_have_count(0)
    # The kernel is free again at once, and edits do not change what was found.
    notebook.ask("Slow.wait = 0.0")
    expect(scope.button("rank again").or_(scope.button("go on"))).to_be_visible()
    scope.root.locator(".nnw-order button").click()
    expect(line).not_to_contain_text("channels ranked", timeout=60_000)
    expect(line).to_contain_text("replaced by its mean over 8 pinned inputs (never by zero)")
    notebook.ask("before, found = changes('features.4', images[1500:1508])")
    target = truth(notebook, "int(before.argmax())")
    expect(line).to_contain_text(f"logit of “{target}”")
    agrees(scope, truth(notebook, f"found[:, {target}].tolist()"))
    assert channels(scope) != active
    # The change of another logit was noted too.
    other = truth(notebook, "int(before.argsort(descending=True)[1])")
    scope.root.locator('select[title="on the logit of"]').select_option(str(other))
    expect(line).to_contain_text(f"logit of “{other}”")
    agrees(scope, truth(notebook, f"found[:, {other}].tolist()"))


def test_class_selectivity_is_read_back_and_says_when_targets_are_missing(lab: Lab) -> None:
    notebook, scope = opened(lab)
    scope.choose("features.5")
    scope.shows("features.5")
    order(scope, "selectivity")
    line = scope.root.locator(".nnw-order")
    expect(line).to_contain_text("Over 8 pinned inputs of")
    notebook.ask(
        "with torch.no_grad(): y = model.features[:6](images[1500:1508]).mean((2, 3)).double()\n"
        "own = labels[1500:1508]\n"
        "per = torch.stack([y[own == c].mean(0) for c in own.unique()])\n"
        "top = per.max(0).values; rest = (per.sum(0) - top) / (len(per) - 1)\n"
        "index = ((top - rest) / (top + rest)).nan_to_num(0)"
    )
    agrees(scope, truth(notebook, "index.tolist()"), size=False)
    # Without targets there are no classes: the page says so and keeps the tiles.
    notebook.run(3)
    bare = Microscope(notebook, 1).wait()
    bare.root.scroll_into_view_if_needed()
    tiles = channels(bare)
    order(bare, "selectivity")
    expect(bare.root.get_by_role("alert")).to_contain_text(
        "the pinned inputs have no targets. Pass targets= to explore"
    )
    left = channels(bare)
    assert left and left == tiles[: len(left)]
