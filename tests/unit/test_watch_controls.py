"""Controls beside other things: Ctrl-C while paused, several watches, failures; see also test_loop_controls."""

from __future__ import annotations

import threading
import time
from _thread import interrupt_main

import pytest
import torch
from torch import nn

from nnwidget.model.taps import active
from nnwidget.training.gate import StopTraining
from nnwidget.watching import Watch, watch


def loop(steps: int, on_step=lambda step: None, model: nn.Module | None = None, **how) -> Watch:
    model = model or nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, **how) as w:
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            model(torch.ones(3, 4)).sum().backward()
            optimizer.step()
            on_step(w, step)
    return w


def when_waiting(w: Watch, do) -> threading.Thread:
    """Do something from another thread once the loop waits."""

    def run() -> None:
        while not w._engine.loop.gate.waiting:
            time.sleep(0.002)
        do()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_an_interrupt_while_paused_ends_the_loop_as_ever():
    threads, made = [], []

    def on_step(w: Watch, step: int) -> None:
        made[:] = [w]
        if step == 2:
            w.pause()
            threads.append(when_waiting(w, interrupt_main))

    with pytest.raises(KeyboardInterrupt):
        loop(5, on_step)
    threads[0].join()
    assert made[0].closed and made[0].steps == 3 and active() == []


def test_what_was_recorded_can_be_read_while_it_waits():
    found, threads = [], []

    def on_step(w: Watch, step: int) -> None:
        if step == 3:

            def look() -> None:
                found.append(w.history["total_grad_norm"].steps.tolist())
                w.resume()

            w.pause()
            threads.append(when_waiting(w, look))

    loop(6, on_step, every=1, budget=None)
    threads[0].join()
    assert found == [[1, 2, 3, 4]]


def test_a_stop_passes_through_the_watch_of_another_model():
    first, second = nn.Linear(4, 2), nn.Linear(4, 2)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (first, second)]
    inner = []
    with watch(first, optimizers[0]) as a:
        with watch(second, optimizers[1]) as b:
            for step in range(5):
                for model, optimizer in zip((first, second), optimizers, strict=True):
                    model(torch.ones(3, 4)).sum().backward()
                    optimizer.step()
                if step == 1:
                    a.stop()
        inner.append("reached")
    assert inner == [] and (a.steps, b.steps) == (2, 2)
    assert a.should_stop and not b.should_stop and active() == []


def test_a_stop_of_nobody_here_is_not_swallowed():
    with pytest.raises(StopTraining), watch(nn.Linear(1, 1)):
        raise StopTraining


def test_a_pause_works_with_a_scaler_that_skips():
    model, counts = nn.Linear(4, 2), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with watch(model, optimizer, scaler=scaler, every=1, budget=None) as w:
        for step in range(1, 7):
            optimizer.zero_grad()
            scaler.scale(model(torch.ones(3, 4)).sum()).backward()
            if step == 3:
                model.bias.grad.fill_(float("inf"))
                w.pause()
                thread = when_waiting(w, lambda: (counts.append(w.steps), w.resume()))
            scaler.step(optimizer)
            scaler.update()
    thread.join()
    # The step that was skipped ends where the next forward begins.
    assert counts == [3] and w.steps == 6
