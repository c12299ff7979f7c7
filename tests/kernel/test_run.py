"""A training in a thread of a real kernel: its output, its errors and its values appear at the cell that began it."""

from __future__ import annotations

import queue
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kernel.conftest import Kernel, starting
from tools import kernels

KERNELS = [kernels.CURRENT, "ipykernel-6.31"]

SETUP = """
import sys, threading, time
import torch
from torch import nn
from IPython.display import display, HTML
from nnwidget.watching import watch

torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
go = threading.Event()

def step():
    optimizer.zero_grad()
    model(torch.ones(2, 3)).pow(2).mean().backward()
    optimizer.step()
"""


class Cells:
    """The messages that a kernel published, by the cell they belong to."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.strays: list[dict[str, Any]] = []

    def run(self, code: str) -> str:
        """Run a cell to its end and return the id of its message."""
        cell = self.kernel.start(code)
        self.until(lambda: any(m["content"].get("execution_state") == "idle" for m in self.messages[cell]), code)
        return cell

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, f"never came: {what}; seen: {dict(self.messages)}"
            try:
                message = self.kernel.client.get_iopub_msg(timeout=0.2)
            except queue.Empty:
                continue
            cell = message["parent_header"].get("msg_id")
            (self.messages[cell] if cell else self.strays).append(message)

    def text(self, cell: str, name: str = "stdout") -> str:
        found = [m["content"] for m in self.messages[cell] if m["msg_type"] == "stream"]
        return "".join(content["text"] for content in found if content["name"] == name)

    def of(self, cell: str, kind: str) -> list[dict[str, Any]]:
        return [m["content"] for m in self.messages[cell] if m["msg_type"] == kind]

    def error(self, cell: str) -> str:
        """Wait for the error of a cell and return its traceback without colours."""
        self.until(lambda: bool(self.of(cell, "error")), "an error")
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(self.of(cell, "error")[0]["traceback"]))


@pytest.fixture(scope="module", params=KERNELS)
def kernel(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """One kernel for all: each test begins with a model of its own."""
    with pytest.MonkeyPatch.context() as patch, starting(tmp_path_factory.mktemp("kernel"), patch) as start:
        yield start(request.param)


@pytest.fixture
def cells(kernel: Kernel) -> Cells:
    cells = Cells(kernel)
    cell = cells.run(SETUP)
    assert not cells.of(cell, "error"), cells.of(cell, "error")
    return cells


def test_output_stays_at_the_cell_that_began_it(cells: Cells) -> None:
    began = cells.run(
        "w = watch(model, optimizer, display=False)\n"
        "def train():\n"
        "    print('early')\n"
        "    go.wait(30)\n"
        "    step()\n"
        "    print('late')\n"
        "    print('worse', file=sys.stderr)\n"
        "    display(HTML('<b>shown</b>'))\n"
        "    return 7\n"
        "run = w.run(train)\n"
        "run"
    )
    # The prompt is back, and says that Ctrl-C does not help here.
    assert "Ctrl-C does not reach it" in cells.of(began, "execute_result")[0]["data"]["text/plain"]
    other = cells.run("print('other'); go.set(); print(run.result(30))")
    cells.until(lambda: "late" in cells.text(began) and bool(cells.of(began, "display_data")), "the late output")
    last = cells.run("print(run, w.steps, sorted(t.name for t in threading.enumerate() if 'nnwidget' in t.name))")
    assert cells.text(began).split("\n")[:2] == ["early", "late"]
    assert cells.text(began, "stderr") == "worse\n"
    assert cells.of(began, "display_data")[0]["data"]["text/html"] == "<b>shown</b>"
    assert cells.text(other) == "other\n7\n"
    assert cells.text(last) == "<Run of train: done> 1 []\n"
    assert not cells.of(other, "display_data")


def test_an_error_is_shown_there_and_the_watch_goes_on(cells: Cells) -> None:
    began = cells.run(
        "w = watch(model, optimizer, display=False)\n"
        "def train():\n"
        "    step()\n"
        "    go.wait(30)\n"
        "    raise ValueError('no such file')\n"
        "run = w.run(train)"
    )
    cells.run("go.set()")
    shown = cells.error(began)
    assert "ValueError: no such file" in shown
    assert "line 5" in shown or "----> 5" in shown
    assert "_main" not in shown
    after = cells.run(
        "print(run.join(30), run.error, w.closed, w.history.events[-1].text)\n"
        "again = w.run(lambda: [step() for _ in range(2)]); again.join(30); print(w.steps, again)"
    )
    assert cells.text(after) == (
        "True no such file False train ended by ValueError: no such file\n3 <Run of <lambda>: done>\n"
    )


def test_it_is_stopped_from_another_cell_and_quietly(cells: Cells) -> None:
    began = cells.run(
        "w = watch(model, optimizer, display=False)\ndef train():\n    while True: step()\nrun = w.run(train)"
    )
    stop = cells.run(
        "while w.steps < 3: time.sleep(0.01)\n"
        "w.stop(); print(run.join(30), run.stopped, run.error, w.history.events[-1].kind)\n"
        "model(torch.ones(1, 3)); step(); print(w.should_stop)"
    )
    assert not cells.of(stop, "error")
    assert cells.text(stop) == "True True None stop\nFalse\n"
    assert not cells.of(began, "error") and cells.text(began, "stderr") == ""


def test_the_magic_runs_the_cell_in_the_notebooks_names(cells: Cells) -> None:
    began = cells.run(
        "%%watch model optimizer --every 1 --as w\n"
        "total = 0\n"
        "for i in range(3):\n"
        "    step()\n"
        "    total += 1\n"
        "print('counted', total)\n"
        "go.wait(30)\n"
        "total * 100"
    )
    cells.until(lambda: "counted 3" in cells.text(began), "the print")
    assert "cell " in cells.of(began, "execute_result")[0]["data"]["text/plain"]
    other = cells.run("print(total, w.steps, w.closed); run = _; go.set(); print(run.result(30), w.closed)")
    assert not cells.of(other, "error"), cells.of(other, "error")
    assert cells.text(other) == "3 3 False\n300 True\n"
    cells.until(lambda: "300" in str(cells.of(began, "display_data")), "the value")
    kept = cells.run("print(w.history['total_grad_norm'].steps.tolist())")
    assert cells.text(kept) == "[1, 2, 3]\n"


def test_the_magics_errors_name_the_line_of_the_cell(cells: Cells) -> None:
    cells.run("w = watch(model, optimizer, display=False)")
    began = cells.run("%%watch w\nstep()\n\ndef inner():\n    return 1 / 0\n\ninner()")
    shown = cells.error(began)
    assert "ZeroDivisionError" in shown and "cell_magic" not in shown and "worker.py" not in shown
    assert "line 7" in shown and re.search(r"-+> 5 +return 1 / 0", shown), shown
    wrong = cells.run("%%watch w\nstep()\nfor for")
    assert cells.of(wrong, "error")[0]["ename"] == "SyntaxError"
    assert "line 3" in cells.error(wrong)
    unknown = cells.run("%%watch modle\nstep()")
    assert "'modle' cannot be used here" in cells.text(unknown, "stderr") + str(cells.of(unknown, "error"))
    options = cells.run("%%watch w --every 3\nstep()")
    assert "takes nothing else" in cells.error(options)


def test_a_cell_run_again_stops_its_training(cells: Cells) -> None:
    code = "%%watch model optimizer --as w\nwhile True: step()"
    metadata = {"cellId": "the-cell"}
    ids = []
    for _ in range(2):
        message = cells.kernel.client.session.msg(
            "execute_request",
            {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False},
            metadata=metadata,
        )
        cells.kernel.client.shell_channel.send(message)
        ids.append(message["header"]["msg_id"])
        cells.run("runs = globals().setdefault('runs', []); runs.append(w.last_run)")
    assert not cells.of(ids[1], "error"), cells.of(ids[1], "error")
    last = cells.run(
        "print([run.stopped for run in runs], [run.watch.closed for run in runs]); w.stop(); runs[1].join(30)"
    )
    assert cells.text(last) == "[True, False] [True, False]\n"


def test_the_extension_brings_the_magic_too(cells: Cells) -> None:
    # Another test's cell magic may have loaded it in this kernel.
    cells.run("get_ipython().extension_manager.loaded.discard('nnwidget')")
    cells.run("for kind in get_ipython().magics_manager.magics.values(): kind.pop('watch', None)")
    cells.run("get_ipython().magics_manager.lazy_magics.clear()")
    loaded = cells.run("%load_ext nnwidget\nprint('watch' in get_ipython().magics_manager.magics['cell'])")
    assert cells.text(loaded) == "True\n"


def test_a_run_while_one_runs_is_refused(cells: Cells) -> None:
    cells.run("w = watch(model, optimizer, display=False)\nrun = w.run(go.wait, 30)")
    second = cells.run("w.run(step)")
    assert "is training this model already" in cells.error(second)
    other = cells.run("v = watch(model, optimizer, display=False)\nv.run(step)")
    assert "is training this model already" in cells.error(other)
    cells.run("go.set(); run.join(30)")


def test_signs_of_life_count_as_activity(cells: Cells) -> None:
    cells.run(
        "w = watch(model, optimizer, display=False)\n"
        "w._engine.loop.pulse._at[0] = 0.0; w._engine.loop.pulse.due = 0.0\nstep()"
    )
    cells.until(lambda: any(m["msg_type"] == "nnwidget_alive" for m in cells.strays), "a sign of life")
    cells.strays.clear()
    cells.run("w.keep_alive = False; w._engine.loop.pulse._at[0] = 0.0; w._engine.loop.pulse.due = 0.0; step()")
    cells.run("print(1)")
    assert not cells.strays


def test_a_long_cell_is_told_once_what_to_do_instead(cells: Cells) -> None:
    cell = cells.run(
        "from nnwidget.training.forecast import Forecast\n"
        "w = watch(model, optimizer, display=False)\n"
        "now = [0.0]\n"
        "w._ties._forecast = Forecast(lambda: now[0])\n"
        "for now[0] in (300.0, 599.0, 700.0, 900.0):\n"
        "    w._engine.loop.pulse._at[1] = 0.0; w._engine.loop.pulse.due = 0.0\n"
        "    step()\n"
        "    print(int(now[0]))"
    )
    assert cells.text(cell).split() == ["300", "599", "700", "900"]
    assert cells.text(cell, "stderr").count("expected to train for another 11 min") == 1
    assert "%%watch model optimizer" in cells.text(cell, "stderr")
