"""Weights as pictures, or a sentence that says why not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from nnwidget.errors import InputError
from nnwidget.model.filters import filters
from nnwidget.types import Tiles, WeightView

torch.set_num_threads(1)


def restore(found: Tiles) -> np.ndarray:
    """Values by the formula of types.Tiles."""
    shape = (-1,) + (1,) * (found.codes.ndim - 1)
    lo, hi = found.lo.reshape(shape).astype(np.float64), found.hi.reshape(shape).astype(np.float64)
    return lo + found.codes / 252 * (hi - lo)


def test_three_input_channels_are_colours_around_grey() -> None:
    layer = nn.Conv2d(3, 8, 5)
    bank = filters(layer)
    assert bank.kind == "rgb" and bank.shape == (8, 3, 5, 5) and bank.inputs == 3 and bank.channel is None
    assert bank.tiles is not None and bank.tiles.codes.shape == (8, 5, 5, 3)
    bound = float(layer.weight.detach().abs().max())
    assert set(bank.tiles.hi.tolist()) == {np.float32(bound)} and set(bank.tiles.lo.tolist()) == {-np.float32(bound)}
    shown = restore(bank.tiles)
    np.testing.assert_allclose(shown, layer.weight.detach().permute(0, 2, 3, 1), atol=bound / 252 * 1.01)
    assert bank.statistics is not None and bank.statistics.count == 600


def test_grey_is_zero_and_special_values_are_coded() -> None:
    layer = nn.Conv2d(3, 2, 2)
    nn.init.zeros_(layer.weight)
    bank = filters(layer)
    assert bank.tiles is not None
    assert (bank.tiles.codes == 126).all() and (restore(bank.tiles) == 0).all()
    with torch.no_grad():
        layer.weight[0, :, 0, 0] = torch.tensor([math.nan, math.inf, -math.inf])
    bank = filters(layer)
    assert bank.tiles is not None and bank.tiles.codes[0, 0, 0].tolist() == [255, 254, 253]


def test_many_input_channels_are_shown_by_their_norm_or_one_by_one() -> None:
    layer = nn.Conv2d(16, 4, 3)
    bank = filters(layer)
    assert bank.kind == "norm" and bank.inputs == 16 and bank.tiles is not None
    expected = layer.weight.detach().norm(dim=1).numpy()
    np.testing.assert_allclose(restore(bank.tiles), expected, atol=float(np.ptp(expected)) / 252)
    one = filters(layer, WeightView(mode=7))
    assert (one.kind, one.channel) == ("channel", 7) and one.tiles is not None
    weights = layer.weight.detach()[:, 7].numpy()
    np.testing.assert_allclose(restore(one.tiles), weights, atol=float(np.ptp(weights)) / 252)


def test_colour_can_be_asked_away() -> None:
    assert filters(nn.Conv2d(3, 4, 3), WeightView(mode="norm")).kind == "norm"
    assert filters(nn.Conv2d(3, 4, 3), WeightView(mode=1)).channel == 1


def test_depthwise_filters_are_shown_as_they_are() -> None:
    bank = filters(nn.Conv2d(8, 8, 3, groups=8))
    assert (bank.kind, bank.channel, bank.inputs) == ("channel", 0, 1) and "depthwise" in bank.note


def test_grouped_filters_say_how_much_they_see() -> None:
    bank = filters(nn.Conv2d(8, 4, 3, groups=2))
    assert bank.kind == "norm" and bank.inputs == 4 and "2 groups: each filter sees 4 of 8" in bank.note


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_has_its_filters_by_output(groups: int) -> None:
    layer = nn.ConvTranspose2d(4, 6, 3, groups=groups)
    seen = 4 // groups
    for channel in range(seen):
        bank = filters(layer, WeightView(mode=channel))
        assert bank.tiles is not None and bank.tiles.codes.shape == (6, 3, 3) and bank.inputs == seen
        for output in range(6):
            # Which input this output sees, by running it: one input channel at a time.
            source = (output // (6 // groups)) * seen + channel
            image = torch.zeros(1, 4, 1, 1)
            image[0, source] = 1
            answer = nn.functional.conv_transpose2d(image, layer.weight.detach(), groups=groups)[0, output]
            span = float(answer.max() - answer.min())
            np.testing.assert_allclose(restore(bank.tiles)[output], answer, atol=span / 252)


def test_a_matrix_is_one_heat_map_outputs_by_inputs() -> None:
    layer = nn.Linear(7, 5)
    bank = filters(layer)
    assert bank.kind == "matrix" and bank.inputs == 7 and bank.tiles is not None
    weights = layer.weight.detach().numpy()
    np.testing.assert_allclose(restore(bank.tiles)[0], weights, atol=float(np.ptp(weights)) / 252)
    large = filters(nn.Linear(300, 10), WeightView(room=(64, 64)))
    assert large.tiles is not None and large.tiles.codes.shape == (1, 10, 60)
    assert large.note == "each pixel averages 1 × 5 weights"


def test_parametrised_weights_are_read_as_the_layer_uses_them() -> None:
    layer = parametrizations.weight_norm(nn.Conv2d(1, 2, 3))
    bank = filters(layer)
    assert bank.kind == "channel" and bank.tiles is not None
    np.testing.assert_allclose(restore(bank.tiles), layer.weight.detach()[:, 0], atol=0.01)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.ReLU(), "This layer has no weights."),
        (nn.Sequential(nn.Flatten()), "This layer has no weights."),
        (nn.Sequential(nn.Linear(2, 2)), "one of the layers inside"),
        (nn.LayerNorm(3, elementwise_affine=False), "without weights of its own"),
        (nn.LazyConv2d(4, 3), "Run the model once"),
        (nn.Linear(2, 2, device="meta"), "meta device"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_kinds_say_why_there_is_nothing_and_what_to_do(layer: nn.Module, words: str) -> None:
    bank = filters(layer)
    assert bank.kind == "none" and bank.tiles is None and words in bank.reason


@pytest.mark.parametrize("mode", [3, -1, "colour", None, True])
def test_an_impossible_mode_names_layer_and_argument(mode: object) -> None:
    with pytest.raises(InputError) as caught:
        filters(nn.Conv2d(3, 4, 3), WeightView(mode=mode), name="stem.conv")  # type: ignore[arg-type]
    assert caught.value.argument == "mode" and caught.value.layer == "stem.conv"
