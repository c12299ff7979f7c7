"""The weights of every kind of layer, read back against torch."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from nnwidget.errors import InputError
from nnwidget.model.filters import filters
from nnwidget.model.weight_parts import tied
from nnwidget.model.weight_value import WeightPlace, weight_value
from nnwidget.types import FilterBank, WeightView

torch.set_num_threads(1)


def shown(bank: FilterBank) -> np.ndarray:
    """The values of the picture."""
    assert bank.tiles is not None
    shape = (-1,) + (1,) * (bank.tiles.codes.ndim - 1)
    lo, hi = (side.reshape(shape).astype(np.float64) for side in (bank.tiles.lo, bank.tiles.hi))
    return lo + bank.tiles.codes / 252 * (hi - lo)


def assert_shows(bank: FilterBank, expected: Tensor) -> None:
    """Within half a step of the coding."""
    values = expected.detach().double().numpy()
    picture = shown(bank)
    picture = picture[0] if picture.ndim == values.ndim + 1 else picture
    assert picture.shape == values.shape
    np.testing.assert_allclose(picture, values, atol=float(np.ptp(values)) / 252 + 1e-7)


def randomised(layer: nn.Module) -> nn.Module:
    """Other numbers than ones and zeros everywhere."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


def test_filters_of_one_dimension_are_shown_whole_or_by_input_channel() -> None:
    layer = nn.Conv1d(5, 4, 7)
    bank = filters(layer)
    assert (bank.kind, bank.inputs, bank.axes) == ("plane", 5, ("input channel", "tap"))
    assert_shows(bank, layer.weight)
    assert_shows(filters(layer, WeightView(mode=2)), layer.weight[:, 2].unsqueeze(1))
    assert_shows(filters(layer, WeightView(mode="norm")), layer.weight.norm(dim=1).unsqueeze(1))
    # Many input channels are averaged, taps never.
    wide = nn.Conv1d(100, 2, 3)
    bank = filters(wide, WeightView(edge=50))
    assert bank.tiles is not None and bank.tiles.pool == (2, 1)
    assert_shows(bank, F.avg_pool2d(wide.weight.unsqueeze(0), (2, 1))[0])


def test_one_input_channel_of_a_signal_is_a_line() -> None:
    layer = nn.Conv1d(1, 4, 9)
    bank = filters(layer)
    assert (bank.kind, bank.channel) == ("channel", 0)
    assert_shows(bank, layer.weight)


@pytest.mark.parametrize("chosen", [None, 0, 2])
def test_a_kernel_with_depth_shows_one_slice(chosen: int | None) -> None:
    layer = nn.Conv3d(2, 4, (3, 5, 4))
    at = 1 if chosen is None else chosen
    bank = filters(layer, WeightView(slice=chosen, mode=1))
    assert (bank.slice, bank.slices, bank.shape) == (at, 3, (4, 2, 3, 5, 4))
    assert_shows(bank, layer.weight[:, 1, at])
    colours = nn.Conv3d(3, 2, 3)
    bank = filters(colours, WeightView(slice=chosen))
    assert bank.kind == "rgb"
    bound = float(colours.weight[:, :, at].detach().abs().max())
    np.testing.assert_allclose(shown(bank), colours.weight[:, :, at].detach().movedim(1, 3), atol=bound / 252 * 1.01)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dimensions", [1, 3])
def test_transposed_kernels_are_those_that_an_impulse_draws(dimensions: int, groups: int) -> None:
    kind = {1: nn.ConvTranspose1d, 3: nn.ConvTranspose3d}[dimensions]
    run = {1: F.conv_transpose1d, 3: F.conv_transpose3d}[dimensions]
    layer = kind(4, 6, 3, groups=groups)
    seen = 4 // groups
    for channel in range(seen):
        bank = filters(layer, WeightView(mode=channel, slice=2 if dimensions == 3 else None))
        for output in range(6):
            impulse = torch.zeros(1, 4, *[1] * dimensions)
            impulse[0, (output // (6 // groups)) * seen + channel] = 1
            answer = run(impulse, layer.weight.detach(), groups=groups)[0, output]
            answer = (answer.reshape(1, 3) if dimensions == 1 else answer[2]).numpy()
            np.testing.assert_allclose(shown(bank)[output], answer, atol=float(np.ptp(answer)) / 252)


def test_a_kernel_without_extent_is_a_matrix() -> None:
    layer = nn.Conv2d(6, 4, 1, groups=2)
    bank = filters(layer)
    assert (bank.kind, bank.axes, bank.shape) == ("matrix", ("output", "input"), (4, 3))
    assert "kernels without extent" in bank.note
    assert_shows(bank, layer.weight.flatten(1))
    assert filters(nn.Conv2d(6, 6, 1, groups=6)).kind == "channel", "depthwise: nothing to lay side by side"


def test_norms_are_of_whole_filters() -> None:
    layer = nn.Conv2d(3, 5, 3)
    np.testing.assert_allclose(filters(layer).norms, layer.weight.detach().flatten(1).norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.LSTMCell, 4), (nn.GRUCell, 3)])
def test_recurrent_weights_are_shown_gate_by_gate(kind: type[nn.Module], gates: int) -> None:
    layer = kind(3, 5)
    tensors = dict(layer.named_parameters())
    first = filters(layer)
    names = [name for name in tensors if name.startswith("weight")]
    assert [name for name in first.parts if name.startswith("weight")] == names
    assert len(first.sections) == gates and first.section == 0
    for name in names:
        for gate in range(gates):
            bank = filters(layer, WeightView(part=name, section=gate))
            assert bank.axes == ("unit", "input" if "_ih" in name else "hidden unit")
            assert_shows(bank, tensors[name][gate * 5 : gate * 5 + 5])
        assert_shows(filters(layer, WeightView(part=name, section=-1)), tensors[name])


def test_which_gate_is_which_is_what_torch_computes() -> None:
    layer = nn.LSTM(1, 1, bias=False)
    x = torch.ones(1, 1, 1)
    with torch.no_grad():
        for tensor in layer.parameters():
            tensor.zero_()
        at = filters(layer).sections.index("cell candidate")
        layer.weight_ih_l0[at] = 1.0
        # With all gates half open, a candidate of tanh(1) leaves half of it in the cell.
        _, (_, cell) = layer(x)
    assert float(cell) == pytest.approx(0.5 * np.tanh(1.0))
    gru = nn.GRU(1, 1, bias=False)
    with torch.no_grad():
        for tensor in gru.parameters():
            tensor.zero_()
        at = filters(gru).sections.index("update gate")
        gru.weight_ih_l0[at] = 100.0
        _, kept = gru(x, torch.full((1, 1, 1), 0.25))
    assert float(kept) == pytest.approx(0.25), "an open update gate keeps what was there"


def test_layers_and_directions_of_a_recurrent_net_can_be_chosen() -> None:
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2)
    for name, tensor in layer.named_parameters():
        if name.startswith("weight_hr"):
            assert_shows(filters(layer, WeightView(part=name)), tensor)
        elif name.startswith("weight"):
            assert_shows(filters(layer, WeightView(part=name, section=2)), tensor[8:12])


def test_attention_has_query_key_value_and_its_output() -> None:
    layer = nn.MultiheadAttention(6, 2)
    for section, name in enumerate(("query", "key", "value")):
        bank = filters(layer, WeightView(section=section))
        assert bank.sections[section] == name
        assert_shows(bank, layer.in_proj_weight[section * 6 : section * 6 + 6])
    assert_shows(filters(layer, WeightView(part="out_proj.weight")), layer.out_proj.weight)
    apart = nn.MultiheadAttention(6, 2, kdim=4, vdim=5)
    assert_shows(filters(apart, WeightView(part="k_proj_weight")), apart.k_proj_weight)


def test_an_embedding_has_entries_as_rows() -> None:
    layer = nn.Embedding(10, 4)
    bank = filters(layer)
    assert (bank.kind, bank.axes, bank.inputs) == ("matrix", ("entry", "feature"), 4)
    assert_shows(bank, layer.weight)


def test_a_bilinear_layer_has_a_plane_for_each_output() -> None:
    layer = nn.Bilinear(2, 3, 4)
    bank = filters(layer)
    assert (bank.kind, bank.axes) == ("plane", ("first input", "second input"))
    assert_shows(bank, layer.weight)


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (nn.BatchNorm2d(5), ("scale", "shift", "running mean", "running variance")),
        (nn.BatchNorm1d(5, affine=False), ("running mean", "running variance")),
        (nn.LayerNorm(5), ("scale", "shift")),
        (nn.LayerNorm((5, 2)), ("scale", "shift")),
        (nn.GroupNorm(5, 5), ("scale", "shift")),
        (nn.InstanceNorm1d(5, affine=True), ("scale", "shift")),
        (nn.RMSNorm(5), ("scale",)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_normalisations_are_strips(layer: nn.Module, names: tuple[str, ...]) -> None:
    bank = filters(randomised(layer))
    assert bank.kind == "strips" and tuple(strip.name for strip in bank.strips) == names
    kept = {"scale": "weight", "shift": "bias", "running mean": "running_mean", "running variance": "running_var"}
    for strip in bank.strips:
        truth = getattr(layer, kept[strip.name]).detach().reshape(-1)
        np.testing.assert_array_equal(strip.values, truth)
        assert strip.statistics.count == truth.numel()


def test_a_strip_without_end_is_averaged_and_says_so() -> None:
    layer = randomised(nn.LayerNorm((100, 100)))
    bank = filters(layer)
    assert bank.strips[0].pool == 3 and bank.note == "each value averages 3 neighbours"
    np.testing.assert_allclose(
        bank.strips[0].values[:-1], layer.weight.reshape(-1)[:9999].reshape(-1, 3).mean(1).detach(), atol=1e-6
    )


def test_parameters_of_a_module_of_ones_own_can_all_be_seen() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cls = nn.Parameter(torch.randn(1, 1, 8))
            self.position = nn.Parameter(torch.randn(1, 5, 8))
            self.heads = nn.Parameter(torch.randn(2, 3, 4, 5))
            self.scale = nn.Parameter(torch.tensor(2.0))

    layer = Head()
    assert list(filters(layer).parts) == ["cls", "position", "heads"]
    assert [strip.name for strip in filters(layer).strips] == ["cls", "scale"]
    assert_shows(filters(layer, WeightView(part="position")), layer.position[0])
    assert_shows(filters(layer, WeightView(part="heads")), layer.heads.reshape(6, 4, 5))


def test_biases_stand_beside_the_weight() -> None:
    layer = nn.Linear(3, 4)
    assert dict(filters(layer).parts) == {"weight": "weight", "bias": "bias"}
    bank = filters(layer, WeightView(part="bias"))
    np.testing.assert_array_equal(bank.strips[0].values, layer.bias.detach())


@pytest.mark.parametrize(
    ("layer", "view"),
    [
        (nn.Conv2d(3, 4, 3), WeightView(mode=1)),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), WeightView(mode=1)),
        (nn.Linear(5, 4), WeightView()),
        (nn.LSTM(3, 4), WeightView(part="weight_hh_l0", section=2)),
        (nn.BatchNorm1d(4), WeightView()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_gradient_is_drawn_like_the_weight(layer: nn.Module, view: WeightView) -> None:
    assert "no gradient now" in filters(layer, view).gradient_note
    for parameter in layer.parameters():
        parameter.grad = parameter.detach() * 2
    bank = filters(layer, replace(view, gradient=True))
    if bank.kind == "strips":
        strip = bank.strips[0]
        assert strip.gradient is not None
        np.testing.assert_allclose(strip.gradient, strip.values * 2)
        return
    assert bank.gradient is not None and bank.gradient_note == ""
    np.testing.assert_allclose(shown(bank.gradient), shown(bank) * 2, rtol=1e-5, atol=1e-6)
    assert filters(layer, view).gradient is None, "only who asks gets it"


def test_why_there_is_no_gradient_is_said() -> None:
    layer = nn.Linear(2, 2)
    layer.weight.requires_grad = False
    assert "frozen" in filters(layer).gradient_note
    assert "parametrisation" in filters(parametrizations.weight_norm(nn.Linear(2, 2))).gradient_note
    pruned = prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5)
    bank = filters(pruned)
    assert "choose weight_orig" in bank.gradient_note and "50% of it at zero" in bank.note
    assert "no parameter" in filters(nn.BatchNorm1d(3, affine=False)).gradient_note


def test_a_property_that_refuses_hides_nothing_else() -> None:
    class Refusing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(3, 4))

        @property
        def weight(self) -> Tensor:
            raise RuntimeError("not now")

    layer = Refusing()
    assert_shows(filters(layer), layer.kernel)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_older_ways_to_compute_a_weight_name_where_its_gradient_is() -> None:
    layer = nn.utils.weight_norm(nn.Linear(4, 3))
    layer(torch.ones(1, 4)).sum().backward()
    assert "choose weight_v" in filters(layer).gradient_note
    assert_shows(filters(layer), layer.weight)
    bank = filters(layer, WeightView(part="weight_v", gradient=True))
    assert bank.gradient is not None
    assert_shows(bank.gradient, layer.weight_v.grad)


def test_tied_weights_name_each_other() -> None:
    net = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False), nn.Linear(3, 5))
    net[1].weight = net[0].weight
    assert tied(net, net[0], ("weight",)) == ["1.weight"] and tied(net, net[1], ("weight",)) == ["0.weight"]
    assert tied(net, net[2], ("weight",)) == []


def test_quantised_weights_are_the_numbers_that_are_computed_with() -> None:
    model = nn.Sequential(nn.Linear(6, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not [engine for engine in torch.backends.quantized.supported_engines if engine != "none"]:
            pytest.skip("this torch cannot quantise")
        layer = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})[0]
    bank = filters(layer)
    assert "quantised (qint8)" in bank.note
    assert_shows(bank, layer.weight().dequantize())
    packed = next(module for module in layer.modules() if type(module).__name__ == "LinearPackedParams")
    assert "packed" in filters(packed).reason


@pytest.mark.filterwarnings("ignore:.*quantize.*")
def test_kernels_quantised_by_channel_are_cut_like_others() -> None:
    class Kernels(nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(4, 3, 3)
            weight = self.weight.detach()
            del self.weight
            scales = torch.tensor([0.01, 0.02, 0.03])
            stored = torch.quantize_per_channel(weight, scales, torch.zeros(3), axis=0, dtype=torch.qint8)
            self.register_buffer("weight", stored)

    layer = Kernels()
    truth = layer.weight.dequantize()
    bank = filters(layer, WeightView(mode=2, sort="similarity", reference=1))
    assert_shows(bank, truth[:, 2])
    assert bank.scores is not None
    np.testing.assert_allclose(bank.scores, F.cosine_similarity(truth.flatten(1), truth[1:2].flatten(1)), atol=1e-6)
    assert read(layer, WeightView(mode=2), 1, 0, 2) == [pytest.approx(truth[1, 2, 0, 2].item())]


def test_whole_numbers_are_called_so() -> None:
    class Int8(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.arange(-6, 6, dtype=torch.int8).reshape(3, 4))

    bank = filters(Int8())
    assert "stored as int8" in bank.note
    assert_shows(bank, torch.arange(-6, 6).reshape(3, 4))


def read(layer: nn.Module, view: WeightView, *where: int, gradients: bool = False) -> list[float]:
    """The number under the pointer."""
    return weight_value(layer, view, WeightPlace(*where), gradients=gradients, name="layer")


def test_the_value_under_the_pointer_is_the_weight_itself() -> None:
    conv = nn.Conv2d(8, 4, 3)
    assert read(conv, WeightView(mode=5), 2, 1, 0) == [conv.weight[2, 5, 1, 0].item()]
    assert read(conv, WeightView(), 2, 1, 0) == [pytest.approx(float(conv.weight[2, :, 1, 0].detach().norm()))]
    colour = nn.Conv2d(3, 4, 3)
    assert read(colour, WeightView(), 1, 2, 2) == colour.weight[1, :, 2, 2].tolist()
    deep = nn.Conv3d(2, 4, 3)
    assert read(deep, WeightView(mode=1, slice=2), 3, 0, 1) == [deep.weight[3, 1, 2, 0, 1].item()]
    signal = nn.Conv1d(5, 4, 7)
    assert read(signal, WeightView(), 3, 4, 6) == [signal.weight[3, 4, 6].item()]
    assert read(signal, WeightView(mode=1), 3, 0, 6) == [signal.weight[3, 1, 6].item()]
    lstm = nn.LSTM(3, 4)
    assert read(lstm, WeightView(part="weight_hh_l0", section=2), 0, 1, 3) == [lstm.weight_hh_l0[9, 3].item()]
    wide = nn.Linear(3, 2, dtype=torch.float64)
    assert read(wide, WeightView(), 0, 1, 2) == [wide.weight[1, 2].item()], "in full precision"


def test_the_value_of_a_pooled_pixel_is_the_mean_of_its_weights() -> None:
    layer = nn.Linear(10, 7)
    expected = float(layer.weight[4:8, 8:12].detach().double().mean())
    assert read(layer, WeightView(), 0, 4, 8, 4, 4) == [pytest.approx(expected)]
    layer.weight.grad = torch.ones(7, 10)
    assert read(layer, WeightView(), 0, 0, 0, gradients=True) == [1.0]


@pytest.mark.parametrize(
    ("where", "view", "argument"),
    [
        ((0, 9, 0), WeightView(), "row"),
        ((9, 0, 0), WeightView(), "tile"),
        ((0, 0, 0), WeightView(part="bais"), "part"),
        ((0, 0, 0), WeightView(mode=9), "mode"),
    ],
)
def test_an_impossible_place_is_refused_by_name(where: tuple[int, ...], view: WeightView, argument: str) -> None:
    with pytest.raises(InputError) as caught:
        read(nn.Conv2d(4, 4, 3), view, *where)
    assert caught.value.argument == argument and caught.value.layer == "layer"


@pytest.mark.parametrize(
    ("layer", "view", "argument"),
    [
        (nn.Linear(3, 2), WeightView(part="weights"), "part"),
        (nn.LSTM(3, 2), WeightView(section=4), "section"),
        (nn.LSTM(3, 2), WeightView(section=-2), "section"),
        (nn.Conv3d(2, 2, 3), WeightView(slice=3), "slice"),
        (nn.Linear(3, 2), WeightView(window=(0, 3, 0, 3)), "window"),
        (nn.Linear(3, 2), WeightView(window=(1, 1, 0, 3)), "window"),
        (nn.Linear(3, 2), WeightView(sort="similarity", reference=2), "reference"),
        (nn.Linear(3, 2), WeightView(sort="activity"), "sort"),
    ],
)
def test_an_impossible_view_is_refused_by_name(layer: nn.Module, view: WeightView, argument: str) -> None:
    with pytest.raises(InputError) as caught:
        filters(layer, view, name="stem")
    assert caught.value.argument == argument and caught.value.layer == "stem" and caught.value.remedy
