"""The ways of measuring on an accelerator say what the ways on the host say; here both run on the host."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from nnwidget.training.courier import Courier
from nnwidget.training.layer_set import layer_set
from nnwidget.training.measure import Moments, from_device, on_device, on_host
from nnwidget.training.parameters import LayerNorms, norms, total_norm
from nnwidget.training.rows import Rows
from nnwidget.watching import watch

TENSORS = {
    "usual": torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0)),
    "large": torch.randn(80, 100, generator=torch.Generator().manual_seed(1)),
    "nan and inf": torch.tensor([1.0, math.nan, math.inf, -math.inf, 0.0, 3.0]),
    "only nan": torch.full((4,), math.nan),
    "far from zero": torch.linspace(0, 1e-1, 5000) + 1e3,
    "half": torch.tensor([60000.0, 60000.0, -3.0, 0.0]).half(),
    "bfloat16": torch.tensor([3e30, 1.0, 0.0]).bfloat16(),
    "empty": torch.zeros(0, 3),
    "0-d": torch.tensor(2.5),
    "turned": torch.arange(12.0).reshape(3, 4).t(),
}


@pytest.mark.parametrize("limit", [None, 100])
@pytest.mark.parametrize("how", TENSORS)
def test_statistics(how, limit):
    tensor = TENSORS[how]
    wanted, found = on_host(tensor, limit), from_device(on_device(tensor, limit).numpy())
    for name in ("count", "finite", "zeros", "nan", "inf"):
        assert getattr(found, name) == getattr(wanted, name), name
    if wanted.finite:
        for name in ("low", "high", "mean", "std"):
            assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-4), name
    assert np.array_equal(_joined(found), _joined(wanted))


def _joined(moments: Moments) -> np.ndarray:
    return np.concatenate([*moments.samples, np.zeros(0, np.float32)])


def stepped(model: nn.Module, *, device: bool, scale: float = 1.0) -> dict[str, np.ndarray]:
    watched, _ = layer_set(model)
    measured = LayerNorms(watched)
    measured._on_host = measured._on_host and not device
    before = [p.detach().clone() for p in model.parameters()]
    measured.about_to_step()
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p -= 0.1 * p.grad.to_dense()
    found: dict[str, np.ndarray] = {}
    courier = Courier()
    measured.stepped(courier, found.__setitem__, scale)
    courier.send()
    assert courier.arrived(wait=True)
    with torch.no_grad():
        for p, then in zip(model.parameters(), before, strict=True):
            p.copy_(then)
    return found


@pytest.mark.parametrize("scale", [1.0, 64.0])
def test_norms_by_layer(scale):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.LayerNorm(40), nn.Linear(40, 2))
    model[2].requires_grad_(False)
    model(torch.randn(8, 30)).square().sum().backward()
    host, device = (stepped(model, device=on, scale=scale) for on in (False, True))
    assert host.keys() == device.keys() == {"param_norm", "grad_norm", "update_norm", "update_ratio"}
    for name, row in host.items():
        assert np.allclose(device[name], row, rtol=1e-5, equal_nan=True), name


def test_sparse_and_half_gradients():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 2))
    model(torch.tensor([1, 1, 3])).sum().backward()
    found = stepped(model, device=False)
    dense = model[0].weight.grad.to_dense()
    assert found["grad_norm"][0] == pytest.approx(float(dense.norm()), rel=1e-5)
    assert found["update_norm"][0] == pytest.approx(0.1 * float(dense.norm()), rel=1e-5)
    assert found["update_ratio"][1] == pytest.approx(found["update_norm"][1] / found["param_norm"][1], rel=1e-5)
    whole = torch.cat([dense.reshape(-1), *(p.grad.reshape(-1) for p in model[1].parameters())]).norm()
    assert total_norm([p.grad for p in model.parameters()]) == pytest.approx(float(whole), rel=1e-5)
    assert float(norms([torch.full((100,), 6e4).half()])[0]) == pytest.approx(6e5, rel=1e-3)


def test_a_model_in_half_precision_is_recorded():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, every=1, budget=None) as w:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(4, 6).bfloat16()).float().square().mean().backward()
            wanted = torch.cat([p.grad.float().reshape(-1) for p in model.parameters()]).norm()
            optimizer.step()
    assert w._engine.error == ""
    assert w.history["total_grad_norm"].values[-1] == pytest.approx(float(wanted), rel=1e-4)
    assert w.history["update_norm"]["0"].steps.tolist() == [1, 2, 3]
    assert w.history.histogram("weight", "0")[1].counts.sum() == 56


def test_what_is_sent_together_arrives_in_its_parts():
    courier, got = Courier(), []
    tensors = [torch.randn(3), torch.randn(2, 2), torch.tensor(5.0)]
    # What add() does with tensors of an accelerator.
    courier._waiting[tensors[0].device] = [(tensor.reshape(-1), got.append) for tensor in tensors]
    courier.send()
    assert courier.arrived() and courier.arrived(wait=True)
    assert [part.tolist() for part in got] == [tensor.reshape(-1).tolist() for tensor in tensors]


def test_numbers_that_are_tensors_find_their_steps():
    class Kept:
        def add_steps(self, steps, walls, columns):
            self.steps, self.columns = steps, columns

    kept, seen = Kept(), []
    rows = Rows(kept, lambda steps, columns: seen.append((steps.tolist(), sorted(columns))))
    rows.add(1, {"loss": torch.tensor(1.5)})
    rows.add(2, {"loss": 2.5, "norm": torch.tensor(3.0)})
    rows.note("watch_time", 0.5)
    rows.add(3, {"norm": 4.0})
    rows.deliver(wait=True)
    assert kept.steps.tolist() == [1, 2, 3] and seen == [([1, 2, 3], ["loss", "norm", "watch_time"])]
    assert kept.columns["loss"].tolist()[:2] == [1.5, 2.5] and np.isnan(kept.columns["loss"][2])
    assert kept.columns["norm"].tolist()[1:] == [3.0, 4.0] and np.isnan(kept.columns["norm"][0])
    assert kept.columns["watch_time"].tolist()[1] == 0.5
