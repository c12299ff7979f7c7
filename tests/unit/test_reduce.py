"""Tiles mean what types.Tiles says, for every dtype and every odd value."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnwidget.errors import InputError, UnobservableError
from nnwidget.model.reduce import _in_one_copy, _quantise_carefully, exact, plane, quantise, tiles
from nnwidget.types import Tiles

torch.set_num_threads(1)


def restore(found: Tiles) -> np.ndarray:
    """The picture's numbers by the formula of types.Tiles, in double precision."""
    lo, hi = (np.asarray(v, np.float64)[:, None, None] for v in (found.lo, found.hi))
    values = lo + found.codes / 252 * (hi - lo)
    for code, value in ((253, -math.inf), (254, math.inf), (255, math.nan)):
        values = np.where(found.codes == code, value, values)
    return values


@settings(deadline=None, max_examples=150)
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.floats(width=32)))
def test_codes_give_back_any_float_within_half_a_level(values: np.ndarray) -> None:
    found = tiles(torch.from_numpy(values), "maps", edge=8)
    finite = np.isfinite(values)
    shown = restore(found)
    span = np.asarray(found.hi, np.float64) - np.asarray(found.lo, np.float64)
    allowed = np.broadcast_to((span * (0.5 / 252 + 1e-5))[:, None, None], values.shape)
    # Above 252 there is no rounding: the special values are exact.
    np.testing.assert_array_equal(shown[~finite], values[~finite].astype(np.float64))
    assert np.all(np.abs(shown[finite] - values[finite].astype(np.float64)) <= allowed[finite] + 1e-45)
    for channel, lo, hi in zip(values, found.lo, found.hi, strict=True):
        inside = channel[np.isfinite(channel)]
        assert (lo, hi) == ((inside.min(), inside.max()) if inside.size else (0, 0))
    magnitude = [np.abs(c[np.isfinite(c)].astype(np.float64)) for c in values]
    expected = [m.sum() / max(m.size, 1) for m in magnitude]
    np.testing.assert_allclose(found.activity, np.asarray(expected, np.float32), rtol=1e-5, atol=1e-44)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e3, 1e6, -1e6])
def test_a_small_range_far_from_zero_keeps_its_levels(offset: float) -> None:
    values = torch.linspace(offset, offset + 4, 9).reshape(1, 3, 3)
    shown = restore(tiles(values, "maps", edge=8))
    np.testing.assert_allclose(shown, values.double(), atol=4 / 504 * 1.01)


def test_constant_channels_have_code_zero_and_all_nan_channels_no_range() -> None:
    values = torch.stack([torch.full((2, 2), 3.0), torch.full((2, 2), math.nan), torch.full((2, 2), math.inf)])
    found = tiles(values, "maps", edge=8)
    assert found.codes[0].tolist() == [[0, 0], [0, 0]]
    assert (found.codes[1] == 255).all() and (found.codes[2] == 254).all()
    assert found.lo.tolist() == [3, 0, 0] and found.hi.tolist() == [3, 0, 0]
    assert found.activity.tolist() == [3, 0, 0]


def test_dtypes_and_index_types_are_those_of_the_contract() -> None:
    found = tiles(torch.randn(3, 4, 5), "maps", edge=8, index=[2, 0])
    assert found.codes.dtype == np.uint8 and found.codes.shape == (2, 4, 5)
    assert {found.lo.dtype, found.hi.dtype, found.activity.dtype} == {np.dtype(np.float32)}
    assert found.index.dtype == np.int32 and found.index.tolist() == [2, 0]
    assert found.pool == (1, 1)


@pytest.mark.parametrize("index", [[2, 0, 1], [1, 2], [1], []])
def test_selected_channels_equal_those_of_the_whole(index: list[int]) -> None:
    values = torch.randn(3, 4, 5)
    whole, some = tiles(values, "maps", edge=8), tiles(values, "maps", edge=8, index=index)
    np.testing.assert_array_equal(some.codes, whole.codes[index])
    np.testing.assert_array_equal(some.lo, whole.lo[index])


@pytest.mark.parametrize(
    ("rows", "columns", "edge"), [(10, 10, 4), (7, 3, 3), (9, 1, 2), (5, 17, 5), (4, 4, 4), (3, 3, 1)]
)
def test_pooling_averages_whole_blocks_and_what_is_there_at_the_border(rows: int, columns: int, edge: int) -> None:
    values = torch.randn(2, rows, columns)
    found = tiles(values, "maps", edge=edge)
    r, c = found.pool
    assert max(found.codes.shape[1:]) <= edge
    means = [
        [[values[n, i : i + r, j : j + c].mean().item() for j in range(0, columns, c)] for i in range(0, rows, r)]
        for n in range(2)
    ]
    span = (found.hi - found.lo).max()
    np.testing.assert_allclose(restore(found), np.asarray(means), atol=span / 252 * 0.51 + 1e-6)


def test_pooled_nan_stays_nan_and_infinity_infinite() -> None:
    values = torch.zeros(1, 4, 6)
    values[0, 0, 0], values[0, 0, 3], values[0, 3, 5] = math.nan, math.inf, -math.inf
    values[0, 2, 0], values[0, 3, 1] = math.inf, -math.inf
    assert tiles(values, "maps", edge=3).codes.tolist() == [[[255, 254, 0], [255, 0, 253]]]


def test_maps_pool_by_squares_and_matrices_by_rectangles() -> None:
    assert tiles(torch.zeros(1, 8, 2), "maps", edge=4).pool == (2, 2)
    assert tiles(torch.zeros(8, 2), "tokens", edge=4).pool == (2, 1)


@pytest.mark.parametrize(
    ("kind", "shape", "tile"),
    [
        ("tokens", (5, 3), (1, 5, 3)),
        ("signal", (3, 5), (1, 3, 5)),
        ("vector", (4,), (1, 1, 4)),
        ("scalar", (), (1, 1, 1)),
    ],
)
def test_other_kinds_are_one_tile(kind: str, shape: tuple[int, ...], tile: tuple[int, ...]) -> None:
    found = tiles(torch.randn(shape), kind, edge=8)  # type: ignore[arg-type]
    assert found.codes.shape == tile and found.lo.shape == (1,) and found.index.tolist() == [0]


@pytest.mark.parametrize(
    "values",
    [
        torch.arange(-4, 8, dtype=torch.int64),
        torch.arange(12, dtype=torch.uint8),
        torch.arange(12) % 2 == 0,
        torch.arange(12, dtype=torch.float16),
        torch.arange(12, dtype=torch.bfloat16),
        torch.arange(12, dtype=torch.float64),
        torch.arange(12).to(torch.float8_e4m3fn),
        torch.complex(torch.arange(12.0), torch.zeros(12)),
        torch.arange(12.0).requires_grad_(),
    ],
    ids=lambda t: str(t.dtype),
)
def test_every_dtype_is_shown_by_its_value(values: torch.Tensor) -> None:
    found = tiles(values.reshape(1, 3, 4), "maps", edge=8)
    plain = values.detach()
    plain = plain.real if plain.is_complex() else plain
    expected = plain.to(torch.float64).reshape(3, 4).numpy()
    np.testing.assert_allclose(restore(found)[0], expected, atol=(expected.max() - expected.min()) / 504 * 1.01)
    np.testing.assert_array_equal(plane(values.reshape(1, 3, 4), "maps", 0)[0], expected.astype(np.float32))


def test_quantised_tensors_are_shown_by_the_values_they_stand_for() -> None:
    with warnings.catch_warnings():
        # Making them is deprecated in newer torch; models that hold them exist.
        warnings.simplefilter("ignore")
        values = torch.quantize_per_tensor(torch.arange(4.0).reshape(1, 2, 2), 0.5, 2, torch.quint8)
    assert plane(values, "maps", 0)[0].tolist() == [[0, 1], [2, 3]]
    assert exact(values, "maps", 0, 1, 1) == 3.0
    assert tiles(values, "maps", edge=8).codes.tolist() == [[[0, 84], [168, 252]]]


def test_complex_numbers_are_shown_by_magnitude() -> None:
    assert plane(torch.tensor([[[3 + 4j]]]), "maps", 0)[0].tolist() == [[5.0]]


def test_sparse_tensors_are_shown_up_to_a_size() -> None:
    small = torch.eye(4).reshape(1, 4, 4).to_sparse()
    assert tiles(small, "maps", edge=8).codes[0].tolist() == (torch.eye(4) * 252).int().tolist()
    huge = torch.sparse_coo_tensor(
        torch.zeros(3, 1, dtype=torch.long), torch.ones(1), (1, 100_000, 100_000), check_invariants=True
    )
    with pytest.raises(UnobservableError, match="10,000,000,000"):
        tiles(huge, "maps", edge=8)


def test_meta_tensors_are_refused_with_the_reason() -> None:
    with pytest.raises(UnobservableError, match="meta"):
        tiles(torch.zeros(1, 2, 2, device="meta"), "maps", edge=8)


def test_nothing_is_written_on_the_activation() -> None:
    values = torch.randn(3, 5, 5)
    before, version = values.clone(), values._version
    tiles(values, "maps", edge=2)
    tiles(values, "maps", edge=8)
    plane(values, "maps", 1)
    assert torch.equal(values, before) and values._version == version


@pytest.mark.parametrize("shape", [(0, 2, 2), (2, 0, 2), (2, 2, 0)])
def test_empty_activations_give_empty_tiles(shape: tuple[int, ...]) -> None:
    found = tiles(torch.zeros(shape), "maps", edge=8)
    assert found.codes.shape == shape and found.lo.shape == (shape[0],)


def test_strided_and_expanded_views_are_shown_like_their_copies() -> None:
    values = torch.randn(5, 4, 3).permute(2, 0, 1)
    np.testing.assert_array_equal(tiles(values, "maps", edge=8).codes, tiles(values.clone(), "maps", edge=8).codes)
    flat = torch.randn(1, 4, 1).expand(3, 4, 5)
    np.testing.assert_array_equal(tiles(flat, "maps", edge=8).codes, tiles(flat.contiguous(), "maps", edge=8).codes)


def test_both_ways_of_quantising_agree() -> None:
    # A NaN elsewhere sends everything the careful way.
    values = torch.randn(4, 50)
    quick = quantise(values)
    careful = quantise(torch.cat([values, torch.full((1, 50), math.nan)]))
    assert np.abs(quick[0].astype(int) - careful[0][:4]).max() <= 1
    for a, b in zip(quick[1:], careful[1:], strict=True):
        np.testing.assert_allclose(a, b[:4], rtol=1e-6)


def test_one_copy_to_the_host_brings_all_parts() -> None:
    values = torch.randn(5, 7)
    values[1, 2], values[3] = math.nan, math.inf
    parts = _quantise_carefully(values)
    for found, expected in zip(_in_one_copy(parts), parts, strict=True):
        np.testing.assert_array_equal(found, expected.numpy())
        assert found.dtype == expected.numpy().dtype and found.shape == tuple(expected.shape)


def test_plane_gives_exact_values_and_pools_beyond_the_limit() -> None:
    values = torch.randn(2, 6, 4)
    array, pool = plane(values, "maps", 1)
    assert pool == (1, 1) and array.dtype == np.float32
    np.testing.assert_array_equal(array, values[1].numpy())
    array, pool = plane(values, "maps", 1, limit=3)
    assert pool == (2, 2) and array.shape == (3, 2)


def test_a_channel_of_other_kinds_is_a_row_a_column_a_number() -> None:
    values = torch.arange(6.0).reshape(2, 3)
    assert plane(values, "signal", 1)[0].tolist() == [[3, 4, 5]]
    assert plane(values, "tokens", 1)[0].tolist() == [[1], [4]]
    assert plane(values[0], "vector", 2)[0].tolist() == [[2]]
    assert plane(torch.tensor(7.0), "scalar", 0)[0].tolist() == [[7]]


def test_exact_keeps_type_and_precision() -> None:
    assert exact(torch.tensor([[2**60 + 1]]), "tokens", 0, 0, 0) == 2**60 + 1
    assert exact(torch.tensor([1 + 2j]), "vector", 0, 0, 0) == 1 + 2j
    assert exact(torch.tensor(True), "scalar", 0, 0, 0) is True
    assert exact(torch.tensor([[[0.1]]], dtype=torch.float64), "maps", 0, 0, 0) == 0.1
    assert exact(torch.eye(2).reshape(1, 2, 2).to_sparse(), "maps", 0, 1, 1) == 1.0


@pytest.mark.parametrize("place", [(1, 0, 0), (0, 2, 0), (0, 0, 2), (-1, 0, 0)])
def test_a_place_outside_is_refused(place: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="outside"):
        exact(torch.zeros(1, 2, 2), "maps", *place)


def test_bad_arguments_name_themselves() -> None:
    values = torch.zeros(2, 2, 2)
    for call, argument in [
        (lambda: tiles(values, "maps", edge=0), "edge"),
        (lambda: tiles(values, "tokens", edge=8), "activation"),
        (lambda: tiles(values, "pictures", edge=8), "kind"),  # type: ignore[arg-type]
        (lambda: tiles(values, "maps", edge=8, index=[2]), "channel"),
        (lambda: tiles(values[0], "tokens", edge=8, index=[0]), "index"),
        (lambda: plane(values, "maps", 5), "channel"),
    ]:
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.argument == argument
