"""The loss in the history is the loss of the training: found where it is computed, or taken from the user."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nnwidget.errors import InputError
from nnwidget.watching import Watch, watch

STEPS = 6


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def batch(step: int) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(step)
    return torch.randn(4, 6, generator=made), torch.randint(0, 3, (4,), generator=made)


def losses(w: Watch) -> list[float]:
    series = w.history["loss"]
    assert series.steps.tolist() == list(range(1, len(series.steps) + 1))
    return series.values.tolist()


def train(model, loss_of, *, every=1, budget=None, watched=None, steps=STEPS):
    """``loss_of(x, y, w)`` is the loss of one batch; what the loop saw is returned beside the watch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    with watch(watched or model, optimizer, every=every, budget=budget) as w:
        for step in range(steps):
            optimizer.zero_grad()
            loss = loss_of(*batch(step), w)
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
    return w, seen


def test_a_loss_module_is_found_and_followed():
    model, criterion = net(), nn.CrossEntropyLoss()
    w, seen = train(model, lambda x, y, w: criterion(model(x), y))
    assert losses(w) == pytest.approx(seen)
    assert w._engine.losses.source == "CrossEntropyLoss"


def test_any_class_named_loss_will_do():
    class FocalLoss(nn.Module):
        def forward(self, out: Tensor, y: Tensor) -> Tensor:
            share = functional.cross_entropy(out, y, reduction="none")
            return ((1 - (-share).exp()) ** 2 * share).mean()

    model, criterion = net(), FocalLoss()
    w, seen = train(model, lambda x, y, w: criterion(model(x), y))
    assert losses(w) == pytest.approx(seen)


def test_a_loss_made_of_losses_counts_once():
    class BothLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([nn.CrossEntropyLoss(), nn.NLLLoss()])

        def forward(self, out: Tensor, y: Tensor) -> Tensor:
            return self.parts[0](out, y) + 0.5 * self.parts[1](out.log_softmax(-1), y)

    model, criterion = net(), BothLoss()
    w, seen = train(model, lambda x, y, w: criterion(model(x), y))
    assert losses(w) == pytest.approx(seen)
    assert w._engine.losses.source == "BothLoss"


def test_losses_that_are_added_are_added():
    model, first, second = net(), nn.CrossEntropyLoss(), nn.MultiMarginLoss()

    def loss_of(x, y, w):
        out = model(x)
        return first(out, y) + second(out, y)

    w, seen = train(model, loss_of)
    assert losses(w) == pytest.approx(seen)
    assert w._engine.losses.source == "CrossEntropyLoss + MultiMarginLoss"


def test_a_validation_between_steps_is_not_the_training():
    model, criterion = net(), nn.CrossEntropyLoss()

    def loss_of(x, y, w):
        with torch.no_grad():
            criterion(model(x * 100.0), y)
        return criterion(model(x), y)

    w, seen = train(model, loss_of)
    assert losses(w) == pytest.approx(seen)


class WithLoss(nn.Module):
    """A model that computes its own loss."""

    def __init__(self, pack) -> None:
        super().__init__()
        self.net, self.criterion, self.pack = net(), nn.CrossEntropyLoss(), pack

    def forward(self, x: Tensor, y: Tensor):
        out = self.net(x)
        return self.pack(out, self.criterion(out, y))


class Output:
    """Like the outputs of language models: neither a mapping nor a tuple."""

    def __init__(self, logits: Tensor, loss: Tensor) -> None:
        self.logits, self.loss = logits, loss


PACKS = {
    "alone": (lambda out, loss: loss, lambda got: got),
    "dict": (lambda out, loss: {"logits": out, "loss": loss}, lambda got: got["loss"]),
    "parts": (
        lambda out, loss: {"loss_box": 0.3 * loss, "loss_class": loss, "boxes": out},
        lambda got: got["loss_box"] + got["loss_class"],
    ),
    "object": (Output, lambda got: got.loss),
    "tuple": (lambda out, loss: (out, loss), lambda got: got[1]),
}


@pytest.mark.parametrize("how", PACKS)
def test_a_loss_that_the_model_returns_is_read_there(how):
    pack, unpack = PACKS[how]
    model = WithLoss(pack)
    w, seen = train(model, lambda x, y, w: unpack(model(x, y)))
    assert losses(w) == pytest.approx(seen)
    assert w._engine.losses.source == "output"


def test_a_criterion_kept_on_the_model_and_called_by_the_loop_is_found():
    model = net()
    model.criterion = nn.CrossEntropyLoss()
    w, seen = train(model, lambda x, y, w: model.criterion(model[2](model[1](model[0](x))), y), watched=model, steps=1)
    assert seen and "loss" not in w.history, "no forward of the root was seen"

    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.criterion = net(), nn.CrossEntropyLoss()

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x)

    kept = Kept()
    w, seen = train(kept, lambda x, y, w: kept.criterion(kept(x), y))
    assert losses(w) == pytest.approx(seen)


def test_one_number_from_a_model_is_not_the_loss_where_a_loss_module_follows():
    class Energy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).mean()

    model, criterion = Energy(), nn.MSELoss()
    w, seen = train(model, lambda x, y, w: criterion(model(x), torch.tensor(2.0)))
    assert losses(w) == pytest.approx(seen)


def test_a_loss_computed_by_a_function_is_not_found_and_can_be_logged():
    model = net()
    w, _ = train(model, lambda x, y, w: functional.cross_entropy(model(x), y), steps=8)
    assert "loss" not in w.history and w._engine.losses.settled and w._engine.losses.source == ""

    def logged(x, y, w):
        loss = functional.cross_entropy(model(x), y)
        w.log(loss=loss)
        return loss

    w, seen = train(model, logged)
    assert losses(w) == pytest.approx(seen)
    assert w._engine.losses.source == "log"


def test_what_is_logged_counts_more_than_what_was_found():
    model, criterion = net(), nn.CrossEntropyLoss()

    def loss_of(x, y, w):
        loss = criterion(model(x), y) + 0.1 * model[0].weight.square().sum()
        w.log(loss=loss.item())
        return loss

    w, seen = train(model, loss_of)
    assert losses(w) == pytest.approx(seen)


def test_a_logged_loss_is_kept_for_every_step_also_of_those_that_nobody_looks_at(monkeypatch):
    # As when the steps are so short that looking at each would cost too much.
    monkeypatch.setattr("nnwidget.training.governor.Governor.looks", lambda self, step: step % 5 == 0)
    monkeypatch.setattr("nnwidget.training.governor.Governor.wake", lambda self, step: step + 4 - step % 5)
    model = net()

    def logged(x, y, w):
        loss = functional.cross_entropy(model(x), y)
        w.log(loss=loss)
        return loss

    w, seen = train(model, logged, every="auto", budget=0.02, steps=43)
    assert losses(w) == pytest.approx(seen)


def test_micro_batches_are_averaged():
    model, criterion = net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wanted = []
    with watch(model, optimizer, every=1, budget=None) as w:
        for step in range(4):
            parts = []
            for part in range(3):
                x, y = batch(10 * step + part)
                loss = criterion(model(x), y)
                (loss / 3).backward()
                parts.append(loss.item())
            optimizer.step()
            optimizer.zero_grad()
            wanted.append(math.fsum(parts) / 3)
    assert losses(w) == pytest.approx(wanted)
    assert w.steps == 4


@pytest.mark.parametrize("named", [True, False])
def test_the_two_nets_of_a_gan_have_their_own_losses(named):
    torch.manual_seed(0)
    made, judge = nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 1), nn.Sigmoid())
    criterion = nn.BCELoss()
    makes, judges = (torch.optim.SGD(m.parameters(), lr=0.1) for m in (made, judge))
    wanted_made, wanted_judge = [], []
    with (
        watch(made, makes if named else None, every=1, budget=None) as w_made,
        watch(judge, judges if named else None, every=1, budget=None) as w_judge,
    ):
        for _ in range(5):
            judges.zero_grad()
            real = criterion(judge(torch.randn(4, 6)), torch.ones(4, 1))
            real.backward()
            fakes = made(torch.randn(4, 4))
            fake = criterion(judge(fakes.detach()), torch.zeros(4, 1))
            fake.backward()
            judges.step()
            makes.zero_grad()
            fooled = criterion(judge(fakes), torch.ones(4, 1))
            fooled.backward()
            makes.step()
            wanted_judge.append((real.item() + fake.item()) / 2)
            wanted_made.append(fooled.item())
    assert w_made.steps == w_judge.steps == 5
    assert losses(w_judge) == pytest.approx(wanted_judge)
    assert losses(w_made) == pytest.approx(wanted_made)
    # The judge's step is about real and made, and not about how the other net's step used it.
    assert w_judge.history["activation_mean"]["0"].steps.tolist() == [1, 2, 3, 4, 5]


def test_one_loss_for_two_models_is_heard_for_both():
    torch.manual_seed(0)
    first, second, criterion = nn.Linear(6, 4), nn.Linear(4, 3), nn.CrossEntropyLoss()
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (first, second)]
    wanted = []
    with (
        watch(first, optimizers[0], every=1, budget=None) as a,
        watch(second, optimizers[1], every=1, budget=None) as b,
    ):
        for step in range(4):
            x, y = batch(step)
            loss = criterion(second(first(x)), y)
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            wanted.append(loss.item())
    assert losses(a) == pytest.approx(wanted) and losses(b) == pytest.approx(wanted)


def test_what_is_no_number_is_refused_with_its_name():
    with watch(net()) as w:
        with pytest.raises(InputError, match="accuracy"):
            w.log(accuracy="high")
        with pytest.raises(InputError, match="loss"):
            w.log(loss=torch.ones(3))
        w.log(step=2, picture=torch.ones(4, 4, dtype=torch.bfloat16))
    assert ("image", "picture") in w.history.snapshots


def test_hooks_on_all_modules_do_not_outlive_the_step():
    everywhere = torch.nn.modules.module._global_forward_hooks
    model = net()
    before = len(everywhere)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1, budget=None):
        for step in range(7):
            x, y = batch(step)
            functional.cross_entropy(model(x), y).backward()
            assert len(everywhere) == before + (step < 5)
            optimizer.step()
            assert len(everywhere) == before
