"""Whichever of our hooks fails, it is given up alone and said once, and the training is bit for bit as it was."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nnwidget.training import batch, layer_taps, losses, optimizers
from nnwidget.watching import watch
from tests.unit.test_watch_faults import Loop, alone, left

STEPS = 8


def spoilt(works: Callable[..., Any], when: Callable[[], bool] = lambda: True) -> Callable[..., Any]:
    """Return what works until it is called at a bad moment."""

    def fails(*given: Any, **named: Any) -> Any:
        if when():
            raise RuntimeError("on purpose")
        return works(*given, **named)

    return fails


def backward() -> bool:
    return torch._C._current_graph_task_id() != -1


# What fails, where, when, and what else goes on being recorded.
FAILING: dict[str, tuple[Any, str, Callable[[], bool], set[str]]] = {
    "an activation": (layer_taps, "take", lambda: not backward(), {"loss", "total_grad_norm", "grad_norm"}),
    "a gradient": (layer_taps, "take", backward, {"loss", "total_grad_norm", "grad_norm"}),
    "the loss": (losses, "scalar", lambda: True, {"total_grad_norm", "grad_norm", "activation_mean"}),
    "the batch": (batch, "batch_size", lambda: True, {"loss", "total_grad_norm", "grad_norm", "activation_mean"}),
    "the norm": (optimizers, "total_norm", lambda: True, set()),
}


@pytest.mark.parametrize("what", FAILING)
def test_a_hook_that_raises_is_given_up_and_said_once(
    what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    where, name, when, goes_on = FAILING[what]
    loop = Loop()
    before = left(loop)
    with watch(loop.model, loop.optimizer, every=2, budget=None) as w:
        loop.run(1)
        monkeypatch.setattr(where, name, spoilt(getattr(where, name), when))
        loop.run(STEPS - 1)
        monkeypatch.undo()
    assert loop.all() == alone(STEPS) and left(loop) == before
    for quantity in goes_on:
        found = w.history.series(quantity, "0") if quantity in ("grad_norm", "activation_mean") else w.history[quantity]
        assert found.steps[-1] == STEPS, quantity
    told = [event for event in w.history.events if event.kind == "error"]
    assert len(told) == (4 if what in ("an activation", "a gradient") else 1), told
    assert all("on purpose" in event.text and "given up" in event.text for event in told)
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == len(told), [record.getMessage() for record in said]
    for event, record in zip(told, said, strict=True):
        assert repr(event.data.get("layer", "")) in record.getMessage() or "layer" not in event.data
