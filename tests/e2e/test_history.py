"""A history in a real notebook, while another process is still writing it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.lab import Lab, NotebookPage
from tests.e2e.microscope import SETUP
from tests.e2e.server import ROOT
from tests.e2e.test_training import Panel
from tools import kernels

KERNELS = [pytest.param(kernels.CURRENT, id="current"), pytest.param("ipykernel-6.31", id="ipykernel-6")]
PROMISE = 3.0  # seconds from a step to its place on the page
WRITER = (
    SETUP
    + """
import sys
criterion = nn.CrossEntropyLoss()
with nnwidget.watch(model, optimizer, path=sys.argv[1], every=1, budget=None, start_step=int(sys.argv[3])) as w:
    for step in range(int(sys.argv[3]) + 1, int(sys.argv[2]) + 1):
        batch = torch.randint(0, 1500, (50,))
        optimizer.zero_grad()
        criterion(model(images[batch]), labels[batch]).backward()
        optimizer.step()
        print(step, time.time(), flush=True)
        time.sleep(0.05)
"""
)
LOAD = "import nnwidget\nh = nnwidget.History.load({path!r})\nh"
BUSY = """
import os, time
while not os.path.exists("enough"):
    time.sleep(0.02)
os.remove("enough")
"""


class Writer:
    """A training in a process of its own, and when each of its steps happened."""

    def __init__(self, folder: Path, steps: int, start: int) -> None:
        command = [sys.executable, "-c", WRITER, str(folder), str(steps), str(start)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.times: dict[int, float] = {}
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            step, at = line.split()
            self.times[int(step)] = float(at)

    def reaches(self, step: int) -> None:
        deadline = time.monotonic() + 90
        while step not in self.times:
            assert self.process.poll() is None and time.monotonic() < deadline, f"no step {step}"
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def writing(folder: Path, steps: int = 1_000_000, start: int = 0) -> Iterator[Writer]:
    writer = Writer(folder, steps, start)
    try:
        writer.reaches(start + 10)
        yield writer
    finally:
        writer.kill()


def lags(panel: Panel, writer: Writer, samples: int) -> list[float]:
    """Return how old the oldest step that is not on the page yet was, at several moments."""
    found = []
    for _ in range(samples):
        at = time.time()
        missing = writer.times.get(panel.last_point() + 1, at)
        found.append(max(0.0, at - missing))
        panel.page.wait_for_timeout(250)
    return found


def keeps_up(panel: Panel, writer: Writer) -> None:
    """See a step within the promised time; on a machine with other work now and then later."""
    first = panel.last_point()
    found = lags(panel, writer, 24)
    assert statistics.median(found) <= PROMISE and max(found) <= PROMISE + 7, found
    assert panel.last_point() > first, "it moves"


def follows(notebook: NotebookPage, code: str, expected: bool) -> None:
    """Wait until the kernel plans to look again, or no longer does."""
    deadline = time.monotonic() + 20
    while notebook.ask(f"print({code})").strip() != str(expected):
        assert time.monotonic() < deadline, code
        notebook.page.wait_for_timeout(100)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_run_of_another_process_is_followed_until_it_dies(lab: Lab, kernel: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with writing(folder) as writer:
        notebook = lab.open([LOAD.format(path=str(folder)), BUSY], kernel=kernel)
        notebook.run(0)
        panel = Panel(notebook)
        expect(panel.state).to_contain_text("following", timeout=30_000)
        expect(panel.state).to_contain_text(" ago")
        expect(panel.root.locator(".nnw-header")).to_contain_text("DigitsNet")
        expect(panel.root.locator(".nnw-controls button")).to_have_count(0)
        keeps_up(panel, writer)
        # Also while a cell keeps the kernel busy.
        notebook.run_async(1)
        keeps_up(panel, writer)
        assert notebook.busy()
        notebook.enough()
        notebook.wait_idle()
        writer.kill()
        last = max(writer.times)
    expect(panel.state).to_contain_text("not written to for", timeout=60_000)
    assert last - 40 < panel.last_point() <= last + 1, "two seconds at most are lost"
    expect(panel.root.locator(".nnw-notice")).to_have_count(0)
    # Another curve, from what was read.
    panel.root.get_by_label("Curve").select_option("total_grad_norm")
    expect(panel.root.locator(".nnw-chart figcaption .nnw-hidden")).to_contain_text("gradient norm went from")
    # Nothing looks any more once nothing shows it.
    follows(notebook, "h._panel._ticker.waiting", True)
    notebook.page.evaluate(
        """() => {
            const { content } = window.jupyterapp.shell.currentWidget;
            content.activeCellIndex = 0;
            return window.jupyterapp.commands.execute("notebook:clear-cell-output");
        }"""
    )
    expect(panel.root).to_have_count(0)
    follows(notebook, "h._panel._ticker.waiting", False)


def test_a_removed_folder_is_a_sentence_and_the_panel_outlives_a_reload(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with writing(folder, 40) as writer:
        writer.process.wait(60)
    notebook = lab.open([LOAD.format(path=str(folder)), "h", "first = h._panel"])
    notebook.run(0)
    panel = Panel(notebook)
    expect(panel.state).to_contain_text("step 40")
    expect(panel.state).to_contain_text("ended")
    notebook.run(2)
    notebook.run(0)
    expect(panel.state).to_contain_text("step 40")
    assert notebook.ask("print(first.closed, h._panel.closed)") == "True False\n"
    follows(notebook, "first._ticker.waiting", False)
    notebook.save()
    notebook.reload()
    expect(panel.state).to_contain_text("step 40", timeout=30_000)
    # Another run goes on where this one ended, and is followed.
    with writing(folder, 60, start=40) as writer:
        writer.process.wait(60)
        expect(panel.state).to_contain_text("step 60", timeout=30_000)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    expect(panel.root.locator(".nnw-notice")).to_contain_text("is gone", timeout=30_000)
    expect(panel.state).to_contain_text("no longer followed")
    assert panel.last_point() == 60, "what was read stays"
