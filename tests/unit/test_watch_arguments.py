"""What cannot be watched is refused at once, by the argument's name and with what to do; nothing is attached."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nnwidget.errors import InputError
from nnwidget.model.taps import active
from nnwidget.watching import watch


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": nn.Linear}, "the class, not a model made from it"),
    ({"model": "model.pt"}, "is a str"),
    ({"optimizer": nn.Linear(2, 1).parameters()}, "is a generator"),
    ({"optimizer": sgd(nn.Linear(2, 1))}, "holds no parameter of this model"),
    ({"budget": 0}, "not a fraction of step time"),
    ({"budget": float("nan")}, "not a fraction of step time"),
    ({"every": 0}, "every=0"),
    ({"every": True}, "every=True"),
    ({"controls": "all"}, "controls='all' is not one of view, pause, full"),
    ({"compiled": "inside"}, "compiled='inside' is not one of outside, hook"),
    ({"memory": "lots"}, "memory='lots' is no size"),
    ({"memory": "999 kB"}, "memory=999,000 bytes is too little"),
    ({"memory": 4000}, "memory=4,000 bytes is too little"),
]


@pytest.mark.parametrize(("given", "said"), REFUSED, ids=lambda what: str(what)[:40] if isinstance(what, str) else "")
def test_what_cannot_be_used_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    model = nn.Linear(2, 1)
    optimizer = sgd(model)
    how = {"model": model, "optimizer": optimizer, **given}
    with pytest.raises(InputError) as caught:
        watch(**how)
    assert said in str(caught.value) and caught.value.argument == next(iter(given))
    assert active() == [] and not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize("memory", ["1 MB", 1_000_000, 1_200_000])
def test_the_smallest_memory_is_the_one_that_the_error_names(memory: Any) -> None:
    model = nn.Linear(2, 1)
    optimizer = sgd(model)
    with watch(model, optimizer, memory=memory, every=1, budget=None) as w:
        for _ in range(50):
            optimizer.zero_grad()
            model(torch.ones(3, 2)).sum().backward()
            optimizer.step()
        kept = w._engine.flight.ring.nbytes
    assert w.history["grad_norm"][""].steps.tolist() == list(range(1, 51))
    assert w.history.nbytes + kept <= (memory if isinstance(memory, int) else 1_000_000)


def test_what_waits_to_be_delivered_is_bounded_however_quick_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnwidget.training.engine._FLUSH", float("inf"))
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    optimizer = sgd(model)
    most = 0
    with watch(model, optimizer, every=1, budget=None) as w:
        for _ in range(100):
            optimizer.zero_grad()
            model(torch.ones(3, 2)).sum().backward()
            optimizer.step()
            most = max(most, len(w._engine.sampler._under_way))
    assert 1 < most < 25
