"""Who looks on while a loop runs: each is a context manager around the loop that says what to do after a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import nnwidget
from nnwidget.session import Session
from nnwidget.session.wrappers import unwrap
from tests.unit.test_explorer import Page, look
from tests.untouched.job import Job

OnStep = Callable[[int], None]
Watcher = Callable[[Job], AbstractContextManager[OnStep]]


def nothing(step: int) -> None:
    """Do nothing after a step."""


@contextmanager
def boundaries(job: Job) -> Iterator[OnStep]:
    """The bare hooks by which a loop is joined, and somebody who listens."""
    reached: dict[str, list[str]] = {name: [] for name in job.models}
    leave = [Session.of(unwrap(model)[0]).arm(reached[name].append) for name, model in job.models.items()]
    try:
        yield nothing
    finally:
        for out in leave:
            out()
    assert all(len(kinds) >= 8 for kinds in reached.values()), reached


@contextmanager
def pages(job: Job) -> Iterator[OnStep]:
    """A page for each model that follows one layer, and every few steps asks for another, often with an edit."""
    explorers = [nnwidget.explore(model, job.pinned[name]) for name, model in job.models.items()]
    shown = [Page(explorer) for explorer in explorers]
    layers = [[info.name for info in ex._bench.table if info.name and info.calls] for ex in explorers]
    for page, names in zip(shown, layers, strict=True):
        page.tell(k="watch", params=look(names[-1]))

    def ask(step: int) -> None:
        for page, names, explorer in zip(shown, layers, explorers, strict=True):
            # The owner's rest after work is a matter of time, and so none of a test.
            explorer._session.owner._rest_until = 0.0
            if step % 2 == 0:
                page.number += 1
                edits = [{"layer": names[0], "op": "mean", "channel": 1}] if step % 4 else []
                wanted = look(names[step // 2 % len(names)], channel=0, edits=edits)
                # The kernel's event loop is busy with this very training: only a boundary can answer.
                page.tell(k="request", v=1, id=page.number, method="look", params=wanted)

    try:
        yield ask
        for page in shown:
            answers = [content for content, _ in page.heard if content["k"] == "response"]
            assert len([answer for answer in answers if answer["ok"]]) >= 3, answers
    finally:
        for explorer in explorers:
            explorer.close()


def opened(job: Job, **how: Any) -> dict[str, nnwidget.Watch]:
    """Watch each model as a script does."""
    return {
        name: nnwidget.watch(model, list(job.optimizers[name]) or None, scaler=job.scaler, display=False, **how)
        for name, model in job.models.items()
    }


def recording(*others: Watcher, **how: Any) -> Watcher:
    """A watch of each model, and others beside it."""

    @contextmanager
    def watcher(job: Job) -> Iterator[OnStep]:
        with ExitStack() as stack:
            watches = {name: stack.enter_context(made) for name, made in opened(job, **how).items()}
            beside = [stack.enter_context(other(job)) for other in others]

            def on_step(step: int) -> None:
                for each in beside:
                    each(step)

            yield on_step
        for name, made in watches.items():
            assert made._engine.error == ""
            seen = job.steps // job.stride if job.optimizers[name] else job.steps - 1
            assert made.steps == seen
            if "every" in how:
                # A step that a scaler skips may be left out or taken in.
                wanted = {step for step in range(1, seen + 1) if step % how["every"] == 0} - job.skipped
                recorded = [set(series.steps.tolist()) for series in made.history["param_norm"].values()]
                assert recorded and all(
                    wanted <= steps <= wanted | {s + 1 for s in job.skipped} | job.skipped for steps in recorded
                )

    return watcher


WATCHERS: dict[str, Watcher] = {
    "boundaries": boundaries,
    "page": pages,
    "every step": recording(every=1, budget=None),
    "every third step": recording(every=3, budget=None),
    "budget": recording(budget=0.02),
    "every step and page": recording(pages, every=1, budget=None),
    "budget and page": recording(pages, budget=0.02),
}
