"""What the feature maps are told when channels are ranked, asked as a page asks."""

import numpy as np
import pytest
import torch
from torch import nn

import nnwidget
from nnwidget.wire.codec import decode
from tests.unit.test_explorer import Page
from tests.unit.test_influence import brute


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 20, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20 * 36, 7)).eval()


@pytest.fixture
def images():
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def ex(model, images):
    with nnwidget.explore(model, images, targets=[3, 3, 1, None, 6], class_names=list("abcdefg")) as made:
        yield made


@pytest.fixture
def page(ex):
    return Page(ex)


def asked(page, **more):
    answer = page.ask("ranking", **{"layer": "1", **more})
    assert answer["ok"], answer
    buffers = next(buffers for content, buffers in reversed(page.heard) if content is answer)
    return decode(answer["result"], buffers)


def whole(page, **more):
    """Ask for further parts until all is there, as the page does."""
    result = asked(page, **more)
    while len(result["channels"]) < result["total"]:
        result = asked(page, resume=len(result["channels"]), **more)
    return result


def scores(result):
    found = np.full(result["total"], np.nan)
    found[result["channels"]] = result["scores"]
    return found


def test_the_change_of_the_predicted_logit_is_that_of_plain_torch(page, ex, model, images):
    result = whole(page, input=2)
    with torch.no_grad():
        logits = model(images)[2]
    target = int(logits.argmax())
    assert (result["target"], result["quantity"], result["inputs"]) == (target, "logit", 5)
    assert result["before"] == pytest.approx(float(logits[target]), rel=1e-6)
    assert np.allclose(scores(result), brute(model, "1", images, at=2)[:, target], atol=1e-5)
    assert sorted(result["channels"]) == list(range(20))
    activity = np.abs(ex.activation("1", input=2)).mean((1, 2))
    assert (np.diff(activity[result["channels"]]) <= 1e-7).all(), "the most active are tried first"


def test_another_logit_costs_no_further_run_and_any_can_be_asked(page, ex, model, images, monkeypatch):
    result = whole(page)
    offered = [target["index"] for target in result["targets"]]
    with torch.no_grad():
        assert offered[:5] == model(images)[0].topk(5).indices.tolist()
    assert 3 in offered and {t["index"]: t["name"] for t in result["targets"]}[3] == "d"
    expected = brute(model, "1", images)

    def never(*args, **kwargs):
        raise AssertionError("the model was run again")

    with monkeypatch.context() as patch:
        patch.setattr(ex._bench.replayer, "run", never)
        patch.setattr(ex._bench.replayer, "rows", never)
        for target in offered:
            assert np.allclose(scores(whole(page, target=target)), expected[:, target], atol=1e-5)
    other = next(number for number in range(7) if number not in offered)
    assert np.allclose(scores(whole(page, target=other)), expected[:, other], atol=1e-5)
    answer = page.ask("ranking", layer="1", target=7)
    assert not answer["ok"] and answer["error"]["argument"] == "target" and "0 to 6" in answer["error"]["remedy"]


def test_edits_stay_out_of_it(page, ex, model, images):
    ex.edit({"0": nnwidget.Scale(0.0, channel=2)})
    result = whole(page, edits=ex.widget.edits, target=1)
    assert np.allclose(scores(result), brute(model, "1", images)[:, 1], atol=1e-5)


def test_parts_of_different_weights_are_never_put_together(page, ex, model):
    first = asked(page)
    assert first["total"] == 20
    with torch.no_grad():
        model[0].weight.mul_(0.5)
    ex._bench.moved()
    answer = page.ask("ranking", layer="1", resume=9)
    assert not answer["ok"] and answer["error"]["type"] == "MovedError"
    assert "after 9 channels" in answer["error"]["message"] and "training" in answer["error"]["remedy"]
    assert whole(page)["total"] == 20


def test_a_cancelled_part_keeps_what_was_found(page, ex, monkeypatch):
    ranked = []
    real = type(ex._bench.replayer).rows

    def rows(self, *args, **kwargs):
        if ranked:
            page.tell(k="cancel", id=page.number)
        ranked.append(1)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(ex._bench.replayer), "rows", rows)
    answer = page.ask("ranking", layer="1")
    assert not answer["ok"] and answer["error"]["type"] == "CancelledError"
    done = len(ex._bench.ranked.influence.changes)
    assert 0 < done < 20
    monkeypatch.undo()
    assert len(whole(page)["channels"]) == 20


def test_class_selectivity_is_that_of_the_paper(page, model, images):
    result = asked(page, by="selectivity")
    with torch.no_grad():
        means = model[:2](images).mean((2, 3)).double()
    per = torch.stack([means[2], means[:2].mean(0), means[4]])
    largest = per.max(0).values
    rest = (per.sum(0) - largest) / 2
    # A channel that is zero for every input prefers no class.
    assert np.allclose(scores(result), ((largest - rest) / (largest + rest)).nan_to_num(0), atol=1e-6)
    assert result["preferred"] == ["bdg"[int(at)] for at in per.argmax(0)]
    assert (result["classes"], result["inputs"], result["without"]) == (3, 4, 0)


def test_class_selectivity_says_what_is_missing(page, model, images):
    # Before the ReLU some means are negative; a layer whose means all are has no index at all.
    found = asked(page, layer="0", by="selectivity")
    assert found["without"] == np.isnan(found["scores"]).sum() > 0
    with torch.no_grad():
        model[0].bias.fill_(-10)
    page.ask("look", layer="0", want=["maps"])
    answer = page.ask("ranking", layer="0", by="selectivity")
    assert not answer["ok"] and "ReLU" in answer["error"]["remedy"]
    with nnwidget.explore(model, images) as bare:
        answer = Page(bare).ask("ranking", layer="1", by="selectivity")
    assert answer["error"]["argument"] == "targets" and "targets=" in answer["error"]["remedy"]


@pytest.mark.parametrize(
    ("field", "value"), [("by", "beauty"), ("by", 3), ("target", -1), ("target", True), ("resume", -1), ("layer", None)]
)
def test_a_malformed_question_is_refused_with_its_field(page, field, value):
    answer = page.ask("ranking", **{"layer": "1", field: value})
    assert not answer["ok"] and answer["error"]["type"] == "MessageError"


def test_unknown_layers_and_single_numbers_have_an_error_and_no_ranking(page):
    assert page.ask("ranking", layer="nope")["error"]["type"] == "UnknownLayerError"
    assert "call" in page.ask("ranking", layer="1", call=4)["error"]["message"]
