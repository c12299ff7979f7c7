"""The probe scope: whatever happens inside, the model and the random state are found as they were."""

from __future__ import annotations

import random
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import nnwidget.model.probe as probe_module
from nnwidget.errors import UnobservableError
from nnwidget.model.probe import probe

ROWS = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def state(model: nn.Module) -> dict[str, Any]:
    """Everything that a look could move, by value and by identity."""
    named = dict(model.named_modules())
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "values": {name: tensor.detach().clone() for name, tensor in tensors.items()},
        "identity": {name: id(tensor) for name, tensor in tensors.items()},
        "versions": {name: tensor._version for name, tensor in tensors.items()},
        "training": {name: module.training for name, module in named.items()},
        "attributes": {name: sorted(module.__dict__) for name, module in named.items()},
        "grad": {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].copy(),  # type: ignore[index]
    }


def same_state(a: Any, b: Any) -> bool:
    """Compare nested states bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_state(a[key], b[key]) for key in a)
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool((a == b).all())
    return bool(a == b)


@pytest.fixture
def unmoved() -> Iterator[Callable[..., nn.Module]]:
    """Check a model when the test is over."""
    watched: list[tuple[nn.Module, Any]] = []

    def watch(model: nn.Module) -> nn.Module:
        watched.append((model, state(model)))
        return model

    yield watch
    for model, before in watched:
        assert same_state(state(model), before)


Watch = Callable[..., nn.Module]


@pytest.mark.parametrize("train", [True, False, None])
def test_batch_norm_and_dropout_in_mixed_modes(unmoved: Watch, train: bool | None) -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.BatchNorm1d(6), nn.Linear(6, 2))
    model[3].eval()
    unmoved(model)
    with probe(model, train=train):
        modes = [module.training for module in model]
        result = model(ROWS)
    assert modes == ([train] * 5 if train is not None else [True, True, True, False, True])
    assert not result.requires_grad


def test_the_mode_is_the_one_asked_for(unmoved: Watch) -> None:
    model = unmoved(nn.Sequential(nn.BatchNorm1d(6)))
    with probe(model):
        looked = model(ROWS)
    model.eval()
    with torch.no_grad():
        assert torch.equal(looked, model(ROWS))
    model.train()


def test_overridden_train_is_neither_needed_nor_called(unmoved: Watch) -> None:
    class Stubborn(nn.Module):
        """Keeps its BatchNorm frozen whatever is asked."""

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.drop = nn.BatchNorm1d(6), nn.Dropout()
            self.norm.eval()

        def train(self, mode: bool = True) -> Stubborn:
            raise AssertionError("train() was called")

        def eval(self) -> Stubborn:
            raise AssertionError("eval() was called")

        def __setattr__(self, name: str, value: Any) -> None:
            assert name != "training" or "training" not in self.__dict__
            super().__setattr__(name, value)

        def forward(self, x: Tensor) -> Tensor:
            return self.drop(self.norm(x))

    model = unmoved(Stubborn())
    with probe(model):
        assert not model.drop.training
        assert torch.equal(model(ROWS), model.norm(ROWS))
    with probe(model, train=True):
        assert model.norm.training
        model(ROWS)
    assert (model.training, model.norm.training, model.drop.training) == (True, False, True)


@pytest.mark.parametrize("wrap", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_spectral_norm_moves_nothing(unmoved: Watch, wrap: Any) -> None:
    model = unmoved(nn.Sequential(wrap(nn.Linear(6, 6))))
    with probe(model, train=True):
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        model(ROWS)
        assert model[0].weight is not None
        assert any(not torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_fake_quantize_moves_nothing_in_eval(unmoved: Watch) -> None:
    class Observer(nn.Module):
        """What FakeQuantize does: moves its range in eval too, and replaces buffers of another size."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("low", torch.zeros(1))
            self.register_buffer("scale", torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            self.low.copy_(torch.minimum(self.low, x.min().reshape(1)))
            self.scale = torch.full((3,), 2.0)
            self.register_buffer("late", torch.ones(1))
            return x * self.scale[0]

    model = unmoved(nn.Sequential(Observer()).eval())
    with probe(model):
        model(ROWS)
        assert model[0].low < 0


def test_torch_fake_quantize(unmoved: Watch) -> None:
    ao = pytest.importorskip("torch.ao.quantization")
    model = unmoved(nn.Sequential(ao.FakeQuantize()).eval())
    with probe(model):
        model(ROWS * 10)
        assert not torch.equal(model[0].scale, torch.ones(1))


def test_what_modules_keep_on_themselves_is_put_back(unmoved: Watch) -> None:
    class Keeper(nn.Module):
        """Keeps everything that can be kept."""

        def __init__(self) -> None:
            super().__init__()
            self.count, self.seen, self.table = 0, [1], {"a": 1}
            self.hidden = torch.zeros(2)

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            self.seen.append(x)
            self.table["b"] = x
            self.hidden += 1
            self.last = x
            self.extra = nn.Linear(6, 6)
            return self.extra(x)

    model = unmoved(Keeper())
    with probe(model):
        model(ROWS)
    assert (model.count, model.seen, model.table) == (0, [1], {"a": 1})
    assert not model.hidden.any()
    assert model.hidden._version == 0


def test_a_pending_backward_is_not_disturbed(unmoved: Watch) -> None:
    class Gate(nn.Module):
        """Multiplies by a buffer that it also moves."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)
            self.register_buffer("gate", torch.ones(6))

        def forward(self, x: Tensor) -> Tensor:
            out = self.layer(x) * self.gate
            if not torch.is_grad_enabled():
                self.gate.mul_(0.5)
            return out

    model = Gate()
    reference = model(ROWS).sum()
    reference.backward()
    expected = model.layer.weight.grad.clone()
    model.zero_grad()
    loss = model(ROWS).sum()
    with probe(model):
        model(ROWS)
        assert float(model.gate[0]) == 0.5
    loss.backward()
    assert torch.equal(model.layer.weight.grad, expected)


def test_an_exception_restores_too(unmoved: Watch) -> None:
    model = unmoved(nn.Sequential(nn.BatchNorm1d(6)))
    with pytest.raises(KeyboardInterrupt), probe(model, train=True):
        model(ROWS)
        raise KeyboardInterrupt


def test_random_numbers_are_forked_and_can_be_seeded(unmoved: Watch) -> None:
    model = unmoved(nn.Sequential(nn.Dropout()))
    draws = []
    for _ in range(2):
        with probe(model, train=True, seed=3):
            draws.append((model(ROWS), random.random(), np.random.rand()))
    assert torch.equal(draws[0][0], draws[1][0])
    assert draws[0][1:] == draws[1][1:]


def test_gradients_and_modes_of_the_caller() -> None:
    model = nn.Linear(6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with probe(model):
            assert model(ROWS).dtype == torch.float32
        assert model(ROWS).dtype == torch.bfloat16
    with torch.inference_mode():
        with probe(model):
            assert not model(ROWS).is_inference()
        assert torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("model", "name", "reason"),
    [
        (nn.Sequential(nn.ReLU(), nn.LazyLinear(3)), "1", "no parameters yet"),
        (nn.Sequential(nn.LazyBatchNorm1d()), "0", "no parameters yet"),
        (nn.Sequential(nn.Linear(2, 2, device="meta")), "0", "meta device"),
    ],
)
def test_what_must_not_be_run_is_refused(model: nn.Module, name: str, reason: str) -> None:
    before = torch.get_rng_state()
    with pytest.raises(UnobservableError, match=reason) as caught, probe(model):
        raise AssertionError("the scope was entered")
    assert caught.value.layer == name
    assert caught.value.remedy
    assert torch.equal(torch.get_rng_state(), before)


def test_script_modules_are_put_back() -> None:
    with warnings.catch_warnings():
        # Deprecated, and still found in people's models.
        warnings.simplefilter("ignore", DeprecationWarning)
        model = nn.Sequential(torch.jit.script(nn.Dropout()))
    with probe(model):
        assert not model[0].training
        assert torch.equal(model(ROWS), ROWS)
    assert model[0].training


class Hoarder(nn.Module):
    """Grows with every call, in every way a forward can."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(6, 6)
        self.more, self.named = nn.ModuleList([nn.Linear(6, 6)]), nn.ModuleDict()
        self.values, self.table = nn.ParameterList([torch.ones(1)]), nn.ParameterDict()
        self.cache: dict[str, Any] = {"k": [], "deep": {"er": [[1]]}}
        self.fixed = ([], {"n": 0})
        self.counts, self.last = Counter("a"), OrderedDict(a=[1])
        self.by_name: defaultdict[str, list[Any]] = defaultdict(list)
        self.itself: list[Any] = [deque([set()])]
        self.itself.append(self.itself)

    def forward(self, x: Tensor) -> Tensor:
        self.more.append(nn.Linear(6, 6))
        self.named["new"] = nn.Linear(6, 6)
        self.values.append(nn.Parameter(x))
        self.table["new"] = nn.Parameter(x)
        self.line.register_buffer("late", x)
        self.line.bias = nn.Parameter(torch.ones(6))
        weight = self.line.weight
        del self.line.weight
        self.line.weight = weight * 2
        self.cache["k"].append(x)
        self.cache["deep"]["er"][0].append(x)
        self.cache["deep"]["er"].append([])
        self.fixed[0].append(x)
        self.fixed[1]["n"] += 1
        self.counts["b"] += 1
        self.last.move_to_end("a")
        self.last["b"] = self.last.pop("a")
        self.by_name["x"].append(x)
        self.itself[0][0].add(1)
        self.itself[0].append(1)
        return self.line(x)


def test_what_a_forward_adds_is_gone_after_the_look(unmoved: Watch) -> None:
    model = unmoved(Hoarder())
    before = list(model.state_dict())
    parameters = [id(parameter) for parameter in model.parameters()]
    with probe(model):
        expected = model(ROWS)
        assert len(model.more) == 2
        assert list(model.state_dict()) != before
    assert list(model.state_dict()) == before
    assert [id(parameter) for parameter in model.parameters()] == parameters
    assert (len(model.more), len(model.named), len(model.values), len(model.table)) == (1, 0, 1, 0)
    assert model.cache == {"k": [], "deep": {"er": [[1]]}}
    assert model.fixed == ([], {"n": 0})
    assert (dict(model.counts), dict(model.last), dict(model.by_name)) == ({"a": 1}, {"a": [1]}, {})
    assert model.by_name.default_factory is list
    assert model.itself[0] == deque([set()])
    with probe(model):
        assert torch.equal(model(ROWS), expected)


def test_containers_that_did_not_change_are_not_written() -> None:
    class Told(list[int]):
        """A list of somebody's own, which counts what is done to it."""

        def clear(self) -> None:
            raise AssertionError("cleared")

    class Net(nn.Sequential):
        """A class of one's own, whose attributes are cared for."""

    model = Net(nn.Linear(6, 6))
    model.own = Told([1])
    model.many = [[number] for number in range(20_000)]
    model.long = dict.fromkeys(range(200_000), 0)
    inside = [id(part) for part in model.many]
    with probe(model):
        model(ROWS)
        model.many.pop(3)
        model.long[-1] = 1
    assert [id(part) for part in model.many] == inside
    assert len(model.long) == 200_000


def test_random_states_that_nothing_drew_from_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    monkeypatch.setattr(probe_module, "_restore_state", lambda *what: written.append(what))
    with probe(nn.Linear(2, 2)):
        nn.functional.relu(torch.ones(1))
    assert written == [], "a thread that draws meanwhile must not be thrown back"
    with probe(nn.Linear(2, 2)):
        torch.rand(1)
    assert [number for number, *_ in written] == [2]
