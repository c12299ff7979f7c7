"""The loss of steps that nobody looks at, since a look at each would cost more than the budget."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from nnwidget.training.governor import Governor
from tests.unit.test_watch_loss import losses, net, train

STEPS = 43
# Those of the first five in which the loss is looked for.
LOOKED = [1, *range(5, STEPS + 1, 5)]


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at every fifth step, and record none after the first."""
    monkeypatch.setattr(Governor, "looks", lambda self, step: step % 5 == 0)
    monkeypatch.setattr(Governor, "records", lambda self, step: step == 1)
    monkeypatch.setattr(Governor, "wake", lambda self, step: step + 4 - step % 5)
    monkeypatch.setattr(Governor, "overhears", property(lambda self: True))


def quietly(model, loss_of, **how):
    w, seen = train(model, loss_of, every="auto", budget=0.02, steps=STEPS, **how)
    # Otherwise nothing was overheard.
    norms = w.history["total_grad_norm"].steps.tolist()
    assert set(LOOKED) <= set(norms) and len(norms) < 15
    return w, seen


def test_a_loss_module_is_heard_in_each_step():
    model, criterion = net(), nn.CrossEntropyLoss()
    w, seen = quietly(model, lambda x, y, w: criterion(model(x), y))
    assert losses(w) == pytest.approx(seen)
    walls = w.history["wall_time"]
    assert walls.steps.tolist() == list(range(1, STEPS + 1)) and sorted(walls.values) == walls.values.tolist()


class Returns(nn.Module):
    """A model that returns its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x, y):
        return SimpleNamespace(loss=functional.cross_entropy(self.net(x), y))


def test_a_loss_in_the_output_is_that_of_its_step():
    model = Returns()
    w, seen = quietly(model, lambda x, y, w: model(x, y).loss)
    assert losses(w) == pytest.approx(seen)


def test_two_losses_are_added_and_micro_batches_averaged():
    model, first, second = net(), nn.CrossEntropyLoss(), nn.MSELoss()

    def loss_of(x, y, w):
        parts = [first(model(x + part), y) + second(model(x), torch.zeros(4, 3)) for part in range(2)]
        return sum(parts) / 2

    w, seen = quietly(model, loss_of)
    assert losses(w) == pytest.approx(seen)


def test_what_the_user_says_counts():
    model, criterion = net(), nn.CrossEntropyLoss()

    def loss_of(x, y, w):
        loss = criterion(model(x), y) + 1.0
        w.log(loss=loss)
        return loss

    w, seen = quietly(model, loss_of)
    assert losses(w) == pytest.approx(seen)


def test_validations_are_not_heard():
    model, criterion = net(), nn.CrossEntropyLoss()

    def loss_of(x, y, w):
        with torch.no_grad():
            criterion(model(x * 9), y)
        return criterion(model(x), y)

    w, seen = quietly(model, loss_of)
    assert losses(w) == pytest.approx(seen)


def test_a_loss_that_is_not_finite_is_found_at_once_and_wakes_the_watch():
    known: list[list[int | None]] = []

    class Bad(nn.CrossEntropyLoss):
        def forward(self, out, y):
            return super().forward(out, y) * (math.inf if len(known) == 23 else 1.0)

    model, criterion = net(), Bad()

    def loss_of(x, y, w):
        known.append([finding.step for finding in w.findings])
        return criterion(model(x), y)

    w, _ = train(model, loss_of, every="auto", budget=0.02, steps=STEPS)
    assert known[22] == [] and known[23] == [23]
    assert w._engine.governor.stride == 1


@pytest.mark.parametrize("returned", [False, True])
def test_where_even_that_costs_too_much_only_looks_are_kept(monkeypatch, returned):
    monkeypatch.setattr(Governor, "overhears", property(lambda self: False))
    criterion = nn.CrossEntropyLoss()
    model = Returns() if returned else net()
    w, seen = quietly(model, lambda x, y, w: model(x, y).loss if returned else criterion(model(x), y))
    series = w.history["loss"]
    assert set(LOOKED) <= set(series.steps.tolist()) and len(series.steps) < 15
    assert series.values.tolist() == pytest.approx([seen[step - 1] for step in series.steps.tolist()])


def test_the_price_of_hearing_them_is_stated():
    governor = Governor(0.02, "auto")
    for step in range(1, 40):
        governor.looked(step, 1e-2, 1e-3, 1e-3)
    assert governor.stride > 1
    for step in range(40, 200):
        governor.passed(step, 1, 1e-2)
    wanted = 5e-6 + 1.2e-5 + 0.004 * 1e-2 + 2.06e-3 / governor.stride
    assert governor.cost.looks * governor.step == pytest.approx(wanted, rel=0.05)
