"""Replays of pinned inputs: what the model says by itself, seen from inside, and nothing left behind."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnwidget.errors import CancelledError, InputError, UnknownLayerError
from nnwidget.model.cut import same
from nnwidget.model.edits import Ablate, Scale
from nnwidget.model.intercept import intercepted, intercepting, run
from nnwidget.model.replay import Replayer
from tests.unit import nets
from tests.unit.test_probe import same_state, state

IMAGE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TOKENS = torch.arange(14).reshape(2, 7)
ROWS = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    original = (nn.Module.__call__, nn.Module._call_impl)
    yield
    assert (nn.Module.__call__, nn.Module._call_impl) == original


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (nets.MobileNetV2(10), IMAGE),
        (nets.ResNet(), IMAGE),
        (nets.Recurrent(), TOKENS),
        (nets.Transformer(), TOKENS),
        (nets.DictNet(), ROWS),
        (nets.Loop(), ROWS),
    ],
)
def test_a_replay_is_bitwise_what_the_model_says(model: nn.Module, inputs: Tensor) -> None:
    before = state(model)
    replay = Replayer(model).run((inputs,), observe=[""])
    assert same_state(state(model), before)
    model.eval()
    with torch.no_grad():
        expected = model(inputs)
    assert same(replay.result, expected)
    assert same(replay.outputs[""][0], expected)
    assert (replay.served, replay.note, replay.error) == ("full", "", None)
    assert replay.seconds > 0


def test_outputs_are_copies_with_their_structure_one_for_each_call() -> None:
    model = nets.DictNet()
    replay = Replayer(model).run((ROWS,), observe=["trunk", "trunk.fine"])
    trunk = replay.outputs["trunk"][0]
    assert list(trunk) == ["fine", "coarse"]
    assert trunk["coarse"][1] is None
    assert (trunk["fine"] < 0).any(), "the in-place ReLU after it must not reach the copy"
    assert torch.equal(trunk["fine"], replay.outputs["trunk.fine"][0])
    reused = Replayer(nets.Reused()).run((ROWS,), observe=["shared", "again", "act"])
    assert [len(reused.outputs[name]) for name in ("shared", "again", "act")] == [3, 3, 2]


def test_the_order_names_calls_as_they_begin() -> None:
    replay = Replayer(nets.Reused()).run((ROWS,))
    names = ["", "shared", "act", "shared", "act", "shared", "head"]
    assert list(replay.order) == list(zip(names, [0, 0, 0, 1, 1, 2, 0], strict=True))


def test_inputs_are_not_changed() -> None:
    class Greedy(nn.Module):
        """Changes what it is given."""

        def forward(self, x: Tensor, more: dict[str, Tensor]) -> Tensor:
            more["new"] = x.mul_(2)
            return x + more["old"].add_(1)

    inputs = ROWS.clone()
    more = {"old": ROWS.clone()}
    replayer = Replayer(Greedy())
    first = replayer.run((inputs,), {"more": more})
    assert torch.equal(first.result, ROWS * 2 + (ROWS + 1))
    assert torch.equal(inputs, ROWS)
    assert list(more) == ["old"]
    assert same(first.result, replayer.run((inputs,), {"more": more}).result)


def test_the_same_noise_in_every_run() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(), nn.Linear(6, 3))
    replayer = Replayer(model, train=True)
    first = replayer.run((ROWS,))
    torch.rand(3)
    assert same(first.result, replayer.run((ROWS,)).result)
    assert not same(first.result, Replayer(model).run((ROWS,)).result)


def test_a_model_that_raises_says_where_and_keeps_what_was_seen() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))
    replay = Replayer(model).run((ROWS,), observe=["0", "1.0", "1.1", ""])
    assert replay.error is not None
    assert replay.error.layer == "1.1"
    assert isinstance(replay.error.__cause__, RuntimeError)
    assert str(replay.error) == (
        "Layer '1.1' (Linear) raised RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x4 and 3x2). "
        "Check shape, dtype and device of the inputs."
    )
    assert [len(replay.outputs[name]) for name in ("0", "1.0", "1.1", "")] == [1, 1, 0, 0]
    assert replay.result is None


def test_edits_of_a_model_that_raises_say_so_with_a_key_too() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(3, 2))
    replayer = Replayer(model)
    for _ in range(2):
        replay = replayer.run((ROWS,), edits={"0": Scale(0.5)}, key=0)
        assert replay.error is not None
        assert replay.served == "full"


def test_an_exception_that_the_model_handles_is_no_error() -> None:
    class Careful(nn.Module):
        """Tries one layer, then another."""

        def __init__(self) -> None:
            super().__init__()
            self.bad, self.good = nn.Linear(5, 3), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.bad(x)
            except RuntimeError:
                return self.good(x)

    model = Careful()
    replayer = Replayer(model)
    assert replayer.run((ROWS,)).error is None
    for _ in range(2):
        replay = replayer.run((ROWS,), edits={"good": Scale(0.5)}, key=0)
        assert same(replay.result, model.good(ROWS).detach() * 0.5)


def test_a_run_can_be_stopped_also_inside_a_broad_except() -> None:
    class Deaf(nn.Module):
        """Swallows every exception."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(5))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                try:
                    x = layer(x)
                except Exception:
                    continue
            return x

    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(CancelledError):
        Replayer(Deaf()).run((ROWS,), should_stop=stop)
    assert len(asked) == 4


def test_layers_under_the_fused_path_are_seen_and_the_path_is_restored() -> None:
    model = nets.Transformer()
    replayer = Replayer(model)
    for _ in range(2):
        replay = replayer.run((TOKENS,), observe=["encoder.layers.0.linear1", "encoder.layers.0.self_attn.out_proj"])
        assert replay.note == "fused attention path off"
        assert [len(outputs) for outputs in replay.outputs.values()] == [1, 0]
        assert torch.backends.mha.get_fastpath_enabled()
    assert replayer.run((TOKENS,), observe=["head"]).note == ""


def test_means_are_taken_over_all_inputs() -> None:
    model = nets.ResNet()
    replayer = Replayer(model)
    means = replayer.channel_means((IMAGE,), {}, "layer1.0")
    seen = replayer.run((IMAGE,), observe=["layer1.0"]).outputs["layer1.0"][0]
    assert torch.allclose(means, seen.mean((0, 2, 3)))
    one = (IMAGE[:1],)
    for key in (None, 0, 0):
        replay = replayer.run(
            one, edits={"layer1.0": Ablate([2, 5])}, all_inputs=((IMAGE,), {}), observe=["layer1.0"], key=key
        )
        assert torch.equal(replay.outputs["layer1.0"][0][0, 5], means[5].expand(32, 32))
    assert replay.served == "cut"
    alone = replayer.run(one, edits={"layer1.0": Ablate(5)}, observe=["layer1.0"])
    assert torch.allclose(alone.outputs["layer1.0"][0][0, 5], seen[0, 5].mean())
    told = replayer.run(one, edits={"layer1.0": Ablate(5)}, means={"layer1.0": torch.ones(8)}, observe=["layer1.0"])
    assert bool((told.outputs["layer1.0"][0][0, 5] == 1).all())


def test_means_follow_the_weights() -> None:
    model = nets.ResNet()
    replayer = Replayer(model)
    before = replayer.channel_means((IMAGE,), {}, "conv1")
    model.conv1.bias.data += 1
    assert torch.allclose(replayer.channel_means((IMAGE,), {}, "conv1"), before + 1, atol=1e-5)
    with pytest.raises(InputError, match="no call 3"):
        replayer.channel_means((IMAGE,), {}, "conv1", call=3)


def test_means_of_each_call_of_a_reused_layer() -> None:
    model = nets.Reused()
    replayer = Replayer(model)
    seen = replayer.run((ROWS,), observe=["shared"]).outputs["shared"]
    replay = replayer.run((ROWS,), edits={"shared": Ablate(0, call=1)}, observe=["shared"], all_inputs=((ROWS,), {}))
    assert torch.allclose(replay.outputs["shared"][1][:, 0], seen[1][:, 0].mean())
    assert torch.equal(replay.outputs["shared"][0], seen[0])


def test_a_forward_of_the_users_own() -> None:
    class Generator(nn.Module):
        """Runs itself several times."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.layer(x))

        def generate(self, x: Tensor, *, steps: int) -> Tensor:
            for _ in range(steps):
                x = self(x)
            return x

    model = Generator()
    replayer = Replayer(model, forward=lambda m, inputs: m.generate(inputs["x"], steps=3))
    replay = replayer.run((), {"x": ROWS}, observe=["", "layer"])
    assert [len(outputs) for outputs in replay.outputs.values()] == [3, 3]
    with torch.no_grad():
        assert same(replay.result, model.generate(ROWS, steps=3))
    for _ in range(2):
        moved = replayer.run((), {"x": ROWS}, edits={"layer": Scale(0.0, call=2)}, key=0)
    assert not moved.result.any()
    assert moved.served == "cut"


def test_compiled_models_run_eagerly_and_say_so() -> None:
    calls: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        calls.append(1)
        return graph

    model = nets.ResNet().eval()
    with torch.no_grad():
        expected = model(IMAGE)
    whole = torch.compile(model, backend=backend)
    replay = Replayer(whole).run((IMAGE,), observe=["", "_orig_mod.layer1.0"])
    assert same(replay.result, expected)
    assert [len(outputs) for outputs in replay.outputs.values()] == [1, 1]
    assert "eager re-run" in replay.note
    replayer = Replayer(model)
    assert replayer.run((IMAGE,)).note == ""
    model.compile(backend=backend)
    replay = replayer.run((IMAGE,), observe=["layer1.0"])
    assert same(replay.result, expected)
    assert len(replay.outputs["layer1.0"]) == 1
    assert "eager re-run" in replay.note
    assert not calls


def test_data_parallel_is_seen_through() -> None:
    model = nets.ResNet().eval()
    wrapper = nn.DataParallel(model)
    replay = Replayer(wrapper).run((IMAGE,), observe=["module.layer1.0"])
    with torch.no_grad():
        assert same(replay.result, model(IMAGE))
    assert len(replay.outputs["module.layer1.0"]) == 1


def test_the_users_hooks_run_and_our_values_come_after_them() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    model[0].register_forward_hook(lambda module, args, output: output + 100)
    replay = Replayer(model).run((ROWS,), observe=["0"])
    assert torch.equal(replay.outputs["0"][0], model[0](ROWS).detach())


def test_unknown_layers_and_calls_that_do_not_happen() -> None:
    replayer = Replayer(nets.ResNet())
    with pytest.raises(UnknownLayerError, match="'conv1'"):
        replayer.run((IMAGE,), observe=["conv_1"])
    with pytest.raises(InputError, match="no call 4 in this forward"):
        replayer.run((IMAGE,), edits={"layer1.0.relu": Scale(0.0, call=4)})
    transformer = Replayer(nets.Transformer())
    with pytest.raises(InputError, match="is not called in this forward"):
        transformer.run((TOKENS,), edits={"encoder.layers.0.self_attn.out_proj": Scale(0.0)}, key=0)


def test_a_module_added_later_is_known() -> None:
    model = nn.Sequential(nn.Linear(6, 6))
    replayer = Replayer(model)
    replayer.run((ROWS,))
    model.append(nn.Linear(6, 2))
    assert replayer.run((ROWS,), observe=["1"]).outputs["1"][0].shape == (4, 2)


def test_two_names_of_one_module_share_their_edits() -> None:
    replay = Replayer(nets.Reused()).run(
        (ROWS,), edits={"shared": Scale(2.0, call=0), "again": Scale(0.0, call=1)}, observe=["shared"]
    )
    plain = Replayer(nets.Reused())
    assert [bool(output.any()) for output in replay.outputs["shared"]] == [True, False, True]
    assert plain.run((ROWS,)).error is None


def test_other_threads_pass_straight_through() -> None:
    model = nn.Sequential(nn.Linear(6, 6))
    seen: list[str] = []
    results: list[Tensor] = []

    def handler(module: nn.Module, args: Any, kwargs: Any) -> Any:
        seen.append(threading.current_thread().name)
        thread = threading.Thread(target=lambda: results.append(model(ROWS)))
        thread.start()
        thread.join()
        assert intercepting()
        return run(module, args, kwargs)

    with intercepted(handler):
        model(ROWS)
    assert set(seen) == {threading.current_thread().name}
    assert len(seen) == len(results) == 2
    assert not intercepting()


def test_scopes_nest_and_survive_exceptions() -> None:
    model = nn.Linear(6, 6)
    seen: list[str] = []

    def named(name: str) -> Any:
        def handler(module: nn.Module, args: Any, kwargs: Any) -> Any:
            seen.append(name)
            return run(module, args, kwargs)

        return handler

    with intercepted(named("outer")):
        with pytest.raises(ZeroDivisionError), intercepted(named("inner")):
            model(ROWS)
            raise ZeroDivisionError
        model(ROWS)
    assert seen == ["inner", "outer"]


def test_a_replayer_keeps_nothing_alive() -> None:
    model = nets.ResNet()
    replayer = Replayer(model)
    for _ in range(2):
        replayer.run((IMAGE,), edits={"layer2": Ablate(1)}, key=0)
    gone = weakref.ref(model)
    del replayer, model
    gc.collect()
    assert gone() is None


def test_looking_leaves_the_classes_of_torch_alone():
    # Python 3.13 stops caching lookups on a class for good after a thousand assignments to it.
    before = dict(vars(nn.Module))
    code = nn.Module._call_impl.__code__
    inside = []

    def handler(module: nn.Module, args: Any, kwargs: Any) -> Any:
        inside.append(dict(vars(nn.Module)) == before and nn.Module._call_impl.__code__ is not code)
        return run(module, args, kwargs)

    with intercepted(handler, compiled=True):
        nn.ReLU()(torch.ones(1))
    assert inside == [True]
    assert dict(vars(nn.Module)) == before and nn.Module._call_impl.__code__ is code
