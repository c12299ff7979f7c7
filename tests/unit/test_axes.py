"""Which axis is what, for the layers people use, and the picture that comes of it."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import nn

from nnwidget.errors import InputError, UnobservableError
from nnwidget.model.axes import layout, sequence_first, teller, view

torch.set_num_threads(1)


class Permuted(nn.Module):
    """A ConvNeXt-like block: channels last inside, first outside."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm = nn.LayerNorm(8)
        self.expand = nn.Linear(8, 16)
        self.act = nn.GELU()


class SelfAttention(nn.Module):
    """Hands its weights on, as BertSelfAttention does."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(8, 8)


# module, shape, keywords -> kind, batch, channel, shape of the view
CASES: list[tuple[Any, tuple[int, ...], dict[str, Any], tuple[str, int | None, int | None, tuple[int, ...]]]] = [
    (nn.Conv2d(3, 8, 3), (2, 8, 5, 6), {}, ("maps", 0, 1, (8, 5, 6))),
    (nn.Conv2d(3, 8, 3), (8, 5, 6), {"batched": False}, ("maps", None, 0, (8, 5, 6))),
    (nn.BatchNorm2d(8), (2, 8, 5, 6), {}, ("maps", 0, 1, (8, 5, 6))),
    (nn.GroupNorm(2, 8), (2, 8, 5, 5), {}, ("maps", 0, 1, (8, 5, 5))),
    (nn.SyncBatchNorm(8), (2, 8, 5, 5), {}, ("maps", 0, 1, (8, 5, 5))),
    (nn.MaxPool2d(2), (2, 5, 5, 8), {}, ("maps", 0, 1, (5, 5, 8))),
    (nn.AdaptiveAvgPool2d(1), (2, 8, 1, 1), {}, ("maps", 0, 1, (8, 1, 1))),
    (nn.Upsample(scale_factor=2), (2, 8, 6, 6), {}, ("maps", 0, 1, (8, 6, 6))),
    (nn.ConvTranspose2d(3, 8, 3), (2, 8, 5, 6), {}, ("maps", 0, 1, (8, 5, 6))),
    (nn.ReLU(), (2, 8, 5, 6), {}, ("maps", 0, 1, (8, 5, 6))),
    (None, (2, 8, 5, 6), {}, ("maps", 0, 1, (8, 5, 6))),
    (nn.Conv3d(3, 8, 3), (2, 8, 4, 5, 6), {}, ("maps", 0, 1, (8, 5, 6))),
    (nn.Conv1d(3, 8, 3), (2, 8, 9), {}, ("signal", 0, 1, (8, 9))),
    (nn.MaxPool1d(2), (2, 8, 9), {}, ("signal", 0, 1, (8, 9))),
    (nn.BatchNorm1d(8), (2, 8, 9), {}, ("signal", 0, 1, (8, 9))),
    (nn.BatchNorm1d(8), (2, 8), {}, ("vector", 0, 1, (8,))),
    (nn.LazyConv1d(8, 3), (2, 8, 9), {}, ("signal", 0, 1, (8, 9))),
    (nn.LayerNorm(8), (2, 5, 6, 8), {}, ("maps", 0, 3, (8, 5, 6))),
    (nn.LayerNorm((8, 5, 6)), (2, 8, 5, 6), {}, ("maps", 0, 1, (8, 5, 6))),
    (nn.Linear(4, 8), (2, 5, 6, 8), {}, ("maps", 0, 3, (8, 5, 6))),
    (nn.GELU(), (2, 6, 6, 8), {}, ("maps", 0, 3, (8, 6, 6))),
    (nn.LayerNorm(8), (2, 6, 8), {}, ("tokens", 0, 2, (6, 8))),
    (nn.Linear(4, 8), (2, 6, 8), {}, ("tokens", 0, 2, (6, 8))),
    (nn.Linear(4, 8), (2, 8), {}, ("vector", 0, 1, (8,))),
    (nn.Linear(4, 8), (8,), {"batched": False}, ("vector", None, 0, (8,))),
    (nn.Embedding(10, 8), (2, 6, 8), {}, ("tokens", 0, 2, (6, 8))),
    (nn.LSTM(4, 8), (6, 2, 8), {}, ("tokens", 1, 2, (6, 8))),
    (nn.LSTM(4, 8, batch_first=True), (2, 6, 8), {}, ("tokens", 0, 2, (6, 8))),
    (nn.LSTM(4, 8), (6, 8), {"batched": False}, ("tokens", None, 1, (6, 8))),
    (nn.MultiheadAttention(8, 2), (6, 2, 8), {}, ("tokens", 1, 2, (6, 8))),
    (nn.MultiheadAttention(8, 2), (2, 6, 6), {}, ("maps", 0, None, (1, 6, 6))),
    (nn.MultiheadAttention(8, 2), (2, 4, 6, 6), {}, ("maps", 0, 1, (4, 6, 6))),
    (nn.TransformerEncoderLayer(8, 2), (6, 2, 8), {}, ("tokens", 1, 2, (6, 8))),
    (nn.TransformerEncoderLayer(8, 2, batch_first=True), (2, 6, 8), {}, ("tokens", 0, 2, (6, 8))),
    (nn.Linear(4, 8), (6, 2, 8), {"batch_axis": 1}, ("tokens", 1, 2, (6, 8))),
    (nn.Linear(4, 8), (2, 8), {"batch_axis": 1}, ("vector", 0, 1, (8,))),
    (nn.Conv1d(4, 8, 1), (2, 8, 9), {"batch_axis": 1}, ("signal", 0, 1, (8, 9))),
    (nn.MultiheadAttention(8, 2), (2, 6, 6), {"batch_axis": 1}, ("maps", 0, None, (1, 6, 6))),
    (nn.MultiheadAttention(8, 2), (2, 4, 6, 6), {"batch_axis": 1}, ("maps", 0, 1, (4, 6, 6))),
    (nn.Softmax(dim=-1), (2, 4, 6, 7), {}, ("maps", 0, 1, (4, 6, 7))),
    (SelfAttention(), (2, 4, 6, 6), {}, ("maps", 0, 1, (4, 6, 6))),
    (nn.Sequential(nn.Linear(4, 4), nn.Conv2d(3, 8, 3)), (2, 8, 5, 5), {}, ("maps", 0, 1, (8, 5, 5))),
    (nn.Sequential(nn.Sequential(nn.LayerNorm(8), nn.Dropout(0.1))), (2, 5, 6, 8), {}, ("maps", 0, 3, (8, 5, 6))),
    (Permuted(), (2, 6, 6, 8), {}, ("maps", 0, 3, (8, 6, 6))),
    (nn.MSELoss(), (), {}, ("scalar", None, None, ())),
    (nn.Flatten(), (2,), {}, ("scalar", 0, None, ())),
]


@pytest.mark.parametrize(("module", "shape", "keywords", "expected"), CASES)
def test_guess(module: nn.Module, shape: tuple[int, ...], keywords: dict[str, Any], expected: tuple[Any, ...]) -> None:
    tensor = torch.randn(shape)
    found = layout(module, tensor, **keywords)
    assert (found.kind, found.batch, found.channel) == expected[:3]
    shown = view(tensor, found, 0)
    assert tuple(shown.shape) == expected[3] and found.guessed
    assert shown.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
    if found.channel is not None and found.kind == "maps" and len(shape) < 5:
        one = tensor.select(found.channel, 0)
        batch = 0 if found.batch is None or found.channel > found.batch else found.batch - 1
        assert torch.equal(shown[0], one if found.batch is None else one.select(batch, 0))


def test_attention_is_worded_as_query_and_key() -> None:
    for module, shape in [(nn.MultiheadAttention(8, 2), (2, 6, 7)), (SelfAttention(), (2, 4, 6, 6))]:
        assert layout(module, torch.zeros(shape)).words == ("query", "key")
    assert layout(nn.Conv2d(3, 4, 1), torch.zeros(2, 4, 6, 6)).words == ("row", "column")
    assert layout(nn.Linear(3, 4), torch.zeros(2, 6, 4)).words == ("token", "feature")
    assert layout(nn.Conv1d(3, 4, 1), torch.zeros(2, 4, 6)).words == ("channel", "position")


def test_a_volume_is_shown_at_its_middle_and_says_so() -> None:
    tensor = torch.randn(2, 8, 5, 3, 4)
    found = layout(nn.Conv3d(3, 8, 3), tensor)
    assert "2 of 5" in found.note
    assert torch.equal(view(tensor, found, 1), tensor[1, :, 2])


@pytest.mark.parametrize(
    ("shape", "axis", "kind", "shown"),
    [
        ((2, 6, 8), 1, "signal", (6, 8)),
        ((2, 6, 8), -1, "tokens", (6, 8)),
        ((2, 5, 6, 8), 3, "maps", (8, 5, 6)),
        ((2, 5, 6, 8), 2, "maps", (6, 5, 8)),
        ((2, 8), 1, "vector", (8,)),
        ((2, 3, 4, 5, 6), -1, "maps", (6, 4, 5)),
    ],
)
def test_the_user_knows_better(shape: tuple[int, ...], axis: int, kind: str, shown: tuple[int, ...]) -> None:
    tensor = torch.zeros(shape)
    found = layout(nn.Conv2d(3, 8, 3), tensor, axis=axis)
    assert found.kind == kind and not found.guessed and found.channel == axis % len(shape)
    assert tuple(view(tensor, found, 1).shape) == shown


@pytest.mark.parametrize(
    ("keywords", "argument"),
    [({"axis": 4}, "axis"), ({"axis": 0}, "axis"), ({"axis": True}, "axis"), ({"batch_axis": 7}, "batch_axis")],
)
def test_impossible_axes_are_refused(keywords: dict[str, Any], argument: str) -> None:
    with pytest.raises(InputError) as caught:
        layout(None, torch.zeros(2, 3, 4, 5), **keywords)
    assert caught.value.argument == argument


def test_an_input_outside_the_batch_is_refused() -> None:
    tensor = torch.zeros(2, 3)
    with pytest.raises(InputError, match="holds 2"):
        view(tensor, layout(None, tensor), 2)
    with pytest.raises(InputError, match="holds 0"):
        view(tensor[:0], layout(None, tensor), 0)


def test_a_tensor_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit"):
        view(torch.zeros(2, 3, 4), layout(None, torch.zeros(2, 3)), 0)


def test_layers_inside_a_sequence_first_module_are_known_by_their_ancestor() -> None:
    model = nn.Sequential(
        OrderedDict(
            old=nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), 1, enable_nested_tensor=False),
            new=nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, batch_first=True), 1),
            head=nn.Linear(8, 2),
        )
    )
    assert sequence_first(model, "old.layers.0.linear1") and sequence_first(model, "old")
    assert not sequence_first(model, "new.layers.0.linear1") and not sequence_first(model, "head")


def test_an_activation_is_told_by_the_layer_registered_before_it() -> None:
    model = nn.Sequential(
        nn.ReLU(),
        nn.Sequential(nn.Conv1d(3, 4, 3), nn.Dropout(0.1), nn.ReLU()),
        nn.GELU(),
        nn.Sequential(nn.Identity()),
        nn.Linear(4, 8),
        nn.Sequential(nn.Tanh(), nn.Softmax(dim=-1)),
    )
    expected = {"0": "0", "1.0": "1.0", "1.1": "1.0", "1.2": "1.0", "2": "1", "3.0": "1", "5.0": "4", "5.1": "5.1"}
    for layer, told in expected.items():
        assert teller(model, layer) is model.get_submodule(told), layer
    assert teller(model, "") is model
    assert layout(teller(model, "1.2"), torch.zeros(2, 4, 9)).kind == "signal"
    assert layout(teller(model, "2"), torch.zeros(2, 4, 9)).kind == "signal"
    assert layout(teller(model, "5.0"), torch.zeros(2, 5, 6, 8)).channel == 3


@pytest.mark.parametrize("make", [torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr])
def test_sparse_outputs_are_written_out(make: Any) -> None:
    values = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 3.0]])
    with warnings.catch_warnings():
        # The sparse formats call themselves experimental.
        warnings.simplefilter("ignore", UserWarning)
        tensor = make(values)
    axes = layout(nn.ReLU(), tensor)
    assert torch.equal(view(tensor, axes, 1), values[1])


def test_nested_and_huge_sparse_outputs_are_refused() -> None:
    nothing = torch.zeros(2, 0, dtype=torch.long)
    huge = torch.sparse_coo_tensor(nothing, torch.zeros(0), (2**20, 2**20), check_invariants=True)
    with pytest.raises(UnobservableError, match="too many to show") as caught:
        view(huge, layout(None, huge), 0)
    assert caught.value.remedy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)])
    for ask in (lambda: layout(None, nested), lambda: view(nested, layout(None, torch.ones(2, 2, 3)), 0)):
        with pytest.raises(UnobservableError, match="Nested"):
            ask()
