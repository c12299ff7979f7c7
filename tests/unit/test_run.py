"""Trainings in threads of their own, in scripts: what they inherit, how they end, what is left."""

from __future__ import annotations

import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import tqdm
from torch import nn

import nnwidget.model.taps as taps
from nnwidget.errors import NNWidgetError
from nnwidget.explorer import explore
from nnwidget.training.forecast import Forecast
from nnwidget.training.inherit import torch_state
from nnwidget.training.pulse import Pulse
from nnwidget.training.worker import NAME
from nnwidget.watching import watch

ROOT = Path(__file__).resolve().parents[2]
X = torch.ones(4, 3)


class Loop:
    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.steps = 0

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.model(X).pow(2).mean().backward()
        self.optimizer.step()
        self.steps += 1

    def forever(self) -> None:
        while True:
            self.step()

    def hooks(self) -> int:
        kinds = (self.optimizer._optimizer_step_post_hooks, self.optimizer._optimizer_step_pre_hooks)
        return len(taps.active()) + sum(len(hooks) for hooks in kinds)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def test_a_run_gives_the_prompt_back_and_its_result_later() -> None:
    loop, go = Loop(), threading.Event()

    def train(steps: int, *, factor: int) -> int:
        assert go.wait(20)
        for _ in range(steps):
            loop.step()
        return steps * factor

    with watch(loop.model, loop.optimizer, every=1, budget=None) as w:
        run = w.run(train, 3, factor=10)
        assert not run.done and run.join(0.01) is False
        assert "running" in repr(run) and "Ctrl-C does not reach it" in repr(run)
        with pytest.raises(TimeoutError, match="train has not ended"):
            run.result(0.01)
        with pytest.raises(NNWidgetError, match=r"train is training this model already.*w\.stop"):
            w.run(train, 1, factor=1)
        go.set()
        assert run.result(20) == 30
        assert (run.done, run.error, run.stopped, repr(run)) == (True, None, False, "<Run of train: done>")
        # Nothing stays behind but the watch, which goes on.
        assert [thread for thread in threading.enumerate() if thread.name == NAME] == []
        assert w.history["total_grad_norm"].steps.tolist() == [1, 2, 3]
        loop.step()
        assert w.steps == 4
    assert loop.hooks() == 0


def test_an_error_is_printed_kept_and_noted(capsys: pytest.CaptureFixture[str]) -> None:
    loop = Loop()

    def train() -> None:
        loop.step()
        raise KeyError("label")

    with watch(loop.model, loop.optimizer) as w:
        run = w.run(train)
        assert run.join(20)
        assert isinstance(run.error, KeyError) and "ended by KeyError" in repr(run)
        with pytest.raises(KeyError, match="label"):
            run.result()
        assert [(event.kind, event.step) for event in w.history.events][-1] == ("error", 1)
        printed = capsys.readouterr().err
        assert "KeyError: 'label'" in printed and "in train" in printed and "worker.py" not in printed
        assert w.run(lambda: 5).result(20) == 5


def test_a_stop_ends_it_quietly_and_is_over_then(capsys: pytest.CaptureFixture[str]) -> None:
    loop = Loop()
    with watch(loop.model, loop.optimizer) as w:
        run = w.run(loop.forever)
        until(lambda: loop.steps > 3)
        w.stop()
        assert run.join(20) and run.stopped and run.result() is None and run.error is None
        assert capsys.readouterr().err == ""
        assert not w.should_stop
        loop.model(X)
        again = w.run(loop.step)
        assert again.join(20) and not again.stopped
        assert [event.kind for event in w.history.events][-1] == "stop"


def test_a_loop_that_looks_at_should_stop_counts_as_stopped() -> None:
    loop = Loop()

    def train() -> str:
        while not w.should_stop:
            if loop.steps == 3:
                # The worst moment: between the look and the forward.
                w.stop()
            loop.step()
        loop.model(X)
        return "tidied up"

    with watch(loop.model, loop.optimizer) as w:
        run = w.run(train)
        assert run.result(20) == "tidied up" and run.stopped and loop.steps == 4


def test_a_loop_that_looks_at_should_stop_and_goes_on_is_ended() -> None:
    loop = Loop()

    def train() -> None:
        while True:
            if w.should_stop:
                print("I go on")
            loop.step()

    with watch(loop.model, loop.optimizer) as w:
        run = w.run(train)
        until(lambda: loop.steps > 3)
        w.stop()
        assert run.join(20) and run.stopped


def test_pause_and_single_steps_in_a_run_and_closing_lets_it_go_on() -> None:
    loop, enough = Loop(), threading.Event()

    def train() -> None:
        while not enough.is_set():
            loop.step()

    w = watch(loop.model, loop.optimizer)
    run = w.run(train)
    w.pause()
    until(lambda: w._engine.loop.gate.waiting)
    held = loop.steps
    w.advance(2)
    until(lambda: loop.steps == held + 2 and w._engine.loop.gate.waiting)
    w.close()
    until(lambda: loop.hooks() == 0)
    then = loop.steps
    until(lambda: loop.steps > then + 3)
    enough.set()
    assert run.join(20) and run.error is None


def test_closing_beside_a_running_loop_never_breaks_a_step() -> None:
    """The user's own hooks come after ours: removing ours while torch walks over them would raise in that step."""
    loop, enough = Loop(), threading.Event()

    def train() -> None:
        while not enough.is_set():
            loop.step()

    seen: list[int] = []
    run = None
    for _ in range(10):
        w = watch(loop.model, loop.optimizer)
        after = loop.optimizer.register_step_post_hook(lambda *_: seen.append(1))
        enough.clear()
        run = w.run(train)
        w.pause()
        until(lambda w=w: w._engine.loop.gate.waiting)
        w.close()
        until(lambda: loop.hooks() == 1)
        enough.set()
        assert run.join(20) and run.error is None
        after.remove()
    assert len(seen) >= 10 and loop.hooks() == 0


def test_a_loop_elsewhere_without_the_root_takes_the_hooks_off_at_its_next_step() -> None:
    loop, enough = Loop(), threading.Event()

    def train() -> None:
        while not enough.is_set():
            loop.optimizer.zero_grad()
            loop.model[2](loop.model[0](X)).mean().backward()
            loop.optimizer.step()
            loop.steps += 1

    w = watch(loop.model, loop.optimizer)
    thread = threading.Thread(target=train)
    thread.start()
    until(lambda: loop.steps > 2)
    w.close()
    until(lambda: loop.hooks() == 0)
    enough.set()
    thread.join(20)


def test_leaving_the_block_while_a_run_goes_on_is_said() -> None:
    loop, enough = Loop(), threading.Event()
    w = watch(loop.model, loop.optimizer)
    with pytest.warns(UserWarning, match="wait goes on in its thread, unwatched"), w:
        run = w.run(enough.wait, 20)
    enough.set()
    assert run.join(20)


def test_what_torch_keeps_for_each_thread_is_carried_over() -> None:
    variable = contextvars.ContextVar("variable", default="nothing")
    variable.set("mine")

    def settings() -> tuple[Any, ...]:
        found = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.empty(0).device.type)
        kinds = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.get_num_threads()
        return (*found, *kinds, variable.get())

    loop = Loop()
    with watch(loop.model, loop.optimizer) as w:
        plain = settings()
        assert w.run(settings).result(20) == plain
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
            here = settings()
            assert w.run(settings).result(20) == here != plain
        with torch.inference_mode():
            here = settings()
            assert w.run(settings).result(20) == here != plain
        assert w.run(settings).result(20) == plain == settings()


def test_the_state_is_put_back_on_leaving_its_scope() -> None:
    with torch.no_grad(), torch.device("meta"):
        scope = torch_state()
    with scope():
        assert not torch.is_grad_enabled() and torch.empty(0).device.type == "meta"
    assert torch.is_grad_enabled() and torch.empty(0).device.type == "cpu"


def test_nothing_of_the_model_is_kept_by_a_run_that_is_over() -> None:
    loop = Loop()
    model = weakref.ref(loop.model)
    w = watch(loop.model, loop.optimizer)
    run = w.run(loop.step)
    assert run.join(20)
    w.close()
    del loop, w
    gc.collect()
    assert model() is None and run.done


def test_duties_keep_their_pace_and_one_that_fails_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    now, done = [0.0], []
    pulse = Pulse(lambda: now[0])
    pulse.every(5.0, lambda: done.append(now[0]))
    pulse.every(7.0, lambda: 1 / 0)
    for tick in range(21):
        now[0] = float(tick)
        pulse.beat()
    assert done == [5.0, 10.0, 15.0, 20.0]
    assert caplog.text.count("gives up a duty") == 1


def test_duties_are_done_at_boundaries_and_while_paused() -> None:
    loop, now, done = Loop(), [0.0], []
    with watch(loop.model, loop.optimizer) as w:
        w._engine.loop.pulse = Pulse(lambda: now[0])
        w._engine.loop.pulse.every(60.0, lambda: done.append(now[0]))
        w._engine.loop.pulse.due = 0.0
        loop.step()
        assert done == []
        now[0] = 61.0
        loop.step()
        assert done == [61.0]
        w.pause()
        run = w.run(loop.step)
        until(lambda: w._engine.loop.gate.waiting)
        now[0] = 122.0
        until(lambda: done == [61.0, 122.0])
        w.resume()
        assert run.join(20)


class Bar:
    """What is asked of a progress bar."""

    def __init__(self, n: int, total: int | None, started: float, elapsed: float) -> None:
        self.n, self.total, self.start_t, self.initial = n, total, started, 0
        self.format_dict = {"elapsed": elapsed}


def test_a_loop_that_says_nothing_is_expected_to_run_as_long_again() -> None:
    now = [100.0]
    forecast = Forecast(lambda: now[0], bars=tuple)
    assert forecast.remaining() == 0.0
    now[0] = 400.0
    assert forecast.remaining() == 300.0


def test_a_progress_bar_knows_better_and_the_outermost_that_moved_is_asked() -> None:
    now = [0.0]
    stale, outer, inner, endless = (
        Bar(3, 10, -90.0, 99.0),
        Bar(0, 100, 0.0, 0.0),
        Bar(1, 50, 1.0, 1.0),
        Bar(5, None, 0, 9),
    )
    bars = [stale, outer, inner, endless]
    forecast = Forecast(lambda: now[0], bars=lambda: bars)
    now[0] = 20.0
    inner.n, inner.format_dict = 11, {"elapsed": 10.0}
    # The outer one has not moved yet, the stale one never will.
    assert forecast.remaining() == pytest.approx(10.0 * 39 / 11)
    outer.n, outer.format_dict = 2, {"elapsed": 60.0}
    assert forecast.remaining() == pytest.approx(60.0 * 98 / 2)
    outer.n = 100
    inner.n = 50
    assert forecast.remaining() == 20.0


def test_real_bars_of_tqdm_are_found() -> None:
    with Path(os.devnull).open("w") as sink, tqdm.tqdm(total=10, file=sink) as bar:
        forecast = Forecast()
        bar.update(5)
        assert 0 <= forecast.remaining() < 10


SCRIPT = """
import sys, threading, time
import torch
from torch import nn
from nnwidget.watching import watch

torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

def step():
    optimizer.zero_grad()
    model(torch.ones(2, 3)).pow(2).mean().backward()
    optimizer.step()
"""


def interrupted(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Send Ctrl-C once it is ready, and return what it wrote after that."""
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        return process.communicate(timeout=120)
    finally:
        process.kill()


def test_a_script_waits_for_its_run_and_imports_no_jupyter() -> None:
    code = SCRIPT + (
        "def train():\n"
        "    while threading.main_thread().is_alive():\n"
        "        time.sleep(0.01)\n"
        "    step()\n"
        "    jupyter = {'IPython', 'ipywidgets', 'anywidget', 'bqplot', 'ipykernel'} & set(sys.modules)\n"
        "    print('trained', w.steps, sorted(jupyter))\n"
        "w = watch(model, optimizer)\n"
        "w.run(train)\n"
        "print('end of script', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "end of script\ntrained 1 []\n"


@pytest.mark.parametrize("paused", [False, True])
def test_ctrl_c_in_a_loop_works_as_ever(paused: bool) -> None:
    code = SCRIPT + (
        "from nnwidget.model import taps\n"
        "try:\n"
        "    with watch(model, optimizer) as w:\n"
        f"        {'w.pause()' if paused else 'pass'}\n"
        "        def ready():\n"
        f"            while not {'w._engine.loop.gate.waiting' if paused else 'w.steps > 2'}:\n"
        "                time.sleep(0.01)\n"
        "            print('ready', flush=True)\n"
        "        threading.Thread(target=ready).start()\n"
        "        while True:\n"
        "            step()\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', w.closed, w.steps > 0)\n"
        "left = [optimizer._optimizer_step_post_hooks, optimizer._optimizer_step_pre_hooks]\n"
        "print(taps.active(), [len(hooks) for hooks in left])\n"
        "step()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    out, err = interrupted(process)
    assert (process.returncode, out, err) == (0, "interrupted True True\n[] [0, 0]\n", "")


def test_ctrl_c_ends_the_waiting_for_a_run_and_not_the_run() -> None:
    code = SCRIPT + (
        "enough = threading.Event()\n"
        "def train():\n"
        "    while not enough.is_set():\n"
        "        step()\n"
        "w = watch(model, optimizer)\n"
        "run = w.run(train)\n"
        "try:\n"
        "    print('ready', flush=True)\n"
        "    run.join()\n"
        "except KeyboardInterrupt:\n"
        "    before = w.steps\n"
        "    while w.steps == before and not run.done:\n"
        "        time.sleep(0.01)\n"
        "    print('interrupted', run.done)\n"
        "    enough.set()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    out, _ = interrupted(process)
    assert (process.returncode, out) == (0, "interrupted False\n")


def test_hooks_in_torch_are_ordered_dictionaries() -> None:
    """What taking hooks off within a step relies on: the last can go while somebody walks over them."""
    optimizer = Loop().optimizer
    assert isinstance(optimizer._optimizer_step_post_hooks, OrderedDict)


def test_an_explorer_beside_a_run_waits_for_its_boundaries_and_changes_no_bit() -> None:
    def trained(look: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        begun = threading.Event()

        def train() -> None:
            for _ in range(1500):
                optimizer.zero_grad()
                model(torch.rand(16, 3)).pow(2).mean().backward()
                optimizer.step()
                begun.set()

        with watch(model, optimizer) as w:
            run = w.run(train)
            assert begun.wait(20)
            if look:
                with explore(model, X) as ex:
                    for _ in range(3):
                        assert ex.activation("1").shape == (8,)
            assert run.join(60) and run.error is None
        return [t.clone() for t in (*model.state_dict().values(), torch.get_rng_state())]

    for plain, watched in zip(trained(False), trained(True), strict=True):
        assert torch.equal(plain, watched)
