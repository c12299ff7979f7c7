"""What the distribution panel is told and draws, asked as a page asks."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import nnwidget
from nnwidget.errors import MessageError
from nnwidget.wire.codec import decode
from nnwidget.wire.messages import DistributionOf, Look, parse
from tests.unit.test_explorer import Page


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()


@pytest.fixture
def images():
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def ex(model, images):
    with nnwidget.explore(model, images) as made:
        yield made


@pytest.fixture
def page(ex):
    return Page(ex)


def asked(page, layer="0", **more):
    answer = page.ask("distribution", layer=layer, **more)
    assert answer["ok"], answer
    buffers = next(buffers for content, buffers in reversed(page.heard) if content is answer)
    return decode(answer["result"], buffers)


def histc(values, result):
    return torch.histc(torch.as_tensor(values).double(), result["bins"], result["lo"], result["hi"]).tolist()


def test_activations_are_counted_as_torch_counts_them(page, ex):
    result = asked(page, input=2)
    values = ex.activation("0", input=2)
    (series,) = result["series"]
    assert series["counts"].tolist() == histc(values, result) and series["statistics"]["count"] == values.size
    assert (result["lo"], result["hi"]) == (values.min(), values.max())
    assert series["shape"] == [4, 6, 6] and series["stride"] == 1 and result["input"] == 2


def test_a_range_names_the_channels_that_have_values_in_it(page, ex):
    result = asked(page, layer="1")
    values = ex.activation("1")
    edges = np.linspace(result["lo"], result["hi"], result["bins"] + 1)
    inside = (values >= edges[40]) & (values < edges[50])
    assert (result["shares"][:, 40:50].any(1) == inside.any((1, 2))).all()
    assert 0 < inside.any((1, 2)).sum() < 4, "the example tells channels apart"


def test_several_layers_share_the_bins(page, ex):
    result = asked(page, others=["1", "3"])
    values = [ex.activation(name) for name in ("0", "1", "3")]
    assert result["lo"] == min(v.min() for v in values) and result["hi"] == max(v.max() for v in values)
    for series, expected in zip(result["series"], values, strict=True):
        assert series["counts"].tolist() == histc(expected, result)


def test_edits_are_in_force_and_said(page, ex):
    ex.edit({"0": nnwidget.Scale(0.0, channel=1)})
    result = asked(page, layer="1", edits=ex.widget.edits)
    assert result["edits"] == 1
    assert result["series"][0]["counts"].tolist() == histc(ex.activation("1"), result)
    assert asked(page, quantity="weights")["edits"] == 0


def test_weights_and_biases_are_counted_by_name(page, model):
    result = asked(page, quantity="weights")
    assert (result["parameter"], result["parameters"]) == ("weight", ["weight", "bias"])
    assert result["series"][0]["counts"].tolist() == histc(model[0].weight.detach(), result)
    assert result["shares"] is None
    result = asked(page, quantity="weights", parameter="bias", others=["3"])
    assert [series["what"] for series in result["series"]] == ["bias", "bias"]
    assert result["series"][1]["counts"].tolist() == histc(model[3].bias.detach(), result)


def test_a_weight_that_this_layer_lacks_gives_its_first(page):
    assert asked(page, quantity="weights", parameter="weight_hh_l0")["parameter"] == "weight"


def test_gradients_are_waited_for_and_then_those_of_the_last_backward(page, model, images):
    (series,) = asked(page, quantity="gradients")["series"]
    assert series["waiting"] and series["counts"] is None and "run a backward pass" in series["reason"]
    model(images).sum().backward()
    result = asked(page, quantity="gradients")
    assert result["series"][0]["counts"].tolist() == histc(model[0].weight.grad, result)


def test_gradients_that_never_come_say_why(page, model):
    model[0].weight.requires_grad_(False)
    assert "frozen" in asked(page, quantity="gradients")["series"][0]["reason"]
    parametrizations.weight_norm(model[3])
    assert "parametrisation" in asked(page, layer="3", quantity="gradients", parameter="weight")["series"][0]["reason"]
    result = asked(page, layer="3", quantity="weights", parameter="weight")
    assert result["series"][0]["counts"].tolist() == histc(model[3].weight.detach(), result)


def test_what_a_channel_is_depends_on_the_layer(page):
    assert [asked(page, layer=name)["layout"] for name in ("0", "3")] == ["maps", "vector"]
    assert asked(page, quantity="weights")["layout"] == ""


def test_looking_leaves_no_gradient_and_no_mode_behind(page, model):
    model[1].train()
    for quantity in ("activations", "weights", "gradients"):
        asked(page, quantity=quantity)
    assert all(p.grad is None for p in model.parameters()) and model[1].training and not model.training


def test_layers_that_cannot_be_compared_are_left_out_with_the_reason(page):
    result = asked(page, quantity="weights", others=["1", "3", "gone"])
    reasons = {series["layer"]: series["reason"] for series in result["series"]}
    assert reasons["0"] == reasons["3"] == "" and "no weights" in reasons["1"] and "gone" in reasons["gone"]
    assert "gone" in {s["layer"]: s["reason"] for s in asked(page, others=["gone"])["series"]}["gone"]
    (relu,) = asked(page, layer="1", quantity="weights")["series"]
    assert not relu["waiting"] and "no weights" in relu["reason"]
    (root,) = asked(page, layer="", quantity="weights")["series"]
    assert "inside it" in root["reason"]


def test_another_layer_takes_the_place_of_one_without_weights(page):
    result = asked(page, layer="1", quantity="weights", others=["0"])
    assert [series["what"] for series in result["series"]] == ["", "weight"]


def test_an_unknown_layer_or_input_is_an_error_with_a_remedy(page):
    assert page.ask("distribution", layer="gone")["error"]["type"] == "UnknownLayerError"
    assert page.ask("distribution", layer="0", input=9)["error"]["remedy"] == "Choose 0 to 4."


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"others": "0"}, "others"),
        ({"others": ["1", "2", "3", "4"]}, "others"),
        ({"quantity": "loss"}, None),
        ({"parameter": 3}, "parameter"),
        ({"input": -1}, "input"),
    ],
)
def test_bad_questions_are_refused(params, field):
    with pytest.raises(MessageError) as error:
        parse(
            {
                "k": "request",
                "v": 1,
                "client": "a",
                "id": 1,
                "method": "distribution",
                "params": {"layer": "0"} | params,
            }
        )
    assert field is None or error.value.argument == field


def test_a_question_is_read_field_by_field():
    request = parse(
        {
            "k": "request",
            "v": 1,
            "client": "a",
            "id": 1,
            "method": "distribution",
            "params": {"layer": "0", "input": 1, "others": ["0", "3", "3"], "quantity": "weights", "parameter": "bias"},
        }
    )
    assert request.params == DistributionOf(Look("0", 1), ("3",), "weights", "bias")


def test_choices_are_kept_as_traits_of_all_panels(page, ex):
    assert page.ask("set", quantity="weights", parameter="bias", log_counts=False, view="distribution")["ok"]
    assert (ex.distribution.quantity, ex.distribution.parameter, ex.distribution.log_counts) == (
        "weights",
        "bias",
        False,
    )
    assert not page.ask("set", log_counts="yes")["ok"] and not page.ask("set", quantity="loss")["ok"]


def outline(line):
    """The bars of a curve, from its outline."""
    return np.asarray(line.y)[1:-1:2]


def test_the_figure_shows_the_counts_and_follows_the_axis(page, ex):
    result = asked(page)
    figure = ex.distribution.figure
    assert result["figure"]["id"] == figure.model_id
    first, *others = figure.marks
    counts = result["series"][0]["counts"]
    # On a logarithmic axis nothing lies on its lower end.
    assert np.array_equal(outline(first), np.maximum(counts, 0.5)) and not any(line.visible for line in others)
    assert figure.axes[1].label == "values per bin" and figure.axes[0].label == "activation"
    ex.distribution.log_counts = False
    assert np.array_equal(outline(first), counts) and first.scales["y"].min == 0
    assert figure.axes[1].scale is first.scales["y"]
    ex.distribution.log_counts = True
    assert np.array_equal(outline(first), np.maximum(counts, 0.5)) and first.scales["y"].min == 0.5


def test_compared_layers_are_drawn_in_per_cent_with_a_stroke_each(page, ex):
    ex.widget.log_counts = False
    result = asked(page, others=["1", "3"])
    figure = ex.distribution.figure
    shown = [line for line in figure.marks if line.visible]
    assert [line.labels for line in shown] == [["0"], ["1"], ["3"]]
    assert len({line.line_style for line in figure.marks}) == len({line.colors[0] for line in figure.marks}) == 4
    for line, series in zip(shown, result["series"], strict=True):
        assert outline(line).sum() == pytest.approx(100)
        assert outline(line) == pytest.approx(series["counts"] * 100 / series["statistics"]["count"])
    assert figure.axes[1].label == "% per bin"


def test_what_is_restyled_from_python_stays_and_is_told_to_the_page(page, ex):
    line = ex.distribution.figure.marks[0]
    line.colors, line.line_style = ["crimson"], "dotted"
    told = asked(page)["figure"]
    assert told["colours"][0] == "crimson" and told["strokes"][0] == "dotted" and line.colors == ["crimson"]


@pytest.mark.parametrize("values", [torch.zeros(3, 4), torch.full((3, 4), 1e-38), torch.full((3, 4), torch.nan)])
@pytest.mark.parametrize("log", [True, False])
def test_axes_have_round_numbers_whatever_the_values_are(values, log):
    layer = nn.Linear(4, 3)
    with nnwidget.explore(nn.Sequential(layer), torch.ones(2, 4)) as ex:
        layer.weight.data = values
        ex.widget.log_counts = log
        asked(Page(ex), quantity="weights")
        for axis in ex.distribution.figure.axes:
            numbers = np.asarray(axis.tick_values)
            assert np.isfinite(numbers).all() and 1 <= len(numbers) <= 13
            assert axis.scale.min <= numbers.min() and numbers.max() <= axis.scale.max


def test_nothing_is_drawn_or_left_behind_without_a_look(model, images):
    with nnwidget.explore(model, images) as ex:
        Page(ex).ask("look", layer="0", want=["maps"])
        assert ex._figure is None, "bqplot waits until somebody looks"
        asked(Page(ex))
        figure = ex.distribution.figure
        parts = [figure, *figure.marks, *figure.axes, *figure.marks[0].scales.values(), figure.layout, figure.scale_x]
        assert all(part.comm is not None for part in parts)
    assert all(part.comm is None for part in parts)


@pytest.mark.parametrize("count", [1, 3, 70, 20_000])
@pytest.mark.parametrize("log", [True, False])
def test_counts_have_whole_numbers_on_their_axis(count, log):
    from nnwidget.widgets.distribution_figure import DistributionFigure

    drawing = DistributionFigure(log=log)
    result = {"lo": 0.0, "hi": 1.0, "bins": 2, "quantity": "activations", "parameter": ""}
    drawing.show(result | {"series": [{"layer": "0", "counts": np.array([count, 0])}]})
    numbers = drawing.figure.axes[1].tick_values
    drawing.close()
    assert len(numbers) and (numbers == np.round(numbers)).all() and numbers.max() <= count * 1.2
