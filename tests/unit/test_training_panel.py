"""What the pages of a watched training are told, and what they may do to it; no browser, no kernel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import nnwidget
from nnwidget.session import live, training_service
from nnwidget.session.charts import NOTHING, POINTS, Strip, curve, events, scalars
from nnwidget.session.training_service import TrainingService
from nnwidget.training.history import History
from nnwidget.types import Event
from nnwidget.watching import Watch, watch
from nnwidget.wire.codec import decode
from nnwidget.wire.dispatch import Dispatcher

X, Y = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(8, 1)


class Training:
    """A model, its optimiser, and steps on demand."""

    def __init__(self, **options: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.criterion = nn.MSELoss()
        self.watch = watch(self.model, self.optimizer, display=False, **{"every": 1, "budget": None, **options})

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.optimizer.zero_grad()
            self.criterion(self.model(X), Y).backward()
            self.optimizer.step()

    def in_thread(self, times: int) -> threading.Thread:
        thread = threading.Thread(target=self.step, args=(times,))
        thread.start()
        return thread


class Page:
    """A page without a browser: what it was sent, and what it says."""

    def __init__(self, w: Watch, *, greet: bool = True) -> None:
        self.service = TrainingService(w.play, lambda control: "subshell")
        self.sent: list[dict[str, Any]] = []
        self.dispatcher = Dispatcher(self.service, self._take)
        self.number = 0
        w._follow(self._follow)
        if greet:
            self.say(k="hello", v=1, control=False)

    def _follow(self, moment: str) -> None:
        if moment == "step":
            self.service.at_boundary()
        elif moment == "waiting":
            self.service.while_waiting()

    def _take(self, content: dict[str, Any], buffers: Any) -> None:
        self.sent.append(decode(content, buffers))

    def say(self, **message: Any) -> None:
        self.dispatcher.handle({"client": "a", **message})

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        self.say(k="request", v=1, id=self.number, method=method, params=params)
        return next(m for m in reversed(self.sent) if m["k"] == "response" and m["id"] == self.number)

    def result(self, method: str, **params: Any) -> Any:
        answer = self.ask(method, **params)
        assert answer["ok"], answer["error"]
        return answer["result"]

    def pushed(self) -> list[dict[str, Any]]:
        return [message for message in self.sent if message["k"] == "charts"]


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    yield
    for thing in live.running():
        thing.close()


def test_a_page_is_greeted_before_the_first_step() -> None:
    page = Page(Training().watch)
    welcome = page.sent[0]
    assert (welcome["k"], welcome["play"]["state"], welcome["play"]["step"]) == ("welcome", "waiting", 0)
    charts = page.result("charts")
    assert charts["curve"] is None
    assert charts["layers"] is None
    assert charts["scalars"] == []
    assert charts["events"] == []


def test_everything_is_there_after_some_steps() -> None:
    training = Training()
    page = Page(training.watch)
    training.step(20)
    training.watch.close()
    charts = page.result("charts", scalar="loss")
    history = training.watch.history
    assert charts["scalars"][0] == "loss"
    assert {"total_grad_norm", "lr", "step_time"} <= set(charts["scalars"])
    np.testing.assert_array_equal(charts["curve"]["steps"], np.arange(1, 21))
    np.testing.assert_array_equal(charts["curve"]["values"], history["loss"].values.astype(np.float32))
    assert charts["layers"]["names"] == ["0", "2"]
    np.testing.assert_array_equal(charts["layers"]["last"], np.arange(1, 21))
    np.testing.assert_array_equal(charts["layers"]["values"][1], history["grad_norm"]["2"].values.astype(np.float32))
    assert charts["play"]["state"] == "finished"


def test_the_price_is_itemised() -> None:
    training = Training(every=4)
    page = Page(training.watch)
    training.step(60)
    training.watch.close()
    cost = page.result("charts")["play"]["cost"]
    assert cost["total"] == pytest.approx(training.watch.overhead)
    assert cost["total"] == pytest.approx(cost["looks"] + cost["recorded_steps"] + cost["showing"], rel=1e-3)


def test_what_is_followed_is_pushed_once_for_each_acknowledgement() -> None:
    training = Training()
    page = Page(training.watch)
    training.step(3)
    assert not page.pushed(), "nobody looks yet"
    page.result("charts", scalar="total_grad_norm")
    page.service._next = 0.0
    training.watch.history  # noqa: B018 (hands over what came since the last batch of rows)
    training.step()
    assert [push["result"]["curve"]["name"] for push in page.pushed()] == ["total_grad_norm"]
    page.service._next = 0.0
    training.step()
    assert len(page.pushed()) == 1, "unacknowledged"
    page.say(k="ack", seq=page.pushed()[0]["seq"])
    page.service._next = 0.0
    training.step()
    assert len(page.pushed()) == 2
    page.say(k="ack", seq=page.pushed()[1]["seq"])
    page.say(k="watch", params=None)
    page.service._next = 0.0
    training.step()
    assert len(page.pushed()) == 2, "no display any more"


@pytest.mark.parametrize(("cost", "expected"), [(0.0, 10), (0.005, 5)])
def test_pushes_keep_to_their_pace(monkeypatch: pytest.MonkeyPatch, cost: float, expected: int) -> None:
    now = [100.0]
    monkeypatch.setattr(training_service, "time", SimpleNamespace(monotonic=lambda: now[0]))
    training = Training()
    page = Page(training.watch)
    page.result("charts")
    charts = page.service._charts

    def slow(scalar: str) -> dict[str, Any]:
        now[0] += cost
        return charts(scalar)

    page.service._charts = slow  # type: ignore[method-assign]
    for _ in range(38):
        training.step()
        now[0] += 0.0625
        for push in page.pushed():
            page.say(k="ack", seq=push["seq"])
    # In 2.4 s: at most five a second, or fewer where that would be more than one per cent of the time.
    assert len(page.pushed()) == expected


def test_a_paused_training_makes_exactly_the_steps_it_is_given() -> None:
    training = Training()
    page = Page(training.watch)
    page.result("charts")
    page.result("control", action="pause")
    thread = training.in_thread(5)
    until(lambda: any(m["k"] == "status" and m["play"]["state"] == "paused" for m in page.sent))
    assert training.watch.steps == 1
    for number in (2, 3):
        assert page.result("control", action="step")["state"] in ("paused", "running")
        until(lambda number=number: training.watch.steps == number and training.watch._engine.loop.gate.waiting)
    time.sleep(0.2)
    assert training.watch.steps == 3
    page.say(k="ack", seq=page.service._seq)
    until(lambda: page.pushed()[-1]["result"]["play"]["step"] == 3)
    assert page.pushed()[-1]["result"]["curve"]["steps"].tolist() == [1, 2, 3]
    page.result("control", action="resume")
    thread.join(20)
    assert training.watch.steps == 5


def test_a_stop_ends_the_block_and_says_so() -> None:
    training = Training()
    page = Page(training.watch)
    page.result("charts")
    with training.watch:
        training.step(3)
        page.result("control", action="stop")
        training.step(3)
    page.service.tell()
    assert training.watch.steps == 3
    assert page.sent[-1]["play"]["state"] == "stopped"
    refused = page.ask("control", action="pause")
    assert not refused["ok"]
    assert "over" in refused["error"]["message"]


def test_a_loop_that_was_stopped_says_so_until_the_next_one_ends_by_itself() -> None:
    training = Training()
    page = Page(training.watch)

    def play() -> tuple[str, str]:
        facts = page.result("charts")["play"]
        return facts["state"], facts["ended"]

    run = training.watch.run(training.step, 1_000_000)
    until(lambda: training.watch.steps > 3)
    page.result("control", action="stop")
    assert run.join(20) and run.stopped
    assert play() == ("idle", "stopped")
    assert training.watch.run(training.step, 2).join(20)
    assert play() == ("idle", "")


def test_how_a_block_ended_is_known() -> None:
    training = Training()
    with pytest.raises(ZeroDivisionError), training.watch:
        1 / 0  # noqa: B018 (the error is the test)
    facts = training.watch.play.facts()
    assert (facts["state"], facts["problem"]) == ("failed", "ZeroDivisionError: division by zero")
    training = Training()
    with pytest.raises(KeyboardInterrupt), training.watch:
        raise KeyboardInterrupt
    assert training.watch.play.facts()["state"] == "interrupted"


@pytest.mark.parametrize(("controls", "allowed"), [("view", []), ("pause", ["control"]), ("full", ["control", "rate"])])
def test_only_what_was_offered_is_done(controls: str, allowed: list[str]) -> None:
    training = Training(controls=controls)
    page = Page(training.watch)
    found = [
        method
        for method, params in (("control", {"action": "resume"}), ("rate", {"group": 0, "value": 0.5}))
        if page.ask(method, **params)["ok"]
    ]
    assert found == allowed
    assert training.optimizer.param_groups[0]["lr"] == (0.5 if "rate" in allowed else 0.1)


def test_a_learning_rate_changes_at_the_boundary_and_is_recorded() -> None:
    training = Training(controls="full")
    page = Page(training.watch)
    rates: list[float] = []
    asked = threading.Event()

    def loop() -> None:
        for number in range(4):
            training.optimizer.zero_grad()
            training.criterion(training.model(X), Y).backward()
            if number == 1:
                page.result("rate", group=0, value=0.025)
                asked.set()
            rates.append(training.optimizer.param_groups[0]["lr"])
            training.optimizer.step()

    thread = threading.Thread(target=loop)
    thread.start()
    thread.join(20)
    assert rates == [0.1, 0.1, 0.025, 0.025]
    assert asked.is_set()
    event = training.watch.history.events[-1]
    assert (event.step, event.kind) == (2, "lr changed")
    assert event.data == {"group": 0, "old": 0.1, "new": 0.025}
    assert page.ask("rate", group=7, value=1.0)["ok"] is False


def test_a_failing_panel_never_breaks_the_step(caplog: pytest.LogCaptureFixture) -> None:
    training = Training()
    page = Page(training.watch)
    page.result("charts")

    def fail(*args: Any) -> Any:
        raise RuntimeError("no way out")

    page.service._charts = fail  # type: ignore[method-assign]
    training.step(3)
    assert training.watch.steps == 3
    assert "no longer tries" in caplog.text
    assert len(training.watch.history["loss"].steps) == 3


def test_a_long_curve_is_thinned_and_keeps_its_extremes() -> None:
    history = History([], memory=10_000_000)
    steps = np.arange(1, 40_001)
    values = np.sin(steps / 500)
    values[12_345], values[20_000] = 50.0, np.nan
    history.add_steps(steps, np.zeros(len(steps)), {"loss": values})
    found = curve(history, "loss")
    assert found is not None
    assert len(found["steps"]) <= POINTS
    assert found["count"] == 40_000
    assert found["values"][found["steps"] == 12_346] == 50.0
    assert np.isnan(found["values"][found["steps"] == 20_001]).all()
    assert found["window"] == 200
    np.testing.assert_allclose(found["means"][1], values[200:400].mean())
    assert curve(history, "accuracy") is None


def test_scalars_come_in_the_order_of_interest() -> None:
    history = History([], memory=1_000_000)
    row = {name: np.ones(1) for name in ("step_time", "lr/0", "lr/1", "total_grad_norm", "loss")}
    history.add_steps(np.array([1]), np.zeros(1), row)
    history.log(1, "accuracy", 0.5)
    assert scalars(history) == ["loss", "accuracy", "total_grad_norm", "lr/0", "lr/1", "step_time"]


def test_the_strip_reads_only_what_is_new_and_never_hides_a_nan_or_a_peak() -> None:
    history = History(["a", "b"], memory=4_000_000)
    strip = Strip("grad_norm")
    strip.update(history)
    assert strip.result() is None
    for step in range(1, 1_501):
        value = np.float32(np.nan if step == 700 else 99.0 if step == 300 else 1.0)
        history.add_sample(step, {"grad_norm": np.array([value, 2.0], np.float32)}, {})
        if step % 50 == 0:
            strip.update(history)
    found = strip.result()
    assert found is not None
    assert found["names"] == ["a", "b"]
    assert found["values"].shape[1] == len(found["first"]) <= 480
    assert (found["first"][0], found["last"][-1]) == (1, 1_500)
    assert (found["first"][1:] > found["last"][:-1]).all()
    peak = (found["first"] <= 300) & (found["last"] >= 300)
    bad = (found["first"] <= 700) & (found["last"] >= 700)
    assert found["values"][0, peak] == 99.0
    assert np.isnan(found["values"][0, bad]).all()
    assert (found["values"][1] == 2.0).all()


def test_a_layer_without_a_norm_at_a_step_is_left_blank() -> None:
    history = History(["a", "b"], memory=1_000_000)
    history.add_sample(1, {"grad_norm": np.array([1.0, np.nan], np.float32)}, {})
    strip = Strip("grad_norm")
    strip.update(history)
    history.add_sample(2, {"grad_norm": np.array([1.0, 3.0], np.float32)}, {})
    strip.update(history)
    found = strip.result()
    assert found is not None
    np.testing.assert_array_equal(found["values"], np.array([[1.0, 1.0], [NOTHING, 3.0]], np.float32))


def test_the_newest_events_come_first() -> None:
    history = History([], memory=4_000_000)
    for step in range(1, 101):
        history.add_event(Event(step, 0.0, "note", f"step {step}"))
    newest, count = events(history)
    assert (newest[0]["step"], len(newest), count) == (100, 60, 100)


def test_a_watch_is_among_what_runs_until_it_is_closed() -> None:
    w = Training().watch
    assert nnwidget.running() == [w]
    w.close()
    assert nnwidget.running() == []


def test_a_watch_is_shown_by_its_panel_also_after_its_end() -> None:
    training = Training()
    bundle = training.watch._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in data
    assert training.watch.widget is training.watch.widget
    training.step(3)
    training.watch.close()
    assert training.watch.widget.durable() == {}


def test_a_figure_follows_the_training() -> None:
    training = Training()
    figure = training.watch.figure("loss")
    line = figure.marks[0]
    assert len(line.x) == 0
    training.step(3)
    training.watch.close()
    assert line.x.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(line.y, training.watch.history["loss"].values)
    line.stroke_width = 4
    assert figure.axes[1].label == "loss"
    log = training.watch.figure("total_grad_norm", log=True)
    assert log.marks[0].x.tolist() == [1, 2, 3]


def test_a_figure_shows_what_was_reached_while_the_training_is_paused() -> None:
    training = Training()
    line = training.watch.figure().marks[0]
    training.watch.pause()
    thread = training.in_thread(2)
    until(lambda: line.x.tolist() == [1])
    training.watch.advance()
    until(lambda: line.x.tolist() == [1, 2])
    training.watch.resume()
    thread.join(20)


def test_an_explorer_is_answered_while_the_training_waits() -> None:
    training = Training()
    with nnwidget.explore(training.model, X, watch=training.watch) as ex:
        ex.widget  # noqa: B018 (arms the boundary, as a display does)
        training.watch.pause()
        thread = training.in_thread(2)
        until(lambda: training.watch._engine.loop.gate.waiting)
        # Longer than the second after which a loop in this state would count as over.
        time.sleep(1.2)
        before = training.model[2].weight.detach().clone()
        seen = ex.activation("0")
        assert ex.status.state == "training"
        assert training.watch.steps == 1
        with torch.no_grad():
            np.testing.assert_allclose(seen, training.model[0](X[:1])[0].numpy(), rtol=1e-6)
        training.watch.resume()
        thread.join(20)
    assert training.watch.steps == 2
    assert not torch.equal(before, training.model[2].weight)


def test_an_explorer_takes_only_the_watch_of_its_own_model() -> None:
    training = Training()
    with pytest.raises(nnwidget.NNWidgetError, match="another model"):
        nnwidget.explore(nn.Linear(3, 1), X, watch=training.watch)


def test_an_explorer_without_a_watch_has_no_controls() -> None:
    training = Training()
    with nnwidget.explore(training.model, X) as ex:
        sent: list[dict[str, Any]] = []
        dispatcher = Dispatcher(ex._service, lambda body, buffers: sent.append(body))
        message = {"k": "request", "v": 1, "client": "a", "id": 1, "method": "control", "params": {"action": "pause"}}
        dispatcher.handle(message)
    assert sent[-1]["ok"] is False
    assert not training.watch.paused


def test_a_new_step_is_known_to_explorers_before_they_answer_while_it_waits() -> None:
    training = Training()
    with nnwidget.explore(training.model, X, watch=training.watch) as ex:
        ex.widget  # noqa: B018 (arms the boundary, as a display does)
        ex.activation("2")
        training.watch.pause()
        thread = training.in_thread(2)
        for step in (1, 2):
            until(lambda step=step: training.watch.steps == step and training.watch._engine.loop.gate.waiting)
            time.sleep(0.12)
            seen = ex.activation("2")
            with torch.no_grad():
                np.testing.assert_allclose(seen, training.model(X[:1])[0].numpy(), rtol=1e-5)
            training.watch.advance()
        thread.join(20)
        training.watch.resume()
