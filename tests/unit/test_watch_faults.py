"""Whatever goes wrong in watching, the training goes on bit for bit as it would have, and nothing is left behind."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
import weakref

import pytest
import torch
from torch import Tensor, fx, nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from nnwidget.model.taps import active
from nnwidget.watching import watch
from tests.bits import randomness, state

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
STEP_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


class Loop:
    """A model, its optimiser and its loss, trained some steps at a time."""

    def __init__(self, model: nn.Module | None = None) -> None:
        self.model = model or net()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.criterion = nn.MSELoss()
        self.losses: list[float] = []
        torch.manual_seed(1)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(torch.randn(5, 6)), torch.zeros(5, 3))
            loss.backward()
            self.optimizer.step()
            self.losses.append(loss.item())

    def all(self) -> tuple:
        return self.losses, state(self.model), randomness()


def alone(steps: int) -> tuple:
    loop = Loop()
    loop.run(steps)
    return loop.all()


def left(loop: Loop) -> list:
    """Everything a watch could have left on this loop."""
    found = [active()]
    found += [list(getattr(part, name)) for part in loop.model.modules() for name in HOOKS]
    found += [list(getattr(loop.criterion, name)) for name in HOOKS]
    found += [list(getattr(loop.optimizer, name)) for name in STEP_HOOKS]
    found += [list(_global_optimizer_post_hooks)]
    found += [list(_global_optimizer_pre_hooks)]
    found += [list(torch.nn.modules.module._global_forward_hooks)]
    found += [p._backward_hooks for p in loop.model.parameters()]
    return [*found, threading.active_count()]


class Broken(dict):
    """Something that cannot be looked at."""

    def __getitem__(self, key: object) -> Tensor:
        raise RuntimeError("do not look")


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Broken:
        found = Broken()
        found.value = x
        found["x"] = 1
        return found


class WithOdd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.odd, self.out = nn.Linear(6, 8), Odd(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.odd(self.fc(x)).value)


def test_a_layer_that_cannot_be_looked_at_is_given_up_alone():
    plain = Loop(WithOdd())
    plain.run(6)
    loop = Loop(WithOdd())
    with watch(loop.model, loop.optimizer, every=1, budget=None) as w:
        loop.run(6)
        row = next(row for row in w.coverage if row.layer == "odd")
        assert row.state == "not observed" and row.reason == "observing it failed"
    assert loop.all() == plain.all()
    assert set(w.history["activation_mean"]) == {"fc", "out"}
    assert [event.data["layer"] for event in w.history.events if event.kind == "error"] == ["odd"]


@pytest.mark.parametrize("what", [("add_steps",), ("add_sample",), ("add_steps", "add_sample", "add_event", "log")])
def test_a_history_that_fails_ends_the_recording_and_nothing_else(what, monkeypatch, caplog):
    loop = Loop()
    before = left(loop)
    with watch(loop.model, loop.optimizer, every=1, budget=None) as w:
        loop.run(2)

        def fails(*args: object, **kwargs: object) -> None:
            raise OSError("no space left")

        assert w.history.steps.tolist() == [1, 2]
        for name in what:
            monkeypatch.setattr(w.history, name, fails)
        loop.run(2)
        w._engine.flush()
        w.pause()
        thread = threading.Thread(target=loop.run, args=(6,))
        thread.start()
        while not w._engine.loop.gate.waiting:
            assert thread.is_alive()
            time.sleep(0.002)
        paused_at = len(loop.losses)
        w.advance(2)
        w.resume()
        thread.join(20)
        assert not thread.is_alive() and paused_at < 10
        monkeypatch.undo()
    assert "no space left" in w._engine.error
    assert [record.message for record in caplog.records if "leaves it alone" in record.message].__len__() == 1
    assert loop.all() == alone(10)
    assert left(loop) == before


def test_nothing_is_left_on_anything():
    loop = Loop()
    before = left(loop)
    with watch(loop.model, loop.optimizer, every=2, budget=None):
        loop.run(5)
        assert left(loop) != before
    assert left(loop) == before
    with pytest.raises(ZeroDivisionError), watch(loop.model, every=1, budget=None):
        loop.run(1)
        raise ZeroDivisionError
    assert left(loop) == before
    with pytest.raises(KeyboardInterrupt), watch(loop.model, loop.optimizer):
        raise KeyboardInterrupt
    assert left(loop) == before


@pytest.mark.parametrize("keep", ["the watch", "the last output"])
def test_the_model_can_go_after_the_watch_is_closed(keep):
    loop = Loop()
    with watch(loop.model, loop.optimizer, every=1, budget=None) as w:
        loop.run(3)
        out = loop.model(torch.randn(5, 6))
        out.sum().backward()
    gone = [weakref.ref(part) for part in (loop.model, *loop.model.modules(), loop.criterion, loop.optimizer)]
    gone.append(weakref.ref(w._engine))
    if keep == "the watch":
        del out, loop
        gone.pop()
        gc.collect()
        assert "Sequential" in repr(w) and len(w.coverage) == 6 and w.kept_steps
        assert w.history["loss"].steps.tolist() == [1, 2, 3]
    else:
        del w, loop
        gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)


def test_two_watches_of_one_model():
    loop = Loop()
    with (
        watch(loop.model, loop.optimizer, every=1, budget=None) as a,
        watch(loop.model, loop.optimizer, every=3, budget=None) as b,
    ):
        loop.run(7)
    assert loop.all() == alone(7)
    assert a.history["loss"].values.tolist() == b.history["loss"].values.tolist()
    assert b.history["output_grad_std"]["0"].steps.tolist() == [3, 6]
    for step in (3, 6):
        one, other = (w.history["activation_mean"]["0"] for w in (a, b))
        assert one.values[one.steps == step] == other.values[other.steps == step]


def test_two_watches_and_a_failure_are_two_findings_of_one_layer():
    loop = Loop()
    with (
        watch(loop.model, loop.optimizer, every=1, budget=None) as a,
        watch(loop.model, loop.optimizer, every=3, budget=None) as b,
    ):
        loop.run(3)
        loop.model[4].weight.data[0, 0] = float("nan")
        loop.run(3)
    for w in (a, b):
        assert [(found.step, found.layer, found.evidence["batch"]) for found in w.findings] == [(4, "4", 4)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_records_nothing(tmp_path):
    loop = Loop()
    with watch(loop.model, loop.optimizer, every=1, budget=None, path=tmp_path / "run") as w:
        loop.run(3)
        w._engine.flush(wait=True)
        files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
        child = os.fork()
        if child == 0:
            code = 1
            try:
                loop.run(5)
                heard = len(w._engine.losses.now)
                w.close()
                code = 0 if heard == 0 and w._engine.flight.keeper.number == 3 else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == files
        loop.run(2)
    assert w.history["loss"].steps.tolist() == [1, 2, 3, 4, 5]
    assert loop.all() == alone(5)


def test_others_look_at_the_model_meanwhile():
    loop, x = Loop(), torch.ones(2, 6)
    with watch(loop.model, loop.optimizer, every=1, budget=None) as w:
        loop.run(2)
        loop.model.eval()
        exported = torch.export.export(loop.model, (x,)).module()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            traced = torch.jit.trace(loop.model, (x,))
        symbolic = fx.symbolic_trace(loop.model)
        parameters = dict(loop.model.named_parameters())
        buffers = dict(loop.model.named_buffers())

        def loss(parameters: dict, x: Tensor) -> Tensor:
            return torch.func.functional_call(loop.model, (parameters, buffers), (x[None],)).sum()

        each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
        with torch.no_grad():
            wanted = loop.model(x)
            for made in (exported, traced, symbolic):
                assert torch.allclose(made(x), wanted)
        assert each["0.weight"].shape == (2, 8, 6)
        loop.model.train()
        loop.run(3)
    assert w._engine.error == "" and not w._engine.sampler.taps.given_up
    assert w.steps == 5 and w.history["activation_mean"]["0"].steps.tolist() == [1, 2, 3, 4, 5]


def test_weights_that_are_written_by_hand():
    loop = Loop()
    with watch(loop.model, loop.optimizer, every=1, budget=None) as w:
        loop.run(2)
        loop.model[0].weight.data.mul_(0.0)
        loop.model[0].bias.data = torch.zeros(8)
        loop.run(1)
    norms = w.history["param_norm"]["0"].values.tolist()
    assert norms[2] < 0.5 < norms[1]
    assert w.history["param_norm"]["0"].steps.tolist() == [1, 2, 3]


def test_copies_are_models_like_any_other():
    loop = Loop()
    with watch(loop.model, loop.optimizer, every=1, budget=None) as w:
        loop.run(2)
        average = torch.optim.swa_utils.AveragedModel(loop.model)
        copies = copy.deepcopy((loop.model, loop.optimizer, loop.criterion))
        loop.run(2)
        average.update_parameters(loop.model)
        average(torch.ones(3, 6))
        copies[2](copies[0](torch.ones(3, 6)), torch.zeros(3, 3)).backward()
        copies[1].step()
        assert w.steps == 4 and len(w._engine.losses.now) == 0
    assert w.history["loss"].values.tolist() == loop.losses
    assert loop.losses == alone(4)[0]


def test_what_is_saved_while_watched_opens_where_nnwidget_is_not(tmp_path):
    loop = Loop(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)))
    with watch(loop.model, loop.optimizer, every=1, budget=None):
        loop.run(2)
        # In the middle of a recorded step, with every hook there is.
        out = loop.model(torch.randn(5, 6))
        loss = loop.criterion(out, torch.zeros(5, 3))
        torch.save((loop.model, loop.criterion), tmp_path / "model.pt")
        torch.save(out, io.BytesIO())
        (tmp_path / "model.pkl").write_bytes(pickle.dumps((loop.model, loop.optimizer, loop.criterion)))
        loss.backward()
        loop.optimizer.step()
        with torch.no_grad():
            wanted = loop.model(torch.ones(1, 6))
        torch.save((loop.model, wanted), tmp_path / "after.pt")
    script = """
import sys, pickle
sys.modules["nnwidget"] = None
import torch
model, criterion = torch.load("model.pt", weights_only=False)
criterion(model(torch.randn(5, 6)), torch.zeros(5, 3)).backward()
model, optimizer, criterion = pickle.loads(open("model.pkl", "rb").read())
criterion(model(torch.randn(5, 6)), torch.zeros(5, 3)).backward()
optimizer.step()
model, wanted = torch.load("after.pt", weights_only=False)
assert torch.equal(model(torch.ones(1, 6)), wanted)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
