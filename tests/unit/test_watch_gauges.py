"""Numbers of the machine beside those of the training: samples a second, memory, and what watching cost."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnwidget.watching import watch


def run(every: int, *, micro: int = 1, names: bool = False):
    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=every, budget=None) as w:
        for _ in range(8):
            optimizer.zero_grad()
            for part in range(micro):
                x = torch.randn(5 + part, 6)
                (model(input=x) if names else model(x)).sum().backward()
            optimizer.step()
    return w


@pytest.mark.parametrize("every", [1, 4])
def test_recorded_steps_say_how_fast_and_how_large(every):
    w = run(every)
    recorded = list(range(every, 9, every))
    for name in ("throughput", "memory", "watch_time"):
        assert w.history[name].steps.tolist() == recorded, name
    took = w.history["step_time"]
    seconds = [float(took.values[took.steps == step][0]) for step in recorded]
    found = w.history["throughput"].values.tolist()
    assert found == pytest.approx([5 / each for each in seconds])
    assert all(1e6 < value < 1e12 for value in w.history["memory"].values)
    assert all(0.0 < value < 10.0 for value in w.history["watch_time"].values)


def test_all_samples_of_a_step_count():
    w = run(1, micro=3, names=True)
    rate, took = (w.history[name].values for name in ("throughput", "step_time"))
    assert (rate * took).tolist() == pytest.approx([18.0] * 8)


def test_the_price_is_known_also_when_every_step_is_recorded():
    w = run(1)
    assert w.cost.step > 0 and w.cost.recorded_steps > 0 and w.cost.every == 1
    assert "each step" in str(w.cost)
