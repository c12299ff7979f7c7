"""Full disks, loops that swallow errors, worker processes, copies made in the middle of a step: the bits stay."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from nnwidget.training.history import History
from nnwidget.watching import Watch, watch
from tests.bits import randomness, state
from tests.unit.histories import ROOT
from tests.unit.test_watch_faults import Loop, alone, left


def test_a_full_disk_ends_the_folder_and_nothing_else(tmp_path: Path) -> None:
    code = """
import json, resource, signal, sys
import torch
from nnwidget.watching import watch
from tests.unit.test_watch_faults import Loop, alone

torch.set_num_threads(1)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder, packed = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
loop = Loop()
with watch(loop.model, loop.optimizer, every=1, budget=None, path=folder) as w:
    for _ in range(20):
        # Writing is tried between these.
        loop.run(10)
        w._engine.flush()
print(json.dumps([
    str(loop.all()) == str(alone(200)),
    w._engine.error,
    w.history["loss"].steps.tolist() == list(range(1, 201)),
    w.history["activation_mean"]["0"].steps.tolist()[-1],
    [event.text for event in w.history.events if event.kind == "disk"],
]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run"), str(tmp_path / "packed.nnw")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    same, error, whole, last, told = json.loads(done.stdout)
    assert same and error == "" and whole and last == 200
    assert len(told) == 1 and "File too large" in told[0] and "history.save" in told[0]
    assert done.stderr.count("was given up") == 1, "said where a script can be read"
    history = History.load(tmp_path / "run")
    steps = history["loss"].steps
    assert not history.problems and steps.tolist() == list(range(1, len(steps) + 1)) and 10 < len(steps) < 200


class Careless(Loop):
    """Batches of a wrong shape, losses that cannot be computed, refused gradients: all of it is passed over."""

    def run(self, steps: int, catch: type[BaseException] = Exception) -> None:
        self.caught = 0
        self.since: list[float] = []
        self.means: list[float] = []
        for step in range(steps):
            try:
                self.optimizer.zero_grad()
                # The error comes in the fourth layer, in the loss, within the backward, or within the step.
                out = self.model(torch.randn(5, 6))
                if step % 7 == 2:
                    self.model[4](out)
                if step % 7 == 3:
                    self.criterion(out, torch.zeros(2, 2, 7))
                loss = self.criterion(out, torch.zeros(5, 3))
                self.since.append(loss.item())
                if step % 7 == 4:
                    out.register_hook(refuse)
                loss.backward()
                if step % 7 == 5:
                    self.model[0].weight.grad = None
                    self.optimizer.step(refuse)
                self.optimizer.step()
            except catch:
                self.caught += 1
                continue
            self.losses.append(loss.item())
            self.means.append(sum(self.since) / len(self.since))
            self.since.clear()


def refuse(*given: Any) -> Tensor:
    raise ArithmeticError("refused")


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("catch", [Exception, BaseException])
def test_a_loop_that_passes_over_its_errors_is_recorded_all_the_same(every: int, catch: type[BaseException]) -> None:
    plain = Careless()
    plain.run(35, catch)
    loop = Careless()
    before = left(loop)
    with watch(loop.model, loop.optimizer, every=every, budget=None) as w:
        loop.run(35, catch)
        assert w._engine.error == "" and not w._engine.sampler.taps.given_up
    assert loop.all() == plain.all() and left(loop) == before
    assert loop.caught == plain.caught == 20
    # Those that came to the optimiser's step.
    assert w.steps == len(loop.losses) == 15
    assert w.history["loss"].steps.tolist() == list(range(1, 16))
    # What was computed before an error is part of the step that follows, as a micro-batch is.
    assert w.history["loss"].values.tolist() == pytest.approx(loop.means)
    assert w.history["activation_mean"]["4"].steps.tolist() == list(range(every, 16, every))
    assert not w.findings


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Examples that a worker process makes with torch, and with the model itself."""

    def __init__(self, model: nn.Module | None) -> None:
        self.model = model

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(6) + index
        if self.model is not None:
            with torch.no_grad():
                x = x + self.model[4](self.model[0](x[None]))[0].sum()
            x = x + self.model(x.expand(2, 6)).sum().detach()
        return x, torch.zeros(3)


class Loaded(Loop):
    """A loop over a DataLoader whose workers are forked while it is watched."""

    def run(self, epochs: int, *, model: bool = False) -> None:
        data = Pictures(self.model if model else None)
        how: dict[str, Any] = {"num_workers": 2, "multiprocessing_context": "fork", "timeout": 60}
        loader = DataLoader(data, batch_size=5, shuffle=True, persistent_workers=True, **how)
        for _ in range(epochs):
            for x, y in loader:
                self.optimizer.zero_grad()
                loss = self.criterion(self.model(x), y)
                loss.backward()
                self.optimizer.step()
                self.losses.append(loss.item())
            for x, y in DataLoader(data, batch_size=10, **how):
                self.model.eval()
                with torch.no_grad():
                    self.losses.append(self.criterion(self.model(x), y).item())
                self.model.train()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
@pytest.mark.parametrize("model", [False, True], ids=["their own", "with the model"])
@pytest.mark.parametrize("thread", [False, True], ids=["here", "in a run"])
def test_workers_of_a_dataloader_that_are_forked_meanwhile_record_nothing(
    tmp_path: Path, model: bool, thread: bool
) -> None:
    plain = Loaded()
    plain.run(2, model=model)
    loop = Loaded()
    before = left(loop)
    with watch(loop.model, loop.optimizer, every=1, budget=None, path=tmp_path / "run") as w:
        if thread:
            run = w.run(loop.run, 2, model=model)
            assert run.join(120) and run.error is None
        else:
            loop.run(2, model=model)
        assert w._engine.error == ""
    # The last counts threads: those of a loader's queues end when they will.
    assert loop.all() == plain.all() and left(loop)[:-1] == before[:-1]
    trained = [loss for epoch in (loop.losses[:9], loop.losses[9:]) for loss in epoch[:6]]
    for history in (w.history, History.load(tmp_path / "run")):
        assert history["loss"].values.tolist() == pytest.approx(trained)
        assert history["activation_mean"]["0"].steps.tolist() == list(range(1, 13))
        assert not history.problems and not [event for event in history.events if event.kind == "error"]


def test_of_two_watches_either_may_go_first() -> None:
    loop = Loop()
    before = left(loop)
    a = watch(loop.model, loop.optimizer, every=1, budget=None)
    b = watch(loop.model, loop.optimizer, every=2, budget=None)
    loop.run(3)
    a.close()
    loop.run(3)
    c = watch(loop.model, loop.optimizer, every=1, budget=None, start_step=6)
    loop.run(2)
    b.close()
    loop.run(2)
    c.close()
    assert loop.all() == alone(10) and left(loop) == before
    for w, steps in ((a, [1, 2, 3]), (b, [2, 4, 6, 8]), (c, [7, 8, 9, 10])):
        assert w._engine.error == "" and w.history["grad_norm"]["0"].steps.tolist() == steps
        assert w.history["output_grad_std"]["0"].steps.tolist() == steps
        looked = w.history["loss"]
        assert looked.values.tolist() == [loop.losses[step - 1] for step in looked.steps.tolist()]


def test_a_stop_of_one_of_two_watches_is_not_swallowed_by_the_other() -> None:
    loop, reached = Loop(), []
    with watch(loop.model, loop.optimizer) as a:
        with watch(loop.model, loop.optimizer) as b:
            loop.run(2)
            a.stop()
            loop.run(2)
        reached.append("between")
    assert (len(loop.losses), reached, a.should_stop, b.should_stop) == (2, [], True, False)
    assert a.closed and b.closed


def averages(steps: int, watched: Callable[[Loop], Watch] | None = None) -> tuple[Any, list[int]]:
    """Train with an average of the weights that was made in the middle of a step, and a copy that goes its own way."""
    loop = Loop()
    w = watched(loop) if watched else None
    loop.run(2)
    loop.optimizer.zero_grad()
    loss = loop.criterion(loop.model(torch.randn(5, 6)), torch.zeros(5, 3))
    average = AveragedModel(loop.model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    loss.backward()
    loop.optimizer.step()
    loop.losses.append(loss.item())
    for step in range(steps):
        loop.run(1)
        average.update_parameters(loop.model)
        with torch.no_grad():
            loop.losses.append(float(average(torch.ones(3, 6)).sum()))
        if step % 2:
            # Trained too, in between: it is no step of the model that is watched.
            average(torch.ones(3, 6)).sum().backward()
    recorded = []
    if w is not None:
        w.close()
        assert w._engine.error == "" and w.steps == steps + 3
        recorded = w.history["activation_mean"]["0"].steps.tolist()
    return (loop.all(), state(average), randomness()), recorded


def test_an_average_of_the_weights_made_in_the_middle_of_a_step_is_a_model_like_any_other() -> None:
    wanted, _ = averages(6)
    found, recorded = averages(6, lambda loop: watch(loop.model, loop.optimizer, every=1, budget=None))
    assert found == wanted
    assert recorded == list(range(1, 10))


def exported(strict: bool, watched: Callable[[Loop], Watch] | None = None) -> tuple[Any, list[Any], Watch | None]:
    """Train, with an export between a forward and its backward."""
    loop = Loop()
    with watched(loop) if watched else contextlib.nullcontext() as w:
        loop.run(2)
        loop.optimizer.zero_grad()
        loss = loop.criterion(loop.model(torch.randn(5, 6)), torch.zeros(5, 3))
        graph = torch.export.export(loop.model, (torch.ones(5, 6),), strict=strict).graph
        loss.backward()
        loop.optimizer.step()
        loop.losses.append(loss.item())
        loop.run(2)
    return loop.all(), [str(node.target) for node in graph.nodes], w


# Older ones export no model that carries a hook on its root.
@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.needs_torch("2.5"))])
def test_an_export_in_the_middle_of_a_step_holds_nothing_of_ours(strict: bool) -> None:
    wanted, targets, _ = exported(strict)
    found, same, w = exported(strict, lambda loop: watch(loop.model, loop.optimizer, every=1, budget=None))
    assert found == wanted and same == targets
    assert w is not None and w._engine.error == "" and not w._engine.sampler.taps.given_up
    assert w.history["activation_mean"]["0"].steps.tolist() == [1, 2, 3, 4, 5]


def test_weights_that_are_replaced_in_every_step() -> None:
    """``.data`` is exchanged, clipped and tied again behind the optimiser's back, as EMA swaps and pruning do."""

    def train(loop: Loop) -> None:
        kept = torch.zeros(8, 6)
        for step in range(9):
            loop.run(1)
            weight = loop.model[0].weight
            if step % 3 == 0:
                weight.data = weight.data.clone()
            elif step % 3 == 1:
                kept, weight.data = weight.data, kept + 0.1
            else:
                weight.data.clamp_(-0.2, 0.2)

    plain = Loop()
    train(plain)
    loop = Loop()
    with watch(loop.model, loop.optimizer, every=1, budget=None) as w:
        train(loop)
        assert w._engine.error == ""
    assert loop.all() == plain.all()
    norms = w.history["param_norm"]["0"]
    assert norms.steps.tolist() == list(range(1, 10)) and np.isfinite(norms.values).all()
    # An update is what the optimiser did in its step, not what was written in between.
    assert (w.history["update_norm"]["0"].values < 0.01 * 1.01 * (54 + 2) ** 0.5).all()
