"""Histograms of layers: torch's own counts, over common bins, and a word for everything that is in none."""

import math

import numpy as np
import pytest
import torch

from nnwidget.errors import UnobservableError
from nnwidget.model import distribution
from nnwidget.model.distribution import channel_shares, common_edges, counted, spread
from nnwidget.model.statistics import statistics


def counts_of(tensor, bins=64):
    item = spread(tensor)
    return counted(item, common_edges([item], bins))


@pytest.mark.parametrize("shape", [(7,), (16, 8, 8), (3, 5, 11, 2), ()])
@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_torch(shape, seed):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    edges = common_edges([spread(values)])
    # In double precision: histc of float32 rounds the edges.
    expected = torch.histc(values.double(), 64, edges[0], edges[-1])
    assert counts_of(values).tolist() == expected.tolist()
    assert counts_of(values).sum() == values.numel()


def test_several_tensors_share_the_bins_from_the_lowest_to_the_highest():
    one, other = torch.tensor([-1.0, 0.0, 0.5]), torch.tensor([[0.25, 3.0]])
    items = [spread(one), spread(other)]
    edges = common_edges(items)
    assert edges[0] == -1.0 and edges[-1] == 3.0 and np.allclose(np.diff(edges), 4 / 64)
    for tensor, item in zip((one, other), items, strict=True):
        assert counted(item, edges).tolist() == torch.histc(tensor.flatten().double(), 64, -1.0, 3.0).tolist()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8, torch.bool])
def test_each_bin_of_whole_numbers_holds_equally_many(dtype):
    values = torch.tensor([0, 1, 1, 1, 0], dtype=dtype)
    item = spread(values)
    assert item.whole and counts_of(values).tolist() == [2, 3]
    wide = torch.arange(1000)
    edges = common_edges([spread(wide)])
    assert np.all(np.diff(edges) == 16) and np.all(counts_of(wide)[:-1] == 16) and counts_of(wide).sum() == 1000


def test_what_is_not_finite_lies_in_no_bin_and_is_counted_apart():
    values = torch.tensor([0.0, 1.0, math.nan, math.inf, -math.inf, math.inf, 0.0])
    item = spread(values)
    assert counts_of(values).sum() == 3
    found = item.statistics
    assert (found.nan, found.posinf, found.neginf, found.count) == (1, 2, 1, 7)
    assert found.zeros == pytest.approx(2 / 7)


@pytest.mark.parametrize("values", [[], [math.nan, math.inf]])
def test_nothing_finite_gives_empty_bins(values):
    item = spread(torch.tensor(values))
    assert item.statistics.minimum is None
    assert counted(item, common_edges([item])).tolist() == [0] * 64


def test_equal_values_are_in_one_bin():
    assert counts_of(torch.full((50,), 0.3)).max() == 50


def test_magnitudes_of_complex_numbers_are_counted():
    values = torch.tensor([3 + 4j, 0j, 1j])
    item = spread(values)
    assert item.complex and item.statistics.maximum == 5.0
    assert counted(item, common_edges([item], 5)).tolist() == [1, 1, 0, 0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_counted_in_full(dtype):
    values = torch.randn(500, generator=torch.Generator().manual_seed(0)).to(dtype)
    edges = common_edges([spread(values)])
    assert counts_of(values).tolist() == torch.histc(values.double(), 64, edges[0], edges[-1]).tolist()


def test_sparse_tensors_are_written_out():
    assert counts_of(torch.eye(4).to_sparse(), 2).tolist() == [12, 4]


@pytest.mark.filterwarnings("ignore:.*quantiz.*")
def test_values_with_one_scale_a_channel_are_counted_as_they_are():
    values = torch.quantize_per_channel(
        torch.tensor([[0.0, 3.0], [0.0, 3.0]]), torch.tensor([1.0, 0.5]), torch.zeros(2), 0, torch.qint8
    )
    item = spread(values)
    assert not item.whole and counted(item, common_edges([item], 2)).tolist() == [2, 2]


def test_a_tensor_without_values_says_so():
    with pytest.raises(UnobservableError, match="meta"):
        spread(torch.empty(3, device="meta"))


def test_the_largest_doubles_do_not_overflow():
    values = torch.tensor([-1.7e308, 0.0, 1.7e308], dtype=torch.float64)
    assert counts_of(values).sum() == 3


def test_large_tensors_are_sampled_evenly_and_their_ends_and_special_values_are_of_all(monkeypatch):
    monkeypatch.setattr(distribution, "EXACT", 100)
    monkeypatch.setattr(distribution, "_CHUNK", 64)
    values = torch.randn(950, generator=torch.Generator().manual_seed(3)) + 5
    values[[3, 500, 941]] = torch.tensor([0.0, math.nan, math.inf])
    item = spread(values)
    assert item.stride == 10 and item.values.tolist() == pytest.approx(values[::10].tolist(), nan_ok=True)
    whole = statistics(values)
    for name in ("count", "minimum", "maximum", "nan", "posinf", "neginf"):
        assert getattr(item.statistics, name) == getattr(whole, name)
    for name in ("mean", "std", "zeros"):
        assert getattr(item.statistics, name) == pytest.approx(getattr(whole, name), rel=1e-6)
    edges = common_edges([item])
    sample = values[::10][values[::10].isfinite()].double()
    assert counted(item, edges).tolist() == torch.histc(sample, 64, edges[0], edges[-1]).tolist()
    assert channel_shares(values.reshape(10, 95), "signal", edges) is None


@pytest.mark.parametrize(
    ("kind", "shape", "axis"),
    [("maps", (6, 5, 4), 0), ("signal", (6, 9), 0), ("tokens", (7, 5), 1), ("vector", (9,), 0)],
)
def test_channels_in_a_range_are_those_with_a_value_there(kind, shape, axis):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    values.view(-1)[3] = math.nan
    edges = common_edges([spread(values)], 16)
    shares = channel_shares(values, kind, edges)
    rows = values.movedim(axis, 0).reshape(shape[axis], -1).double()
    assert shares.shape == (shape[axis], 16)
    for channel, row in enumerate(rows):
        found = torch.histc(row[row.isfinite()], 16, edges[0], edges[-1])
        assert (shares[channel] > 0).tolist() == (found > 0).tolist()
        assert shares[channel].tolist() == [math.ceil(255 * n / len(row) - 1e-9) for n in found.tolist()]


def test_a_channel_that_is_counted_in_parts_is_counted_the_same(monkeypatch):
    values = torch.randn(13, 6, 6, generator=torch.Generator().manual_seed(2))
    edges = common_edges([spread(values)])
    whole = channel_shares(values, "maps", edges)
    monkeypatch.setattr(distribution, "_CHUNK", 80)
    assert np.array_equal(channel_shares(values, "maps", edges), whole)


def test_a_number_alone_has_no_channels():
    edges = common_edges([spread(torch.tensor(2.0))])
    assert channel_shares(torch.tensor(2.0), "scalar", edges) is None
    assert channel_shares(torch.zeros(5000), "vector", edges) is None, "more channels than a page can show"
