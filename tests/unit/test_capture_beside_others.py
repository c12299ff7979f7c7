"""Capture beside others who look at the model: tracers, compilers, edits, threads, wrappers."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

from nnwidget.errors import UnobservableError
from nnwidget.model.capture import capture
from nnwidget.model.edit_hooks import edit
from nnwidget.model.edits import Scale
from tests.zoo.models import case


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_vmap_stands_aside() -> None:
    model = net()
    x = torch.randn(4, 2, 3)
    expected = torch.func.vmap(nn.Sequential(model[0], nn.ReLU(), model[2]))(x)
    model[1].inplace = False
    with capture(model) as seen:
        assert torch.equal(torch.func.vmap(model)(x), expected)
    assert seen[""] == []
    assert any("vmap" in note for note in seen.notes)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_jit_trace_stands_aside() -> None:
    model, x = net(), torch.randn(2, 3)
    with capture(model) as seen:
        traced = torch.jit.trace(model, x, check_trace=False)
    assert seen[""] == []
    assert any("torch.jit" in note for note in seen.notes)
    assert torch.equal(traced(x), model(x))


def exported(model: nn.Module, x: torch.Tensor, strict: bool) -> str:
    try:
        return str(torch.export.export(model, (x,), strict=strict).graph)
    except torch._dynamo.exc.UserError:
        return "refused"


@pytest.mark.parametrize("strict", [False, True])
def test_export_sees_no_hooks(strict: bool) -> None:
    model, x = net(), torch.randn(2, 3)
    expected = exported(model, x, strict)
    handles = [module.register_forward_hook(lambda *_: None) for module in model.modules()]
    if exported(model, x, strict) == "refused":
        # Strict export of torch 2.4 takes no hooks at all, whosever they are.
        assert strict
        expected = "refused"
    for handle in handles:
        handle.remove()
    with capture(model, gradients=True, inputs=True) as seen:
        found = exported(model, x, strict)
    assert found == expected
    assert seen[""] == []
    assert seen.notes


def test_fx_stands_aside() -> None:
    class All(torch.fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return False

    model = nn.Sequential(net())
    plain = All().trace(model)
    with capture(model) as seen:
        traced = All().trace(model)
    assert str(traced) == str(plain)
    assert any("torch.fx" in note for note in seen.notes)


def test_fake_tensors_are_not_kept() -> None:
    model = net()
    with capture(model) as seen, torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        model(torch.ones(2, 3))
    assert seen["0"] == []
    assert any("fake" in note for note in seen.notes)


def test_compiled_regions_are_not_hooked() -> None:
    model = nn.Sequential(net(), nn.Linear(2, 2))
    model[0].compile(backend="eager")
    expected = model(torch.ones(2, 3))
    with capture(model) as seen:
        assert torch.equal(model(torch.ones(2, 3)), expected)
        assert hooks(model[0]) == 0
    assert len(seen["1"]) == len(seen[""]) == 1
    assert any("torch.compile" in note for note in seen.notes)
    with pytest.raises(UnobservableError, match="compile"):
        capture(model, "0.1")


def test_the_wrapper_of_a_compiled_model_is_observed() -> None:
    model = torch.compile(net(), backend="eager")
    expected = model(torch.ones(2, 3))
    with capture(model) as seen:
        model(torch.ones(2, 3))
    assert list(seen) == [""]
    assert torch.equal(seen[""][0], expected)


def test_a_compiled_function_is_not_changed() -> None:
    model, graphs = net(), []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append([str(node.target) for node in graph.graph.nodes if node.op != "placeholder"])
        return graph.forward

    x = torch.randn(2, 3)
    torch.compile(lambda v: model(v), backend=backend, fullgraph=True)(x)
    torch._dynamo.reset()
    with capture(model, gradients=True) as seen:
        torch.compile(lambda v: model(v), backend=backend, fullgraph=True)(x)
    assert graphs[0] == graphs[1]
    assert any("compiled" in note for note in seen.notes)


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype.*")
def test_the_fused_path_is_noted() -> None:
    model, args, kwargs = case("encoder, mask-padded").make()
    with capture(model) as seen, torch.no_grad():
        model(*args, **kwargs)
    assert any("fused path" in note for note in seen.notes)
    assert len(seen["layers.0"]) == 1


@pytest.mark.parametrize("capture_first", [True, False])
def test_edits_are_seen(capture_first: bool) -> None:
    model, x = net(), torch.randn(2, 3)
    scopes = [lambda: capture(model, gradients=True), lambda: edit(model, {"1": Scale(0.0)})]
    first, second = (scope() for scope in (scopes if capture_first else scopes[::-1]))
    with first as one, second as two:
        out = model(x)
        out.sum().backward()
    seen = one if capture_first else two
    assert (seen["1"][0] == 0).all()
    assert (seen.gradients["0"][0] == 0).all()
    assert torch.equal(out, model[2].bias.expand(2, 2))
    assert hooks(model) == 0


def test_captures_inside_each_other() -> None:
    model, x = net(), torch.randn(2, 3)
    with capture(model) as outer:
        with capture(model, "0") as inner:
            model(x)
        model(x)
    assert len(outer["0"]) == 2
    assert len(inner["0"]) == 1
    assert torch.equal(outer["0"][1], inner["0"][0])


def test_threads_do_not_mix_up_calls() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    batches = [torch.full((1, 3), float(i)) for i in range(8)]

    def work(batch: torch.Tensor) -> None:
        for _ in range(5):
            model(batch).sum().backward()

    with capture(model, inputs=True, gradients=True) as seen:
        threads = [threading.Thread(target=work, args=(batch,)) for batch in batches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(seen["0"]) == 40
    for given, output in zip(seen.inputs["0"], seen["0"], strict=True):
        assert torch.equal(nn.functional.linear(given[0][0], model[0].weight, model[0].bias), output)
    assert all(gradient is not None for gradient in seen.gradients["0"])


def test_other_modes_count_as_without_us() -> None:
    model, x = net(), torch.randn(2, 3)
    with FlopCounterMode(display=False) as plain:
        model(x)
    with capture(model) as seen, FlopCounterMode(display=False) as watched:
        model(x)
    assert watched.get_total_flops() == plain.get_total_flops()
    assert len(seen["0"]) == 1


def test_functional_call_is_captured_and_functional_gradients_stand_aside() -> None:
    model, x = net(), torch.randn(2, 3)
    doubled = {name: value * 2 for name, value in model.named_parameters()}
    with capture(model) as seen:
        torch.func.functional_call(model, doubled, (x,))
        torch.func.grad(lambda values: torch.func.functional_call(model, values, (x,)).sum())(doubled)
    assert len(seen["0"]) == 1
    assert torch.equal(seen["0"][0], nn.functional.linear(x, doubled["0.weight"], doubled["0.bias"]).detach())
    assert any("torch.func" in note for note in seen.notes)


def test_distributed_training_is_untouched(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        order, models = trained_in_parallel(torch.randn(5, 3))
        assert order == ["module.0", "module.1", "module.2", "module", ""]
        assert all(torch.equal(*pair) for pair in zip(*(model.parameters() for model in models), strict=True))
    finally:
        # A wrapped model that outlives its group takes it down with the interpreter locked, which can wait for ever.
        gc.collect()
        torch.distributed.destroy_process_group()


def trained_in_parallel(x: torch.Tensor) -> tuple[list[str], list[nn.Module]]:
    """Train two wrapped models alike, the first captured: what was seen, and the models without their wrappers."""
    models: list[nn.Module] = [net(), net()]
    wrapped = [DistributedDataParallel(model) for model in models]
    optimizers = [torch.optim.SGD(model.parameters(), 0.1) for model in models]
    for _ in range(3):
        with capture(wrapped[0], gradients=True, inputs=True) as seen:
            wrapped[0](x).sum().backward()
        wrapped[1](x).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return list(seen.order), models
