"""What is recorded of a layer is what plain torch says of the same tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nnwidget.watching import Watch, watch


def record(model, x, *, loss=None, steps=1, forward=None, every=1, **how) -> Watch:
    """Train for some steps on one batch, recording each."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = loss or (lambda out: out.float().square().mean())
    with watch(model, optimizer, every=every, budget=None, **how) as w:
        for _ in range(steps):
            optimizer.zero_grad()
            loss((forward or model)(x)).backward()
            optimizer.step()
    assert w._engine.error == "" and not w._engine.sampler.taps.given_up
    return w


def value(w: Watch, quantity: str, layer: str, step: int = 1) -> float:
    steps, values = w.history[quantity][layer]
    return float(values[steps.tolist().index(step)])


def recorded(w: Watch, quantity: str) -> set[str]:
    return set(w.history[quantity]) if quantity in w.history else set()


def reason(w: Watch, layer: str) -> tuple[str, str]:
    row = next(row for row in w.coverage if row.layer == layer)
    return row.state, row.reason


def check(w: Watch, layer: str, kind: str, parts: list[Tensor], step: int = 1) -> None:
    """Compare with float64 arithmetic over all calls together."""
    flat = torch.cat([part.detach().double().reshape(-1) for part in parts])
    finite = flat[flat.isfinite()]
    wanted = {
        "zero": float((flat == 0).double().mean()),
        "nan": float(flat.isnan().sum()),
        "inf": float(flat.isinf().sum()),
    }
    if finite.numel():
        wanted |= {
            "mean": float(finite.mean()),
            "std": float(finite.std(correction=0)),
            "min": float(finite.min()),
            "max": float(finite.max()),
        }
    found = {quantity: value(w, f"{kind}_{quantity}", layer, step) for quantity in wanted}
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    # Single precision ends at 1.4e-45.
    assert found == pytest.approx(wanted, rel=2e-5, abs=1e-7 * largest + 1.5e-45)


def test_activations_and_gradients_of_every_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4))
    x = torch.randn(5, 3, 8, 8)
    twin = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4))
    twin.load_state_dict(model.state_dict())
    w = record(model, x)
    outputs, out = [], x
    for layer in twin:
        out = layer(out)
        out.retain_grad()
        outputs.append(out)
    outputs[-1].square().mean().backward()
    for name in ("0", "1", "2", "4"):
        check(w, name, "activation", [outputs[int(name)]])
        check(w, name, "output_grad", [outputs[int(name)].grad])


def test_norms_of_parameters_gradients_and_updates():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 40), nn.Tanh(), nn.Linear(40, 3))
    x, before = torch.randn(8, 30), [p.detach().clone() for p in model.parameters()]
    w = record(model, x)
    for name, (first, layer) in {"0": (0, model[0]), "2": (2, model[2])}.items():
        own = list(layer.parameters())
        joined = torch.cat([p.detach().reshape(-1) for p in own])
        moved = joined - torch.cat([p.reshape(-1) for p in before[first : first + 2]])
        gradient = torch.cat([p.grad.reshape(-1) for p in own])
        assert value(w, "param_norm", name) == pytest.approx(float(joined.norm()), rel=1e-5)
        assert value(w, "grad_norm", name) == pytest.approx(float(gradient.norm()), rel=1e-5)
        assert value(w, "update_norm", name) == pytest.approx(float(moved.norm()), rel=1e-4)
        assert value(w, "update_ratio", name) == pytest.approx(float(moved.norm() / joined.norm()), rel=1e-4)
    whole = torch.cat([p.grad.reshape(-1) for p in model.parameters()]).norm()
    assert w.history["total_grad_norm"].values[0] == pytest.approx(float(whole), rel=1e-6)
    assert recorded(w, "param_norm") == {"0", "2"}


def test_the_update_of_a_large_layer_is_an_estimate():
    torch.manual_seed(0)
    model = nn.Linear(500, 300)
    before = model.weight.detach().clone()
    w = record(model, torch.randn(16, 500))
    wanted = float((model.weight.detach() - before).norm())
    assert value(w, "update_norm", "") == pytest.approx(wanted, rel=0.1)
    said = "update norm and histograms of parameters estimated from about 2,048 values of a tensor"
    assert reason(w, "") == ("observed", said)


def test_numbers_of_each_parameter_group():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    # A learning rate in a tensor is changed in place.
    rate = torch.tensor(0.1)
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": rate, "weight_decay": 0.01}]
    optimizer = torch.optim.SGD(groups, lr=0.2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    with watch(model, optimizer, every=10, budget=None) as w:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).sum().backward()
            optimizer.step()
            schedule.step()
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.7})
        optimizer.step()
    assert w.history["lr/0"].values.tolist() == pytest.approx([0.2, 0.1, 0.05, 0.025])
    assert w.history["lr/1"].values.tolist() == pytest.approx([0.1, 0.05, 0.025, 0.0125])
    assert w.history["lr/2"].values.tolist() == pytest.approx([0.7])
    assert w.history["weight_decay/1"].values.tolist() == pytest.approx([0.01] * 4)


def test_histograms_hold_a_sample_of_everything():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU())
    w = record(model, torch.randn(7, 20))
    assert set(w.history.histograms) == {"activation", "output_grad", "weight", "grad"}
    step, found = w.history.histogram("weight", "0")
    assert step == 1 and found.counts.sum() == 630
    joined = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    assert (found.edges[0], found.edges[-1]) == pytest.approx((float(joined.min()), float(joined.max())))
    assert w.history.histogram("activation", "1")[1].counts.sum() == 7 * 30
    wanted = np.histogram(joined.numpy(), bins=len(found.counts), range=(found.edges[0], found.edges[-1]))[0]
    assert np.abs(found.counts.astype(int) - wanted).sum() <= 4


@pytest.mark.parametrize(
    ("module", "low", "high"),
    [(nn.Sigmoid(), 0.01, 0.99), (nn.Tanh(), -0.98, 0.98), (nn.ReLU6(), None, 5.94), (nn.Hardtanh(), -0.98, 0.98)],
)
def test_saturation(module, low, high):
    x = torch.linspace(-9, 9, 600).reshape(60, 10)
    w = record(nn.Sequential(nn.Linear(10, 10), module), x, forward=None)
    with torch.no_grad():
        out = module(w.tensor(1, "0"))
    share = (out <= low).float().mean() if low is not None else torch.tensor(0.0)
    share = share + (out >= high).float().mean()
    assert value(w, "activation_saturated", "1") == pytest.approx(float(share), abs=1e-6)
    assert recorded(w, "activation_saturated") == {"1"}


class Returns(nn.Module):
    """A layer whose output is whatever a function makes of its input."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor):
        return self.make(x)


class Through(nn.Module):
    """A linear layer, an odd one, and something that takes its output back to a tensor."""

    def __init__(self, make, back) -> None:
        super().__init__()
        self.fc, self.odd, self.back = nn.Linear(6, 6), Returns(make), back

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.odd(self.fc(x)))


@dataclass
class Pair:
    name: str
    value: Tensor


SHAPES = {
    "tuple": (lambda x: (x * 2, None), lambda got: got[0]),
    "dict": (lambda x: {"index": x.argmax(-1), "value": x * 2}, lambda got: got["value"]),
    "dataclass": (lambda x: Pair("name", x * 2), lambda got: got.value),
    "0-d": (lambda x: (x * 2).sum(), lambda got: got),
    "channels last": (
        lambda x: (x * 2).reshape(1, 2, 3, -1).to(memory_format=torch.channels_last),
        lambda got: got.contiguous(),
    ),
    "expanded": (lambda x: x[:, :1].expand(4, 6), lambda got: got),
    "a view": (lambda x: (x * 2).t(), lambda got: got),
}


@pytest.mark.parametrize("how", SHAPES)
def test_outputs_of_every_shape(how):
    make, back = SHAPES[how]
    torch.manual_seed(0)
    model, x = Through(make, back), torch.randn(4, 6)
    with torch.no_grad():
        wanted = back(model.odd(model.fc(x))).clone()
    w = record(model, x)
    check(w, "odd", "activation", [wanted])
    assert "odd" in recorded(w, "output_grad_std") and reason(w, "odd") == ("observed", "")


ODD = {
    "integers": (lambda x: x.argmax(-1), "integers"),
    "complex": (torch.fft.fft, "complex"),
    "nothing": (lambda x: None, "no tensor"),
    "text": (lambda x: "text", "no tensor"),
    "sparse": (lambda x: x.to_sparse(), "sparse"),
}


@pytest.mark.parametrize("how", ODD)
def test_what_cannot_be_measured_is_said(how):
    make, word = ODD[how]

    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.odd = nn.Linear(6, 6), Returns(make)

        def forward(self, x: Tensor) -> Tensor:
            x = self.fc(x)
            self.odd(x)
            return x

    w = record(Beside(), torch.randn(4, 6))
    assert recorded(w, "activation_mean") == {"fc"}
    state, why = reason(w, "odd")
    assert state == "not observed" and word in why


NUMBERS = {
    "nan": torch.tensor([1.0, float("nan"), 0.0, 3.0]),
    "inf": torch.tensor([1.0, float("inf"), -float("inf"), 0.0, 3.0]),
    "only nan": torch.full((3,), float("nan")),
    "far from zero": torch.linspace(0, 1e-2, 5000) + 1e4,
    "constant": torch.full((300,), 0.1),
    "huge": torch.tensor([3e38, 3e38, -3e38, 1.0]),
    "large": torch.full((100,), 1e20),
    "tiny": torch.tensor([1e-42, -1e-43, 0.0]),
    "half": torch.tensor([60000.0, 60000.0, -3.0, 0.0]).half(),
    "bfloat16": torch.tensor([3e38, 1.0, 0.5, 0.0]).bfloat16(),
    "double": torch.tensor([1e300, -1e300, 5.0], dtype=torch.float64),
    "minus zero": torch.tensor([-0.0, 0.0, 1.0]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("how", NUMBERS)
def test_numbers_of_every_size(how):
    numbers = NUMBERS[how]

    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.odd = nn.Linear(6, 6), Returns(lambda x: numbers.clone())

        def forward(self, x: Tensor) -> Tensor:
            self.odd(x)
            return self.fc(x)

    w = record(Beside(), torch.randn(4, 6))
    if how == "double":
        assert np.isinf(value(w, "activation_max", "odd")), "single precision is what the history has"
        return
    check(w, "odd", "activation", [numbers])
    if how in ("tiny", "huge", "large", "constant"):
        assert w.history.histogram("activation", "odd")[1].counts.sum() == numbers.numel()


def test_an_empty_batch_is_no_error():
    model = nn.Sequential(nn.Linear(6, 3), nn.ReLU())
    w = record(model, torch.zeros(0, 6), loss=lambda out: out.sum())
    assert recorded(w, "activation_mean") == set()
    assert value(w, "param_norm", "0") > 0


def test_an_in_place_layer_after_it_does_not_change_what_was_seen():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 1)), torch.randn(4, 6)
    with torch.no_grad():
        before = nn.functional.linear(x, model[0].weight, model[0].bias)
    w = record(model, x)
    check(w, "0", "activation", [before])
    check(w, "1", "activation", [before.relu()])
    assert value(w, "output_grad_zero", "0") == pytest.approx(float((before <= 0).float().mean()))


def test_calls_of_a_reused_layer_are_one():
    torch.manual_seed(0)
    shared = nn.Linear(6, 6)
    model, x = nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), shared), torch.randn(4, 6)
    with torch.no_grad():
        first = shared(x)
        second = shared(first.tanh())
        third = shared(second.tanh())
    w = record(model, x)
    check(w, "0", "activation", [first, second, third])


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_layer_counts_once(reentrant):
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def part(self, x: Tensor) -> Tensor:
            return self.body(torch.tanh(self.body(x)))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(checkpoint(self.part, x, use_reentrant=reentrant))

    model, x = Net(), torch.randn(4, 6, requires_grad=True)
    with torch.no_grad():
        first = model.body(x)
        second = model.body(first.tanh())
    w = record(model, x)
    check(w, "body", "activation", [first, second])
    assert "body" in recorded(w, "output_grad_std")


def test_micro_batches_count_as_one_step():
    torch.manual_seed(0)
    model, parts = nn.Linear(6, 3), list(torch.randn(3, 4, 6))
    wanted = [model(x).detach() for x in parts]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1, budget=None) as w:
        for x in parts:
            model(x).square().mean().backward()
        optimizer.step()
    check(w, "", "activation", wanted)


def test_frozen_tied_and_bare_layers():
    torch.manual_seed(0)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.frozen, self.act, self.out = nn.Linear(6, 4), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 6)
            self.frozen.requires_grad_(False)
            self.out.weight = nn.Parameter(self.into.weight.detach().t().clone())
            self.into.bias = self.frozen.bias

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.act(self.frozen(self.into(x))))

    w = record(Tied(), torch.randn(4, 6))
    assert recorded(w, "grad_norm") == {"into", "out"}
    assert recorded(w, "param_norm") == {"into", "frozen", "out"}
    assert value(w, "update_norm", "frozen") == 0.0
    assert recorded(w, "activation_std") == {"into", "frozen", "act", "out"}
    assert "frozen" in recorded(w, "output_grad_std"), "gradients pass through it"


def test_a_teacher_without_gradients_is_not_the_training():
    torch.manual_seed(0)
    model, x = nn.Linear(6, 3), torch.randn(4, 6)

    def forward(x: Tensor) -> Tensor:
        out = model(x)
        with torch.no_grad():
            model(100 * x)
        return out

    wanted = model(x).detach()
    check(record(model, x, forward=forward), "", "activation", [wanted])


def test_a_graph_that_lives_on_writes_into_no_later_step():
    torch.manual_seed(0)
    model, x, kept = nn.Linear(6, 1), torch.randn(4, 6), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with watch(model, optimizer, every=1, budget=None) as w:
        for step in range(3):
            out = model(x)
            kept.append(out)
            out.sum().backward(retain_graph=True)
            if step == 2:
                (100 * kept[0]).sum().backward()
            optimizer.step()
    assert w.history["output_grad_max"][""].values.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("called", [False, True])
def test_a_lazy_model_is_recorded_as_far_as_it_is_there(called, caplog):
    torch.manual_seed(0)
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 2))
    if called:
        model(torch.ones(1, 5))
    with watch(model, every=1, budget=None) as w:
        for _ in range(4):
            out = model(torch.randn(3, 5))
            if w.steps == 0:
                optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            optimizer.zero_grad()
            out.square().mean().backward()
            optimizer.step()
    assert w.steps == 4 and w._engine.error == "" and not caplog.records
    assert recorded(w, "activation_mean") == {"0", "1", "2"}
    assert recorded(w, "grad_norm") == ({"0", "2"} if called else {"2"})
    state, said = reason(w, "0")
    assert state == "observed" and ("call the model once before" in said) == (not called)


def test_chosen_layers_only():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 1))
    for chosen in (["0", "4"], ["0", model[4]], [model[0], model[4]]):
        w = record(model, torch.randn(4, 6), layers=chosen)
        assert recorded(w, "activation_mean") == {"0", "4"}
        assert reason(w, "2") == ("not observed", "it was not chosen with layers=")
    assert recorded(record(model, torch.randn(4, 6), layers="[13]"), "activation_mean") == {"1", "3"}


@pytest.mark.parametrize("every", [1, 3])
def test_exactly_every_kth_step(every):
    model, x = nn.Sequential(nn.Linear(6, 6), nn.Dropout(), nn.Linear(6, 1)), torch.randn(4, 6)
    criterion = nn.MSELoss()
    w = record(model, x, steps=20, every=every, loss=lambda out: criterion(out, torch.zeros(4, 1)))
    wanted = list(range(every, 21, every))
    for quantity in ("activation_mean", "output_grad_std", "grad_norm", "update_norm"):
        assert w.history[quantity]["0"].steps.tolist() == wanted
    for quantity in ("loss", "total_grad_norm", "step_time"):
        assert w.history[quantity].steps.tolist() == list(range(1, 21))


def test_what_is_measured_in_part_to_keep_the_budget_is_said():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 400), nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    x = torch.randn(20, 300)
    found = []
    for level in (0, 2):
        with watch(model, optimizer, every=1, budget=None) as w:
            # As the governor does where recording all of it too seldom would be of no use.
            w._engine.governor.level = level
            for _ in range(3):
                optimizer.zero_grad()
                model(x).square().mean().backward()
                optimizer.step()
            found.append((value(w, "activation_std", "1", 3), *reason(w, "1")))
    (whole, *all_of_it), (part, *some) = found
    assert part != whole and part == pytest.approx(whole, rel=0.05)
    assert all_of_it == ["observed", ""]
    assert some == ["sampled", "a strided sample of each tensor, to keep the budget"]
