"""What a page that shows the weights asks and is told, read back against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nnwidget
from nnwidget.session import service
from nnwidget.wire.codec import decode


class Net(nn.Module):
    """A convolution, a large matrix, a tied pair."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.big = nn.Linear(6, 2000)
        self.emb = nn.Embedding(5, 2000)
        self.head = nn.Linear(2000, 5, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.big(self.conv(x).mean(dim=(2, 3))) + self.emb(torch.zeros(1, dtype=torch.long)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def ex(model):
    with nnwidget.explore(model, torch.rand(3, 1, 8, 8)) as made:
        yield made


class Page:
    """A page without a browser: says what a page says and keeps what it hears."""

    def __init__(self, ex):
        self.panel, self.heard, self.number = ex.widget, [], 0
        ex._panels.dispatcher(self.panel)._send = lambda content, buffers: self.heard.append((content, buffers))
        self.tell(k="hello", v=1)

    def tell(self, **message):
        self.panel._from_page(self.panel, {"client": "page", **message}, [])

    def answer(self, method, **params):
        self.number += 1
        self.tell(k="request", v=1, id=self.number, method=method, params=params)
        return next((c, b) for c, b in reversed(self.heard) if c.get("id") == self.number)

    def ask(self, method, **params):
        content, buffers = self.answer(method, **params)
        assert content["ok"], content
        return decode(content["result"], buffers)

    def pushed(self):
        return [decode(c["result"], b) for c, b in self.heard if c["k"] == "filters"]


@pytest.fixture
def page(ex):
    return Page(ex)


def shown(result, key="weight"):
    """The values of the picture."""
    picture = result[key]
    n = len(picture["lo"])
    lo, hi = (picture[side].reshape(n, 1, 1).astype(np.float64) for side in ("lo", "hi"))
    return lo + picture["codes"] / 252 * (hi - lo)


def test_filters_and_their_gradients_are_those_of_torch(page, model):
    model(torch.rand(2, 1, 8, 8)).sum().backward()
    result = page.ask("filters", layer="conv", gradient=True)
    assert (result["kind"], result["shape"], result["gradient_note"]) == ("channel", [6, 1, 3, 3], "")
    for key, truth in (("weight", model.conv.weight), ("gradient", model.conv.weight.grad)):
        truth = truth.detach()[:, 0].numpy()
        np.testing.assert_allclose(shown(result, key), truth, atol=np.ptp(truth) / 252)
        assert result[key]["minimum"] == pytest.approx(truth.min()) and result[key]["count"] == 54
        np.testing.assert_allclose(result[key]["norms"], np.linalg.norm(truth.reshape(6, -1), axis=1), rtol=1e-5)
    assert page.ask("filters", layer="conv")["gradient"] is None


def test_only_what_is_in_sight_travels(page, model):
    content, buffers = page.answer("filters", layer="emb", window=[1, 5, 100, 300], room=[64, 64])
    result = decode(content["result"], buffers)
    assert result["weight"]["pool"] == [1, 4] and result["window"] == [1, 5, 100, 300]
    truth = model.emb.weight.detach()[1:5, 100:300].reshape(4, 50, 4).mean(-1).numpy()
    np.testing.assert_allclose(shown(result)[0], truth, atol=np.ptp(truth) / 252)
    assert sum(memoryview(buffer).nbytes for buffer in buffers) < 4 * 50 + 4 * (4 + 50) + 64


def test_tied_weights_are_named(page):
    assert page.ask("filters", layer="emb")["tied"] == ["head.weight"]
    assert page.ask("filters", layer="head")["tied"] == ["emb.weight"]
    assert page.ask("filters", layer="big")["tied"] == []


def test_weights_are_sorted_by_how_the_layer_answers_to_the_chosen_input(page, ex, model):
    result = page.ask("filters", layer="conv", sort="activity", look={"layer": "conv", "input": 2})
    truth = np.abs(ex.activation("conv", input=2)).mean(axis=(1, 2))
    np.testing.assert_allclose(result["scores"], truth, rtol=1e-5)
    assert result["input"] == 2
    rows = page.ask("filters", layer="big", sort="activity", look={"layer": "big", "input": 2}, window=[0, 4, 0, 6])
    order = np.argsort(-np.abs(ex.activation("big", input=2)), kind="stable")
    assert rows["order"].tolist() == order[:4].tolist()
    truth = model.big.weight.detach().numpy()[order[:4]]
    np.testing.assert_allclose(shown(rows)[0], truth, atol=np.ptp(truth) / 252)


def test_what_others_were_compared_with_is_said(page):
    result = page.ask("filters", layer="conv", sort="similarity", reference=2)
    assert result["reference"] == 2 and result["scores"][2] == pytest.approx(1.0)
    assert page.ask("filters", layer="conv", sort="norm", reference=2)["reference"] is None


def test_what_has_no_activity_says_what_else_to_sort_by(page):
    content, _ = page.answer("filters", layer="emb", sort="activity", look={"layer": "emb"})
    assert not content["ok"] and content["error"]["argument"] == "sort"
    assert "norm" in content["error"]["remedy"]


def test_the_number_under_the_pointer_is_exact(page, model):
    found = page.ask("weight", layer="conv", tile=4, row=2, column=1)
    assert found["values"] == [model.conv.weight[4, 0, 2, 1].item()]
    assert float(found["text"].replace("\N{MINUS SIGN}", "-")) == pytest.approx(found["values"][0], rel=1e-8)
    block = page.ask("weight", layer="emb", row=1, column=8, rows=2, columns=4)
    assert block["values"] == [pytest.approx(float(model.emb.weight[1:3, 8:12].detach().double().mean()))]
    model.conv.weight.grad = torch.full_like(model.conv.weight, 0.25)
    assert page.ask("weight", layer="conv", tile=0, row=0, column=0, of_gradient=True)["values"] == [0.25]


def test_a_page_that_shows_weights_sees_them_train(page, ex, model, monkeypatch):
    monkeypatch.setattr(service, "_LIVE_GAP", 0.0)
    monkeypatch.setattr(service, "_LIVE_SHARE", 1e9)
    page.tell(k="watch", params=None, filters={"layer": "conv"})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        ex._session.owner._rest_until = 0.0
        model(torch.rand(2, 1, 8, 8)).sum().backward()
        optimizer.step()

    step()
    step()
    assert len(page.pushed()) == 1, "one picture without an acknowledgement"
    page.tell(k="ack", seq=next(c["seq"] for c, _ in page.heard if c["k"] == "filters"))
    step()
    truth = model.conv.weight.detach()[:, 0].numpy()
    assert len(page.pushed()) == 2
    np.testing.assert_allclose(shown(page.pushed()[-1]), truth, atol=np.ptp(truth) / 252)
    page.tell(k="watch", params=None, filters=None)
    page.tell(k="ack", seq=10)
    step()
    assert len(page.pushed()) == 2


def test_a_cell_that_moved_a_weight_shows_it_without_a_click(page, ex, model):
    page.ask("look", layer="conv", want=["maps"])
    page.tell(k="watch", params=None, filters={"layer": "conv"})
    ex._cell_began()
    with torch.no_grad():
        model.conv.weight[2] = 7.0
    ex._cell_ended()
    assert page.pushed()[-1]["weight"]["maximum"] == 7.0
