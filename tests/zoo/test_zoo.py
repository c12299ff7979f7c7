"""Every odd model, observed, is bit for bit what it is unobserved."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nnwidget.model.capture import Capture, capture
from nnwidget.model.inputs import PinnedInputs
from nnwidget.model.table import layers
from nnwidget.model.taps import active, hooks_of
from tests.bits import bits, plain_modules, randomness
from tests.bits import state as of_model
from tests.zoo.models import CASES, Case

pytestmark = pytest.mark.filterwarnings(
    # torch's own, about old kinds of models.
    "ignore:.*torch.jit.*:DeprecationWarning",
    "ignore:.*torch.ao.quantization.*",
    "ignore:.*quantiz.*",
    "ignore:.*nested tensors is in prototype.*",
    "ignore:.*enable_nested_tensor.*",
    "ignore:.*cpu.amp.autocast.*:FutureWarning",
    "ignore:None of the inputs have requires_grad.*",
)


def flat(value: Any) -> list[Any]:
    """Flatten independently of the code under test."""
    if isinstance(value, Tensor):
        return [value.detach().clone()]
    if isinstance(value, Mapping):
        return [part for key in value for part in flat(value[key])]
    if isinstance(value, (tuple, list)):
        return [part for item in value for part in flat(item)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [part for field in dataclasses.fields(value) for part in flat(getattr(value, field.name))]
    return [value]


def state(model: nn.Module) -> dict[str, Any]:
    """Everything of a model and the process that observation must not move."""
    hooks = [
        (list(module._forward_hooks.values()), list(module._forward_pre_hooks.values()))
        for module in plain_modules(model)
    ]
    return {**of_model(model), **randomness(), "hooks": hooks}


def state_keys(model: nn.Module) -> list[str]:
    """The keys of the state, none for a cycle of modules, which torch cannot walk."""
    try:
        return list(model.state_dict())
    except RecursionError:
        return []


def picklable(case: Case) -> bool:
    """Some models cannot be pickled with or without us."""
    try:
        pickle.dumps(case.make()[0])
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError):
        return False
    return True


def loss_of(output: Any) -> Tensor:
    """Any number that depends on every floating point output."""
    parts = [part for part in _live(output) if part.requires_grad]
    return torch.stack([part.float().square().mean() for part in parts if part.numel()]).sum()


def _live(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for key in value:
            yield from _live(value[key])
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _live(part)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _live(getattr(value, field.name))


@contextmanager
def same_path(case: Case, model: nn.Module) -> Iterator[None]:
    """Put a hook that does nothing where torch has a fused path, which any hook switches off."""
    handles = [module.register_forward_hook(_nothing) for module in model.modules()] if case.fused else []
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _nothing(*_: Any) -> None:
    return None


def train(case: Case, observed: bool) -> tuple[dict[str, Any], list[Any]]:
    model, args, kwargs = case.make()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    losses = []
    for _ in range(3):
        with capture(model, gradients=True, inputs=True) if observed else nullcontext():
            optimizer.zero_grad()
            for _ in range(2):
                loss = loss_of(model(*args, **kwargs))
                loss.backward()
        optimizer.step()
        losses.append(bits(loss))
    found = state(model)
    # The hooks of the two models are different objects.
    found["hooks"] = [[len(part) for part in pair] for pair in found["hooks"]]
    return found, losses


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
class TestCase:
    def test_capture_changes_nothing(self, case: Case) -> None:
        plain, plain_args, plain_kwargs = case.make()
        with same_path(case, plain), torch.no_grad() if not case.train else nullcontext():
            expected = [bits(part) for part in flat(plain(*plain_args, **plain_kwargs))]
        after = state(plain)
        model, args, kwargs = case.make()
        with capture(model) as seen, torch.no_grad() if not case.train else nullcontext():
            found = [bits(part) for part in flat(model(*args, **kwargs))]
        watched = state(model)
        for key in ("parameters", "buffers", "modes", "torch", "python", "numpy", "attributes"):
            assert watched[key] == after[key], key
        assert found == expected
        assert active() == []
        self.check_root(seen, case, expected)

    def test_copies_of_an_observed_model_are_plain(self, case: Case) -> None:
        model, args, kwargs = case.make()
        with capture(model) as seen:
            twin = copy.deepcopy(model)
            again = pickle.loads(pickle.dumps(model)) if picklable(case) else twin
            keys = state_keys(model)
            for one in (twin, again):
                random.seed(1)
                np.random.seed(1)
                torch.manual_seed(1)
                with torch.no_grad():
                    one(*copy.deepcopy(args), **copy.deepcopy(kwargs))
            assert seen.order == []
        assert not any(list(hooks_of(module)) for one in (twin, again) for module in plain_modules(one))
        assert keys == state_keys(case.make()[0])

    def check_root(self, seen: Capture, case: Case, expected: list[Any]) -> None:
        if case.name == "overridden call":
            # What hooks see is what forward returned, before the user's own __call__ goes on.
            return
        assert [bits(part) for part in flat(seen[""][-1])] == expected
        assert not seen.notes or case.name in {"script child"} or any("fused" in note for note in seen.notes), (
            seen.notes
        )

    def test_layers_leaves_everything(self, case: Case) -> None:
        model, args, kwargs = case.make()
        before = state(model)
        given = [bits(part) for part in flat((args, kwargs))]
        table = layers(model, PinnedInputs(model, args, kwargs))
        assert state(model) == before
        assert [bits(part) for part in flat((args, kwargs))] == given
        assert active() == []
        assert table.error is None
        assert table.note == ""
        assert list(table.names) == [name for name, _ in model.named_modules()]
        assert sum(row.own_parameters for row in table) >= table[""].parameters
        assert table[""].parameters == sum(p.numel() for p in model.parameters())
        assert table[""].calls


@pytest.mark.parametrize("case", [case for case in CASES if case.train], ids=lambda case: case.name)
def test_training_is_untouched(case: Case) -> None:
    assert train(case, observed=True) == train(case, observed=False)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 45
    assert len({case.name for case in CASES}) == len(CASES)
