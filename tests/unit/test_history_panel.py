"""A history shows itself, also while it is still being written: what pages are told; no browser, no kernel."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import nnwidget
from nnwidget import history_panel
from nnwidget.errors import InputError
from nnwidget.session import recorded, training_service
from nnwidget.session.charts import Strip
from nnwidget.session.live import running
from nnwidget.session.ticker import Ticker
from nnwidget.training.history import History
from nnwidget.widgets.panel import Panel
from nnwidget.wire.codec import decode
from tests.unit.histories import LAYERS, MEMORY, ROOT, add
from tests.unit.histories import recorded as record


class Page:
    """A page without a browser: what it was sent, and what it says."""

    def __init__(self, history: History) -> None:
        self.sent: list[dict[str, Any]] = []
        self.panel = history.widget
        self.view = history._panel
        self.dispatcher = self.view._panels.dispatcher(self.panel)
        self.dispatcher._send = lambda body, buffers: self.sent.append(decode(body, buffers))
        self.number = 0
        self.say(k="hello", v=1, control=False)

    def say(self, **message: Any) -> None:
        self.dispatcher.handle({"client": "a", **message})

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        self.say(k="request", v=1, id=self.number, method=method, params=params)
        return next(m for m in reversed(self.sent) if m["k"] == "response" and m["id"] == self.number)

    def charts(self, scalar: str = "loss") -> dict[str, Any]:
        answer = self.ask("charts", scalar=scalar)
        assert answer["ok"], answer["error"]
        result: dict[str, Any] = answer["result"]
        return result

    def pushed(self) -> list[dict[str, Any]]:
        return [message for message in self.sent if message["k"] == "charts"]

    def acknowledge(self) -> None:
        self.say(k="ack", seq=self.pushed()[-1]["seq"])


class Shower:
    """Shows histories until the test ends."""

    def __init__(self) -> None:
        self.shown: list[History] = []

    def __call__(self, history: History) -> Page:
        self.shown.append(history)
        return Page(history)


@pytest.fixture
def show() -> Iterator[Shower]:
    shower = Shower()
    yield shower
    for history in shower.shown:
        history.hide()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def in_kernel(test: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test inside an event loop, as a cell is, with short gaps."""
    monkeypatch.setattr(history_panel, "_EVERY", 0.01)
    asyncio.run(test())  # type: ignore[arg-type]  # a coroutine function


async def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.005)


async def ticks(view: history_panel.HistoryPanel, expected: bool = True) -> None:
    await until(lambda: view._ticker.waiting is expected)


def test_a_loaded_history_shows_itself(folder: Path, show: Shower) -> None:
    record(folder).close()
    history = History.load(folder)
    bundle = history._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == f"<History of net, to step 10, 2 layers, {folder}>"
    assert data["text/plain"].replace("<", "&lt;").replace(">", "&gt;") in data["text/html"]
    page = show(history)
    play = page.sent[0]["play"]
    assert (play["name"], play["state"], play["step"], play["controls"]) == ("net", "recorded", 10, "view")
    assert play["record"]["kind"] == "folder" and play["record"]["path"] == str(folder)
    assert 0 <= play["ago"] < 60
    charts = page.charts()
    assert charts["scalars"] == ["loss", "accuracy", "f1"]
    np.testing.assert_array_equal(charts["curve"]["steps"], np.arange(1, 11))
    assert charts["layers"]["names"] == ["a"] and [event["text"] for event in charts["events"]] == ["halved"]
    assert page.charts("accuracy")["curve"]["values"].tolist() == [0.5]


def test_what_the_run_was_is_told(folder: Path, show: Shower) -> None:
    meta = {"model": "Net", "parameters": 12_330, "rank": 1, "ranks": 4}
    History(LAYERS, memory=MEMORY, path=folder, meta=meta).close()
    play = show(History.load(folder)).sent[0]["play"]
    assert play["name"] == "Net" and play["record"]["empty"]
    assert {name: play["record"][name] for name in ("parameters", "rank", "ranks")} == {
        "parameters": 12_330,
        "rank": 1,
        "ranks": 4,
    }


def test_it_is_read_only(folder: Path, show: Shower) -> None:
    record(folder).close()
    page = show(History.load(folder))
    for method, params in (("control", {"action": "pause"}), ("rate", {"group": 0, "value": 0.1})):
        answer = page.ask(method, **params)
        assert not answer["ok"] and "only read" in answer["error"]["message"]


def test_a_page_that_asks_is_answered_with_what_is_there_now(folder: Path, show: Shower) -> None:
    writer = record(folder)
    page = show(History.load(folder))
    assert page.charts()["play"]["step"] == 10
    add(writer, 11, 12)
    charts = page.charts()
    assert charts["play"]["step"] == 12 and charts["curve"]["steps"][-1] == 12
    assert not charts["play"]["record"]["ended"]
    writer.close()
    assert page.charts()["play"]["record"]["ended"]


def test_it_follows_while_a_page_shows_it_and_not_longer(
    folder: Path, show: Shower, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        writer = record(folder)
        page = show(History.load(folder))
        await asyncio.sleep(0.05)
        assert not page.view._ticker.waiting, "nobody looks yet"
        page.charts()
        await ticks(page.view)
        for step in (11, 12):
            add(writer, step, step)
            await until(lambda step=step: page.pushed() and page.pushed()[-1]["result"]["play"]["step"] == step)
            page.acknowledge()
        count = len(page.pushed())
        await asyncio.sleep(0.1)
        assert len(page.pushed()) == count, "nothing is new"
        page.say(k="watch", params=None)
        await ticks(page.view, False)
        add(writer, 13, 13)
        assert page.view._recorded.history.last_step == 12, "nobody looks any more"
        page.charts()
        await ticks(page.view)
        page.say(k="bye")
        await ticks(page.view, False)
        writer.close()

    in_kernel(test, monkeypatch)


def test_a_page_that_fell_silent_counts_as_gone_until_it_asks(
    folder: Path, show: Shower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_service, "_GONE", 0.05)

    async def test() -> None:
        writer = record(folder)
        page = show(History.load(folder))
        page.charts()
        await ticks(page.view)
        add(writer, 11, 11)
        await until(page.pushed)
        await ticks(page.view, False)
        page.acknowledge()
        assert page.charts()["play"]["step"] == 11
        await ticks(page.view)
        writer.close()

    in_kernel(test, monkeypatch)


def test_nothing_is_left_behind(folder: Path, show: Shower, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        record(folder).close()
        history = History.load(folder)
        page = show(history)
        page.charts()
        view, address = page.view, page.panel.address
        await ticks(view)
        history.close()
        history.close()
        assert view.closed and page.panel.comm is None
        await ticks(view, False)
        assert page.sent[-1]["status"]["state"] == "closed"
        assert len(history["loss"].steps) == 10, "what was read stays"
        # Shown again it is a new panel.
        again = show(history)
        assert again.panel is not page.panel and again.panel.address != address
        again.charts()
        history.hide()
        gone = [weakref.ref(thing) for thing in (history, view, again.view, page.panel, again.panel)]
        show.shown.clear()
        del history, view, page, again
        await asyncio.sleep(0.05)
        gc.collect()
        assert [reference() for reference in gone] == [None] * len(gone)

    threads = len(sys._current_frames())
    in_kernel(test, monkeypatch)
    assert len(sys._current_frames()) == threads


def test_how_long_ago_it_was_written_is_told_by_our_own_clock(
    folder: Path, show: Shower, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, clock = [1000.0], time.time
    monkeypatch.setattr(recorded.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(recorded.time, "time", lambda: clock() - 1000.0 + now[0])
    writer = record(folder)
    segment = folder / "segment-000001.nnw"

    def written(ago: float) -> None:
        at = clock() - 1000.0 + now[0] - ago
        os.utime(segment, (at, at))

    written(300.0)
    play = show(History.load(folder)).sent[0]["play"]
    assert play["ago"] == pytest.approx(300, abs=20), "before we looked, the file's own time counts"
    history = History.load(folder)
    shown = recorded.Recorded(history)
    now[0] += 1.0
    shown.catch_up()
    assert shown.facts()["ago"] == pytest.approx(301, abs=20)
    # The clock of the file server is five minutes behind; between two looks it can only have been just now.
    add(writer, 11, 11)
    written(300.0)
    now[0] += 1.0
    shown.catch_up()
    assert shown.facts()["ago"] == 1.0
    now[0] += 39.0
    shown.catch_up()
    assert shown.facts()["ago"] == 40.0
    # Or ahead.
    add(writer, 12, 12)
    written(-300.0)
    now[0] += 1.0
    shown.catch_up()
    assert shown.facts()["ago"] == 0.0
    writer.close()


def test_a_folder_that_is_removed_is_said_in_a_sentence(folder: Path, show: Shower) -> None:
    record(folder).close()
    page = show(History.load(folder))
    assert page.charts()["play"]["problem"] == ""
    shutil.rmtree(folder)
    charts = page.charts()
    assert charts["play"]["problem"] == f"{folder} is gone. What was read before stays."
    assert len(charts["curve"]["steps"]) == 10
    # Another takes its place.
    other = History(LAYERS, memory=MEMORY, path=folder)
    for step in range(1, 400):
        add(other, step, step, offset=0.5)
    problem = page.charts()["play"]["problem"]
    assert problem == f"{folder} holds another history by now. Load it again with History.load()."
    other.close()
    assert show(History.load(folder)).charts()["play"]["problem"] == ""


def test_a_shorter_history_of_the_same_name_is_another_one(folder: Path, show: Shower) -> None:
    record(folder).close()
    page = show(History.load(folder))
    segment = folder / "segment-000001.nnw"
    segment.write_bytes(segment.read_bytes()[:-200])
    assert "another history" in page.charts()["play"]["problem"]


def test_files_that_cannot_be_read_any_more_are_said_in_a_sentence(
    folder: Path, show: Shower, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = record(folder)
    page = show(History.load(folder))

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        assert page.charts()["play"]["problem"] == f"{folder} cannot be read: Stale file handle."
    add(writer, 11, 11)
    charts = page.charts()
    assert (charts["play"]["problem"], charts["play"]["step"]) == ("", 11)
    writer.close()


def test_an_unfinished_end_is_said_once_nobody_writes_any_more(
    folder: Path, show: Shower, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = record(folder)
    add(writer, 11, 11)
    segment = folder / "segment-000001.nnw"
    whole = segment.read_bytes()
    writer.close()
    segment.write_bytes(whole[:-7])
    page = show(History.load(folder))
    assert page.charts()["play"]["problem"] == "", "it may still come"
    assert page.charts()["play"]["step"] == 10
    monkeypatch.setattr(recorded, "_STILL", 0.0)
    assert "bytes are no complete record" in page.charts()["play"]["problem"]
    segment.write_bytes(whole)
    charts = page.charts()
    assert (charts["play"]["problem"], charts["play"]["step"]) == ("", 11)


def test_damage_in_the_middle_is_named(folder: Path, show: Shower) -> None:
    record(folder).close()
    segment = folder / "segment-000001.nnw"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0x41
    segment.write_bytes(data)
    assert "was skipped" in show(History.load(folder)).charts()["play"]["problem"]


@pytest.mark.parametrize(("make", "words"), [(False, "nothing of that name"), (True, "the folder is empty")])
def test_where_there_is_nothing_loading_says_what_there_is_instead(folder: Path, make: bool, words: str) -> None:
    if make:
        folder.mkdir()
    with pytest.raises(InputError, match=words):
        History.load(folder)


def test_a_history_without_a_step_waits_for_the_first(folder: Path, show: Shower) -> None:
    writer = History(LAYERS, memory=MEMORY, path=folder)
    page = show(History.load(folder))
    charts = page.charts()
    assert charts["play"]["record"]["empty"] and charts["curve"] is None and charts["layers"] is None
    add(writer, 1, 1)
    assert not page.charts()["play"]["record"]["empty"]
    writer.close()


def test_a_run_that_goes_on_from_an_earlier_step_takes_the_later_ones_back(folder: Path) -> None:
    def sample(history: History, step: int, value: float) -> None:
        history.add_sample(step, {"grad_norm": np.full(2, value, np.float32)}, {})

    first = History(LAYERS, memory=MEMORY, path=folder)
    for step in range(1, 11):
        add(first, step, step)
        sample(first, step, 1.0)
    first.close()
    history, strip = History.load(folder), Strip("grad_norm")
    strip.update(history)
    second = History(LAYERS, memory=MEMORY, path=folder, start_step=5)
    for step in (6, 7):
        sample(second, step, 9.0)
    second.close()
    assert history.refresh()
    strip.update(history)
    found = strip.result()
    assert found is not None
    assert found["last"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert found["values"][0].tolist() == [1.0] * 5 + [9.0] * 2


def test_a_packed_history_is_shown_as_a_file(folder: Path, tmp_path: Path, show: Shower) -> None:
    history = record(folder)
    history.save(tmp_path / "run.nnw")
    history.close()
    page = show(History.load(tmp_path / "run.nnw"))
    assert page.charts()["play"]["record"]["kind"] == "file"
    assert len(page.charts()["curve"]["steps"]) == 10


def test_the_history_of_a_live_watch_is_shown_as_it_grows(show: Shower, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with nnwidget.watch(model, optimizer, every=1, budget=None, display=False) as w:

            def step() -> None:
                optimizer.zero_grad()
                w.log(loss=model(torch.ones(2, 3)).mean())
                model(torch.ones(2, 3)).mean().backward()
                optimizer.step()

            step()
            page = show(w.history)
            charts = page.charts()
            assert charts["play"]["record"]["kind"] == "memory" and charts["play"]["step"] == 1
            assert charts["play"]["ago"] is None
            step()
            assert w.history.last_step == 2
            await until(lambda: page.pushed() and page.pushed()[-1]["result"]["play"]["step"] == 2)
            page.acknowledge()
            assert page.pushed()[-1]["result"]["play"]["ago"] < 20
        # The end of the watch leaves it on the page.
        assert not page.view.closed and page.charts()["play"]["step"] == 2

    in_kernel(test, monkeypatch)
    assert running() == []


def test_panels_are_made_once(folder: Path) -> None:
    record(folder).close()
    history = History.load(folder)
    assert isinstance(history.widget, Panel) and history.widget is history.widget
    history.hide()


def test_a_ticker_that_fails_stops_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        calls = []

        def fail() -> bool:
            calls.append(1)
            raise RuntimeError("on purpose")

        ticker = Ticker(fail, 0.001)
        ticker.start()
        await until(lambda: calls)
        await asyncio.sleep(0.05)
        assert len(calls) == 1 and not ticker.waiting

    asyncio.run(test())
    assert "no longer tries" in caplog.text


def test_loading_and_reading_in_a_script_loads_no_jupyter(folder: Path) -> None:
    record(folder).close()
    code = (
        "import sys, nnwidget\n"
        f"history = nnwidget.History.load({str(folder)!r})\n"
        "assert history.last_step == 10 and 'net' in repr(history)\n"
        "history.refresh(); history.close()\n"
        "print(sorted({'ipywidgets', 'anywidget', 'IPython', 'torch'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"
