"""The panel of a watched training in a real notebook: live while the cell runs, and in charge of it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.lab import Lab, NotebookPage
from tests.e2e.microscope import EXPLORE, SETUP, Microscope
from tools import kernels

KERNELS = [
    pytest.param(kernels.CURRENT, "subshell", id="current"),
    pytest.param("ipykernel-6.31", "control", id="ipykernel-6"),
]
LOOP = """
criterion = nn.CrossEntropyLoss()
def loop(wait=0.02):
    while not enough():
        batch = torch.randint(0, 1500, (50,))
        optimizer.zero_grad()
        criterion(model(images[batch]), labels[batch]).backward()
        optimizer.step()
        time.sleep(wait)
"""
WITH = """
with nnwidget.watch(model, optimizer, controls="full") as w:
    loop()
print("what follows runs")
"""


class Panel:
    """One display of a training's panel."""

    def __init__(self, notebook: NotebookPage, nth: int = 0) -> None:
        self.notebook = notebook
        self.page = notebook.page
        self.root: Locator = self.page.locator(".nnw:has(.nnw-training)").nth(nth)
        self.state = self.root.locator(".nnw-state")

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def step(self) -> int:
        found = re.search(r"step ([\d,]+)", self.state.inner_text())
        assert found is not None, self.state.inner_text()
        return int(found[1].replace(",", ""))

    def last_point(self) -> int:
        """Return the step of the last point of the curve, as its sentence says it."""
        sentence = self.root.locator(".nnw-chart figcaption .nnw-hidden").text_content() or ""
        found = re.search(r" to \S+ at step ([\d,]+)", sentence)
        return int(found[1].replace(",", "")) if found else 0

    def pause(self) -> int:
        self.button("Pause").click()
        expect(self.state).to_contain_text("paused at step")
        assert self.notebook.busy()
        return self.step()

    def single_step(self) -> int:
        """Make one step, and give a second one the time to happen."""
        before = self.step()
        self.button("Step").click()
        expect(self.state).not_to_have_text(re.compile(rf"step {before:,}\b"))
        expect(self.state).to_contain_text("paused at step")
        self.page.wait_for_timeout(400)
        return self.step()


def start(lab: Lab, kernel: str, *cells: str) -> NotebookPage:
    notebook = lab.open([SETUP + LOOP, *cells], kernel=kernel, height=1400)
    notebook.run(0)
    return notebook


@pytest.mark.parametrize(("kernel", "regime"), KERNELS)
def test_a_running_cell_is_paused_stepped_resumed_and_stopped(lab: Lab, kernel: str, regime: str) -> None:
    notebook = start(lab, kernel, WITH, "print(w.steps, w._panel._regime.name, len(w._engine.findings))")
    notebook.run_async(1)
    panel = Panel(notebook)
    expect(panel.state).to_contain_text("training · step", timeout=30_000)
    first = panel.last_point()
    notebook.page.wait_for_function(
        "first => Number(/ to \\S+ at step ([\\d,]+)/.exec("
        "document.querySelector('.nnw-chart .nnw-hidden')?.textContent ?? '')?.[1]?.replace(',', '') ?? 0) > first",
        arg=first + 5,
    )
    assert notebook.busy(), "the curve moved while the cell ran"
    at = panel.pause()
    assert panel.single_step() == at + 1
    assert panel.single_step() == at + 2
    assert panel.last_point() <= at + 2
    panel.button("Resume").click()
    expect(panel.state).to_contain_text("training · step")
    panel.button("Stop").click()
    notebook.wait_idle()
    notebook.check(1)
    assert "what follows runs" in notebook.output_text(1)
    expect(panel.state).to_contain_text("stopped after")
    steps, found, _ = notebook.run(2).split()
    assert int(steps) >= at + 2
    assert found == regime


@pytest.mark.parametrize(("kernel", "regime"), KERNELS)
def test_an_interrupt_ends_a_paused_training(lab: Lab, kernel: str, regime: str) -> None:
    notebook = start(lab, kernel, WITH)
    notebook.run_async(1)
    panel = Panel(notebook)
    expect(panel.state).to_contain_text("training · step", timeout=30_000)
    panel.pause()
    notebook.page.evaluate("() => window.jupyterapp.commands.execute('notebook:interrupt-kernel')")
    notebook.wait_idle(20)
    assert "KeyboardInterrupt" in notebook.output_text(1)
    expect(panel.state).to_contain_text("interrupted after")
    assert notebook.ask("print(w.closed, len(model._forward_pre_hooks))") == "True 0\n"


@pytest.mark.parametrize(("kernel", "regime"), KERNELS)
def test_a_click_in_an_explorer_is_answered_while_the_training_is_paused(lab: Lab, kernel: str, regime: str) -> None:
    notebook = start(
        lab,
        kernel,
        "w = nnwidget.watch(model, optimizer)",
        EXPLORE.replace("model, images", "model, watch=w, inputs=images"),
        "loop()",
    )
    notebook.run(1)
    notebook.run(2)
    scope = Microscope(notebook, nth=1).wait()
    notebook.run_async(3)
    panel = Panel(notebook)
    expect(panel.state).to_contain_text("training · step")
    scope.button("Pause").click()
    expect(scope.root.locator(".nnw-state")).to_contain_text("paused at step")
    expect(panel.state).to_contain_text("paused at step")
    at = panel.step()
    # Longer than the second after which a loop that reaches no boundary counts as over.
    notebook.page.wait_for_timeout(1500)
    for name in ("features.3", "features.0"):
        scope.choose(name)
        scope.shows(name)
    assert notebook.busy()
    assert panel.step() == at
    scope.button("Step").click()
    expect(panel.state).to_contain_text(f"paused at step {at + 1:,}")
    scope.button("Resume").click()
    expect(panel.state).to_contain_text("training · step")
    notebook.enough()
    expect(panel.state).to_contain_text("not running")


def test_a_loop_without_a_block_says_that_it_was_stopped_and_the_next_one_runs(lab: Lab) -> None:
    notebook = start(lab, kernels.CURRENT, "w = nnwidget.watch(model, optimizer)", "loop()")
    notebook.run(1)
    panel = Panel(notebook)
    notebook.run_async(2)
    expect(panel.state).to_contain_text("training · step", timeout=30_000)
    panel.button("Stop").click()
    notebook.wait_idle()
    assert "StopTraining" in notebook.output_text(2)
    expect(panel.state).to_contain_text("stopped · at step")
    notebook.run_async(2)
    expect(panel.state).to_contain_text("training · step")
    notebook.enough()
    expect(panel.state).to_contain_text("not running · at step")


def test_it_is_shown_again_elsewhere_after_a_reload_and_after_the_end(lab: Lab) -> None:
    notebook = start(lab, kernels.CURRENT, WITH, "w", "nnwidget.running()")
    notebook.run_async(1)
    panel = Panel(notebook)
    expect(panel.state).to_contain_text("training · step", timeout=30_000)
    expect(panel.state).to_have_text(re.compile(r"step (1[2-9]|[2-9]\d|\d{3,})\b"), timeout=60_000)
    notebook.enough()
    expect(panel.state).to_contain_text("finished after")
    ended = panel.state.inner_text()
    notebook.run(2)
    again = Panel(notebook, 1)
    expect(again.state).to_have_text(ended)
    expect(again.root.locator(".nnw-chart canvas")).to_be_visible()
    assert notebook.run(3).strip() == "[]"
    notebook.save()
    text = (notebook.server.root / notebook.path).read_text()
    assert "mean_steps" not in text
    assert "buffers" not in text
    notebook.reload()
    expect(panel.state).to_have_text(ended, timeout=30_000)
    assert panel.last_point() > 10


def test_running_the_cell_again_closes_the_earlier_watch(lab: Lab) -> None:
    notebook = start(
        lab, kernels.CURRENT, "w = nnwidget.watch(model, optimizer)", "loop()", "print(len(nnwidget.running()))"
    )
    notebook.run(1)
    expect(Panel(notebook).state).to_have_text("no step yet")
    assert notebook.run(3).strip() == "1"
    notebook.run(1)
    assert notebook.run(3).strip() == "1"
    notebook.run_async(2)
    expect(Panel(notebook).state).to_contain_text("training · step")
    notebook.enough()


def test_a_learning_rate_is_changed_between_two_steps_and_noted(lab: Lab) -> None:
    notebook = start(lab, kernels.CURRENT, WITH, "print(optimizer.param_groups[0]['lr'], w.history.events[-1].kind)")
    notebook.run_async(1)
    panel = Panel(notebook)
    expect(panel.state).to_contain_text("training · step", timeout=30_000)
    field = panel.root.get_by_role("textbox", name="Learning rate")
    field.fill("0.00025")
    field.press("Enter")
    expect(panel.root.locator(".nnw-events")).to_contain_text("changed from 0.001 to 0.00025")
    expect(field).to_have_value("0.00025")
    assert notebook.busy()
    notebook.enough()
    assert notebook.run(2).strip() == "0.00025 lr changed"


def test_without_a_display_there_is_none(lab: Lab) -> None:
    notebook = start(lab, kernels.CURRENT, "w = nnwidget.watch(model, optimizer, display=False)\nprint('made')", "w")
    assert notebook.run(1) == "made\n"
    assert notebook.page.locator(".nnw").count() == 0
    notebook.run(2)
    expect(Panel(notebook).state).to_have_text("no step yet")
