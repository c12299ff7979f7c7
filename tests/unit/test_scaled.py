"""Gradients recorded under a scaler have their own units, whoever divides them, and a skipped step counts once."""

import numpy as np
import pytest
import torch
from torch import nn

import nnwidget

OVERFLOW = 4


def train(kind, *, every=1, overflow=False):
    """``kind`` says who divides: the scaler, a fused optimiser in its step, the user before it, or nobody."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=kind == "fused")
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=kind != "nobody")
    x, y = torch.randn(8, 16, 6), torch.randint(0, 3, (8, 16))
    with nnwidget.watch(model, optimizer, scaler=scaler, every=every, budget=None) as w:
        for step in range(8):
            optimizer.zero_grad()
            scaler.scale(nn.functional.cross_entropy(model(x[step]), y[step])).backward()
            if overflow and step + 1 == OVERFLOW:
                model[2].bias.grad[0] = float("inf")
            if kind == "user":
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
    return w


@pytest.mark.parametrize("kind", ["scaler", "fused", "user"])
def test_gradients_are_recorded_unscaled(kind):
    free, scaled = train("nobody").history, train(kind).history
    for quantity in ("grad_norm", "output_grad_std", "output_grad_max", "update_norm"):
        for layer in ("0", "2"):
            found, wanted = scaled[quantity][layer], free[quantity][layer]
            assert len(wanted.steps) == 8
            assert np.allclose(found.values, wanted.values, rtol=1e-4), (quantity, layer)
    assert np.allclose(scaled["total_grad_norm"].values, free["total_grad_norm"].values, rtol=1e-4)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("kind", ["scaler", "fused", "user"])
def test_a_skipped_step_is_one_event_and_one_step(kind, every):
    w = train(kind, every=every, overflow=True)
    assert w.steps == 8
    assert [event.kind for event in w.history.events].count("skipped step") == 1
