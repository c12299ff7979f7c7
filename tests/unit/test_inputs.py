from __future__ import annotations

import multiprocessing
import random
import threading
from collections import UserDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from nnwidget.errors import InputError
from nnwidget.model.inputs import PinnedInputs, given, pinned_inputs


def cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 2)

    def forward(self, x: Tensor, scale: Any = None, *, mask: Any = None) -> Tensor:
        return self.lin(x)


class Random(Dataset[Any]):
    """Draws from every source of randomness."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Any:
        return torch.rand(4) + random.random() + np.random.rand(), index


def test_a_tensor_is_a_batch() -> None:
    x = torch.randn(5, 3, 8, 8)
    pinned = pinned_inputs(cnn(), x)
    assert (pinned.count, pinned.batched, pinned.batch_axis, pinned.note) == (5, True, 0, "")
    assert torch.equal(pinned.args[0], x)
    x.zero_()
    assert pinned.args[0].abs().sum() > 0
    assert pinned.kwargs == {}


def test_what_runs_cannot_reach_the_pinned_inputs() -> None:
    pinned = pinned_inputs(nn.ReLU(inplace=True), torch.full((2, 3), -1.0))
    for args, kwargs in (pinned.all(), pinned.select(0)):
        nn.functional.relu_(args[0])
        assert kwargs == {}
    assert (pinned.args[0] == -1).all()


def test_selecting_one_input() -> None:
    pinned = pinned_inputs(Two(), (torch.arange(12.0).reshape(3, 4), torch.arange(3)))
    (x, scale), _ = pinned.select(2)
    assert x.tolist() == [[8, 9, 10, 11]]
    assert scale.tolist() == [2]
    for index in (-1, 3):
        with pytest.raises(InputError, match="batch has 3"):
            pinned.select(index)


def test_keywords_cut_only_what_is_as_long_as_the_batch() -> None:
    pinned = pinned_inputs(Two(), {"x": torch.ones(3, 4), "mask": torch.ones(7, 7)})
    _, kwargs = pinned.select(1)
    assert pinned.count == 3
    assert kwargs["x"].shape == (1, 4)
    assert kwargs["mask"].shape == (7, 7)
    assert given(*pinned.all()).keys() == {"x", "mask"}


def test_user_dicts_are_keywords() -> None:
    assert pinned_inputs(Two(), UserDict(x=torch.ones(3, 4))).kwargs["x"].shape == (3, 4)


def test_a_mapping_can_be_the_only_argument() -> None:
    class Takes(nn.Module):
        def forward(self, batch: Any) -> Any:
            return batch["pixels"]

    pinned = pinned_inputs(Takes(), {"pixels": torch.ones(2, 3)})
    assert list(pinned.args[0]) == ["pixels"]
    assert "only argument" in pinned.note
    with pytest.raises(InputError, match="no token_type_ids"):
        pinned_inputs(Two(), {"x": torch.ones(2, 4), "token_type_ids": torch.ones(2)})


def test_disagreeing_lengths_are_one_input() -> None:
    pinned = pinned_inputs(nn.EmbeddingBag(5, 2), (torch.tensor([1, 2, 4]), torch.tensor([0, 2])))
    assert (pinned.count, pinned.batched) == (1, False)
    assert [tuple(arg.shape) for arg in pinned.select(0)[0]] == [(3,), (2,)]
    assert (pinned_inputs(nn.Linear(4, 2), torch.ones(4)).count) == 1


@pytest.mark.parametrize(
    ("model", "axis"),
    [
        (nn.LSTM(4, 2), 1),
        (nn.GRU(4, 2, batch_first=True), 0),
        (nn.RNN(4, 2), 1),
        (nn.TransformerEncoderLayer(4, 2), 1),
        (nn.TransformerDecoderLayer(4, 2, batch_first=True), 0),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2), 1, enable_nested_tensor=False), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_batch_axis_of_roots_that_put_time_first(model: nn.Module, axis: int) -> None:
    pinned = pinned_inputs(model, torch.randn(6, 3, 4))
    assert pinned.batch_axis == axis
    assert pinned.count == (3 if axis else 6)
    one = pinned.select(1)[0][0]
    assert one.shape == ((6, 1, 4) if axis else (1, 3, 4))
    assert torch.equal(one, pinned.args[0].narrow(axis, 1, 1))


@pytest.mark.filterwarnings("ignore:.*enable_nested_tensor.*")
def test_two_arguments_of_a_transformer_with_different_lengths() -> None:
    pinned = pinned_inputs(nn.Transformer(4, 2, 1, 1, 8), (torch.randn(6, 3, 4), torch.randn(5, 3, 4)))
    assert pinned.count == 3
    assert [tuple(arg.shape) for arg in pinned.select(0)[0]] == [(6, 1, 4), (5, 1, 4)]


def test_packed_sequences_are_one_argument() -> None:
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 4), torch.ones(2, 4)])
    pinned = pinned_inputs(nn.LSTM(4, 2), packed)
    assert len(pinned.args) == 1
    assert pinned.count == 1
    assert type(pinned.all()[0][0]) is type(packed)


def test_arrays_take_the_dtype_of_the_model() -> None:
    pinned = pinned_inputs(nn.Linear(4, 2).half(), np.ones((3, 4)))
    assert pinned.args[0].dtype == torch.float16
    assert pinned.note == "Converted from float64 to float16."
    assert pinned_inputs(nn.Linear(4, 2), torch.ones(3, 4, dtype=torch.float64)).args[0].dtype == torch.float64
    assert pinned_inputs(nn.Embedding(9, 2), np.arange(3)).args[0].dtype == torch.int64
    assert pinned_inputs(cnn(), np.zeros((2, 3, 8, 8), np.uint8)).args[0].dtype == torch.uint8
    assert pinned_inputs(nn.Linear(4, 2), np.ones((3, 4))[::-1]).count == 3
    assert pinned_inputs(nn.Linear(4, 2), np.ones((3, 4), ">f4")).args[0].dtype == torch.float32
    assert pinned_inputs(Two(), (np.ones((3, 4)), [np.ones(2)])).args[1][0].dtype == torch.float32


def test_lists_are_stacked() -> None:
    assert pinned_inputs(nn.Linear(4, 2), [torch.ones(4), torch.zeros(4)]).args[0].shape == (2, 4)
    assert pinned_inputs(nn.Linear(2, 2), [[1.0, 2.0], [3.0, 4.0]]).args[0].dtype == torch.float32
    with pytest.raises(InputError, match="different shapes"):
        pinned_inputs(nn.Linear(4, 2), [torch.ones(4), torch.zeros(3)])
    with pytest.raises(InputError, match="preprocess"):
        pinned_inputs(nn.Linear(4, 2), ["a", "b"])


def test_a_single_picture_gets_a_batch_axis() -> None:
    pinned = pinned_inputs(cnn(), torch.ones(3, 8, 8))
    assert pinned.args[0].shape == (1, 3, 8, 8)
    assert "batch axis was added" in pinned.note
    assert pinned_inputs(nn.Linear(8, 2), torch.ones(3, 8, 8)).args[0].shape == (3, 8, 8)


def test_moving_to_the_models_device_is_said() -> None:
    with torch.device("meta"):
        model = nn.Linear(4, 2)
    pinned = pinned_inputs(model, torch.ones(2, 4))
    assert pinned.args[0].is_meta
    assert pinned.note == "Moved from cpu to meta, where the model is."


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_its_first_batch_and_no_random_state_moves(workers: int) -> None:
    generator = torch.Generator().manual_seed(5)
    one, two = nn.Linear(4, 2), Two()
    for loader in (
        DataLoader(Random(), batch_size=4, shuffle=True, num_workers=workers),
        DataLoader(Random(), batch_size=4, shuffle=True, num_workers=workers, generator=generator),
    ):
        before = (torch.get_rng_state(), random.getstate(), str(np.random.get_state()), generator.get_state())
        with pytest.raises(InputError, match="targets"):
            pinned_inputs(one, loader)
        pinned = pinned_inputs(two, loader)
        assert pinned.count == 4
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (random.getstate(), str(np.random.get_state())) == before[1:3]
        assert torch.equal(generator.get_state(), before[3])
    assert multiprocessing.active_children() == []
    assert threading.active_count() <= 2


def test_a_loader_of_single_tensors_dicts_and_streams() -> None:
    x = torch.arange(12.0).reshape(3, 4)
    first = pinned_inputs(nn.Linear(4, 2), DataLoader(TensorDataset(x), batch_size=2))
    assert torch.equal(first.args[0], x[:2])

    class Rows(Dataset[Any]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            return {"x": x[index]}

    assert torch.equal(pinned_inputs(Two(), DataLoader(Rows(), batch_size=2)).kwargs["x"], x[:2])

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Tensor]:
            return iter(x)

    assert torch.equal(pinned_inputs(nn.Linear(4, 2), DataLoader(Stream(), batch_size=2)).args[0], x[:2])
    with pytest.raises(InputError, match="empty"):
        pinned_inputs(nn.Linear(4, 2), DataLoader(TensorDataset(x[:0]), batch_size=2))


def test_a_loader_that_fails_says_so() -> None:
    class Broken(Dataset[Any]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            raise OSError("file missing")

    with pytest.raises(InputError, match="file missing") as caught:
        pinned_inputs(nn.Linear(4, 2), DataLoader(Broken()))
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("labels", [torch.tensor([0, 1, 1]), [0, 1, 1], np.array([0, 1, 1]), torch.ones(3, 1).long()])
def test_pairs_with_labels_say_what_to_write(labels: Any) -> None:
    with pytest.raises(InputError, match=r"explore\(model, images, targets=labels\)") as caught:
        pinned_inputs(nn.Linear(4, 2), (torch.ones(3, 4), labels))
    assert caught.value.argument == "inputs"


def test_too_many_arguments() -> None:
    with pytest.raises(InputError, match="takes 1 positional"):
        pinned_inputs(nn.Linear(4, 2), (torch.ones(3, 4), torch.ones(3, 4)))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (None, "no inputs"),
        (torch.ones(0, 4), "empty"),
        ([], "empty"),
        ((), "empty"),
        ({}, "empty"),
        ("text", "str"),
        (3.0, "float"),
        (iter([1]), "iterator"),
        ((None,), "no tensors"),
        (np.array(["a"]), "numbers"),
        (nn.Linear, "type"),
    ],
)
def test_bad_inputs(inputs: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        pinned_inputs(nn.Linear(4, 2), inputs)
    assert caught.value.argument == "inputs"
    assert caught.value.remedy


def test_bad_models() -> None:
    with pytest.raises(InputError, match="instance"):
        pinned_inputs(nn.Linear, torch.ones(1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="function"):
        pinned_inputs(lambda x: x, torch.ones(1))  # type: ignore[arg-type]


def test_preprocess_goes_first() -> None:
    pinned = pinned_inputs(
        nn.Linear(1, 2), ["a", "bb"], preprocess=lambda texts: torch.tensor([[len(t)] for t in texts])
    )
    assert pinned.args[0].tolist() == [[1], [2]]
    with pytest.raises(InputError, match="preprocess failed") as caught:
        pinned_inputs(nn.Linear(1, 2), 3, preprocess=lambda _: 1 / 0)
    assert caught.value.argument == "preprocess"


def test_targets_class_names_and_captions() -> None:
    x, model = torch.ones(3, 4), nn.Linear(4, 2)
    for targets in ([1, None, 0.5], (torch.tensor(1), None, np.float64(0.5))):
        assert pinned_inputs(model, x, targets=targets).targets == (1, None, 0.5)
    assert pinned_inputs(model, x, targets=torch.tensor([[1], [2], [0]])).targets == (1, 2, 0)
    assert pinned_inputs(model, x, targets=np.array([1, 2, 0])).targets == (1, 2, 0)
    named = pinned_inputs(model, x, class_names=["<b>", "dog"], captions=["abc"] * 3)
    assert named.class_names == ("<b>", "dog")
    for wrong in ([1, 2], "abc", torch.ones(3, 2), ["a", "b", "c"], 5, {"a": 1}):
        with pytest.raises(InputError) as caught:
            pinned_inputs(model, x, targets=wrong)
        assert caught.value.argument == "targets"
    with pytest.raises(InputError, match="2 captions for 3 inputs"):
        pinned_inputs(model, x, captions=["a", "b"])
    with pytest.raises(InputError, match="class_names"):
        pinned_inputs(model, x, class_names="cat")


@pytest.mark.parametrize(
    ("batch", "note"),
    [
        (torch.tensor([0.0, 0.5, 1.0]), "Values 0 to 1."),
        (torch.tensor([0.0, 128.0, 255.0]), "Values 0 to 255."),
        (torch.tensor([0, 128, 255], dtype=torch.uint8), "Values 0 to 255."),
        (torch.tensor([-2.0, 0.0, 2.0]), "Stretched: black is -2, white is 2"),
        (torch.tensor([0.0, 8.0, 16.0]), "Stretched: black is 0, white is 16"),
    ],
)
def test_pictures_are_scaled_and_say_how(batch: Tensor, note: str) -> None:
    images = batch.reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    pinned = pinned_inputs(nn.Flatten(), images)
    pictures = [pinned.picture(i, 100) for i in range(3)]
    assert [int(picture[0, 0, 0]) for picture in pictures if picture is not None] == [0, 128, 255]
    assert all(picture is not None and picture.shape == (2, 2, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert pinned.picture_note.startswith(note)


def test_pictures_keep_rows_columns_and_colours() -> None:
    image = torch.rand(1, 3, 4, 6)
    expected = (image[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    for batch in (image, image.permute(0, 2, 3, 1)):
        found = pinned_inputs(nn.Flatten(), batch).picture(0, 10)
        assert found is not None
        assert np.array_equal(found, expected)


def test_large_pictures_are_averaged_down() -> None:
    picture = pinned_inputs(nn.Flatten(), torch.rand(1, 3, 40, 80)).picture(0, 20)
    assert picture is not None
    assert picture.shape == (10, 20, 3)


def test_transparent_pictures_lie_on_white() -> None:
    image = torch.zeros(1, 4, 2, 2)
    picture = pinned_inputs(nn.Flatten(), image).picture(0, 9)
    assert picture is not None
    assert (picture == 255).all()


def test_not_finite_pictures() -> None:
    image = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.5]).reshape(1, 1, 2, 2)
    picture = pinned_inputs(nn.Flatten(), image).picture(0, 9)
    assert picture is not None
    assert picture[:, :, 0].tolist() == [[0, 255], [0, 128]]
    assert pinned_inputs(nn.Flatten(), torch.full((1, 1, 2, 2), float("nan"))).picture(0, 9) is not None


def test_what_is_no_picture() -> None:
    assert pinned_inputs(nn.Linear(4, 2), torch.ones(3, 4)).picture(0, 9) is None
    assert pinned_inputs(nn.Flatten(), torch.ones(3, 7, 4, 5)).picture(0, 9) is None
    assert pinned_inputs(nn.Flatten(), torch.ones(3, 3, 4, 4, dtype=torch.complex64)).picture(0, 9) is None


def test_display_undoes_a_normalisation() -> None:
    pinned = pinned_inputs(cnn(), torch.rand(2, 3, 8, 8) * 2 - 1)
    shown = pinned.picture(1, 8, display=lambda x: (x + 1) / 2)
    expected = ((pinned.args[0][1].permute(1, 2, 0) + 1) / 2 * 255).round().to(torch.uint8).numpy()
    assert shown is not None
    assert np.array_equal(shown, expected)
    assert pinned.picture_note == "Values 0 to 1."
    flat = pinned_inputs(nn.Linear(16, 2), torch.rand(2, 16))
    gray = flat.picture(0, 9, display=lambda x: x.reshape(4, 4).numpy())
    assert gray is not None
    assert gray.shape == (4, 4, 3)
    for wrong in (lambda x: 1 / 0, lambda x: x.reshape(-1), lambda x: "text"):
        with pytest.raises(InputError, match="display failed") as caught:
            flat.picture(0, 9, display=wrong)
        assert caught.value.argument == "display"


def test_it_can_be_made_of_arguments_directly() -> None:
    pinned = PinnedInputs(Two(), (torch.ones(2, 4),), {"mask": None})
    assert pinned.count == 2
    assert pinned.select(0)[1] == {"mask": None}
