from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from nnwidget.errors import InputError
from nnwidget.training.history import History
from nnwidget.training.history_store import SHARES
from nnwidget.training.history_tracks import Tracks
from nnwidget.types import Event, HistogramBlock

LAYERS = [f"block{index}.conv" for index in range(20)]


def fill(history: History, first: int, last: int, *, batch: int = 50, spike: int | None = None) -> None:
    for start in range(first, last + 1, batch):
        steps = np.arange(start, min(start + batch, last + 1))
        loss = 1.0 + np.sin(steps / 7.0) / 10
        if spike is not None:
            loss[steps == spike] = 1e6
        history.add_steps(steps, steps / 10.0, {"loss": loss, "lr": np.full(len(steps), 0.1)})


def sample(history: History, step: int, rng: np.random.Generator) -> None:
    size = len(LAYERS)
    values = {name: rng.standard_normal(size).astype(np.float32) for name in ("grad_norm", "activation_mean")}
    counts = rng.integers(0, 100, (size, 64)).astype(np.uint32)
    block = HistogramBlock(counts, np.full(size, -1, np.float32), np.ones(size, np.float32))
    history.add_sample(step, values, {"weight": block, "grad": block})


@pytest.mark.parametrize("spike", [1, 2, 49_999, 77_777, 99_998, 100_000])
def test_a_spike_among_a_hundred_thousand_steps_is_never_lost(spike: int) -> None:
    history = History([], memory=1_000_000)
    fill(history, 1, 100_000, spike=spike)
    steps, values = history["loss"]
    assert steps[values == 1e6].tolist() == [spike]
    assert (np.diff(steps) > 0).all() and steps[-1] == 100_000
    assert history.nbytes <= 1_000_000
    assert (np.diff(steps[-1_000:]) == 1).all(), "recent steps are whole"
    assert len(steps) < 100_000
    assert set(history["wall_time"].steps) <= set(history.steps) and history.last_step == 100_000


def test_asking_since_a_step_gives_the_end_of_the_whole(tmp_path: Path) -> None:
    history = History([], memory=1_000_000)
    fill(history, 1, 60_000)
    for step in range(20_000):
        # Epochs and steps under different names: in their table steps go up and down.
        history.log(step if step % 2 else step // 100, "accuracy" if step % 2 else "by_epoch", step)
    history.save(tmp_path / "packed.nnw")
    for asked in (history, History.load(tmp_path / "packed.nnw")):
        for name in ("loss", "accuracy", "by_epoch"):
            steps, values = history[name]
            for since in (0, 1, 150, 199, 19_999, 30_001, 59_990, 60_000, 60_001):
                found = asked.series(name, since=since)
                np.testing.assert_array_equal(found.steps, steps[steps >= since])
                np.testing.assert_array_equal(found.values, values[steps >= since])


def test_a_spike_of_one_layer_and_a_first_nan_stay() -> None:
    history, rng = History(LAYERS, memory=1_000_000), np.random.default_rng(0)
    for step in range(20_000):
        values = rng.standard_normal(len(LAYERS)).astype(np.float32)
        if step == 1_234:
            values[3] = -1e9
        if step >= 5_000:
            values[7] = np.nan
        history.add_sample(step, {"grad_norm": values, "update_norm": values})
    steps, values = history["grad_norm"][LAYERS[3]]
    assert steps[values.argmin()] == 1_234
    steps, values = history["update_norm"][LAYERS[7]]
    assert steps[np.isnan(values)][0] == 5_000
    assert history.nbytes <= 1_000_000


def test_bytes_are_counted_honestly_and_stay_below_the_bound() -> None:
    rng, memory = np.random.default_rng(0), 3_000_000
    image = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
    gc.collect()
    tracemalloc.start()
    history = History(LAYERS, memory=memory)
    most = 0
    for step in range(1, 3_001):
        fill(history, step * 20, step * 20 + 19, batch=20)
        sample(history, step * 20, rng)
        history.add_image(step * 20, "sample", image)
        history.add_snapshot(step * 20, "map", LAYERS[step % 20], image[:, :, 0] / np.float32(255))
        history.log(step * 20, f"metric{step % 7}", step)
        history.add_event(Event(step * 20, 0.0, f"kind{step % 3}", "something happened", {"step": step}))
        most = max(most, history.nbytes)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert most <= memory
    assert 0.8 * taken <= history.nbytes
    assert history.nbytes > memory / 2, "the bound is used"
    assert not history.problems
    assert sum(SHARES.values()) == 100


def test_of_pictures_and_histograms_evenly_spaced_ones_stay() -> None:
    tracks: Tracks[str, int] = Tracks(100_000)
    for step in range(10_000):
        assert tracks.add("a", step, step, 1_000)
        assert tracks.nbytes <= 100_000
    steps = np.array([entry.step for entry in tracks.entries("a")])
    assert steps[0] == 0 and steps[-1] == 9_999 and (np.diff(steps) > 0).all()
    assert np.diff(steps).max() < 1_000
    assert not tracks.add("b", 0, 0, 30_000)


def test_many_keys_and_equal_steps_stay_bounded_too() -> None:
    tracks: Tracks[int, int] = Tracks(10_000)
    for index in range(500):
        tracks.add(index, 1, index, 1_000)
        tracks.add(-1, 7, index, 1_000)
        assert tracks.nbytes <= 10_000
    assert sum(len(tracks.entries(key)) for key in tracks) * 1_000 == tracks.nbytes


def test_what_is_too_large_is_left_out_and_said_once() -> None:
    history = History([f"layer{index}" for index in range(30_000)], memory=1_000_000)
    for step in range(3):
        history.add_sample(step, {"grad_norm": np.ones(30_000, np.float32)})
        history.add_snapshot(step, "map", "a", np.zeros(1_000_000, np.uint8))
    assert len(history.problems) == 2 and all("1,000,000" in problem for problem in history.problems)
    assert history.quantities == () and history.snapshots == ()
    with pytest.raises(InputError, match="1 MB"):
        History([], memory=999_999)


def test_reading_while_another_thread_adds() -> None:
    history, done, wrong = History(LAYERS, memory=1_000_000), threading.Event(), []

    def read() -> None:
        while not done.is_set():
            for name in history.quantities:
                found = history[name] if name in ("loss", "lr", "wall_time") else history[name][LAYERS[0]]
                if not (np.diff(found.steps) > 0).all() or len(found.steps) != len(found.values):
                    wrong.append(name)
            if not (np.diff(history.steps) > 0).all() or history.nbytes > 1_000_000:
                wrong.append("steps")
            time.sleep(0)

    thread = threading.Thread(target=read)
    thread.start()
    rng = np.random.default_rng(0)
    for step in range(1, 400):
        fill(history, step * 50, step * 50 + 49)
        sample(history, step * 50, rng)
    done.set()
    thread.join()
    assert not wrong
