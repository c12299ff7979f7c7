"""Histories for tests: what others wrote, one of everything, and whether two answer alike."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nnwidget.training.history import History
from nnwidget.training.thinning import ABSENT
from nnwidget.types import Event, HistogramBlock

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ["a", "b"]
MEMORY = 20_000_000

HEAD = """
import os, signal, sys, time
import numpy as np
from nnwidget.training.history import History
from nnwidget.types import Event, HistogramBlock

def add(history, first, last, offset=0.0):
    steps = np.arange(first, last + 1)
    history.add_steps(steps, steps + 0.5, {"loss": steps + offset})
"""


@contextmanager
def script(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run code in another process while the block lasts."""
    command = [sys.executable, "-c", HEAD + code, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def add(history: History, first: int, last: int, offset: float = 0.0) -> None:
    steps = np.arange(first, last + 1)
    history.add_steps(steps, steps + 0.5, {"loss": steps + offset})


def recorded(folder: Path) -> History:
    """Record one of everything."""
    history = History(LAYERS, memory=MEMORY, path=folder, meta={"model": "net"})
    add(history, 1, 5)
    block = HistogramBlock(np.ones((2, 4), np.uint32), np.zeros(2, np.float32), np.ones(2, np.float32))
    history.add_sample(5, {"grad_norm": np.array([1.5, ABSENT], np.float32)}, {"weight": block})
    history.log(5, "accuracy", 0.5)
    history.log(5, "f1", 0.25)
    history.add_event(Event(5, 1.0, "lr", "halved", {"lr": 0.1}))
    history.add_snapshot(5, "map", "a", np.arange(6, dtype=np.uint8).reshape(2, 3))
    add(history, 6, 10)
    return history


def same(one: History, other: History) -> None:
    """Both answer alike."""
    assert one.quantities == other.quantities and one.layers == other.layers and one.meta == other.meta
    assert (
        one.events == other.events and one.snapshots == other.snapshots and one.steps.tolist() == other.steps.tolist()
    )
    mine, theirs = one.to_dataframe(), other.to_dataframe()
    assert mine.astype(str).equals(theirs.astype(str))
    for kind in one.histograms:
        assert one.histogram_steps(kind).tolist() == other.histogram_steps(kind).tolist()
        for step in one.histogram_steps(kind).tolist():
            np.testing.assert_array_equal(
                one.histogram(kind, "b", step)[1].counts, other.histogram(kind, "b", step)[1].counts
            )
    for about, name in one.snapshots:
        np.testing.assert_array_equal(one.snapshot(about, name)[1], other.snapshot(about, name)[1])


def until(met: object, seconds: float = 60.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not met():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
