"""A home that survives the browser: a training in a thread goes on, is seen and answers after a reload."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.lab import Lab, NotebookPage
from tests.e2e.microscope import SETUP
from tools import kernels

KERNELS = [pytest.param(kernels.CURRENT, id="current"), pytest.param("ipykernel-6.31", id="ipykernel-6")]

RUN = """
w = nnwidget.watch(model, optimizer)
def fit():
    "Train until the test has seen enough."
    print("begun")
    print("trained", train(wait=0.02))
run = w.run(fit)
run
"""
MAGIC = """%%watch model optimizer
steps = train(wait=0.02)
print("trained", steps > 0)
"""
AGAIN = "nnwidget.running()[-1]"
BROKEN = """
def broken():
    train(20)
    raise ValueError("on purpose")
failed = nnwidget.watch(model, optimizer, display=False).run(broken)
"""


def panel(notebook: NotebookPage, nth: int = 0) -> Locator:
    return notebook.page.locator(".nnw-state-text").nth(nth)


def step(shown: Locator) -> int:
    """Return the step that a panel says the training is at."""
    found = re.search(r"step ([\d,]+)", shown.inner_text())
    assert found is not None, shown.inner_text()
    return int(found[1].replace(",", ""))


def goes_on(notebook: NotebookPage, shown: Locator, seconds: float) -> None:
    """Wait until a panel's step has moved; the training makes fifty a second."""
    expect(shown).to_contain_text("step", timeout=seconds * 1000)
    first, deadline = step(shown), time.monotonic() + seconds
    while step(shown) == first:
        assert time.monotonic() < deadline, shown.inner_text()
        notebook.page.wait_for_timeout(50)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("saved", [True, False], ids=["saved", "unsaved"])
def test_a_run_is_live_again_after_a_reload(lab: Lab, kernel: str, saved: bool) -> None:
    notebook = lab.open([SETUP, RUN, AGAIN], kernel=kernel)
    notebook.run(0)
    notebook.run(1)
    # The prompt is back, and the panel is live.
    goes_on(notebook, panel(notebook), 30)
    assert "begun" in notebook.output_text(1) and "Ctrl-C does not reach it" in notebook.output_text(1)
    if saved:
        notebook.save()
    before = step(panel(notebook))
    notebook.reload()
    if not saved:
        notebook.run(2)
    expect(panel(notebook)).to_contain_text("training · step", timeout=5000)
    assert step(panel(notebook)) > before
    goes_on(notebook, panel(notebook), 20)
    # It answers too.
    notebook.page.get_by_role("button", name="Pause").first.click()
    expect(panel(notebook)).to_contain_text("paused", timeout=10_000)
    notebook.page.get_by_role("button", name="Resume").first.click()
    goes_on(notebook, panel(notebook), 10)
    notebook.page.get_by_role("button", name="Stop").first.click()
    notebook.ask("assert run.join(20) and run.stopped", timeout=30)


@pytest.mark.parametrize("kernel", KERNELS)
def test_output_comes_to_the_cell_and_an_error_is_its_own(lab: Lab, kernel: str) -> None:
    notebook = lab.open([SETUP, MAGIC, BROKEN, "print('another cell')"], kernel=kernel)
    notebook.run(0)
    notebook.run(1)
    goes_on(notebook, panel(notebook), 30)
    assert notebook.run(3) == "another cell\n"
    notebook.enough()
    expect(notebook.cell(1).locator(".jp-OutputArea")).to_contain_text("trained True", timeout=20_000)
    notebook.run(2)
    expect(notebook.cell(2).locator(".jp-OutputArea")).to_contain_text("ValueError: on purpose", timeout=20_000)
    assert notebook.output_text(3) == "another cell\n"


def test_a_server_sees_signs_of_life_of_a_kernel_that_only_trains(lab: Lab) -> None:
    notebook = lab.open([SETUP])
    notebook.run(0)
    notebook.page.wait_for_timeout(500)
    seen = """async () => {
        const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
        await window.jupyterapp.serviceManager.kernels.refreshRunning();
        const model = [...window.jupyterapp.serviceManager.kernels.running()].find(({ id }) => id === kernel.id);
        return model.last_activity;
    }"""
    # A thread that waits, as one that trains: nothing else is sent.
    go = notebook.server.root / "go"
    notebook.ask(
        f"""
import pathlib, threading, time
from nnwidget.widgets.cell_place import say_alive
def work():
    while not pathlib.Path({str(go)!r}).exists():
        time.sleep(0.05)
    say_alive()
threading.Thread(target=work).start()
"""
    )

    def rests() -> bool:
        before = notebook.page.evaluate(seen)
        notebook.page.wait_for_timeout(500)
        return notebook.page.evaluate(seen) == before

    deadline = time.monotonic() + 60
    while not rests():
        assert time.monotonic() < deadline, "something else is sent"
    before = notebook.page.evaluate(seen)
    go.write_text("")
    while notebook.page.evaluate(seen) == before:
        assert time.monotonic() < deadline, "no sign of life was seen"
        notebook.page.wait_for_timeout(50)
    assert notebook.page.evaluate(seen) > before
