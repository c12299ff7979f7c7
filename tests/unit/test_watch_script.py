"""A plain script that records to a folder: killed, continued, and read by another process meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnwidget.training.history import History
from nnwidget.training.segments import decode
from tests.unit.histories import ROOT, until

JUPYTER = ("IPython", "ipywidgets", "anywidget", "bqplot", "ipykernel", "traitlets", "jupyter_client", "comm", "pandas")
KILLED = 500
LOST = 2.0  # seconds

# Prints each step with its time and its loss as soon as it is over; a step takes a hundredth of a second.
SCRIPT = """
import json, os, signal, sys, time
import torch
from torch import nn
import nnwidget

folder, start, last, killed, how, jupyter = json.loads(sys.argv[1])
torch.set_num_threads(1)
torch.manual_seed(start)
model = nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
criterion = nn.CrossEntropyLoss()
with nnwidget.watch(model, optimizer, path=folder, start_step=start, **how) as w:
    for step in range(start + 1, last + 1):
        x, y = torch.randn(16, 20), torch.randint(0, 3, (16,))
        time.sleep(0.01)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        print(json.dumps([step, time.time(), loss.item()]), flush=True)
        if step == killed:
            print(json.dumps([name for name in jupyter if name in sys.modules]), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
print(json.dumps([name for name in jupyter if name in sys.modules]), flush=True)
"""


@contextmanager
def script(folder: Path, start: int, last: int, killed: int = 0, **how: Any) -> Iterator[subprocess.Popen[str]]:
    """Run it while the block lasts."""
    command = [sys.executable, "-c", SCRIPT, json.dumps([str(folder), start, last, killed, how, JUPYTER])]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ran(folder: Path, start: int, last: int, killed: int = 0, **how: Any) -> tuple[int, dict[int, tuple[float, float]]]:
    """Return how it ended, and time and loss of its steps."""
    with script(folder, start, last, killed, **how) as process:
        out, _ = process.communicate(timeout=240)
    *lines, jupyter = map(json.loads, out.splitlines())
    assert jupyter == [], "a script imports no Jupyter"
    return process.returncode, {step: (when, loss) for step, when, loss in lines}


def sound(folder: Path) -> None:
    """Every byte of the folder belongs to a whole record, but for what was being written at the kill."""
    for path in sorted(folder.glob("segment-*.nnw")):
        data, place = path.read_bytes(), 0
        while (found := decode(data, place)) is not None:
            place = found[1]
        assert place > 0 and len(data) - place < 4096


@pytest.mark.parametrize("how", [{}, {"every": 10, "budget": None}], ids=["as it is", "every tenth step"])
def test_a_script_that_is_killed_loses_two_seconds_at_most_and_is_continued(tmp_path: Path, how: dict) -> None:
    folder = tmp_path / "run"
    code, first = ran(folder, 0, 2 * KILLED, KILLED, **how)
    assert code == -signal.SIGKILL and max(first) == KILLED
    killed = first[KILLED][0]
    assert killed - first[1][0] > LOST, "otherwise it could all be lost"

    history = History.load(folder)
    steps, values = history["loss"]
    assert not history.problems
    sound(folder)
    assert max(step for step, (when, _) in first.items() if when <= killed - LOST) <= steps[-1] <= KILLED
    assert values.tolist() == pytest.approx([first[step][1] for step in steps.tolist()])
    for quantity in ("total_grad_norm", "step_time", "lr"):
        # The loss may be heard in steps that are not looked at, of which there are 99 in a row at most.
        assert steps[-1] - 100 < history[quantity].steps[-1] <= steps[-1]
        assert np.isfinite(history[quantity].values).all()
    for layer in ("0", "1", "3"):
        found = history["grad_norm"][layer]
        assert len(found.steps) and np.isfinite(found.values).all()
        assert history.histogram("weight", layer)[0] == found.steps[-1]

    begun = int(steps[-1])
    code, second = ran(folder, begun, begun + 100, **how)
    assert code == 0
    history = History.load(folder)
    again, values = history["loss"]
    # Where a look at each step would cost too much, the last ones may not have been looked at.
    assert not history.problems and second[int(again[-1])][0] >= second[begun + 100][0] - LOST
    assert (np.diff(again) > 0).all() and set(steps.tolist()) < set(again.tolist())
    seen = {step: loss for step, (_, loss) in first.items() if step <= begun} | {k: v[1] for k, v in second.items()}
    assert values.tolist() == pytest.approx([seen[step] for step in again.tolist()])
    if how:
        assert again.tolist() == list(range(1, begun + 101))
        recorded = list(range(10, begun + 101, 10))
        assert history["grad_norm"]["0"].steps.tolist() == recorded


def test_what_was_recorded_is_there_during_a_validation_already(tmp_path: Path) -> None:
    code = """
import os, sys, time
import torch
from torch import nn
from nnwidget import watch

model = nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with watch(model, optimizer, every=1, budget=None, path=sys.argv[1]) as w:
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.ones(3, 4)).sum().backward()
        optimizer.step()
    end = time.monotonic() + 100
    with torch.no_grad():
        while not os.path.exists(sys.argv[2]) and time.monotonic() < end:
            model(torch.ones(3, 4))
            time.sleep(0.02)
"""
    folder, seen = tmp_path / "run", tmp_path / "seen"
    process = subprocess.Popen([sys.executable, "-c", code, str(folder), str(seen)], cwd=ROOT)
    try:
        until(lambda: any(folder.glob("segment-*.nnw")))
        history = History.load(folder)

        def steps(quantity: str, *layer: str) -> list[int]:
            history.refresh()
            return history.series(quantity, *layer).steps.tolist() if quantity in history else []

        until(lambda: steps("total_grad_norm") == list(range(1, 21)))
        until(lambda: steps("grad_norm", "") == list(range(1, 21)))
        assert process.poll() is None, "it is still validating"
        seen.write_text("")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_a_script_is_read_by_another_process_while_it_trains(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with script(folder, 0, KILLED, every=10, budget=None) as process:
        assert process.stdout is not None
        printed = [json.loads(process.stdout.readline()) for _ in range(10)]
        until(lambda: any(folder.glob("segment-*.nnw")))
        history = History.load(folder)
        late: list[float] = []
        for line in process.stdout:
            made = json.loads(line)
            if not made:
                break
            printed.append(made)
            history.refresh()
            # How long ago the oldest step was made that cannot be seen yet.
            unseen = [when for step, when, _ in printed if step > (history.last_step or 0)]
            late.append(time.time() - unseen[0] if unseen else 0.0)
        # The middle of all looks: one of them may fall into a hiccup of the machine.
        assert len(late) > 400 and sorted(late)[len(late) // 2] < 3.0
        history.refresh()
        assert history.last_step == KILLED and not history.problems
