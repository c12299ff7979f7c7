"""When a value stops being finite, the first bad layer is named, and nothing of the training is moved by finding it."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nnwidget.training.flight import FlightRecorder
from nnwidget.training.history import History
from nnwidget.watching import watch
from tests.bits import randomness, state

NAN, INF = float("nan"), float("inf")
BAD = 4  # the step that goes wrong


class Does(nn.Module):
    """A layer that does something else with batches of another size."""

    def __init__(self, bad) -> None:
        super().__init__()
        self.bad = bad

    def forward(self, x: Tensor) -> Tensor:
        return self.bad(x) if len(x) == 9 else x * 1.5


def net(bad=lambda x: x, *, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(dropout), Does(bad), nn.Linear(4, 2))


def batch(step: int) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(step)
    size = 9 if step == BAD else 8
    return torch.randn(size, 4, generator=made), torch.randint(0, 2, (size,), generator=made)


def train(model, *, loss=None, steps=8, every=1000, watched=True, before=None, **how):
    """``before(step, x)`` may change the model or the batch; the watch and the losses are returned."""
    criterion = loss or nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    seen = []
    with watch(model, optimizer, every=every, budget=None, **how) if watched else contextlib.nullcontext() as w:
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            x, y = batch(step)
            x = before(step, x) if before is not None else x
            value = criterion(model(x), y)
            value.backward()
            seen.append(value.item())
            optimizer.step()
    if watched:
        assert w._engine.error == "" and not w._engine.sampler.taps.given_up
    return w, seen


def only(w):
    assert len(w.findings) == 1, w.findings
    found = w.findings[0]
    assert [(e.step, e.text) for e in w.history.events if e.kind == "finding"] == [
        (found.step, f"{found.explanation} {found.remedy}")
    ]
    return found


FORWARD = {
    "root": (lambda x: (x - 100.0).sqrt(), "nan"),
    "log": (lambda x: (x * 0.0).log(), "inf"),
    "division": (lambda x: x / 0.0, "inf"),
    "exponential": (lambda x: (x.abs() * 1e4).exp(), "inf"),
}


@pytest.mark.parametrize("every", [1, 1000])
@pytest.mark.parametrize("how", FORWARD)
def test_the_first_bad_layer_of_a_forward(how, every):
    bad, word = FORWARD[how]
    w, seen = train(net(bad), every=every)
    found = only(w)
    assert (found.layer, found.step, found.severity) == ("3", BAD, "error")
    assert found.evidence["direction"] == "forward" and found.evidence["batch"] == BAD and found.evidence[word] > 0
    assert "'3' (Does)" in found.explanation and "forward pass" in found.explanation
    assert len(seen) == 8, "the loop goes on"


@pytest.mark.parametrize("loss", [None, functional.cross_entropy])
def test_a_gradient_that_is_not_finite_where_the_forward_is(loss):
    # The derivative of the norm at zero, times zero.
    w, _ = train(net(lambda x: x + (x * 0.0).square().sum().sqrt()), loss=loss)
    found = only(w)
    assert found.step == BAD and found.evidence["direction"] == "backward"
    if loss is None:
        assert found.layer == "3" and found.evidence["exact"] is True
        assert "gradient at the input of '3' (Does)" in found.explanation
    else:
        # Without a loss module the step cannot be run again up to its gradients.
        assert found.evidence["exact"] is False and "gradients of the parameters of '1'" in found.explanation


def test_the_loss_itself():
    class LogLoss(nn.Module):
        def forward(self, out: Tensor, y: Tensor) -> Tensor:
            share = out.softmax(-1)[:, 0]
            return -(share * 0.0 if len(out) == 9 else share).log().mean()

    found = only(train(net(), loss=LogLoss())[0])
    assert (found.layer, found.step, found.evidence["direction"]) == (None, BAD, "loss")
    assert "LogLoss" in found.explanation


def test_the_gradient_of_the_loss():
    class RootLoss(nn.Module):
        def forward(self, out: Tensor, y: Tensor) -> Tensor:
            return ((out * (0.0 if len(out) == 9 else 1.0)).square().sum() + 0.0).sqrt()

    found = only(train(net(), loss=RootLoss())[0])
    assert (found.layer, found.evidence["direction"]) == ("4", "backward")
    assert "gradient at the output of '4' (Linear)" in found.explanation


def test_a_loss_of_reshaped_outputs():
    class Sequences(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net(lambda x: x + (x * 0.0).square().sum().sqrt())

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).reshape(len(x), 1, 2)

    criterion = nn.CrossEntropyLoss()
    found = only(train(Sequences(), loss=lambda out, y: criterion(out.view(-1, 2), y))[0])
    assert found.layer == "net.3" and found.evidence["exact"] is True


def test_a_loss_inside_the_model():
    class WithLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.criterion = net(lambda x: x + (x * 0.0).square().sum().sqrt()), nn.MSELoss()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            out = self.net(x)
            return {"loss": self.criterion(out, torch.zeros_like(out)), "out": out}

    found = only(train(WithLoss(), loss=lambda out, y: out["loss"])[0])
    assert found.layer == "net.3" and found.evidence["direction"] == "backward"


@pytest.mark.parametrize("value", [NAN, INF])
def test_an_input(value):
    def spoil(step: int, x: Tensor) -> Tensor:
        if step == BAD:
            x[3, 1] = value
        return x

    found = only(train(net(), before=spoil)[0])
    assert (found.layer, found.step, found.evidence["direction"]) == (None, BAD, "input")
    assert found.evidence["nan"] + found.evidence["inf"] == 1 and "batch 4" in found.explanation


def test_a_parameter_set_by_hand():
    model = net()

    def spoil(step: int, x: Tensor) -> Tensor:
        if step == BAD:
            model[4].weight.data[0, 0] = NAN
        return x

    found = only(train(model, before=spoil)[0])
    assert (found.layer, found.step, found.evidence["direction"]) == ("4", BAD, "parameters")


def test_the_mask_of_a_batch_is_no_culprit():
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net(lambda x: (x - 100.0).sqrt())

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.net(x) + mask.exp()

    model, mask = Masked(), torch.tensor([0.0, -INF])
    optimizer, criterion = torch.optim.SGD(model.parameters(), lr=0.05), nn.CrossEntropyLoss()
    with watch(model, optimizer, every=1, budget=None) as w:
        for step in range(1, 6):
            x, y = batch(step)
            optimizer.zero_grad()
            criterion(model(x, mask), y).backward()
            optimizer.step()
    assert (only(w).layer, only(w).step) == ("net.3", BAD)


def test_infinite_outputs_that_harm_nobody_are_a_warning_and_freeze_nothing():
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.mask = nn.Linear(4, 2), Does(lambda x: x)

        def forward(self, x: Tensor) -> Tensor:
            x = self.fc(x)
            mask = torch.stack([x[:, 0] > 0, torch.zeros(len(x), dtype=torch.bool)], 1)
            return self.mask(x.masked_fill(mask, -INF)).softmax(-1) + x

    w, _ = train(Masked(), every=1)
    found = only(w)
    assert (found.rule, found.severity, found.layer) == ("infinite_output", "warning", "mask")
    assert w.kept_steps == [6, 7, 8]


def test_autocast_and_dropout_are_as_they_were():
    # Which units the mask leaves decides whether there is a zero among those whose root is taken.
    def bad(x: Tensor) -> Tensor:
        assert x.dtype == torch.bfloat16
        return (x - x.detach().abs().max()).sqrt()

    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fc, self.drop, self.odd = nn.Linear(4, 4), nn.Dropout(0.5), Does(bad)
            self.masks: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            x = self.drop(self.fc(x))
            self.masks.append(x == 0)
            return self.odd(x)

    model = Cast()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with watch(model, optimizer, every=1000, budget=None) as w:
        for step in range(1, 6):
            x, y = batch(step)
            with torch.autocast("cpu", torch.bfloat16):
                loss = criterion(model(x), y)
            if step == BAD:
                mask = model.masks[-1]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = only(w)
    assert (found.layer, found.step) == ("odd", BAD)
    dropped = w._engine.flight.culprit.tensor.isfinite()
    assert mask.any() and dropped.shape == mask.shape
    assert len(model.masks) == 5, "the probe puts back what the second run appended"


@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_the_search_moves_nothing(kind):
    bad = FORWARD["root"][0] if kind == "forward" else (lambda x: x + (x * 0.0).square().sum().sqrt())

    def run(*, watched: bool):
        model = net(bad, dropout=0.3)
        _, seen = train(model, watched=watched)
        return [str(value) for value in seen], state(model), randomness()

    assert run(watched=True) == run(watched=False)


def test_inputs_that_the_model_writes_to_are_left_alone():
    model = nn.Sequential(Does(lambda x: x.add_(1.0)), nn.Linear(4, 2), Does(lambda x: (x - 100.0).sqrt()))
    given = []

    def keep(step: int, x: Tensor) -> Tensor:
        given.append((step, x, x.clone()))
        return x

    only(train(model, before=keep)[0])
    step, x, before = given[BAD - 1]
    assert step == BAD and torch.equal(x, before + 1.0)


def test_the_micro_batch_is_named():
    model, criterion = net(lambda x: (x - 100.0).sqrt()), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with watch(model, optimizer, every=1000, budget=None) as w:
        for number in range(1, 13):
            size = 9 if number == 8 else 8
            criterion(model(torch.randn(size, 4)), torch.zeros(size, dtype=torch.int64)).backward()
            if number % 3 == 0:
                optimizer.step()
                optimizer.zero_grad()
    found = only(w)
    assert (found.layer, found.step, found.evidence["batch"]) == ("3", 3, 8)


def test_what_was_good_last_is_said_and_kept():
    w, _ = train(net(FORWARD["root"][0]), every=1)
    good = only(w).evidence["last_good"]
    assert good["step"] == BAD - 1
    assert good["activation_max"] == pytest.approx(float(w.tensor(BAD - 1, "3").max()))
    assert w.kept_steps == [2, 3, 4], "frozen at the failure"
    assert w.tensor(BAD, "3").isnan().any() and w.tensor(BAD, "1").isfinite().all()


def test_the_culprit_is_kept_in_full_where_steps_are_not():
    w, _ = train(net(FORWARD["root"][0]), memory="2 MB")
    assert only(w).layer == "3" and w.kept_steps == [BAD]
    assert w.tensor(BAD, "3").isnan().any()


def test_a_model_too_large_for_the_ring_is_told():
    model = nn.Sequential(nn.Linear(4, 70_000), nn.Linear(70_000, 2))
    w, _ = train(model, every=1, memory="8 MB", steps=2)
    assert w.kept_steps == [] and "too large" in repr(w)
    assert "too large" not in repr(train(net(), every=1, steps=2)[0])


def test_a_second_failure_after_many_sound_steps_is_a_new_one():
    model = nn.Sequential(nn.Linear(4, 2))
    bad = {10, 11, 40, 120}

    def spoil(step: int, x: Tensor) -> Tensor:
        with torch.no_grad():
            model[0].weight.fill_(0.5)
            model[0].bias.fill_(0.5)
        return x * NAN if step in bad else x

    w, _ = train(model, before=spoil, steps=140)
    assert [found.step for found in w.findings] == [10, 120]


def test_a_closure_is_told_after_the_fact():
    model, criterion = net(FORWARD["root"][0]), nn.CrossEntropyLoss()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)
    with watch(model, optimizer, every=1000, budget=None) as w:
        for step in range(1, 6):
            x, y = batch(step)

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
    assert (only(w).step, only(w).evidence["exact"]) == (BAD, False)


def test_numbers_that_arrive_late_are_looked_at_once():
    history, found = History(["0"], memory=1_000_000), []
    flight = FlightRecorder(nn.Linear(1, 1), [], history, 1000, found.append)
    for first in (1, 101, 201):
        loss = np.ones(100)
        if first == 101:
            loss[[7, 50]] = NAN
        flight.arrived(np.arange(first, first + 100), {"loss": loss})
    flight.arrived(np.arange(301, 304), {"total_grad_norm": np.array([1.0, INF, 1.0])})
    assert [finding.step for finding in found] == [108, 302]
    assert math.isnan(found[0].evidence["loss"])
