"""A gradient scaler's overflow is its own affair: one event, one step, nothing of it in the record, and no finding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nnwidget.watching import watch

STEPS = 9
# Scales so large that the gradients overflow: two skipped steps, one after the other, then calm.
SCALES = {"init_scale": 1e38, "backoff_factor": 1e-2, "growth_interval": 10_000}
SKIPPED = [1, 2]


def batch(step: int) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(step)
    return 1e4 * torch.randn(16, 6, generator=made), torch.randint(0, 3, (16,), generator=made)


def run(kind: str, *, given: bool = True, every: int = 1, micro: int = 1):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=kind == "fused")
    scaler = torch.amp.GradScaler("cpu", **SCALES)
    seen = []
    with watch(model, optimizer, scaler=scaler if given else None, every=every, budget=None) as w:
        for step in range(STEPS):
            optimizer.zero_grad()
            with torch.no_grad():
                model(batch(step)[0])
            losses = []
            for part in range(micro):
                x, y = batch(100 * part + step)
                loss = criterion(model(x), y)
                losses.append(loss.item())
                scaler.scale(loss / micro).backward()
            if kind == "unscaled by the loop":
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            seen.append(sum(losses) / micro)
    return w, seen


KINDS = ["plain", "fused", "unscaled by the loop"]


@pytest.mark.parametrize("micro", [1, 3])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_skipped_steps_are_counted_told_and_left_out(kind, every, micro):
    w, seen = run(kind, every=every, micro=micro)
    assert w._engine.error == "" and w.findings == []
    assert w.steps == STEPS
    assert [event.step for event in w.history.events if event.kind == "skipped step"] == SKIPPED
    assert w.history["loss"].values.tolist() == pytest.approx(seen)
    assert w.history["total_grad_norm"].steps.tolist() == [3, 4, 5, 6, 7, 8, 9]
    recorded = [step for step in range(1, STEPS + 1) if step % every == 0]
    assert w.history["activation_mean"]["0"].steps.tolist() == recorded
    for quantity in ("output_grad_std", "grad_norm", "update_norm"):
        assert w.history[quantity]["0"].steps.tolist() == [step for step in recorded if step not in SKIPPED]


def test_a_recorded_step_is_not_mixed_with_the_skipped_one_before_it():
    w, _ = run("plain")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    # No step was taken before the third.
    wanted = [float(model(batch(step)[0]).detach().mean()) for step in range(3)]
    assert w.history["activation_mean"]["2"].values.tolist()[:3] == pytest.approx(wanted, rel=1e-5)


def test_without_the_scaler_fused_optimisers_still_tell():
    w, _ = run("fused", given=False)
    assert [event.step for event in w.history.events if event.kind == "skipped step"] == SKIPPED
    assert w.findings == []


def test_a_loss_that_is_not_finite_is_no_affair_of_the_scaler():
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sqrt()

    model, criterion = nn.Sequential(nn.Linear(2, 2), Root()), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with watch(model, optimizer, scaler=scaler, every=100, budget=None) as w:
        for step in range(6):
            with torch.no_grad():
                model[0].weight.copy_(torch.eye(2))
                model[0].bias.fill_(0.5)
            optimizer.zero_grad()
            x = torch.full((3, 2), -9.0 if step == 2 else 1.0)
            scaler.scale(criterion(model(x), torch.zeros(3, 2))).backward()
            scaler.step(optimizer)
            scaler.update()
    assert [(finding.step, finding.layer) for finding in w.findings] == [(3, "1")]
    assert [event.step for event in w.history.events if event.kind == "skipped step"] == [3]


def test_a_scaler_of_two_models_skips_for_each_alone():
    torch.manual_seed(0)
    first, second = nn.Linear(4, 1), nn.Linear(4, 1)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.0) for m in (first, second)]
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    with (
        watch(first, optimizers[0], scaler=scaler, every=1, budget=None) as a,
        watch(second, optimizers[1], scaler=scaler, every=1, budget=None) as b,
    ):
        for step in range(6):
            for model, optimizer, bad in ((first, optimizers[0], 2), (second, optimizers[1], 4)):
                optimizer.zero_grad()
                scaler.scale(model(torch.ones(3, 4)).mean()).backward()
                if step == bad:
                    model.bias.grad.fill_(float("inf"))
                scaler.step(optimizer)
                scaler.update()
    for w, skipped in ((a, 3), (b, 5)):
        assert w.steps == 6
        assert [event.step for event in w.history.events if event.kind == "skipped step"] == [skipped]


@pytest.mark.parametrize(("kind", "given", "said"), [("plain", False, 1), ("fused", False, 0), ("plain", True, 0)])
def test_gradients_scaled_by_nobody_knows_what_are_labelled(monkeypatch, kind, given, said):
    monkeypatch.setitem(SCALES, "init_scale", 1024.0)
    w, _ = run(kind, given=given)
    events = [event for event in w.history.events if event.kind == "scaled"]
    assert len(events) == said
    if said:
        assert events[0].data["scale"] == 1024.0 and "scaler=" in events[0].text
