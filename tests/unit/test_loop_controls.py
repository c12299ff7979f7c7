"""Pause, single steps and stop in loops as people write them, told by another thread or by the loop itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import nnwidget.model.taps as taps
from nnwidget.model.probe import probe
from nnwidget.training.gate import StopTraining
from nnwidget.watching import Watch, watch

X, Y = torch.ones(4, 3), torch.zeros(4, 1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.body(x)))


class Loop:
    """A model, its optimiser, and one step of a training that counts itself."""

    def __init__(self, model: nn.Module | None = None) -> None:
        self.model = Net() if model is None else model
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.steps = 0
        self.forwards = 0

    def forward(self) -> torch.Tensor:
        out = self.model(X)
        self.forwards += 1
        return out

    def step(self) -> None:
        self.optimizer.zero_grad()
        ((self.forward() - Y) ** 2).mean().backward()
        self.optimizer.step()
        self.steps += 1

    def hooks(self) -> int:
        found = [m._forward_pre_hooks for m in self.model.modules()] + [m._forward_hooks for m in self.model.modules()]
        kinds = (self.optimizer._optimizer_step_post_hooks, self.optimizer._optimizer_step_pre_hooks)
        return sum(len(hooks) for hooks in (*found, *kinds))


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    assert taps.active() == []


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def run(loop: Loop, body: Callable[[Loop, Watch], None], **options: Any) -> Watch:
    with watch(loop.model, loop.optimizer, **options) as w:
        body(loop, w)
        raise AssertionError("the loop was not stopped")
    assert loop.hooks() == 0
    return w


def test_a_stop_ends_the_loop_at_the_next_forward() -> None:
    def body(loop: Loop, w: Watch) -> None:
        while True:
            loop.step()
            if loop.steps == 3:
                w.stop()

    loop = Loop()
    w = run(loop, body)
    assert (loop.steps, loop.forwards, w.should_stop) == (3, 3, True)


def test_a_stop_before_the_first_step_lets_none_happen() -> None:
    def body(loop: Loop, w: Watch) -> None:
        w.stop()
        loop.step()

    loop = Loop()
    run(loop, body)
    assert loop.steps == 0


def test_loops_that_catch_exceptions_do_not_swallow_a_stop() -> None:
    def body(loop: Loop, w: Watch) -> None:
        while True:
            try:
                loop.step()
                w.stop()
            except Exception:
                continue

    loop = Loop()
    run(loop, body)
    assert loop.steps == 1


def test_a_bare_except_meets_the_stop_again_at_every_forward() -> None:
    loop, caught = Loop(), 0
    with watch(loop.model, loop.optimizer) as w:
        for _ in range(10):
            try:
                loop.step()
                w.stop()
            except:  # noqa: E722
                caught += 1
    assert (loop.steps, caught, loop.hooks()) == (1, 9, 0)


def test_a_loop_that_never_calls_the_root_is_stopped_at_a_boundary() -> None:
    class Apart(Loop):
        def forward(self) -> torch.Tensor:
            return self.model.head(torch.relu(self.model.body(X)))

    def body(loop: Loop, w: Watch) -> None:
        while True:
            if loop.steps == 2:
                w.stop()
            loop.step()

    loop = Apart()
    run(loop, body)
    # The step under way when the stop came, and the boundary of the next.
    assert loop.steps == 3


@pytest.mark.parametrize("inplace", [False, True])
def test_a_compiled_root_is_stopped(inplace: bool) -> None:
    model: Any = Net()
    if inplace:
        model.compile(backend="eager")
    else:
        model = torch.compile(model, backend="eager")
    loop = Loop(model)

    def body(loop: Loop, w: Watch) -> None:
        while loop.steps < 20:
            loop.step()
            if loop.steps == 3:
                w.stop()

    run(loop, body)
    assert loop.steps <= 4
    torch._dynamo.reset()


def test_a_validation_is_stopped_and_nested_loops_too() -> None:
    def body(loop: Loop, w: Watch) -> None:
        for _ in range(5):
            for _ in range(2):
                loop.step()
            with torch.no_grad():
                for batch in range(4):
                    loop.forward()
                    if loop.steps == 4 and batch == 1:
                        w.stop()

    loop = Loop()
    run(loop, body)
    assert (loop.steps, loop.forwards) == (4, 4 + 4 + 2)


def test_a_stop_while_paused_ends_the_loop() -> None:
    def body(loop: Loop, w: Watch) -> None:
        w.pause()
        in_thread(lambda: (until(lambda: w._engine.loop.gate.waiting), w.stop()))
        while True:
            loop.step()

    loop = Loop()
    run(loop, body)
    assert loop.steps == 1


def test_single_steps_are_exact() -> None:
    loop, counts = Loop(), []

    def person(w: Watch) -> None:
        until(lambda: w._engine.loop.gate.waiting)
        for _ in range(2):
            counts.append(loop.steps)
            w.advance()
            until(lambda: loop.steps > counts[-1])
            time.sleep(0.1)
        counts.append(loop.steps)
        w.advance(3)
        until(lambda: loop.steps >= counts[-1] + 3)
        time.sleep(0.1)
        counts.append(loop.steps)
        w.resume()

    with watch(loop.model, loop.optimizer, every=1, budget=None) as w:
        w.pause()
        told = in_thread(lambda: person(w))
        for _ in range(12):
            loop.step()
        told.join(20)
    # The post hook holds inside the step, before the loop counts it.
    assert (counts, loop.steps) == ([0, 1, 2, 5], 12)


def test_a_pause_holds_a_validation_and_a_single_step_leaves_the_rest_of_it_alone() -> None:
    loop, seen = Loop(), []

    def person(w: Watch) -> None:
        until(lambda: w._engine.loop.gate.waiting)
        seen.append((loop.steps, loop.forwards))
        w.advance()
        until(lambda: loop.forwards >= 7 and w._engine.loop.gate.waiting)
        seen.append((loop.steps, loop.forwards))
        w.resume()

    with watch(loop.model, loop.optimizer) as w:
        loop.step()
        with torch.no_grad():
            for _ in range(5):
                loop.forward()
                if loop.forwards == 3:
                    w.pause()
                    told = in_thread(lambda: person(w))
        loop.step()
        loop.step()
        told.join(20)
    assert seen == [(1, 3), (1, 7)]
    assert (loop.steps, loop.hooks()) == (3, 0)


def test_only_the_loops_own_forwards_are_stopped() -> None:
    loop, beside, passed = Loop(), [], []
    with watch(loop.model, loop.optimizer) as w:
        loop.step()
        w.stop()
        # Another cell, another thread; and what we run ourselves.
        in_thread(lambda: beside.append(loop.model(X))).join(20)
        with probe(loop.model):
            passed.append(loop.model(X))
        with pytest.raises(StopTraining):
            loop.step()
    assert len(beside) == len(passed) == 1


def test_a_thread_of_the_users_own_is_paused_stepped_and_stopped() -> None:
    loop, left = Loop(), []
    w = watch(loop.model, loop.optimizer)

    def train() -> None:
        try:
            while True:
                loop.step()
        except StopTraining:
            left.append(loop.steps)

    thread = in_thread(train)
    until(lambda: loop.steps > 2)
    w.pause()
    until(lambda: w._engine.loop.gate.waiting)
    held = loop.steps
    w.advance()
    until(lambda: loop.steps > held and w._engine.loop.gate.waiting)
    assert loop.steps == held + 1
    w.stop()
    thread.join(20)
    w.close()
    assert left == [loop.steps] and loop.hooks() == 0


def test_resume_takes_a_stop_back() -> None:
    loop = Loop()
    with watch(loop.model, loop.optimizer) as w:
        loop.step()
        w.stop()
        w.resume()
        loop.step()
        assert not w.should_stop
    assert loop.steps == 2


def test_should_stop_serves_loops_that_look_themselves() -> None:
    loop = Loop()
    w = watch(loop.model, loop.optimizer)
    while not w.should_stop:
        loop.step()
        if loop.steps == 4:
            w.stop()
    w.close()
    loop.step()
    assert loop.steps == 5 and loop.hooks() == 0


def test_another_error_is_not_swallowed_by_a_watch_that_was_stopped() -> None:
    loop = Loop()
    with pytest.raises(ZeroDivisionError), watch(loop.model, loop.optimizer) as w:
        w.stop()
        1 / 0  # noqa: B018
    assert loop.hooks() == 0


def test_closing_from_another_thread_releases_a_pause() -> None:
    loop = Loop()
    w = watch(loop.model, loop.optimizer)
    w.pause()
    in_thread(lambda: (until(lambda: w._engine.loop.gate.waiting), w.close()))
    for _ in range(3):
        loop.step()
    assert (loop.steps, loop.hooks(), w.closed) == (3, 0, True)
