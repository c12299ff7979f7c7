from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from nnwidget.errors import InputError, MissingPackageError, UnknownRecordError
from nnwidget.training.history import History
from nnwidget.training.history_views import Series
from nnwidget.training.sizes import parse_bytes
from nnwidget.training.thinning import ABSENT
from nnwidget.types import Event, HistogramBlock

LAYERS = ["conv1", "relu", "layer1.0.conv1"]


@pytest.fixture
def history() -> History:
    history = History(LAYERS, memory=1_000_000, meta={"model": "net", "sizes": (3, np.int64(4))})
    for first in (1, 6):
        steps = np.arange(first, first + 5)
        history.add_steps(steps, steps + 100.0, {"loss": 1.0 / steps})
    for step in (2, 6, 10):
        counts = np.arange(12, dtype=np.uint32).reshape(3, 4) * step
        block = HistogramBlock(
            counts, np.array([0, np.nan, -step], np.float32), np.array([1, np.nan, step], np.float32)
        )
        norms = np.array([step, np.nan, np.inf if step == 6 else 1.0], np.float32)
        history.add_sample(step, {"grad_norm": norms}, {"weight": block})
    history.log(4, "accuracy", 0.5)
    history.log(8, "accuracy", math.nan)
    history.log(8, "f1", 0.25)
    return history


def test_numbers_of_steps_and_of_layers(history: History) -> None:
    assert history.quantities == ("wall_time", "loss", "accuracy", "f1", "grad_norm")
    assert "loss" in history and "nothing" not in history
    steps, values = history["loss"]
    assert steps.dtype == np.int64 and steps.tolist() == list(range(1, 11))
    np.testing.assert_array_equal(values, 1.0 / steps)
    assert list(history["grad_norm"]) == ["conv1", "layer1.0.conv1"]
    steps, values = history["grad_norm"]["layer1.0.conv1"]
    assert steps.tolist() == [2, 6, 10] and values.tolist() == [1.0, math.inf, 1.0]
    steps, values = history["accuracy"]
    assert steps.tolist() == [4, 8] and values[0] == 0.5 and math.isnan(values[1])
    assert history.series("loss", since=9).steps.tolist() == [9, 10]
    assert history.series("grad_norm", "conv1", since=3).values.tolist() == [6.0, 10.0]
    assert history.steps.tolist() == list(range(1, 11)) and history.last_step == 10
    assert history.layers == tuple(LAYERS) and history.meta == {"model": "net", "sizes": [3, 4]}
    assert not history.refresh()


def test_a_loss_that_is_nan_from_the_start_is_seen_as_that() -> None:
    history = History([], memory=1_000_000)
    history.add_steps(np.arange(1, 4), np.zeros(3), {"loss": np.full(3, np.nan), "f1": np.array([ABSENT, 0.5, ABSENT])})
    assert history["loss"].steps.tolist() == [1, 2, 3] and np.isnan(history["loss"].values).all()
    assert history["f1"].steps.tolist() == [2]


def test_quantities_may_come_in_any_order() -> None:
    rows = {name: np.array([place, place + 10], np.float32) for place, name in enumerate("wxyz")}
    history = History(["a", "b"], memory=1_000_000)
    for step, names in enumerate(("wxyz", "wyxz", "zyxw", "xy", "wxyz")):
        history.add_sample(step, {name: rows[name] for name in names})
    for name, row in rows.items():
        for layer, value in zip("ab", row.tolist(), strict=True):
            steps, values = history[name][layer]
            assert values.tolist() == [value] * (5 if name in "xy" else 4) and steps[-1] == 4


def test_what_is_logged_counts_more_than_what_was_found(history: History) -> None:
    history.log(3, "loss", 7.0)
    history.log(30, "loss", 8.0)
    history.log(12, "loss", 9.0)
    steps, values = history["loss"]
    assert steps.tolist() == [*range(1, 11), 12, 30]
    assert values[2] == 7.0 and values[-2:].tolist() == [9.0, 8.0]


@pytest.mark.parametrize(
    ("read", "near"),
    [
        (lambda history: history["los"], "loss"),
        (lambda history: history["grad_norm"]["layer1.0.conv"], "layer1.0.conv1"),
        (lambda history: history["grad_norm"]["relu"], "conv1"),
        (lambda history: history.series("grad_norm", "conv"), "conv1"),
        (lambda history: history.series("grad_nrm", "conv1"), "grad_norm"),
        (lambda history: history.histogram("weights", "conv1"), "weight"),
        (lambda history: history.histogram("weight", "conv2"), "conv1"),
        (lambda history: history.histogram("weight", "conv1", 1), "first is of step 2"),
        (lambda history: history.snapshot("map", "conv"), "conv1"),
        (lambda history: history.snapshot("map", "conv1", 2), "first is of step 3"),
        (lambda history: history.to_dataframe(["los"]), "loss"),
    ],
)
def test_an_unknown_name_is_a_key_error_that_names_the_nearest(history: History, read: object, near: str) -> None:
    history.add_snapshot(3, "map", "conv1", np.zeros(2))
    with pytest.raises(KeyError) as caught:
        read(history)  # type: ignore[operator]
    assert isinstance(caught.value, UnknownRecordError) and near in str(caught.value)


def test_histograms_at_or_before_a_step(history: History) -> None:
    step, found = history.histogram("weight", "layer1.0.conv1", 9)
    assert step == 6 and found.counts.dtype == np.uint32
    assert found.counts.tolist() == [48, 54, 60, 66] and found.edges.tolist() == [-6, -3, 0, 3, 6]
    assert history.histogram("weight", "conv1")[0] == 10
    assert history.histograms == ("weight",) and history.histogram_steps("weight").tolist() == [2, 6, 10]
    big = HistogramBlock(np.full((3, 4), 2**32 - 1, np.uint32), np.zeros(3, np.float32), np.ones(3, np.float32))
    history.add_sample(11, {}, {"weight": big})
    assert history.histogram("weight", "conv1")[1].counts.tolist() == [2**32 - 1] * 4


def test_snapshots_and_images_are_copies_at_or_before_a_step(history: History) -> None:
    array = np.arange(6, dtype=np.float16).reshape(2, 3)[:, ::2]
    history.add_snapshot(2, "weight", "conv1", array)
    array[:] = 0
    history.add_snapshot(7, "weight", "conv1", array)
    history.add_image(5, "sample", np.zeros((2, 2, 3), np.uint8))
    step, found = history.snapshot("weight", "conv1", 6)
    assert step == 2 and found.tolist() == [[0, 2], [3, 5]] and not found.flags.writeable
    assert history.snapshot("weight", "conv1")[0] == 7
    assert history.snapshots == (("weight", "conv1"), ("image", "sample"))
    assert history.snapshot_steps("weight", "conv1").tolist() == [2, 7]
    with pytest.raises(InputError, match="numbers"):
        history.add_snapshot(8, "weight", "conv1", np.array([None]))


def test_events_come_in_order_with_plain_data(history: History) -> None:
    history.add_event(Event(9, 1.0, "lr", "second", {"lr": np.float32(0.5), "who": Ellipsis}))
    history.add_event(Event(3, 2.0, "nan", "first"))
    history.add_event(Event(9, 3.0, "a", "third"))
    assert [event.text for event in history.events] == ["first", "second", "third"]
    assert history.events[1].data == {"lr": 0.5, "who": "Ellipsis"}


def test_one_long_table(history: History) -> None:
    frame = history.to_dataframe()
    assert list(frame.columns) == ["step", "quantity", "layer", "value"]
    assert len(frame) == 10 + 10 + 2 + 1 + 6
    loss = frame[frame.quantity == "loss"]
    assert loss.layer.isna().all() and loss.value.tolist() == (1.0 / np.arange(1, 11)).tolist()
    conv = frame[(frame.quantity == "grad_norm") & (frame.layer == "conv1")]
    assert conv.step.tolist() == [2, 6, 10] and conv.value.tolist() == [2, 6, 10]
    wide = frame[frame.layer.isna()].pivot(index="step", columns="quantity", values="value")
    assert wide.loc[4, "accuracy"] == 0.5
    assert set(history.to_dataframe(["f1"]).quantity) == {"f1"}
    assert len(History([], memory=1_000_000).to_dataframe()) == 0


def test_without_pandas_the_remedy_is_named(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match="pip install pandas") as caught:
        history.to_dataframe()
    assert isinstance(caught.value, ImportError)


def test_arrays_of_the_wrong_length_are_refused(history: History) -> None:
    with pytest.raises(InputError, match="length"):
        history.add_steps(np.arange(3), np.zeros(3), {"loss": np.zeros(2)})
    with pytest.raises(InputError, match="3 layers"):
        history.add_sample(20, {"grad_norm": np.zeros(2, np.float32)})


def test_a_series_for_drawing() -> None:
    series = Series(np.arange(10_000), np.where(np.arange(10_000) == 4_321, 9.0, 0.0))
    thinned = series.thinned(100)
    assert len(thinned.steps) <= 100 and thinned.steps[thinned.values == 9.0].tolist() == [4_321]


@pytest.mark.parametrize(
    ("size", "expected"),
    [("256 MB", 256_000_000), ("1.5GiB", 3 * 2**29), (" 3 kb ", 3_000), ("17", 17), ("2k", 2_000), (np.int32(5), 5)],
)
def test_sizes_as_people_write_them(size: int | str, expected: int) -> None:
    assert parse_bytes(size) == expected


@pytest.mark.parametrize(
    "size", ["", "MB", "-3 MB", "3 XB", "3 i", 0, -1, True, 2.5, None, "0.1", "1e6", "9" * 400 + " MB"]
)
def test_what_is_no_size_is_refused(size: object) -> None:
    with pytest.raises(InputError, match="256 MB"):
        parse_bytes(size)  # type: ignore[arg-type]
