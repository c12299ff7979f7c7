"""A step is one iteration of the loop, whatever the loop is made of."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from nnwidget.watching import watch
from tests.unit.nets import Transformer


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def sgd(*modules: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD([p for module in modules for p in module.parameters()], lr=0.1)


def backward(model: nn.Module, seed: int) -> Tensor:
    loss = model(torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))).square().mean()
    loss.backward()
    return loss


def norm(*modules: nn.Module) -> float:
    return float(torch.cat([p.grad.reshape(-1) for module in modules for p in module.parameters()]).norm())


@pytest.mark.parametrize("named", [True, False])
def test_one_optimiser(named):
    model = net()
    optimizer, wanted = sgd(model), []
    with watch(model, optimizer if named else None, every=1, budget=None) as w:
        for step in range(6):
            optimizer.zero_grad()
            backward(model, step)
            wanted.append(norm(model))
            optimizer.step()
            assert w.steps == step + 1
    assert w.history["total_grad_norm"].values.tolist() == pytest.approx(wanted)
    assert w._engine.steps.source == ("optimizer" if named else "any optimizer")


@pytest.mark.parametrize("named", [True, False])
def test_several_optimisers_of_one_model_make_one_step(named):
    model = net()
    optimizers, wanted = [sgd(model[0]), sgd(model[2])], []
    with watch(model, optimizers if named else None, every=1, budget=None) as w:
        for step in range(6):
            model.zero_grad()
            backward(model, step)
            wanted.append(norm(model))
            for optimizer in optimizers:
                optimizer.step()
    assert w.steps == 6
    # Unnamed, the second one is met only after the first step was counted.
    skip = 0 if named else 2
    assert w.history["total_grad_norm"].values.tolist()[skip:] == pytest.approx(wanted[skip:])


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("by_hand", [True, False])
def test_where_the_last_optimiser_steps_in_every_other_iteration_only(named, by_hand):
    model = net()
    body, head = sgd(model[0]), sgd(model[2])
    wanted = []
    with watch(model, [body, head] if named else None, every=1, budget=None) as w:
        for step in range(12):
            model.zero_grad()
            backward(model, step)
            wanted.append(norm(model) if step % 2 else norm(model[0]))
            body.step()
            if step % 2:
                head.step()
            if by_hand:
                w.step()
    if by_hand:
        assert w.steps == 12 and w.history["activation_mean"]["0"].steps.tolist() == list(range(1, 13))
        assert w.history["total_grad_norm"].values.tolist()[4:] == pytest.approx(wanted[4:])
    else:
        # It is no other sequence of steps than that of a loop with a loop for the body in it.
        assert 6 <= w.steps <= 8


def test_an_optimiser_that_steps_no_more_hands_the_lead_on():
    model = net()
    first, second = sgd(model[0]), sgd(model[2])
    with watch(model, [first, second], every=1, budget=None) as w:
        for step in range(20):
            model.zero_grad()
            backward(model, step)
            first.step()
            if step < 5:
                second.step()
    assert 15 <= w.steps <= 20


def test_another_models_optimiser_is_not_ours():
    model, other = net(), net(1)
    mine, others = sgd(model), sgd(other)
    with watch(model, every=1, budget=None) as w:
        for step in range(4):
            for net_, optimizer in ((other, others), (model, mine), (other, others)):
                optimizer.zero_grad()
                backward(net_, step)
                optimizer.step()
    assert w.steps == 4
    assert len(w._engine.optimizers.groups()) == 1


def test_an_optimiser_becomes_ours_with_a_new_group():
    model, other = net(), net(1)
    optimizer = sgd(other)
    with watch(model, every=1, budget=None) as w:
        backward(other, 0)
        optimizer.step()
        assert w.steps == 0
        optimizer.add_param_group({"params": model.parameters()})
        backward(model, 0)
        optimizer.step()
        assert w.steps == 1


def plain_update(model: nn.Module) -> None:
    for p in model.parameters():
        p.data -= 0.1 * p.grad


@pytest.mark.parametrize("clearing", ["before the backward", "after the update"])
def test_no_optimiser_at_all(clearing):
    model, wanted = net(), []
    with watch(model, every=1, budget=None) as w:
        for step in range(6):
            if clearing == "before the backward":
                x = model(torch.randn(4, 6, generator=torch.Generator().manual_seed(step)))
                model.zero_grad()
                x.square().mean().backward()
            else:
                backward(model, step)
            wanted.append(norm(model))
            plain_update(model)
            if clearing == "after the update":
                for p in model.parameters():
                    p.grad.zero_()
    # The last step is seen only by a forward that follows it.
    assert w.history["activation_mean"]["0"].steps.tolist() == [1, 2, 3, 4, 5]
    assert w.steps == 5 and w._engine.steps.source == "forward"
    update = [0.1 * value for value in wanted[:5]]
    found = sum(w.history["update_norm"][layer].values.astype(float) ** 2 for layer in ("0", "2")) ** 0.5
    assert found.tolist() == pytest.approx(update, rel=1e-4)
    if clearing == "before the backward":
        assert w.history["total_grad_norm"].values.tolist() == pytest.approx(wanted[:5])
    else:
        assert not {"grad_norm", "total_grad_norm"} & set(w.history.quantities)
        said = [event for event in w.history.events if event.kind == "no gradients"]
        assert len(said) == 1 and "w.step()" in said[0].text


def test_steps_by_hand():
    model, wanted = net(), []
    with watch(model, every=1, budget=None) as w:
        for step in range(6):
            model.zero_grad()
            backward(model, step)
            wanted.append(norm(model))
            plain_update(model)
            w.step()
    assert w.steps == 6
    assert w.history["total_grad_norm"].values.tolist() == pytest.approx(wanted)
    assert w.history["update_norm"]["0"].steps.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("named", [True, False])
def test_steps_by_hand_beside_an_optimiser(named):
    model = net()
    optimizer = sgd(model)
    with watch(model, optimizer if named else None, every=1, budget=None) as w:
        for step in range(6):
            optimizer.zero_grad()
            backward(model, step)
            optimizer.step()
            w.step()
            assert w.steps == step + 1
    assert w.history["total_grad_norm"].steps.tolist() == [1, 2, 3, 4, 5, 6]


def test_gradient_accumulation():
    model = net()
    optimizer, wanted = sgd(model), []
    with watch(model, optimizer, every=1, budget=None) as w:
        for step in range(12):
            backward(model, step)
            if step % 3 == 2:
                wanted.append(norm(model))
                optimizer.step()
                optimizer.zero_grad()
    assert w.steps == 4
    assert w.history["total_grad_norm"].values.tolist() == pytest.approx(wanted)
    assert w.history["activation_mean"]["0"].steps.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("start", [0, 100])
def test_the_batch_of_a_spike_is_known(start):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with watch(model, optimizer, every=4, budget=None, start_step=start) as w:
        for number in range(1, 61):
            x = torch.full((4, 6), 1e4 if number == 42 else 1.0)
            model(x).square().mean().backward()
            if number % 3 == 0:
                optimizer.step()
                optimizer.zero_grad()
    norms, batches = w.history["total_grad_norm"], w.history["batch"]
    spike = norms.steps[norms.values.argmax()]
    assert spike == start + 14 and batches.values[batches.steps == spike] == 42
    # Where a step takes one, nothing more is to be said.
    with watch(model, optimizer, every=4, budget=None, start_step=start) as w:
        for step in range(20):
            backward(model, step)
            optimizer.step()
    assert "batch" not in w.history


def test_a_closure_that_is_called_many_times_is_one_step():
    model, criterion = net(), nn.MSELoss()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5)
    x, y = torch.randn(16, 6), torch.randn(16, 3)
    seen: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        seen.append(loss.item())
        return loss

    means = []
    with watch(model, optimizer, every=1, budget=None) as w:
        for _ in range(4):
            seen.clear()
            optimizer.step(closure)
            means.append(sum(seen) / len(seen))
    assert w.steps == 4
    assert w.history["loss"].values.tolist() == pytest.approx(means)
    assert w.history["total_grad_norm"].steps.tolist() == [1, 2, 3, 4]


def test_a_schedule_and_nested_loops():
    model = net()
    optimizer = sgd(model)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    with watch(model, optimizer, every=1, budget=None) as w:
        for epoch in range(3):
            for step in range(4):
                optimizer.zero_grad()
                backward(model, 4 * epoch + step)
                optimizer.step()
            schedule.step()
    assert w.steps == 12
    assert w.history["lr"].values.tolist() == pytest.approx([0.1] * 4 + [0.05] * 4 + [0.025] * 4)


def test_validations_between_steps_are_not_recorded():
    model, x = net(), torch.randn(4, 6)
    optimizer, wanted = sgd(model), []
    with watch(model, optimizer, every=1, budget=None) as w:
        for _ in range(4):
            model.eval()
            for mode in (torch.no_grad, torch.inference_mode):
                with mode():
                    model(1000.0 * x)
            model.train()
            optimizer.zero_grad()
            out = model(x)
            wanted.append(float(out.detach().max()))
            with torch.no_grad():
                model(1000.0 * x)
            out.square().mean().backward()
            optimizer.step()
    assert w.history["activation_max"]["2"].values.tolist() == pytest.approx(wanted)


@pytest.mark.needs_torch("2.5")  # older ones stay on that path in spite of hooks
def test_validations_keep_torchs_fused_path(monkeypatch):
    model, tokens = Transformer(), torch.randint(0, 20, (3, 7))
    mask = torch.arange(7) >= torch.tensor([[7], [4], [5]])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    fused, calls = torch._transformer_encoder_layer_fwd, []
    monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", lambda *given: calls.append(1) or fused(*given))

    def validate() -> Tensor:
        model.eval()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*nested tensors is in prototype.*")
            out = model(tokens, mask)
        model.train()
        return out

    alone = validate()
    assert len(calls) == 2, "one for each layer"
    handle = model.encoder.layers[0].register_forward_hook(lambda *_: None)
    validate()
    handle.remove()
    assert len(calls) < 4, "a hook takes it off that path"
    calls.clear()
    with watch(model, optimizer, every=1, budget=None) as w:
        for step in range(3):
            assert torch.equal(validate(), alone) and len(calls) == 2 * step + 2
            optimizer.zero_grad()
            model(tokens).square().mean().backward()
            optimizer.step()
    assert w.history["activation_mean"]["encoder.layers.0.linear1"].steps.tolist() == [1, 2, 3]


@pytest.mark.parametrize("every", [1, 2])
def test_a_loop_that_calls_only_parts_of_the_model(every):
    model = net()
    optimizer = sgd(model)
    with watch(model, optimizer, every=every, budget=None) as w:
        for step in range(8):
            optimizer.zero_grad()
            model[2](model[1](model[0](torch.randn(4, 6)))).square().mean().backward()
            optimizer.step()
            assert w.steps == step + 1
    recorded = list(range(every, 9, every))
    assert w.history["grad_norm"]["0"].steps.tolist() == recorded
    # Without a forward of the root nothing tells when a step begins, which is known after the first.
    assert w.history["activation_mean"]["0"].steps.tolist() == [step for step in recorded if step > 1]


def test_a_run_is_continued_at_its_step():
    model = net()
    optimizer = sgd(model)
    with watch(model, optimizer, every=5, budget=None, start_step=100) as w:
        for step in range(12):
            optimizer.zero_grad()
            backward(model, step)
            optimizer.step()
    assert w.steps == 112 and w.history["total_grad_norm"].steps[0] == 101
    assert w.history["grad_norm"]["0"].steps.tolist() == [105, 110]


def test_two_models_are_watched_beside_each_other():
    made, judge = net(), nn.Linear(3, 1)
    makes, judges = sgd(made), sgd(judge)
    with watch(made, makes, every=1, budget=None) as a, watch(judge, judges, every=1, budget=None) as b:
        for _ in range(4):
            x = torch.randn(4, 6)
            judges.zero_grad()
            fakes = made(x)
            judge(fakes.detach()).square().mean().backward()
            judges.step()
            makes.zero_grad()
            (-judge(10.0 * fakes)).mean().backward()
            makes.step()
    assert (a.steps, b.steps) == (4, 4)
    assert a.history["activation_mean"]["0"].steps.tolist() == [1, 2, 3, 4]
    assert "0" in set(a.history["output_grad_std"]), "the output made for the judge's step is the one that is trained"
