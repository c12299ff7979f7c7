"""Compiled models, watched: nothing inside is hooked or compiled again, and eager runs show what is there."""

import warnings

import pytest
import torch
from torch import nn

from nnwidget.watching import watch
from tests.bits import bits

STANCE = hasattr(torch.compiler, "set_stance")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 16)

    def forward(self, x):
        return self.fc(x).tanh()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.norm, self.drop, self.out = Block(), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 3)

    def forward(self, x):
        return self.out(self.drop(self.norm(self.block(x))))


def whole(net, **how):
    return torch.compile(net, backend="eager", **how)


def in_place(net, **how):
    net.compile(backend="eager", **how)
    return net


def a_part(net, **how):
    net.block = torch.compile(net.block, backend="eager", **how)
    return net


def a_part_in_place(net, **how):
    net.block.compile(backend="eager", **how)
    return net


WAYS = {"whole": whole, "in place": in_place, "a part": a_part, "a part in place": a_part_in_place}
HIDDEN = {
    "whole": {"block.fc", "norm", "out"},
    "in place": {"block.fc", "norm", "out"},
    "a part": {"block._orig_mod.fc"},
    "a part in place": {"block.fc"},
}


@pytest.fixture(autouse=True)
def fresh_dynamo():
    # Threads of earlier tests may train meanwhile; what was compiled for them must not be counted here.
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def compiled_so_far():
    counters = torch._dynamo.utils.counters
    return {kind: dict(counters.get(kind, {})) for kind in ("stats", "graph_break", "frames")}


def train(model, net, *, steps=8, loss=None, watcher=None, spoil=None, after=lambda step: None):
    """Train and return every bit, what was compiled, what was warned of, and the watch."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    criterion = loss or nn.CrossEntropyLoss()
    torch.manual_seed(1)
    losses = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        made = watcher(model, optimizer) if watcher else None
        try:
            for step in range(1, steps + 1):
                x, y = torch.randn(5, 8), torch.randint(0, 3, (5,))
                if step == spoil:
                    x = x / 0
                optimizer.zero_grad()
                found = criterion(model(x), y)
                found.backward()
                optimizer.step()
                losses.append(found.item())
                after(step)
        finally:
            if made is not None:
                made.close()
    state = bits([losses, net.state_dict(), torch.get_rng_state()])
    return state, compiled_so_far(), [str(each.message) for each in warned], made


def made(way, **how):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    net = Net()
    return WAYS[way](net, **how), net


@pytest.mark.parametrize("inputs", [None, torch.ones(4, 8)], ids=["", "pinned"])
@pytest.mark.parametrize("way", WAYS)
def test_a_compiled_model_trains_as_if_nobody_watched(way, inputs):
    alone = train(*made(way, fullgraph=True))
    watched = train(*made(way, fullgraph=True), watcher=lambda m, o: watch(m, o, inputs=inputs, every=1, budget=None))
    assert alone[:3] == watched[:3], "bits, graphs and warnings"
    assert alone[1]["stats"]["unique_graphs"] == 1
    history = watched[3].history
    assert watched[3]._engine.error == ""
    assert history["loss"].steps.tolist() == list(range(1, 9))
    assert {"total_grad_norm", "lr"} <= set(history.quantities)
    for quantity in ("param_norm", "grad_norm", "update_norm"):
        assert HIDDEN[way] <= set(history[quantity])


@pytest.mark.parametrize("way", WAYS)
def test_layers_inside_are_seen_in_an_eager_rerun_of_pinned_inputs(way):
    model, net = made(way)
    *_, w = train(model, net, watcher=lambda m, o: watch(m, o, inputs=torch.ones(4, 8), every=1, budget=None))
    rows = {row.layer: row for row in w.coverage}
    for name in HIDDEN[way]:
        assert rows[name].state == "sampled" and "eager re-run" in rows[name].reason
        assert 0 in w.history["activation_mean"][name].steps, "the first run is before the first step"
        assert w.history.snapshot("map", name)[1].shape == (4, 16 if name != "out" else 3)
    if "part" in way:
        assert rows["norm"].state == "observed" and len(w.history["activation_mean"]["norm"].steps) == 8
        assert "norm" in w.history["output_grad_std"]
        assert not HIDDEN[way] & set(w.history["output_grad_std"])


def test_the_wrapper_of_a_compiled_part_is_observed():
    model, net = made("a part")
    *_, w = train(model, net, watcher=lambda m, o: watch(m, o, every=1, budget=None))
    assert {row.layer: row.state for row in w.coverage}["block"] == "observed"
    assert len(w.history["activation_mean"]["block"].steps) == 8


def test_without_pinned_inputs_coverage_says_what_to_do():
    model, net = made("whole")
    *_, w = train(model, net, watcher=lambda m, o: watch(m, o, every=1, budget=None))
    reasons = {row.layer: row for row in w.coverage}
    assert reasons["norm"].state == "parameters only"
    assert "compiled region" in reasons["norm"].reason and "inputs=" in reasons["norm"].reason
    assert "activation_mean" not in w.history


def mse(output, target):
    return nn.functional.mse_loss(output, torch.zeros_like(output))


@pytest.mark.parametrize("way", ["whole", "in place"])
def test_looking_for_a_loss_that_is_a_function_warns_of_nothing_and_compiles_nothing(way):
    def micro(model):
        # Two forwards and two backwards a step, with the search for a loss between them.
        def loss(output, target):
            found = mse(output, target)
            found.backward()
            return mse(model(torch.ones(5, 8)), target)

        return loss

    results = []
    for watcher in (None, lambda m, o: watch(m, o, every=1, budget=None)):
        model, net = made(way, fullgraph=True)
        results.append(train(model, net, loss=micro(model), watcher=watcher))
    assert results[0][:3] == results[1][:3]


@pytest.mark.parametrize("way", ["whole", "in place"])
def test_a_stop_meets_a_compiled_model(way):
    model, net = made(way)
    seen = []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with watch(model, optimizer) as w:
        for step in range(10):
            optimizer.zero_grad()
            model(torch.ones(4, 8)).sum().backward()
            optimizer.step()
            seen.append(step)
            if step == 3:
                w.stop()
    assert seen == [0, 1, 2, 3]
    assert compiled_so_far()["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("way", ["whole", "in place"])
def test_a_bad_step_is_looked_into_without_compiling(way):
    model, net = made(way, fullgraph=True)
    _, compiled, _, w = train(model, net, spoil=5, watcher=lambda m, o: watch(m, o, every=1, budget=None))
    assert compiled["stats"]["unique_graphs"] == 1
    (finding,) = w.findings
    assert finding.step == 5
    if way == "whole" and STANCE:
        assert finding.evidence["direction"] == "input"
    else:
        assert finding.evidence["exact"] is False


@pytest.mark.parametrize("way", ["whole", "in place"])
def test_a_model_compiled_after_watch_is_left_alone(way):
    alone = train(*made(way, fullgraph=True))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    net = Net()
    with watch(net, every=1, budget=None) as w:
        state, compiled, warned, _ = train(WAYS[way](net, fullgraph=True), net)
    assert (state, compiled, warned) == alone[:3]
    assert len(w.history["total_grad_norm"].steps) == 8
    assert "pass what the loop calls" in {row.layer: row.reason for row in w.coverage}["norm"]


def test_a_model_inside_a_compiled_function_is_compiled_once_more_at_most():
    def run(watcher):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        torch.manual_seed(0)
        net = Net()
        step = torch.compile(lambda x: net(x).square().mean(), backend="eager", fullgraph=True)
        return train(lambda x: x, net, loss=lambda x, y: step(x), watcher=watcher and (lambda m, o: watcher(net, o)))

    alone, watched = run(None), run(lambda net, o: watch(net, o, every=3, budget=None))
    assert alone[0] == watched[0]
    assert watched[1]["stats"]["unique_graphs"] <= alone[1]["stats"]["unique_graphs"] + 1
    assert len(watched[3].history["param_norm"]["norm"].steps) == 2


@pytest.mark.parametrize("way", ["whole", "in place"])
def test_hooks_inside_on_demand_see_the_training_itself(way):
    model, net = made(way)
    *_, w = train(model, net, watcher=lambda m, o: watch(m, o, every=2, budget=None, compiled="hook"))
    assert w._engine.error == ""
    for name in HIDDEN[way]:
        assert w.history["activation_mean"][name].steps.tolist() == [2, 4, 6, 8]
        assert w.history["output_grad_std"][name].steps.tolist() == [2, 4, 6, 8]
        assert {row.layer: row.state for row in w.coverage}[name] == "observed"
    assert compiled_so_far()["stats"]["unique_graphs"] > 1, "the graph breaks at every layer"
    assert not net.norm._forward_hooks and not net.norm._forward_pre_hooks
