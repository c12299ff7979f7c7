"""Statistics and histograms against NumPy in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnwidget.errors import InputError, UnobservableError
from nnwidget.model.statistics import _on_device, histogram, statistics

torch.set_num_threads(1)

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)


def agrees(values: np.ndarray, found: object, rtol: float = 1e-5) -> None:
    """Every field equals what NumPy says of the finite values in double precision."""
    finite = values[np.isfinite(values)].astype(np.float64)
    assert found.count == values.size  # type: ignore[attr-defined]
    assert found.nan == np.isnan(values).sum()  # type: ignore[attr-defined]
    assert found.posinf == np.isposinf(values).sum()  # type: ignore[attr-defined]
    assert found.neginf == np.isneginf(values).sum()  # type: ignore[attr-defined]
    assert found.zeros == pytest.approx((values == 0).mean() if values.size else 0)  # type: ignore[attr-defined]
    got = [found.minimum, found.maximum, found.mean, found.std]  # type: ignore[attr-defined]
    if finite.size == 0:
        assert got == [None] * 4
        return
    assert got[:2] == [finite.min(), finite.max()]
    scale = max(float(np.abs(finite).max()), 1e-300)
    unit = finite / scale
    assert got[2] == pytest.approx(float(unit.mean()) * scale, rel=rtol, abs=rtol * float(unit.std()) * scale + 1e-300)
    assert got[3] == pytest.approx(float(unit.std()) * scale, rel=1e-3, abs=1e-9 * scale)


@settings(deadline=None, max_examples=200)
@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(width=32)))
def test_any_float32(values: np.ndarray) -> None:
    agrees(values, statistics(torch.from_numpy(values)))


@settings(deadline=None, max_examples=100)
@given(hnp.arrays(np.float64, SHAPES, elements=st.floats(width=64)))
def test_any_float64(values: np.ndarray) -> None:
    agrees(values, statistics(torch.from_numpy(values)))


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.int64, SHAPES, elements=st.integers(-(2**53), 2**53)))
def test_any_integer_that_a_double_holds(values: np.ndarray) -> None:
    agrees(values.astype(np.float64), statistics(torch.from_numpy(values)))


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.bool_, SHAPES))
def test_any_bool(values: np.ndarray) -> None:
    agrees(values.astype(np.float64), statistics(torch.from_numpy(values)))


@settings(deadline=None, max_examples=100)
@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=1, max_side=9), elements=st.floats(width=32)))
def test_the_way_of_accelerators_agrees(values: np.ndarray) -> None:
    agrees(values, _on_device(torch.from_numpy(values)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(dtype: torch.dtype) -> None:
    values = torch.full((100_000,), 60_000.0).to(dtype)
    values[::2] *= -1
    agrees(values.to(torch.float64).numpy(), statistics(values))


@pytest.mark.parametrize("offset", [0.0, 10.0, 1e4, 1e7, -1e7])
def test_an_offset_does_not_cancel_the_spread(offset: float) -> None:
    values = torch.randn(50_000, generator=torch.Generator().manual_seed(0)) + offset
    agrees(values.double().numpy(), statistics(values))


def test_a_large_ordinary_tensor() -> None:
    values = torch.randn(1_000_000, generator=torch.Generator().manual_seed(1)).relu()
    agrees(values.double().numpy(), statistics(values))


def test_negative_zero_is_zero() -> None:
    assert statistics(torch.tensor([-0.0, 0.0, 1.0, 2.0])).zeros == 0.5


def test_complex_by_magnitude_and_meta_refused() -> None:
    assert statistics(torch.tensor([3 + 4j])).maximum == 5.0
    with pytest.raises(UnobservableError, match="meta"):
        statistics(torch.zeros(3, device="meta"))


def test_views_and_gradients_are_fine() -> None:
    values = torch.randn(6, 4, requires_grad=True).t()[::2]
    agrees(values.detach().double().numpy(), statistics(values))


@settings(deadline=None, max_examples=150)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=20, min_side=0), elements=st.floats(width=32)),
    st.integers(1, 20),
)
def test_a_histogram_counts_every_finite_value_once(values: np.ndarray, bins: int) -> None:
    found = histogram(torch.from_numpy(values), bins)
    finite = values[np.isfinite(values)].astype(np.float64)
    assert found.edges.shape == (bins + 1,) and found.counts.shape == (bins,)
    assert np.isfinite(found.edges).all() and (found.edges[1:] > found.edges[:-1]).all()
    assert found.counts.sum() == finite.size
    for i, count in enumerate(found.counts):
        upper = finite <= found.edges[i + 1] if i == bins - 1 else finite < found.edges[i + 1]
        assert count == np.count_nonzero((finite >= found.edges[i]) & upper)


def test_a_given_range_leaves_the_rest_out() -> None:
    found = histogram(torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, math.nan, math.inf]), bins=2, range=(0, 1))
    assert found.edges.tolist() == [0, 0.5, 1] and found.counts.tolist() == [1, 2]


@pytest.mark.parametrize("values", [torch.zeros(0), torch.tensor(math.nan), torch.full((3,), 1e20), torch.tensor([5])])
def test_odd_histograms(values: torch.Tensor) -> None:
    found = histogram(values, bins=4)
    assert found.counts.sum() == int(values.float().isfinite().sum())


def test_the_largest_doubles_have_a_histogram() -> None:
    found = histogram(torch.tensor([-1.7e308, 1.7e308], dtype=torch.float64), bins=2)
    assert found.counts.tolist() == [1, 1]


@pytest.mark.parametrize(
    "arguments", [{"bins": 0}, {"bins": 5000}, {"bins": True}, {"range": (1, 0)}, {"range": (0, math.nan)}]
)
def test_bad_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(InputError):
        histogram(torch.zeros(3), **arguments)  # type: ignore[arg-type]
