"""The explorer as an object: one selection for all panels, honest errors, nothing left behind."""

import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import optimizer as torch_optimizer

import nnwidget
from nnwidget.errors import InputError, NNWidgetError, UnknownLayerError
from nnwidget.model.taps import active


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()


@pytest.fixture
def images():
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def ex(model, images):
    with nnwidget.explore(model, images) as made:
        yield made


class Page:
    """A page without a browser: says what a page says and keeps what it hears."""

    def __init__(self, ex):
        self.panel, self.heard, self.number = ex.widget, [], 0
        ex._panels.dispatcher(self.panel)._send = lambda content, buffers: self.heard.append((content, buffers))
        self.tell(k="hello", v=1)

    def tell(self, **message):
        self.panel._from_page(self.panel, {"client": "page", **message}, [])

    def ask(self, method, **params):
        self.number += 1
        self.tell(k="request", v=1, id=self.number, method=method, params=params)
        return next(content for content, _ in reversed(self.heard) if content.get("id") == self.number)


@pytest.fixture
def page(ex):
    return Page(ex)


def look(layer, **more):
    return {"layer": layer, "want": ["maps", "channel", "prediction"], **more}


def test_activation_is_what_the_model_computes_for_that_input(ex, model, images):
    with torch.no_grad():
        expected = model[0](images[2:3])[0]
    assert np.array_equal(ex.activation("0", input=2), expected.numpy())


def test_activation_follows_edits_unless_told_otherwise(ex, model, images):
    free = ex.activation("2")
    ex.edit({"0": nnwidget.Scale(0.0, channel=1)})
    assert not np.array_equal(ex.activation("2"), free)
    assert np.array_equal(ex.activation("2", edited=False), free)
    ex.reset()
    assert np.array_equal(ex.activation("2"), free)


def test_predictions_before_and_after_are_those_of_plain_code(ex, model, images):
    ex.edit(
        {"0": [nnwidget.Scale(0.5, channel=1), nnwidget.Ablate(channel=2, value=0.0)], "2": nnwidget.Clamp(max=0.1)}
    )
    said = ex.predictions()
    with torch.no_grad():
        before = model(images).softmax(1)
        with nnwidget.edit(
            model,
            {
                "0": [nnwidget.Scale(0.5, channel=1), nnwidget.Ablate(channel=2, value=0.0)],
                "2": nnwidget.Clamp(max=0.1),
            },
        ):
            after = model(images).softmax(1)
    assert said.kind == "softmax of logits"
    assert np.allclose(said.before, before, atol=1e-6) and np.allclose(said.after, after, atol=1e-6)


def test_the_code_of_every_edit_gives_the_same_numbers(ex, model, images):
    edits = {
        "0": [
            nnwidget.Scale(0.25, channel=0),
            nnwidget.Ablate(channel=1),
            nnwidget.Ablate(channel=2, value=0.0),
            nnwidget.Clamp(-0.5, 0.5, channel=3),
        ],
        "2": nnwidget.Scale(1.5),
    }
    ex.edit(edits)
    scope = {"model": model, "inputs": images}
    with torch.no_grad():
        exec(ex.code(), scope)
    assert np.allclose(scope["output"].softmax(1), ex.predictions().after, atol=1e-6)


def test_edits_the_page_has_no_word_for_are_in_force_too(ex):
    ex.edit({"0": nnwidget.Replace(lambda t: t * 0, channel=0)})
    assert ex.widget.edits == []
    assert np.abs(ex.activation("0")[0]).max() == 0


def test_all_panels_follow_one_selection(ex):
    ex.layers.selected = ["2"]
    assert ex.widget.selected == ex.feature_maps.selected == ["2"]
    ex.feature_maps.channel = 3
    assert ex.widget.channel == ex.layers.channel == 3


def test_panels_written_from_two_threads_never_wait_for_each_other(ex):
    panels = [ex.widget, ex.layers, ex.feature_maps]

    def write(panel, offset):
        for number in range(100):
            panel.write({"channel": number * 2 + offset})

    threads = [threading.Thread(target=write, args=(panel, i), daemon=True) for i, panel in enumerate(panels)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert len({panel.channel for panel in panels}) == 1


def test_a_click_gets_maps_channel_and_prediction_in_one_answer(page, model, images):
    answer = page.ask("look", **look("0", input=1, channel=2))
    assert answer["ok"], answer
    result = answer["result"]
    buffers = page.heard[-1][1]
    plane = np.frombuffer(buffers[result["channel"]["plane"]["$array"]], np.float32).reshape(6, 6)
    with torch.no_grad():
        assert np.array_equal(plane, model[0](images[1:2])[0, 2].numpy())
    assert result["maps"]["shape"] == [4, 6, 6] and result["maps"]["total"] == 4
    assert [row["before"] for row in result["prediction"]["rows"]] == pytest.approx(
        sorted(model(images[1:2]).softmax(1)[0].tolist(), reverse=True), abs=1e-6
    )


def test_the_same_look_again_is_served_from_what_is_known(page):
    page.ask("look", **look("0"))
    assert page.ask("look", **look("0", channel=1))["result"]["served"] == "cached"


def test_weights_that_moved_are_seen_after_the_cell(page, ex, model):
    first = page.ask("look", **look("0"))["result"]["maps"]["maximum"]
    with torch.no_grad():
        model[0].weight.mul_(2)
    ex._cell_ended()
    assert page.ask("look", **look("0"))["result"]["maps"]["maximum"] != first


def test_moving_a_slider_runs_only_what_comes_after(page):
    edit = {"layer": "2", "op": "scale", "channel": 1, "factor": 0.5}
    page.ask("look", **look("2", edits=[edit]))
    answer = page.ask("look", **look("2", edits=[edit | {"factor": 0.25}]))
    assert answer["result"]["served"] == "cut"


def test_the_exact_value_under_the_pointer(page, model, images):
    page.ask("look", **look("0"))
    answer = page.ask("value", **look("0", channel=3, row=1, column=2))
    with torch.no_grad():
        assert answer["result"]["value"] == pytest.approx(float(model[0](images[:1])[0, 3, 1, 2]), abs=0)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (look("nope"), "no layer 'nope'"),
        (look("0", input=99), "no input 99"),
        (look("0", channel=99), "no channel 99"),
        (look("0", call=3), "called 1 times"),
        (look("0", output="x"), "no output 'x'"),
        (look("0", edits=[{"layer": "0", "op": "zero", "channel": 77}]), "77"),
        (look("0", edits=[{"layer": "gone", "op": "zero", "channel": 0}]), "gone"),
    ],
)
def test_a_question_that_cannot_be_answered_says_why(page, params, words):
    answer = page.ask("look", **params)
    assert not answer["ok"] and words in answer["error"]["message"]
    assert page.ask("look", **look("0"))["ok"], "nothing is lost"


def test_setting_state_from_the_page_writes_the_traits(page, ex):
    assert page.ask("set", selected=["4"], channel=1, scaling="channel")["ok"]
    assert ex.layers.selected == ["4"] and ex.widget.scaling == "channel"


def test_closing_leaves_nothing_and_frees_the_model(images):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    before = len(torch_optimizer._global_optimizer_post_hooks)
    ex = nnwidget.explore(model, images)
    ex._repr_mimebundle_()
    ex.layers.selected = ["1"]
    ex.activation("1")
    assert nnwidget.running() == [ex] and model._forward_pre_hooks
    ex.close()
    ex.close()
    assert nnwidget.running() == [] and active() == []
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert len(torch_optimizer._global_optimizer_post_hooks) == before
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    with pytest.raises(NNWidgetError, match="closed"):
        ex.activation("1")


def test_no_hook_before_anybody_looks(model, images):
    with nnwidget.explore(model, images):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_training_beside_a_page_is_bitwise_untouched(images):
    def train(watched):
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 3)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        ex = nnwidget.explore(model, images) if watched else None
        page = Page(ex) if ex is not None else None
        for step in range(12):
            optimizer.zero_grad()
            loss = model(torch.rand(6, 1, 8, 8)).square().mean()
            loss.backward()
            optimizer.step()
            if ex is not None:
                edit = {"layer": "0", "op": "mean", "channel": 1}
                assert page.ask("look", **look(str(step % 6), channel=0, edits=[edit]))["ok"]
        if ex is not None:
            ex.close()
        return [
            *model.state_dict().values(),
            loss.detach(),
            torch.get_rng_state(),
            *(p.grad for p in model.parameters()),
        ]

    for free, watched in zip(train(False), train(True), strict=True):
        assert torch.equal(free, watched)


@pytest.mark.parametrize(
    ("make", "argument", "words"),
    [
        (lambda m, x: nnwidget.explore("resnet", x), "model", "str"),
        (lambda m, x: nnwidget.explore(nn.Linear, x), "model", "class"),
        (lambda m, x: nnwidget.explore(m), "inputs", "no inputs"),
        (lambda m, x: nnwidget.explore(m, x[:0]), "inputs", "empty"),
        (lambda m, x: nnwidget.explore(m, (x, torch.zeros(5, dtype=torch.long))), "inputs", "targets="),
        (lambda m, x: nnwidget.explore(m, x, targets=[1, 2]), "targets", "2 targets for 5"),
        (lambda m, x: nnwidget.explore(m, x, captions=["a"]), "captions", "1 caption"),
    ],
)
def test_bad_arguments_are_named_with_a_remedy(model, images, make, argument, words):
    with pytest.raises(InputError) as error:
        make(model, images)
    assert error.value.argument == argument and words in str(error.value)


def test_an_unknown_layer_names_the_nearest(images):
    model = nn.Sequential()
    model.add_module("stem", nn.Conv2d(1, 2, 3))
    with nnwidget.explore(model, images) as ex, pytest.raises(UnknownLayerError, match="'stem'"):
        ex.activation("stm")


def test_a_model_that_raises_shows_what_came_before(page, images):
    broken = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(7, 2))
    with nnwidget.explore(broken, images) as ex:
        rows = ex._bench.table
        assert rows.error is not None and rows.error.layer == "2"
        assert ex.activation("0").shape == (4, 6, 6)
        with pytest.raises(NNWidgetError, match=r"'2'"):
            ex.activation("2")


def test_nan_everywhere_is_shown_and_counted(images):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    nn.init.constant_(model[0].weight, float("nan"))
    with nnwidget.explore(model, images) as ex:
        assert np.isnan(ex.activation("0")).all()
        assert np.isnan(ex.predictions().before).all()


def test_a_model_without_parameters_is_shown_too(images):
    with nnwidget.explore(nn.Sequential(nn.ReLU(), nn.Flatten()), images) as ex:
        assert ex.activation("1").shape == (64,)
        assert ex.predictions().before.shape == (5, 64)


def test_numbers_for_pixels_and_a_loader_are_taken_as_they_come(model):
    pairs = torch.utils.data.TensorDataset(torch.rand(8, 1, 8, 8), torch.arange(8))
    loader = torch.utils.data.DataLoader(pairs, batch_size=4, shuffle=True)
    state = torch.get_rng_state()
    with pytest.raises(InputError, match="targets="):
        nnwidget.explore(model, loader)
    assert torch.equal(torch.get_rng_state(), state)
    with nnwidget.explore(model, np.zeros((2, 1, 8, 8))) as ex:
        assert "float32" in ex._service._model_words["note"]


hostile = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**40)
    | st.floats()
    | st.sampled_from(["0", "2", "4", "", "conv", "mean", "scale"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["layer", "op", "channel", "factor", "min"]), inner, max_size=5)
    ),
    max_leaves=6,
)
edits = st.lists(
    st.fixed_dictionaries(
        {
            "layer": st.sampled_from(["0", "2", "4", "", "gone"]),
            "op": st.sampled_from(["scale", "mean", "zero", "only", "clamp"]),
            "channel": st.none() | st.integers(0, 40),
        },
        optional={"factor": st.floats(), "min": st.floats() | st.none(), "max": st.floats() | st.none()},
    ),
    max_size=3,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["look", "value", "filters", "distribution", "code", "inputs", "set"]),
    params=st.fixed_dictionaries(
        {"layer": st.sampled_from(["", "0", "1", "2", "3", "4", "gone"])},
        optional={
            "input": st.integers(0, 6) | hostile,
            "call": st.integers(0, 2) | hostile,
            "output": st.sampled_from(["", "0", "x"]) | hostile,
            "edge": st.integers(4, 64) | hostile,
            "channel": st.integers(0, 200) | hostile,
            "row": st.integers(0, 20),
            "column": st.integers(0, 20),
            "mode": st.sampled_from(["auto", "norm", 0, 7]) | hostile,
            "part": st.sampled_from(["weight", "bias", "gone"]) | hostile,
            "section": st.integers(-2, 3) | hostile,
            "slice": st.integers(0, 3) | hostile,
            "window": st.lists(st.integers(0, 40), min_size=4, max_size=4) | hostile,
            "room": st.lists(st.integers(4, 64), min_size=2, max_size=2) | hostile,
            "sort": st.sampled_from(["number", "norm", "activity", "similarity", "gone"]) | hostile,
            "reference": st.integers(0, 12) | hostile,
            "gradient": st.booleans() | hostile,
            "look": st.just({"layer": "0"}) | hostile,
            "tile": st.integers(0, 9) | hostile,
            "rows": st.integers(1, 9) | hostile,
            "edits": edits | hostile,
            "want": st.lists(st.sampled_from(["maps", "channel", "prediction"]), max_size=3) | hostile,
            "others": st.lists(st.sampled_from(["", "0", "3", "gone"]), max_size=4) | hostile,
            "quantity": st.sampled_from(["activations", "weights", "gradients"]) | hostile,
            "parameter": st.sampled_from(["", "weight", "bias"]) | hostile,
        },
    ),
)
def test_whatever_a_page_asks_it_gets_one_answer_and_no_log(page, caplog, method, params):
    caplog.clear()
    before = sum("id" in content for content, _ in page.heard)
    answer = page.ask(method, **params)
    assert answer["ok"] or answer["error"]["message"]
    assert sum("id" in content for content, _ in page.heard) == before + 1
    assert "could not serve" not in caplog.text


def pushed(page):
    return [content for content, _ in page.heard if content["k"] == "look"]


def test_a_cell_that_moved_nothing_costs_no_run(page, ex, model):
    page.tell(k="watch", params=look("0"))
    page.ask("look", **look("0"))
    ex._cell_began()
    ex._cell_ended()
    assert pushed(page) == []
    assert page.ask("look", **look("0"))["result"]["served"] == "cached"


def test_a_cell_that_moved_one_weight_shows_it_without_a_click(page, ex, model):
    page.tell(k="watch", params=look("0"))
    page.ask("look", **look("0"))
    model[0].weight.data[0, 0, 0, 0] += 1e-3
    ex._cell_ended()
    assert [content["result"]["layer"] for content in pushed(page)] == ["0"]
    assert page.ask("look", **look("0"))["result"]["served"] == "cached", "the pushed picture is the new truth"


def test_pushed_pictures_wait_for_their_acknowledgement(page, ex, model, images, monkeypatch):
    from nnwidget.session import service

    monkeypatch.setattr(service, "_LIVE_GAP", 0.0)
    monkeypatch.setattr(service, "_LIVE_SHARE", 1e9)
    page.tell(k="watch", params=look("0"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        ex._session.owner._rest_until = 0.0
        model(images).sum().backward()
        optimizer.step()

    step()
    step()
    step()
    assert len(pushed(page)) == 1, "one picture without an acknowledgement"
    page.tell(k="ack", seq=pushed(page)[-1]["seq"])
    step()
    assert len(pushed(page)) == 2
    page.tell(k="bye")
    step()
    assert len(pushed(page)) == 2


def test_edits_without_a_word_for_the_page_are_shown_without_a_click(page, ex):
    page.tell(k="watch", params=look("0"))
    ex.edit({"0": nnwidget.Replace(lambda t: t * 0, channel=0)})
    assert pushed(page)[-1]["result"]["prediction"]["edits"] == 1


def test_tiles_and_edits_count_channels_on_the_same_axis():
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU())
    with nnwidget.explore(model, torch.rand(2, 3, 12)) as ex:
        assert ex.activation("1").shape == (4, 10)
        ex.edit({"1": nnwidget.Scale(0.0, channel=3)})
        found = ex.activation("1")
        assert not found[3].any() and found[:3].any()
    x = torch.rand(2, 3, 12)
    with torch.no_grad(), nnwidget.edit(model, {"1": nnwidget.Scale(0.0, channel=3)}):
        assert not model(x)[:, 3].any()


def test_models_that_are_not_simply_called(images):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def describe(self, x, scale=1.0):
            return self.conv(x).mean((2, 3)) * scale

    model = Named()
    with nnwidget.explore(model, images, forward=lambda model, x: model.describe(x)) as ex:
        assert ex.activation("conv").shape == (2, 6, 6)
        assert ex.predictions().before.shape == (5, 2)
    with nnwidget.explore(model, {"x": images}, forward=lambda model, x: model.describe(**x, scale=2.0)) as ex:
        assert ex.activation("conv").shape == (2, 6, 6)


def test_edits_of_one_layer_keep_their_order_whoever_made_them(ex, model, images):
    edits = {"0": [nnwidget.Clamp(max=0.1), nnwidget.Replace(lambda t: t + 1)]}
    ex.edit(edits)
    with torch.no_grad(), nnwidget.edit(model, edits):
        expected = model[0](images[:1])[0].numpy()
    assert np.array_equal(ex.activation("0"), expected)


def test_code_has_every_edit_with_all_its_digits(ex, model, images):
    ex.edit({"0": [nnwidget.Scale(1 / 3, channel=[0, 1])], "2": nnwidget.Scale(0.123456789, channel=0)})
    scope = {"model": model, "inputs": images}
    with torch.no_grad():
        exec(ex.code(), scope)
    assert np.allclose(scope["output"].softmax(1), ex.predictions().after, atol=1e-7)
    ex.edit({"0": nnwidget.Replace(lambda t: t)})
    assert "Replace(" in ex.code()


def test_a_dragged_slider_keeps_no_pile(page, ex):
    for number in range(20):
        edit = {"layer": "2", "op": "scale", "channel": 1, "factor": number / 20}
        assert page.ask("look", **look("2", edits=[edit]))["ok"]
    assert len(ex._bench._scored) <= 2


def test_too_few_class_names_cost_the_prediction_only(model, images):
    with nnwidget.explore(model, images, class_names=["a"]) as ex:
        result = Page(ex).ask("look", **look("0"))["result"]
        assert result["maps"]["shape"] == [4, 6, 6] and result["prediction"] is None
        assert "class names" in result["error"]["message"]


def test_a_model_that_holds_its_parent_is_shown(images):
    class Child(nn.Module):
        def forward(self, x):
            return x * 2

    model = nn.Sequential(nn.Conv2d(1, 2, 3), Child())
    model[1].parent = model
    with nnwidget.explore(model, images) as ex:
        assert ex.activation("1").shape == (2, 6, 6)
