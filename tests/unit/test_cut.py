"""The cut: bit for bit the full edited run, and a labelled full run wherever it could not be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnwidget.model.cut import same
from nnwidget.model.edits import Ablate, Clamp, Edit, Scale
from nnwidget.model.replay import Replay, Replayer
from tests.unit import nets

IMAGE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TOKENS = torch.arange(14).reshape(2, 7)
ROWS = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)) * 3
EIGHT = torch.randn(2, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def called(model: nn.Module, inputs: Tensor) -> list[str]:
    """The layers that a forward calls."""
    return list(dict.fromkeys(name for name, _ in Replayer(model).run((inputs,)).order))


def compare(model: nn.Module, inputs: Tensor, layer: str, *, served: str = "cut") -> None:
    """Record with one edit, then move the slider: the answer is that of a full run."""
    moved, reference = Replayer(model), Replayer(model)
    observe = ["", layer]
    first = moved.run((inputs,), edits={layer: Scale(0.3)}, observe=observe, key=0)
    assert first.served == "full"
    second = moved.run((inputs,), edits={layer: Scale(1.7)}, observe=observe, key=0)
    full = reference.run((inputs,), edits={layer: Scale(1.7)}, observe=observe, cut=False)
    assert second.served == served, second.note
    assert (second.note == "") == (served == "cut") or second.note == full.note
    assert same((second.result, dict(second.outputs)), (full.result, dict(full.outputs)))
    assert second.order == full.order


@pytest.mark.parametrize("block", range(19))
def test_mobilenet_is_bitwise_equal_at_every_block(block: int) -> None:
    compare(nets.MobileNetV2(10), IMAGE, f"features.{block}")


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (nets.ResNet, IMAGE),
        (nets.Recurrent, TOKENS),
        (nets.DictNet, ROWS),
        (nets.Reused, ROWS),
        (nets.Loop, ROWS),
        (nets.Transformer, TOKENS),
    ],
)
def test_every_layer_of_every_kind_of_net(make: Callable[[], nn.Module], inputs: Tensor) -> None:
    model = make()
    for layer in called(model, inputs):
        compare(model, inputs, layer)


def test_layers_inside_the_fused_path_are_cut_too_and_say_so() -> None:
    model = nets.Transformer()
    replayer = Replayer(model)
    for factor in (0.3, 1.7):
        replay = replayer.run((TOKENS,), edits={"encoder.layers.1.linear1": Scale(factor)}, key=0)
        full = Replayer(model).run((TOKENS,), edits={"encoder.layers.1.linear1": Scale(factor)})
        assert same(replay.result, full.result)
    assert (replay.served, replay.note) == ("cut", "fused attention path off")


def test_a_view_that_is_changed_later_stays_right() -> None:
    model = nets.ViewThenMutate()
    for layer in ("mix", "head"):
        compare(model, EIGHT, layer)


@pytest.mark.parametrize(
    ("make", "layer"), [(nets.HiddenView, "keep"), (nets.Stateful, "mix"), (nets.Stateful, "head")]
)
def test_hidden_views_and_state_fall_back_and_say_so(make: Callable[[], nn.Module], layer: str) -> None:
    model = make()
    replayer = Replayer(model)
    for factor in (0.3, 1.7):
        replay = replayer.run((EIGHT,), edits={layer: Scale(factor)}, key=0)
        full = Replayer(model).run((EIGHT,), edits={layer: Scale(factor)})
        assert replay.served == "full"
        assert "other values" in replay.note
        assert same(replay.result, full.result)


def test_several_edits_cut_at_the_earliest() -> None:
    model = nets.ResNet()
    replayer = Replayer(model)
    edits: dict[str, Edit | list[Edit]] = {
        "layer2.0.conv2": [Scale(0.5, channel=1), Clamp(max=0.1)],
        "layer1.1": Ablate([0, 2], value=0.0),
    }
    replayer.run((IMAGE,), edits=edits, key=0, observe=["layer1.0"])
    replay = replayer.run((IMAGE,), edits=edits, key=0, observe=["layer1.0"])
    full = Replayer(model).run((IMAGE,), edits=edits, observe=["layer1.0"])
    assert replay.served == "cut"
    assert same((replay.result, dict(replay.outputs)), (full.result, dict(full.outputs)))


def test_one_call_of_a_reused_layer() -> None:
    model = nets.Reused()
    replayer = Replayer(model)
    results = {}
    for call in (0, 1, 2):
        for _ in range(2):
            replay = replayer.run((ROWS,), edits={"shared": Scale(0.0, call=call)}, observe=["again"], key=0)
        full = Replayer(model).run((ROWS,), edits={"shared": Scale(0.0, call=call)}, observe=["again"])
        assert replay.served == "cut"
        assert same((replay.result, dict(replay.outputs)), (full.result, dict(full.outputs)))
        zeros = [not out.any() for out in replay.outputs["again"]]
        assert zeros == [index == call for index in range(3)]
        results[call] = replay.result
    assert not same(results[0], results[2])


def test_a_layer_inside_what_is_served_is_recorded_when_somebody_looks() -> None:
    model = nets.ResNet()
    replayer = Replayer(model)
    edits = {"layer2": Scale(0.5)}
    for _ in range(2):
        replay = replayer.run((IMAGE,), edits=edits, key=0)
    assert replay.served == "cut"
    served = []
    for _ in range(2):
        replay = replayer.run((IMAGE,), edits=edits, observe=["layer1.0.conv2"], key=0)
        served.append(replay.served)
    full = Replayer(model).run((IMAGE,), edits=edits, observe=["layer1.0.conv2"])
    assert served == ["full", "cut"]
    assert same(dict(replay.outputs), dict(full.outputs))


def _one_weight(model: nn.Module) -> None:
    model.layer1[0].conv1.weight.data[3, 1, 0, 2] += 1e-4


def _fused_step(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    model(IMAGE).square().sum().backward()
    optimizer.step()


def _buffer(model: nn.Module) -> None:
    model.layer1[0].bn1.running_mean.data.add_(0.1)


def _replaced(model: nn.Module) -> None:
    model.conv1.weight = nn.Parameter(model.conv1.weight.detach() * 1.1)


def _memory(model: nn.Module) -> None:
    model.conv1.weight.data = model.conv1.weight.data * 1.1


def _attribute(model: nn.Module) -> None:
    model.layer1[0].bn1.eps = 0.1


def _hook(model: nn.Module) -> None:
    model.layer1[0].register_forward_hook(lambda module, args, output: output * 1.1)


def _module(model: nn.Module) -> None:
    model.layer1[0].conv2 = nn.Conv2d(8, 8, 3, 1, 1)


@pytest.mark.parametrize(
    "change",
    [_one_weight, _fused_step, _buffer, _replaced, _memory, _attribute, _hook, _module],
    ids=lambda f: f.__name__,
)
def test_what_was_recorded_is_void_when_the_model_changes(change: Callable[[nn.Module], None]) -> None:
    model = nets.ResNet().eval()
    replayer = Replayer(model)
    edits = {"layer2.1": Scale(0.5)}
    replays = [replayer.run((IMAGE,), edits=edits, key=0) for _ in range(2)]
    assert [replay.served for replay in replays] == ["full", "cut"]
    change(model)
    after = replayer.run((IMAGE,), edits=edits, key=0)
    full = Replayer(model).run((IMAGE,), edits=edits)
    assert after.served == "full"
    assert same(after.result, full.result)
    assert not same(after.result, replays[1].result)
    assert replayer.run((IMAGE,), edits=edits, key=0).served == "cut"


def test_live_weights_may_change_without_recording_again() -> None:
    model = nets.ResNet()
    replayer = Replayer(model)
    edits = {"layer2.0": Scale(0.5)}
    for _ in range(2):
        before = replayer.run((IMAGE,), edits=edits, key=0)
    model.layer2[1].conv1.weight.data.view(-1)[7] += 0.5
    after = replayer.run((IMAGE,), edits=edits, key=0)
    assert same(after.result, Replayer(model).run((IMAGE,), edits=edits).result)
    assert not same(after.result, before.result)


def test_other_inputs_under_the_same_key_are_noticed() -> None:
    model = nets.ResNet()
    replayer = Replayer(model)
    edits = {"layer2": Scale(0.5)}
    for _ in range(2):
        replayer.run((IMAGE,), edits=edits, key=0)
    other = IMAGE.clone()
    other[0, 0, 0, 0] += 1e-3
    replay = replayer.run((other,), edits=edits, key=0)
    assert replay.served == "full"
    assert same(replay.result, Replayer(model).run((other,), edits=edits).result)


def test_invalidate_drops_the_copies() -> None:
    replayer = Replayer(nets.ResNet())
    edits = {"layer2": Scale(0.5)}
    for _ in range(2):
        replayer.run((IMAGE,), edits=edits, key=0)
    replayer.invalidate()
    assert [replayer.run((IMAGE,), edits=edits, key=0).served for _ in range(2)] == ["full", "cut"]


def test_too_little_memory_runs_in_full_and_says_why() -> None:
    replayer = Replayer(nets.ResNet(), max_bytes=1000)
    replays = [replayer.run((IMAGE,), edits={"layer2": Scale(0.5)}, key=0) for _ in range(2)]
    assert [replay.served for replay in replays] == ["full", "full"]
    assert all("1,000 bytes" in replay.note for replay in replays)


def test_copies_of_many_inputs_stay_within_the_limit() -> None:
    limit = 900_000
    replayer = Replayer(nets.ResNet(), max_bytes=limit)
    for key in range(8):
        replayer.run((IMAGE + key,), edits={"layer2": Scale(0.5)}, key=key)
    held = replayer._cuts._held
    assert 1 <= len(held) < 8
    assert sum(entry.plan.size for entry in held.values()) <= limit
    assert replayer.run((IMAGE + 7,), edits={"layer2": Scale(0.5)}, key=7).served == "cut"


def test_without_a_key_nothing_is_recorded() -> None:
    replayer = Replayer(nets.ResNet())
    served = [replayer.run((IMAGE,), edits={"layer2": Scale(0.5)}).served for _ in range(2)]
    assert served == ["full", "full"]


def test_a_net_that_takes_another_way_is_run_in_full() -> None:
    class Moody(nn.Module):
        """Chooses its first layer by a list that the test turns."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.a if way[0] else self.b)(x))

    way = [True]
    model = Moody()
    replayer = Replayer(model)
    edits = {"head": Scale(0.5)}
    assert [replayer.run((ROWS,), edits=edits, key=0).served for _ in range(2)] == ["full", "cut"]
    way[0] = False
    replay = replayer.run((ROWS,), edits=edits, key=0)
    assert replay.served == "full"
    assert same(replay.result, Replayer(model).run((ROWS,), edits=edits).result)


def test_dropout_before_and_after_the_cut_falls_back_or_is_equal() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(), nn.Linear(6, 6), nn.Dropout(), nn.Linear(6, 3))
    replayer = Replayer(model, train=True)
    for layer, expected in (("2", "full"), ("4", "cut")):
        for factor in (0.3, 1.7):
            replay = replayer.run((ROWS,), edits={layer: Scale(factor)}, key=0)
        full = Replayer(model, train=True).run((ROWS,), edits={layer: Scale(factor)})
        assert same(replay.result, full.result)
        assert replay.served == expected


def test_nan_counts_as_equal() -> None:
    rows = ROWS.clone()
    rows[0, 0] = float("nan")
    compare(nets.DictNet(), rows, "trunk.coarse")


def test_copies_are_not_changed_by_what_comes_later() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Sequential(nn.ReLU(inplace=True)), nn.Linear(6, 3))
    replayer = Replayer(model)
    results: list[Replay] = []
    for _ in range(4):
        results.append(replayer.run((ROWS,), edits={"0": Scale(2.0)}, observe=["0"], key=0))
    assert [replay.served for replay in results] == ["full", "cut", "cut", "cut"]
    expected = model[0](ROWS).detach() * 2
    assert all(torch.equal(replay.outputs["0"][0], expected) for replay in results)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (torch.tensor([0.0]), torch.tensor([-0.0]), False),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")]), True),
        (torch.ones(2), torch.ones(2, dtype=torch.float64), False),
        ({"a": torch.ones(1)}, {"b": torch.ones(1)}, False),
        ("text", "text", True),
        (torch.tensor([1 + 1j]), torch.tensor([1 + 1j]), True),
    ],
)
def test_same_compares_bits(a: Any, b: Any, expected: bool) -> None:
    assert same(a, b) is expected


def test_a_look_at_the_weights_is_believed_for_a_stated_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnwidget.model import cut_store

    clock = [0.0]
    monkeypatch.setattr(cut_store.time, "monotonic", lambda: clock[0])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    replayer = Replayer(model, trust=0.25)
    x = torch.ones(1, 4)

    def move(factor: float) -> Any:
        return replayer.run((x,), edits={"1": Scale(factor, channel=0)}, key=0)

    move(0.5)
    assert move(0.25).served == "cut"
    model[0].weight.data.mul_(2)
    clock[0] = 0.2
    assert move(0.5).served == "cut", "believed"
    clock[0] = 0.3
    assert move(0.5).served == "full", "looked at again"
    model[0].weight.data.mul_(2)
    move(0.5)
    replayer.invalidate()
    assert move(0.5).served == "full", "told"
