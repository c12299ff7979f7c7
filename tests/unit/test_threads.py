"""A loop in a background thread, pages that ask all the time, and a person who calls from a cell: nothing moves."""

import asyncio
import threading
import time

import pytest
import torch
from torch import nn

import nnwidget
from nnwidget.model.taps import active
from tests.unit.test_explorer import Page, look

IMAGES = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(8) % 3


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(216, 3)
    )


def train(model, steps, started=None):
    torch.manual_seed(7)
    optimizer = torch.optim.AdamW(model.parameters())
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(IMAGES), LABELS)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if step % 10 == 0:
            model.eval()
            with torch.no_grad():
                losses.append(model(IMAGES).sum())
            model.train()
        if step == 1 and started is not None:
            started.set()
    return [*model.state_dict().values(), *losses, torch.get_rng_state()]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("close", ["at the end", "in the midst"])
def test_a_training_thread_is_untouched_by_pages_and_calls(close):
    reference = train(net(), 300)

    async def scene():
        model = net()
        ex = nnwidget.explore(model, IMAGES[:4])
        page = Page(ex)
        started, stop, calls = threading.Event(), threading.Event(), []

        def ask():
            started.wait()
            number = 0
            while not stop.is_set():
                number += 1
                edits = [{"layer": "0", "op": "mean", "channel": number % 6}] if number % 2 else []
                request = {"k": "request", "v": 1, "id": number, "method": "look"}
                page.tell(**request, params=look(str(number % 6), edits=edits))
                time.sleep(0.005)

        def call():
            started.wait()
            while not stop.is_set():
                try:
                    calls.append(ex.activation("2").shape)
                except nnwidget.NNWidgetError:
                    assert ex.closed
                    return
                time.sleep(0.005)

        helpers = [threading.Thread(target=ask), threading.Thread(target=call)]
        for helper in helpers:
            helper.start()
        loop = asyncio.get_running_loop()
        training = loop.run_in_executor(None, train, model, 300, started)
        if close == "in the midst":
            await asyncio.to_thread(started.wait)
            await asyncio.sleep(0.2)
            stop.set()
            ex.close()
        found = await training
        stop.set()
        for helper in helpers:
            await asyncio.to_thread(helper.join, 20)
            assert not helper.is_alive()
        if close == "at the end":
            answered = sum(content["k"] == "response" and content["ok"] for content, _ in page.heard)
            assert answered > 3 and calls
            ex.close()
        await asyncio.sleep(0.5)
        assert active() == [] and not model._forward_pre_hooks
        return found

    for free, watched in zip(reference, asyncio.run(asyncio.wait_for(scene(), 100)), strict=True):
        assert torch.equal(free, watched)
