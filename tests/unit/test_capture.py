from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnwidget.errors import BudgetError, InputError, UnknownLayerError, UnobservableError
from nnwidget.model.capture import capture
from nnwidget.model.taps import active
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


def test_copies_survive_in_place_operations() -> None:
    model, x = net(), torch.randn(5, 3)
    with capture(model, inputs=True) as seen:
        out = model(x)
    first = nn.functional.linear(x, model[0].weight, model[0].bias)
    assert torch.equal(seen["0"][0], first)
    assert (first < 0).any()
    assert torch.equal(seen["1"][0], first.relu())
    assert torch.equal(seen.inputs["1"][0][0][0], first)
    assert torch.equal(seen[""][0], out)
    assert not seen["0"][0].requires_grad
    assert seen.order == ["0", "1", "2", ""]
    assert seen.notes == []


def test_views_are_copied() -> None:
    model, args, _ = case("view then mutate").make()
    with capture(model) as seen:
        out = model(*args)
    assert torch.equal(seen["first"][0] + 1, out[:, :2])


def test_structure_is_kept() -> None:
    model, args, _ = case("dataclass output").make()
    with capture(model) as seen:
        out = model(*args)
    kept = seen[""][0]
    assert type(kept) is type(out)
    assert torch.equal(kept.logits, out.logits)
    assert kept.steps == 2
    assert kept.logits is not out.logits


def test_calls_of_reused_modules_are_listed() -> None:
    model, args, _ = case("reused module").make()
    with capture(model, "lin") as seen:
        model(*args)
        model(*args)
    assert len(seen["lin"]) == 6
    assert torch.equal(seen["lin"][0], seen["lin"][3])
    assert not torch.equal(seen["lin"][0], seen["lin"][1])


def test_shared_modules_are_found_under_every_name() -> None:
    model, args, _ = case("shared under two names").make()
    with capture(model) as seen:
        model(*args)
    assert list(seen) == ["", "lin", "block", "block.1"]
    assert seen["again"] is seen["lin"]
    assert seen["block.0"] is seen["lin"]
    assert seen[model.again] is seen["lin"]
    assert len(seen["lin"]) == 3


def test_never_called_is_empty_and_listed() -> None:
    model, args, _ = case("never called").make()
    with capture(model) as seen:
        model(*args)
    assert seen["spare.0"] == []
    assert seen.uncalled == ["spare", "spare.0", "spare.1"]


def test_unknown_layers_name_the_nearest() -> None:
    model = nn.ModuleDict({"encoder": net()})
    with pytest.raises(UnknownLayerError, match=r"'encoder\.0'"):
        capture(model, "encodr.0")
    with pytest.raises(KeyError):
        capture(model, "nothing*")
    with pytest.raises(UnknownLayerError, match="not part of the model"):
        capture(model, nn.Linear(1, 1))
    with capture(model, "encoder.?") as seen:
        pass
    with pytest.raises(UnknownLayerError):
        seen["encoder"]


def test_layers_by_name_glob_and_module() -> None:
    model = net()
    assert list(capture(model, ["2", "?"])) == ["0", "1", "2"]
    assert list(capture(model, model[1])) == ["1"]
    assert list(capture(model, [model[2], ""])) == ["", "2"]
    with pytest.raises(InputError, match="int"):
        capture(model, [3])  # type: ignore[list-item]


def test_gradients_equal_retain_grad() -> None:
    model, x = net(), torch.randn(5, 3)
    with capture(model, gradients=True) as seen:
        loss = model(x).square().sum()
        assert seen.gradients["0"] == [None]
        loss.backward()
    first = nn.functional.linear(x, model[0].weight, model[0].bias)
    first.retain_grad()
    last = model[2](first.relu())
    last.retain_grad()
    last.square().sum().backward()
    assert torch.equal(seen.gradients["0"][0], first.grad)
    assert torch.equal(seen.gradients["2"][0], last.grad)
    assert torch.equal(seen.gradients[""][0], last.grad)


def test_gradients_keep_structure_and_add_up() -> None:
    model, args, _ = case("tuple and none").make()
    with capture(model, gradients=True) as seen:
        out = model(*args)
        out[0].sum().backward(retain_graph=True)
        out[0].sum().backward()
    root = seen.gradients[""][0]
    assert torch.equal(root[0], torch.full((2, 4), 2.0))
    assert root[1] is None
    assert root[2] == (None, [None])


def test_no_gradients_without_grad_or_after_the_block() -> None:
    model = net()
    with capture(model, gradients=True) as seen:
        with torch.no_grad():
            model(torch.ones(1, 3))
        out = model(torch.ones(1, 3))
    out.sum().backward()
    assert seen.gradients["0"] == [None, None]
    with capture(model) as seen:
        pass
    with pytest.raises(InputError, match="gradients=True"):
        _ = seen.gradients


@pytest.mark.filterwarnings("ignore:.*cpu.amp.autocast.*:FutureWarning")
@pytest.mark.parametrize("name", ["checkpoint", "re-entrant checkpoint"])
def test_recomputed_calls_are_told_apart(name: str) -> None:
    model, args, _ = case(name).make()
    with capture(model, gradients=True) as seen:
        out = model(*args)
        assert seen.recomputed == {}
        out.sum().backward()
    assert len(seen["inner.0"]) == 2
    assert seen.recomputed["inner.0"] == 2
    assert torch.equal(seen.gradients["inner"][1], torch.ones_like(out))
    assert all(gradient is not None for gradient in seen.gradients["inner.0"])
    assert seen.order.count("inner.0") == 2


def test_kwargs_are_captured_before_the_call() -> None:
    model, args, kwargs = case("keywords").make()
    with capture(model, inputs=True) as seen:
        model(*args, **kwargs)
    (given, named) = seen.inputs[""][0]
    assert torch.equal(given[0], args[0])
    assert named["scale"] == 2.0
    assert torch.equal(named["bias"], kwargs["bias"])
    assert list(seen.inputs["lin"][0][1]) == ["input"]


def test_inputs_match_calls_when_a_call_raised() -> None:
    model, args, _ = case("catches its own exception").make()
    with capture(model, inputs=True) as seen:
        model(*args)
    assert seen["fails"] == []
    assert seen.inputs["fails"] == []
    assert torch.equal(seen.inputs["lin"][1][0][0], seen["lin"][0])
    assert torch.equal(seen.inputs[""][0][0][0], args[0])


def test_inference_mode_gives_normal_tensors() -> None:
    model = net()
    with capture(model) as seen, torch.inference_mode():
        model(torch.ones(1, 3))
    assert not seen["0"][0].is_inference()
    seen["0"][0].requires_grad_().sum().backward()


def test_autocast_is_seen_as_it_is() -> None:
    model = net()
    with capture(model) as seen, torch.autocast("cpu", torch.bfloat16):
        model(torch.ones(1, 3))
    assert seen["0"][0].dtype == torch.bfloat16


def test_reduce_and_to() -> None:
    model, x = net(), torch.randn(5, 3)
    with capture(model, "0", reduce=lambda t: t.mean(0), to=torch.float64) as seen:
        model(x)
    assert seen["0"][0].shape == (4,)
    assert seen["0"][0].dtype == torch.float64
    with capture(model, "0", reduce=lambda t: t.std().item()) as seen:
        model(x)
    assert isinstance(seen["0"][0], float)
    with capture(model, "0", reduce=lambda t: t) as seen:
        model(x)
    assert (seen["0"][0] < 0).any()


def test_a_reduction_that_fails_breaks_nothing_and_is_told() -> None:
    model, x = net(), torch.randn(5, 3)
    with capture(model, "?", reduce=lambda t: t.reshape(7, 7)) as seen:
        model(x)
    with pytest.raises(UnobservableError) as caught:
        seen["0"]
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "failed" in seen.notes[0]


def test_the_budget_stops_copying_and_says_so() -> None:
    model, x = net(), torch.randn(5, 3)
    with capture(model, max_bytes=100) as seen:
        out = model(x)
    assert out.shape == (5, 2)
    assert seen.uncalled == []
    with pytest.raises(BudgetError, match=r"All copies need 240 bytes; max_bytes is 100") as caught:
        seen["1"]
    assert caught.value.layer == "1"
    assert any("240 bytes" in note for note in seen.notes)
    with pytest.raises(MemoryError):
        list(seen.values())
    with capture(model, max_bytes=240) as seen:
        model(x)
    assert len(list(seen.values())) == 4


def test_everything_is_freed() -> None:
    model, x = net(), torch.randn(5, 3)
    with capture(model, gradients=True, inputs=True) as seen:
        out = model(x)
        out.sum().backward()
    assert hooks(model) == 0
    assert active() == []
    assert not out._backward_hooks
    refs = [weakref.ref(model), weakref.ref(out)]
    del model, out
    gc.collect()
    assert [ref() for ref in refs] == [None, None]
    assert len(seen["0"]) == 1


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_exception(kind: type[BaseException]) -> None:
    model = net()
    with pytest.raises(kind), capture(model, gradients=True):
        model(torch.ones(1, 3))
        raise kind
    assert hooks(model) == 0
    assert active() == []


def test_script_modules_are_left_out_with_a_note() -> None:
    model, args, _ = case("script child").make()
    with capture(model) as seen:
        model(*args)
    assert "1" not in seen
    assert any("ScriptModule" in note for note in seen.notes)
    with pytest.raises(UnobservableError, match="ScriptModule"):
        seen["1"]
    with pytest.raises(UnobservableError):
        capture(model, "1")


def test_opaque_outputs_are_noted() -> None:
    class Cache:
        pass

    class Caching(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return x, Cache()

    model = Caching()
    with capture(model) as seen:
        model(torch.ones(1))
        model(torch.ones(1))
    assert [note for note in seen.notes if "Cache" in note] == seen.notes
    assert len(seen.notes) == 1


def test_not_a_model_and_used_twice() -> None:
    with pytest.raises(InputError, match="int"):
        capture(3)  # type: ignore[arg-type]
    used = capture(net())
    with used:
        pass
    with pytest.raises(InputError, match="used already"), used:
        pass


def test_spectral_norm_moves_as_without_us() -> None:
    one, args, _ = case("spectral norm").make()
    two, _, _ = case("spectral norm").make()
    with capture(one) as seen:
        one(*args)
    two(*args)
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), two.buffers(), strict=True))
    assert "0.parametrizations.weight.0" in seen
