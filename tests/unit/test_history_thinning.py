from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnwidget.training.history_table import Table
from nnwidget.training.thinning import ABSENT, decimate, is_absent, thin_block, thin_runs
from nnwidget.types import Array

VALUES = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, ABSENT, 0.0, -0.0, 1.0]),
    st.floats(width=32, allow_nan=False),
)


def check(before: dict[int, float], steps: Array, values: Array) -> None:
    """What stays of one column is part of it, in order, with its extremes and its first odd value."""
    assert (np.diff(steps) > 0).all()
    for step, value in zip(steps.tolist(), values.tolist(), strict=True):
        assert before[step] == value or (math.isnan(before[step]) and math.isnan(value))
    finite = [value for value in before.values() if math.isfinite(value)]
    assert bool(finite) == bool(np.isfinite(values).any())
    if finite:
        assert np.nanmin(values[np.isfinite(values)]) == min(finite)
        assert np.nanmax(values[np.isfinite(values)]) == max(finite)
    odd = [step for step, value in before.items() if not math.isfinite(value)]
    if odd:
        assert odd[0] in steps


def points(steps: Array, column: Array) -> dict[int, float]:
    present = ~is_absent(np.ascontiguousarray(column))
    return dict(zip(steps[present].tolist(), column[present].tolist(), strict=True))


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from([np.float32, np.float64]), st.integers(1, 3), st.integers(1, 9))
def test_any_number_of_passes_keeps_extremes_order_and_true_steps(
    data: st.DataObject, dtype: type, columns: int, blocks: int
) -> None:
    runs, stretches, first = [], [], 0
    for _ in range(blocks):
        height = data.draw(st.integers(1, 11))
        matrix = np.array(data.draw(st.lists(VALUES, min_size=height * columns, max_size=height * columns)), dtype)
        matrix = matrix.reshape(height, columns)
        steps = first + np.cumsum(data.draw(st.lists(st.integers(1, 1000), min_size=height, max_size=height)))
        first = int(steps[-1])
        stretches.append((steps, matrix))
        runs.append(thin_block(steps, matrix))
    while len(runs) > 1:
        runs[:2] = [thin_runs(runs[:2])]
    all_steps = np.concatenate([steps for steps, _ in stretches])
    for column in range(columns):
        check(
            points(all_steps, np.concatenate([matrix[:, column] for _, matrix in stretches])), *runs[0].column(column)
        )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 700), st.sampled_from([0.0, 0.05, 0.6]), st.sampled_from([0.0, 0.3]))
def test_a_table_stays_within_its_bound_and_loses_no_extreme(seed: int, batch: int, odd: float, absent: float) -> None:
    rng = np.random.default_rng(seed)
    table, size = Table(np.float64, 20_000, explicit=True), 5_000
    table.widen(3)
    values = rng.standard_normal((size, 3))
    values[rng.random((size, 3)) < odd] = rng.choice([np.nan, np.inf, -np.inf])
    values[rng.random((size, 3)) < absent] = ABSENT
    steps = np.cumsum(rng.integers(1, 5, size))
    for start in range(0, size, batch):
        table.append(steps[start : start + batch], values[start : start + batch].copy())
        assert table.nbytes <= 20_000
    for column in range(3):
        check(points(steps, values[:, column]), *table.column(column))
    whole = table.parts()[-1]
    assert not hasattr(whole, "level"), "what is newest is whole"


def test_new_columns_and_their_first_number() -> None:
    table = Table(np.float64, 50_000)
    table.widen(1)
    table.append(np.arange(3), np.array([[math.nan], [1.0], [math.nan]]))
    table.widen(1)
    table.append(np.arange(3, 6), np.array([[math.nan, math.nan], [2.0, ABSENT], [math.inf, 5.0]]))
    steps, values = table.column(0)
    assert steps.tolist() == [1, 2, 3, 4, 5], "NaN is nothing before the first number, a value after it"
    np.testing.assert_array_equal(values, [1.0, math.nan, math.nan, 2.0, math.inf])
    assert table.column(1)[0].tolist() == [5]
    assert table.spoken.tolist() == [True, True]


def test_truncating_forgets_whole_and_thinned_rows() -> None:
    table = Table(np.float64, 20_000)
    table.widen(2)
    for step in range(5_000):
        table.append(np.array([step]), np.array([[step, -step]], np.float64))
    for after in (4_990, 1_000, 7):
        table.truncate(after)
        steps, values = table.column(1)
        assert steps[-1] == table.last <= after
        np.testing.assert_array_equal(values, -steps)
    table.truncate(-1)
    assert table.last is None and not len(table.column(0)[0])


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 1_001])
def test_decimated_for_drawing(size: int) -> None:
    values = np.sin(np.arange(size) / 9.0)
    steps, thinned = decimate(np.arange(size), values, 50)
    assert len(steps) == min(size, len(steps)) and len(steps) <= 50
    if size:
        assert thinned.max() == values.max() and thinned.min() == values.min()


def test_absent_survives_a_change_of_precision() -> None:
    wide = np.array([ABSENT, math.nan, 0.0])
    for values in (wide, wide.astype(np.float32), wide.astype(np.float32).astype(np.float64), np.full(3, ABSENT)[:1]):
        assert is_absent(values)[0] and not is_absent(values)[1:].any()
