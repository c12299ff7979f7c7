"""Every loop, watched, is bit for bit what it is unwatched, and afterwards nothing of the watching is left."""

from __future__ import annotations

import asyncio
import functools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import optimizer as optimizers

from nnwidget.model.taps import active
from tests.bits import plain_modules
from tests.untouched.job import Job, Loop, everything
from tests.untouched.loops import LOOPS
from tests.untouched.watchers import WATCHERS, OnStep, Watcher, nothing, opened, pages

pytestmark = pytest.mark.filterwarnings(
    # torch's own: about old ways of quantising, and about its fused path for padded sequences.
    "ignore:.*torch.ao.quantization.*",
    "ignore:.*quantiz.*",
    "ignore:.*nested tensors is in prototype.*",
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def unwatched(loop: Loop) -> dict[str, Any]:
    job = loop.make()
    job.run(nothing)
    return everything(job)


@functools.cache
def expected(name: str) -> dict[str, Any]:
    return unwatched(named(name))


def named(name: str) -> Loop:
    return next(loop for loop in LOOPS if loop.name == name)


def watched(loop: Loop, watcher: Watcher) -> dict[str, Any]:
    """Train inside an event loop that gets no turn meanwhile, as a cell does."""

    async def cell() -> dict[str, Any]:
        job = loop.make()
        before = left(job)
        with watcher(job) as on_step:
            job.run(on_step)
        assert left(job) == before, "something was left behind"
        return everything(job)

    return asyncio.run(cell())


def left(job: Job) -> dict[str, Any]:
    """Everything to which a watcher could have attached something."""
    owners: dict[str, Any] = {
        "torch.nn": nn.modules.module,
        "torch.optim": optimizers,
        "the scaler": job.scaler,
    }
    for name, model in job.models.items():
        owners |= {f"{name}.{path}": part for path, part in model.named_modules() if part in plain_modules(model)}
        owners |= {f"{name}.{path}": parameter for path, parameter in model.named_parameters()}
        owners |= {f"{name}'s optimiser {number}": one for number, one in enumerate(job.optimizers[name])}
    return {
        "taps": active(),
        "threads": [thread.name for thread in threading.enumerate() if "nnwidget" in thread.name],
        "hooks": {name: hooks(owner) for name, owner in owners.items()},
        "classes": {name: type(owner) for name, owner in owners.items()},
        "keys": {name: list(model.state_dict()) for name, model in job.models.items()},
    }


def hooks(owner: Any) -> dict[str, list[int]]:
    """The hooks of whatever kind that something has, by identity."""
    found = {name: getattr(owner, name, None) for name in dir(owner) if "hook" in name}
    return {name: [id(hook) for hook in kept.values()] for name, kept in found.items() if isinstance(kept, dict)}


def check(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    differing = [what for what in wanted if found[what] != wanted[what]]
    assert found.keys() == wanted.keys() and differing == []


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)
def test_two_unwatched_runs_are_equal(loop: Loop) -> None:
    again = unwatched(loop)
    check(again, expected(loop.name))
    losses = again["losses"]
    assert len(losses) >= 8 and len(set(losses)) == len(losses), "it trains"


@pytest.mark.parametrize("watcher", WATCHERS)
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)
def test_a_watched_run_is_equal(loop: Loop, watcher: str) -> None:
    check(watched(loop, WATCHERS[watcher]), expected(loop.name))


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)
def test_a_run_in_a_thread_of_its_own_is_equal(loop: Loop) -> None:
    async def cell() -> dict[str, Any]:
        job = loop.make()
        before = left(job)
        with ExitStack() as stack:
            first, *_ = [stack.enter_context(made) for made in opened(job, every=2, budget=None).values()]
            run = first.run(job.run, stack.enter_context(pages(job)))
            # The event loop is free meanwhile, and must leave the model to that thread.
            assert await asyncio.to_thread(run.join, 120) and run.error is None
        assert left(job) == before, "something was left behind"
        return everything(job)

    check(asyncio.run(cell()), expected(loop.name))


@pytest.mark.parametrize("watcher", WATCHERS)
def test_watching_a_compiled_model_compiles_nothing_more(watcher: str) -> None:
    from torch._dynamo.utils import counters

    def compilations(run: Callable[[Loop], object]) -> dict[str, int]:
        counters.clear()
        run(named("compiled cnn"))
        return {**counters["stats"], **counters["frames"], **counters["graph_break"]}

    alone = compilations(unwatched)
    assert alone["unique_graphs"] >= 1
    assert compilations(lambda loop: watched(loop, WATCHERS[watcher])) == alone


def last_bit(tensor: torch.Tensor) -> None:
    with torch.no_grad():
        flat = tensor.view(-1)
        flat[0] = torch.nextafter(flat[0], torch.tensor(1e9))


def a_hook(job: Job) -> None:
    job.models["model"][0].register_forward_hook(lambda *_: None)


def a_step_hook(job: Job) -> None:
    job.optimizers["model"][0].register_step_post_hook(lambda *_: None)


def a_tensor_hook(job: Job) -> None:
    job.models["model"][0].weight.register_hook(lambda gradient: None)


# What a careless watcher might do after one step, and where it must be found.
CARELESS: dict[str, tuple[Callable[[Job], Any], str]] = {
    "draws from torch": (lambda job: torch.rand(1), "torch"),
    "draws from python": (lambda job: random.random(), "python"),
    "draws from numpy": (lambda job: np.random.rand(), "numpy"),
    "moves a weight": (lambda job: last_bit(job.models["model"][0].weight), "parameters of model"),
    "moves a running mean": (lambda job: last_bit(job.models["model"][1].running_mean), "buffers of model"),
    "counts a batch": (lambda job: job.models["model"][1].num_batches_tracked.add_(1), "buffers of model"),
    "moves a gradient": (lambda job: last_bit(job.models["model"][0].weight.grad), "gradients of model"),
    "changes the mode": (lambda job: job.models["model"][3].eval(), "modes of model"),
    "leaves an attribute": (lambda job: setattr(job.models["model"][2], "watched", True), "attributes of model"),
    "moves the momentum": (
        lambda job: last_bit(next(iter(job.optimizers["model"][0].state.values()))["momentum_buffer"]),
        "optimisers of model",
    ),
}


@pytest.mark.parametrize("how", CARELESS)
def test_the_smallest_touch_is_found(how: str) -> None:
    touch, where = CARELESS[how]

    @contextmanager
    def careless(job: Job) -> Iterator[OnStep]:
        yield lambda step: touch(job) if step == 11 else None

    found = watched(named("cnn"), careless)
    assert found[where] != expected("cnn")[where]


@pytest.mark.parametrize("leave", [a_hook, a_step_hook, a_tensor_hook])
def test_whatever_is_left_is_found(leave: Callable[[Job], None]) -> None:
    @contextmanager
    def forgetful(job: Job) -> Iterator[OnStep]:
        leave(job)
        yield nothing

    with pytest.raises(AssertionError, match="left behind"):
        watched(named("cnn"), forgetful)


def test_a_touch_in_the_middle_shows_in_the_losses() -> None:
    def touch(job: Job) -> None:
        with torch.no_grad():
            job.models["model"][7].weight.mul_(1 + 1e-6)

    @contextmanager
    def careless(job: Job) -> Iterator[OnStep]:
        yield lambda step: touch(job) if step == 4 else None

    assert watched(named("cnn"), careless)["losses"] != expected("cnn")["losses"]
