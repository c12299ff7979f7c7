"""While a cell runs: a click is answered before the cell ends, and the training does not notice."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import expect

from tests.e2e.lab import Lab
from tests.e2e.microscope import EXPLORE, SETUP, Microscope
from tools import kernels

# (kernel, setting for comms, the way that must be found)
REGIMES = [
    pytest.param(kernels.CURRENT, "perCommTarget", "subshell", id="current"),
    pytest.param("ipykernel-7.1", "perCommTarget", "subshell", id="ipykernel-7.1"),
    pytest.param("ipykernel-6.31", "perCommTarget", "control", id="ipykernel-6"),
    pytest.param(kernels.CURRENT, "disabled", "control", id="subshells-disabled"),
]

TRAIN = """
import copy, hashlib
def digest(net, opt):
    h = hashlib.sha256()
    moments = [v for s in opt.state_dict()['state'].values() for v in s.values()]
    for t in [*net.state_dict().values(), *moments, torch.get_rng_state()]:
        h.update(torch.as_tensor(t).detach().contiguous().numpy().tobytes())
    return h.hexdigest()
state = copy.deepcopy((model.state_dict(), optimizer.state_dict())), torch.get_rng_state()
"""
BUSY = "steps = train(wait=0.02)\nwatched = digest(model, optimizer)\nprint('trained')"
FREE = """
ex.close()
model.load_state_dict(state[0][0]); optimizer.load_state_dict(copy.deepcopy(state[0][1])); torch.set_rng_state(state[1])
train(steps)
print(digest(model, optimizer) == watched)
"""
EVALUATE = """
model.eval()
with torch.no_grad():
    i = 0
    while not enough():
        model(images[i:i + 50]); time.sleep(0.02)
        i = (i + 1) % 400
print('evaluated')
"""


@pytest.mark.parametrize(("kernel", "comms", "regime"), REGIMES)
def test_a_click_is_answered_while_training_and_training_is_untouched(
    lab: Lab, kernel: str, comms: str, regime: str
) -> None:
    notebook = lab.open([SETUP, EXPLORE, TRAIN, BUSY, FREE], kernel=kernel, comms=comms)
    for index in range(3):
        notebook.run(index)
    scope = Microscope(notebook).wait()
    notebook.run_async(3)
    expect(scope.root.locator(".nnw-state")).to_contain_text("training")
    expect(scope.root.locator(".nnw-state")).to_contain_text("answers in")
    expect(scope.root.locator(".nnw-state")).to_contain_text("reload")
    for name in ("features.3", "features.5", "features.0"):
        scope.choose(name)
        scope.shows(name)
        assert notebook.busy(), "the answer came while the cell ran"
    scope.tile(2).click()
    scope.button("Use mean").click()
    expect(scope.root.locator(".nnw-prediction")).to_contain_text("1 edit")
    expect(scope.tile(2)).to_contain_text("mean")
    notebook.page.wait_for_timeout(1000)
    assert notebook.busy()
    notebook.enough()
    notebook.wait_idle(60)
    assert "trained" in notebook.output_text(3)
    expect(scope.root.locator(".nnw-state")).to_have_text("idle")
    assert notebook.ask("print(ex.status.regime)").strip() == regime
    assert notebook.run(4).strip() == "True", "bit for bit the same as without the explorer"


def test_a_click_is_answered_in_an_evaluation_loop(lab: Lab) -> None:
    notebook = lab.open([SETUP, EXPLORE, EVALUATE])
    notebook.run(0)
    notebook.run(1)
    scope = Microscope(notebook).wait()
    notebook.run_async(2)
    expect(scope.root.locator(".nnw-state")).to_contain_text("evaluating")
    scope.choose("features.3")
    scope.shows("features.3")
    assert notebook.busy()
    notebook.enough()
    notebook.wait_idle(60)


def test_a_cell_that_never_calls_the_model_is_named_as_what_is_in_the_way(lab: Lab) -> None:
    notebook = lab.open([SETUP, EXPLORE, "while not enough():\n    time.sleep(0.1)"])
    notebook.run(0)
    notebook.run(1)
    scope = Microscope(notebook).wait()
    notebook.run_async(2)
    expect(scope.root.locator(".nnw-state")).to_contain_text("kernel busy with another cell")
    scope.choose("features.3")
    assert notebook.busy()
    notebook.enough()
    notebook.wait_idle(60)
    scope.shows("features.3")
    expect(scope.root.locator(".nnw-state")).to_have_text("idle")


def test_an_explorer_shown_inside_the_running_cell_answers(lab: Lab) -> None:
    notebook = lab.open([SETUP, EXPLORE.replace("\nex\n", "\ndisplay(ex)\ntrain(wait=0.02);\n")])
    notebook.run(0)
    notebook.run_async(1)
    scope = Microscope(notebook).wait()
    scope.choose("features.3")
    scope.shows("features.3")
    assert notebook.busy()
    notebook.enough()
    notebook.wait_idle(60)


def test_the_pictures_follow_the_training_without_a_click(lab: Lab) -> None:
    notebook = lab.open([SETUP, EXPLORE, BUSY.replace("watched = digest(model, optimizer)", "")])
    notebook.run(0)
    notebook.run(1)
    scope = Microscope(notebook).wait()
    before = scope.root.locator(".nnw-foot, .nnw-colourbar").first.inner_text()
    notebook.run_async(2)
    expect(scope.root.locator(".nnw-colourbar").first).not_to_have_text(before)
    assert notebook.busy()
    notebook.enough()
    notebook.wait_idle(60)


def test_a_reload_during_a_busy_cell_is_warned_of_and_restores_after_it(lab: Lab) -> None:
    notebook = lab.open([SETUP, EXPLORE, "train(wait=0.02);"])
    notebook.run(0)
    notebook.run(1)
    scope = Microscope(notebook).wait()
    scope.choose("features.3")
    scope.shows("features.3")
    notebook.page.wait_for_timeout(1000)
    notebook.save()
    notebook.run_async(2)
    expect(scope.root.locator(".nnw-state")).to_contain_text("a reload waits for the cell")
    notebook.page.reload()
    notebook.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    # Longer than the widgets' own patience with a kernel that does not answer.
    notebook.page.wait_for_timeout(6000)
    notebook.enough()
    notebook.wait_ready()
    started = time.monotonic()
    notebook.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'", timeout=60000
    )
    scope.wait(20)
    scope.shows("features.3", timeout=20)
    scope.choose("features.0")
    scope.shows("features.0")
    assert time.monotonic() - started < 60
