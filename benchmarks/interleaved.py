"""Two ways to train, block by block in turn within one process, and how sure their ratio is."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

import nnwidget
from benchmarks.trainings import Training

Arm = Callable[[Training], AbstractContextManager[object]]
# A block has a multiple of so many steps, so that what is done at every tenth has its share in each.
STEPS = 10


@dataclass(frozen=True)
class Price:
    """Time with, divided by time without; 95 % of the ratios lie between ``low`` and ``high`` when blocks are redrawn.

    ``added`` is in microseconds a step; ``start`` is what opening and the first steps took more, in milliseconds;
    ``stated`` is the ratio that a watch itself names at the end.
    """

    ratio: float
    low: float
    high: float
    added: float
    start: float
    steps: int
    stated: float | None


def keep_freed_memory() -> None:
    """Have glibc keep what is freed: page faults were a fifth of a CNN's step, now of one copy, now of the other."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_threshold = -1, -3
        libc.mallopt(trim_threshold, 1 << 30)
        libc.mallopt(mmap_threshold, 32 << 20)


def cpu_seconds(block: Callable[[], None]) -> float:
    """CPU time of the whole process, threads of ours included: others' load on the machine does not count."""
    start = time.process_time_ns()
    block()
    return (time.process_time_ns() - start) / 1e9


def device_seconds(block: Callable[[], None]) -> float:
    """Time until the device has done it all, on the device's clock; within the block nobody waits for it."""
    torch.cuda.synchronize()
    began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    began.record()
    block()
    ended.record()
    torch.cuda.synchronize()
    return began.elapsed_time(ended) / 1e3


def compare(
    make: Callable[[str], Training],
    arm: Arm,
    *,
    device: str = "cpu",
    seconds: float = 20.0,
    block: float = 0.05,
    settle: int = 40,
    rounds: int = 4,
) -> Price:
    """Price what ``arm`` does around a training.

    There are two copies of the training. In each round one of them is armed, and they change places from one round to
    the next, since two copies are never equally quick. What is armed may settle for ``settle`` steps, half a second at
    least, before blocks of ``block`` seconds are timed, first now with, now without, for about ``seconds`` in all.
    """
    clock = device_seconds if device == "cuda" else cpu_seconds
    copies = []
    for _ in range(2):
        torch.manual_seed(0)
        copies.append(make(device))

    def run(training: Training, steps: int) -> float:
        def block() -> None:
            for _ in range(steps):
                training.step()

        return clock(block)

    for training in copies:
        run(training, STEPS)
    each = run(copies[0], STEPS) / STEPS
    steps = max(STEPS, round(block / each / STEPS) * STEPS)
    first = max(settle, round(0.5 / each))
    pairs = max(2, round(seconds / (2 * steps * each) / rounds))
    times: list[tuple[float, float]] = []
    starts, stated = [], []
    # What is alive now was not made by what is priced, and is not searched through by the collector in its name.
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        plain, watched = copies[number % 2], copies[1 - number % 2]
        opened = time.perf_counter()
        with arm(watched) as given:
            opened = time.perf_counter() - opened
            # As many steps on both sides, so that both are equally far.
            starts.append(opened + run(watched, first) - run(plain, first))
            for pair in range(pairs):
                if pair % 2:
                    with_it, without = run(watched, steps), run(plain, steps)
                else:
                    without, with_it = run(plain, steps), run(watched, steps)
                times.append((without, with_it))
            if isinstance(given, nnwidget.Watch):
                stated.append(1 + given.overhead)
    gc.unfreeze()
    return _price(np.array(times), steps, float(np.median(starts)) * 1e3, float(np.median(stated)) if stated else None)


def _price(times: np.ndarray, steps: int, start: float, stated: float | None) -> Price:
    """Totals, not medians: what happens once in a hundred steps is part of the price."""
    drawn = np.random.default_rng(0).integers(len(times), size=(4000, len(times)))
    sums = times[drawn].sum(1)
    low, high = np.quantile(sums[:, 1] / sums[:, 0], [0.025, 0.975])
    without, with_it = times.mean(0).tolist()
    added = (with_it - without) / steps * 1e6
    return Price(with_it / without, float(low), float(high), added, start, steps * len(times), stated)
