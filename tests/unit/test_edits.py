"""Edits: what they change, what they leave bit for bit, and what they refuse."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nnwidget.errors import InputError, UnknownLayerError
from nnwidget.model.edit_apply import apply_edit
from nnwidget.model.edit_hooks import edit
from nnwidget.model.edits import Ablate, Clamp, Edit, Replace, Scale, only
from nnwidget.model.replay import Replayer
from tests.unit import nets

MAPS = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
CONV = nn.Conv2d(5, 5, 1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def apply(what: Edit, tensor: Any, module: nn.Module = CONV, **more: Any) -> Any:
    return apply_edit(what, tensor, module=module, name="layer", **more)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (Scale(0.5, channel=3), lambda part: part * 0.5),
        (Clamp(-0.1, 0.2, channel=3), lambda part: part.clamp(-0.1, 0.2)),
        (Clamp(max=0.0, channel=3), lambda part: part.clamp(max=0.0)),
        (Ablate(3), lambda part: part.mean().expand_as(part)),
        (Ablate(3, value=0.0), torch.zeros_like),
        (Replace(2.0, 3), lambda part: torch.full_like(part, 2.0)),
        (Replace(lambda part: part.flip(-1), 3), lambda part: part.flip(-1)),
        (Replace(torch.arange(3.0), 3), lambda part: torch.arange(3.0).expand_as(part)),
    ],
)
def test_one_channel_changes_and_the_others_keep_their_bits(what: Edit, expected: Callable[[Tensor], Tensor]) -> None:
    before = MAPS.clone()
    result = apply(what, MAPS)
    assert torch.equal(MAPS, before)
    assert torch.allclose(result[:, 3], expected(MAPS[:, 3]), atol=1e-6)
    rest = [0, 1, 2, 4]
    assert torch.equal(result[:, rest], MAPS[:, rest])


@given(
    channels=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    last=st.booleans(),
)
def test_any_channels_any_dtype_any_memory_layout(channels: list[int], dtype: torch.dtype, last: bool) -> None:
    tensor = MAPS.to(dtype)
    if last:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    result = apply(Ablate(channels, value=0.0), tensor)
    assert (result.dtype, result.stride()) == (dtype, tensor.stride())
    for channel in range(5):
        expected = torch.zeros_like(tensor[:, channel]) if channel in channels else tensor[:, channel]
        assert torch.equal(result[:, channel], expected)


def test_the_whole_layer() -> None:
    assert torch.equal(apply(Scale(2.0), MAPS), MAPS * 2)
    result = apply(Ablate(), MAPS)
    assert torch.allclose(result, MAPS.mean((0, 2, 3), keepdim=True).expand_as(MAPS), atol=1e-6)


def test_given_means_are_put_in() -> None:
    mean = torch.arange(5.0)
    assert torch.equal(
        apply(Ablate([1, 4]), MAPS, mean=mean)[:, [1, 4]], mean[[1, 4]].view(1, 2, 1, 1).expand(2, 2, 4, 3)
    )


def test_only_keeps_the_named_channels() -> None:
    result = apply(only([0, 2]), MAPS)
    assert torch.equal(result[:, [0, 2]], MAPS[:, [0, 2]])
    for channel in (1, 3, 4):
        assert torch.allclose(result[:, channel], MAPS[:, channel].mean())


def test_units_of_vectors_and_tokens() -> None:
    result = apply(Scale(0.0, unit=[1, 2]), ROWS, nn.Linear(6, 6))
    assert not result[:, 1:3].any()
    assert torch.equal(result[:, [0, 3, 4, 5]], ROWS[:, [0, 3, 4, 5]])
    tokens = ROWS.view(2, 2, 6)
    assert not apply(Scale(0.0, unit=4), tokens, nn.LayerNorm(6))[..., 4].any()


def test_the_axis_can_be_told() -> None:
    result = apply(Ablate(2, value=0.0, axis=-1), MAPS)
    assert not result[..., 2].any()
    assert torch.equal(result[..., :2], MAPS[..., :2])
    assert not apply(Ablate(1, value=0.0, axis=0), ROWS, nn.Linear(6, 6))[1].any()


def test_structured_outputs() -> None:
    output = (ROWS, {"state": [ROWS * 2, None]})
    first = apply(Scale(0.0), output, nn.Linear(6, 6))
    assert not first[0].any()
    assert first[1]["state"][0] is output[1]["state"][0]  # type: ignore[index]
    for where in (1, "1.state.0", -1):
        second = apply(Scale(0.0, output=where), output, nn.Linear(6, 6))
        assert second[0] is ROWS
        assert not second[1]["state"][0].any()


@pytest.mark.parametrize(
    ("what", "tensor", "words"),
    [
        (Scale(0.0, channel=5), MAPS, ["'layer'", "5 channels (0 to 4)"]),
        (Scale(0.0, output=2), (MAPS, MAPS), ["'layer'", "2 output tensors", "'0'", "'1'"]),
        (Scale(0.0, output="logits"), {"a": MAPS}, ["'logits'", "'a'"]),
        (Scale(0.0), torch.ones(2, 3, dtype=torch.long), ["'layer'", "int64", "floating point"]),
        (Scale(0.0), "text", ["no tensor"]),
        (Scale(0.0, head=1), MAPS, ["heads="]),
        (Scale(0.0, head=1, heads=2), MAPS, ["3 features", "2 heads"]),
        (Scale(0.0, head=3, heads=3), MAPS, ["3 heads (0 to 2)"]),
        (Replace(torch.ones(7)), MAPS, ["(7,)", "'layer'"]),
        (Scale(0.0, channel=0), torch.ones(3), ["axis="]),
    ],
)
def test_what_cannot_be_done_is_explained(what: Edit, tensor: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        apply(what, tensor, CONV if not isinstance(tensor, Tensor) or tensor.ndim > 1 else nn.Identity())
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Scale("much"),  # type: ignore[arg-type]
        lambda: Scale(True),
        lambda: Scale(0.0, channel=-1),
        lambda: Scale(0.0, channel=[]),
        lambda: Scale(0.0, channel=1.5),  # type: ignore[arg-type]
        lambda: Scale(0.0, channel=1, unit=2),
        lambda: Scale(0.0, call=-1),
        lambda: Scale(0.0, heads=0),
        lambda: Scale(0.0, output=None),  # type: ignore[arg-type]
        lambda: Clamp(),
        lambda: Clamp(2.0, 1.0),
        lambda: Ablate(value="median"),  # type: ignore[arg-type]
        lambda: Ablate(others=True),
        lambda: Replace("text"),  # type: ignore[arg-type]
    ],
)
def test_senseless_edits_are_refused_at_once(make: Callable[[], Edit]) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.argument
    assert caught.value.remedy


def test_heads_of_an_attention_layer_are_those_before_the_output_projection() -> None:
    attention = nn.MultiheadAttention(8, 4, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    expected = copy.deepcopy(attention)
    with torch.no_grad():
        expected.out_proj.weight[:, 2:4] = 0
        plain = attention(x, x, x)[0]
        with edit(attention, {"": Scale(0.0, head=1)}):
            edited = attention(x, x, x)
        assert torch.allclose(edited[0], expected(x, x, x)[0], atol=1e-6)
        with edit(attention, {"": Scale(1.0, head=[0, 3])}):
            assert torch.equal(attention(x, x, x)[0], plain)
    assert edited[1] is not None
    replay = Replayer(attention).run((x, x, x), edits={"": Ablate(head=1, value=0.0)})
    assert torch.allclose(replay.result[0], edited[0], atol=1e-6)


def test_heads_side_by_side_in_a_layer_that_counts_them() -> None:
    class Heads(nn.Module):
        """Says how many heads it has, as transformers' layers do."""

        num_heads = 3

        def forward(self, x: Tensor) -> Tensor:
            return x * 1.0

    with edit(model := Heads(), {model: Ablate(head=1, value=0.0)}):
        result = model(ROWS.view(2, 2, 6))
    assert not result[..., 2:4].any()
    assert torch.equal(result[..., [0, 1, 4, 5]], ROWS.view(2, 2, 6)[..., [0, 1, 4, 5]])


def test_edit_is_for_the_length_of_the_block() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    plain = model(ROWS)
    with pytest.raises(KeyboardInterrupt), edit(model, {"0": Scale(0.0)}):
        assert torch.equal(model(ROWS), model[2](torch.zeros(4, 6)))
        raise KeyboardInterrupt
    assert torch.equal(model(ROWS), plain)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_gradients_flow_through_what_is_left() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    with edit(model, {model[0]: [Scale(2.0, channel=0), Ablate(1, value=0.0)]}):
        model(ROWS).sum().backward()
    edited = model[0].weight.grad.clone()
    model.zero_grad()
    model(ROWS).sum().backward()
    plain = model[0].weight.grad
    assert torch.allclose(edited[0], plain[0] * 2, atol=1e-5)
    assert not edited[1].any()
    assert torch.allclose(edited[2:], plain[2:], atol=1e-5)


def test_edits_come_after_the_users_own_hooks_and_in_their_order() -> None:
    model = nn.Sequential(nn.Identity())
    with edit(model, {"0": [Scale(2.0), Clamp(max=3.0)]}):
        handle = model[0].register_forward_hook(lambda module, args, output: output + 1)
        assert torch.equal(model(torch.tensor([[0.0, 1.0]])), torch.tensor([[2.0, 3.0]]))
        handle.remove()


def test_one_call_of_a_reused_layer() -> None:
    model = nets.Reused()
    with torch.no_grad():
        seen: list[bool] = []
        with edit(model, {"again": Scale(0.0, call=1)}):
            model.act.register_forward_hook(lambda module, args, output: seen.append(bool(args[0].any())))
            for _ in range(2):
                model(ROWS)
    assert seen == [True, False] * 2


def test_an_edit_that_is_never_reached_is_reported() -> None:
    model = nets.Reused()
    with (
        pytest.raises(InputError, match=r"call 7 of layer 'shared' was never reached"),
        edit(model, {"shared": [Scale(1.0), Scale(0.0, call=7)]}),
    ):
        model(ROWS)
    with edit(model, {"shared": Scale(0.0, call=7)}):
        pass


def test_unknown_layers_name_the_nearest() -> None:
    with pytest.raises(UnknownLayerError, match=r"conv1"), edit(nets.ResNet(), {"conv": Scale(0.0)}):
        raise AssertionError("the block was entered")
    with pytest.raises(UnknownLayerError), edit(nets.ResNet(), {nn.ReLU(): Scale(0.0)}):
        raise AssertionError("the block was entered")
    with pytest.raises(InputError, match="float is not an edit"), edit(nets.ResNet(), {"conv1": 0.5}):  # type: ignore[dict-item]
        raise AssertionError("the block was entered")


def test_a_wrong_channel_is_told_in_the_users_forward() -> None:
    model = nn.Sequential(nn.Linear(6, 3))
    with pytest.raises(InputError, match=r"Layer '0' has 3 channels"), edit(model, {"0": Scale(0.0, channel=3)}):
        model(ROWS)
    assert not model[0]._forward_hooks


def test_forwards_in_other_threads_are_edited_too() -> None:
    model = nets.Reused()
    found: list[Tensor] = []
    with torch.no_grad(), edit(model, {"shared": Scale(0.0, call=0)}):
        expected = model(ROWS)

        def work() -> None:
            with torch.no_grad():
                found.append(model(ROWS))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(torch.equal(result, expected) for result in found)
    assert len(found) == 3


def test_copies_of_an_edited_model_are_plain() -> None:
    model = nn.Sequential(nn.Linear(6, 6))
    plain = model(ROWS)
    with edit(model, {"0": Scale(0.0)}):
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    assert all(torch.equal(other(ROWS), plain) for other in copies)


def test_lstm_channels_whatever_the_order_of_batch_and_time() -> None:
    for batch_first in (True, False):
        lstm = nn.LSTM(6, 5, batch_first=batch_first)
        with edit(lstm, {"": Ablate(4, value=0.0)}):
            out, (hidden, _) = lstm(torch.randn(3, 2, 6))
        assert not out[..., 4].any()
        assert out[..., :4].all()
        assert hidden[..., 4].all()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: ROWS.to_sparse(), "sparse_coo values"),
        (lambda: ROWS.to(torch.complex64), "complex64"),
        (lambda: ROWS.long(), "int64"),
        (lambda: ROWS > 0, "bool"),
        (lambda: torch.quantize_per_tensor(ROWS, 0.1, 0, torch.quint8), "quint8"),
    ],
)
@pytest.mark.parametrize("what", [Scale(0.5), Scale(0.5, channel=1), Ablate(1), Clamp(max=0.0, channel=1)])
def test_what_is_not_dense_and_real_is_refused_by_name(make: Callable[[], Tensor], kind: str, what: Edit) -> None:
    with warnings.catch_warnings():
        # Quantised tensors are deprecated, and still found in people's models.
        warnings.simplefilter("ignore", UserWarning)
        tensor = make()

    class Odd(nn.Module):
        """Returns what is no dense real tensor."""

        def forward(self, x: Tensor) -> Tensor:
            return tensor

    model = nn.Sequential(nn.Linear(6, 6), Odd())
    with pytest.raises(InputError, match=f"The output of layer '1' holds {kind}, which cannot be edited") as caught:
        Replayer(model).run((ROWS,), edits={"1": what})
    assert caught.value.layer == "1"
    assert caught.value.remedy
    with pytest.raises(InputError, match=f"layer '1' holds {kind}"):
        Replayer(model).channel_means((ROWS,), {}, "1")


@pytest.mark.parametrize("keyed", [None, 0])
def test_what_an_edit_raises_is_not_put_down_to_the_model(keyed: int | None) -> None:
    def wrong(part: Tensor) -> Tensor:
        raise ValueError("no such thing")

    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
    with pytest.raises(
        InputError, match=r"The Replace edit of layer '0' raised ValueError: no such thing\. "
    ) as caught:
        Replayer(model).run((ROWS,), edits={"0": Replace(wrong)}, key=keyed)
    assert caught.value.layer == "0"
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(InputError, match="The Ablate edit of layer '0' raised"):
        Replayer(model).run((ROWS,), edits={"0": Ablate()}, means={"0": torch.ones(7)}, key=keyed)
    with pytest.raises(InputError, match="does not fit"):
        Replayer(model).run((ROWS,), edits={"0": Replace(torch.ones(7))}, key=keyed)
