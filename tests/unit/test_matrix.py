"""A matrix under a window: what is sent is what is in sight, and the numbers around it are of all of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nnwidget.model import matrix
from nnwidget.model.filter_order import channel_activity
from nnwidget.model.filters import filters
from nnwidget.model.statistics import statistics
from nnwidget.types import WeightView

torch.set_num_threads(1)


def values(tiles) -> np.ndarray:
    lo, hi = float(tiles.lo[0]), float(tiles.hi[0])
    return lo + tiles.codes[0] / 252 * (hi - lo)


def test_of_a_large_layer_only_the_screen_is_sent() -> None:
    layer = nn.Linear(2048, 2048)
    weight = layer.weight.detach()
    overview = filters(layer, WeightView(room=(384, 512)))
    assert overview.tiles is not None and overview.tiles.pool == (6, 4)
    assert overview.tiles.codes.nbytes == 342 * 512 and overview.window == (0, 2048, 0, 2048)
    expected = F.avg_pool2d(weight[None, None], (6, 4), ceil_mode=True, count_include_pad=False)[0, 0].numpy()
    np.testing.assert_allclose(values(overview.tiles), expected, atol=float(np.ptp(expected)) / 252)
    part = filters(layer, WeightView(room=(384, 512), window=(100, 300, 1000, 1500)))
    assert part.tiles is not None and part.tiles.pool == (1, 1) and part.tiles.codes.shape == (1, 200, 500)
    truth = weight[100:300, 1000:1500].numpy()
    np.testing.assert_allclose(values(part.tiles), truth, atol=float(np.ptp(truth)) / 252)
    np.testing.assert_allclose(part.row_norms, weight[100:300].norm(dim=1), rtol=1e-5)
    np.testing.assert_allclose(part.column_norms, weight[:, 1000:1500].norm(dim=0), rtol=1e-5)
    assert part.statistics is not None and part.statistics.count == 2048 * 2048, "the range is that of the layer"


@pytest.mark.parametrize("piece", [1, 7, 50, 10_000])
def test_pieces_join_to_one_picture(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    weight = torch.randn(37, 23)
    weight[3, 4] = float("nan")
    whole = matrix.picture(weight, (2, 36, 1, 23), (8, 5))
    known = statistics(weight)
    monkeypatch.setattr(matrix, "PIECE", piece)
    parts = matrix.picture(weight, (2, 36, 1, 23), (8, 5))
    np.testing.assert_array_equal(whole.tiles.codes, parts.tiles.codes)
    np.testing.assert_allclose(whole.row_norms, parts.row_norms, rtol=1e-6)
    np.testing.assert_allclose(whole.column_norms, parts.column_norms, rtol=1e-6)
    found = matrix.whole_statistics(weight)
    assert (found.count, found.minimum, found.maximum, found.nan) == (known.count, known.minimum, known.maximum, 1)
    assert found.mean == pytest.approx(known.mean, abs=1e-6) and found.std == pytest.approx(known.std, rel=1e-6)
    np.testing.assert_allclose(matrix.row_norms(weight), weight.norm(dim=1), rtol=1e-6)
    np.testing.assert_allclose(
        matrix.cosines(weight, 1, weight.norm(dim=1)), F.cosine_similarity(weight, weight[1:2]), atol=1e-6
    )


def test_blocks_and_norms_with_nan_are_nan() -> None:
    weight = torch.zeros(4, 4)
    weight[1, 2] = float("nan")
    seen = matrix.picture(weight, None, (2, 2))
    assert seen.tiles.codes.tolist() == [[[0, 255], [0, 0]]]
    assert np.isnan(seen.row_norms).tolist() == [True, False]
    assert np.isnan(seen.column_norms).tolist() == [False, True]


@pytest.mark.parametrize("sort", ["norm", "similarity", "activity"])
def test_rows_are_sorted_before_they_are_pooled(sort: str) -> None:
    layer = nn.Linear(6, 9)
    weight = layer.weight.detach()
    activity = torch.rand(9)
    score = {
        "norm": weight.norm(dim=1),
        "similarity": F.cosine_similarity(weight, weight[4:5]),
        "activity": activity,
    }[sort]
    order = torch.argsort(score, descending=True, stable=True)
    view = WeightView(sort=sort, reference=4, window=(2, 8, 1, 6))  # type: ignore[arg-type]
    bank = filters(layer, view, activity=activity)
    assert bank.order is not None and bank.order.tolist() == order[2:8].tolist()
    truth = weight[order][2:8, 1:6].numpy()
    assert bank.tiles is not None
    np.testing.assert_allclose(values(bank.tiles), truth, atol=float(np.ptp(truth)) / 252)
    np.testing.assert_allclose(bank.row_norms, weight[order][2:8].norm(dim=1), rtol=1e-5)
    if sort == "similarity":
        assert int(order[0]) == 4


def test_without_a_reference_the_strongest_row_is_compared_with() -> None:
    layer = nn.Linear(6, 9)
    with torch.no_grad():
        layer.weight[5] *= 100
    bank = filters(layer, WeightView(sort="similarity"))
    assert bank.order is not None and bank.order[0] == 5


def test_filters_get_scores_and_keep_their_places() -> None:
    layer = nn.Conv2d(3, 5, 3)
    bank = filters(layer, WeightView(sort="similarity", reference=2))
    flat = layer.weight.detach().flatten(1)
    np.testing.assert_allclose(bank.scores, F.cosine_similarity(flat, flat[2:3]), atol=1e-6)
    assert bank.tiles is not None and bank.tiles.index.tolist() == [0, 1, 2, 3, 4]
    bank = filters(layer, WeightView(sort="activity"), activity=torch.arange(5.0))
    assert bank.scores is not None and bank.scores.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("shape", "kind", "axes"),
    [((4, 3, 5), "maps", (1, 2)), ((4, 6), "signal", (1,)), ((6, 4), "tokens", (0,)), ((4,), "vector", ())],
)
def test_activity_is_the_mean_magnitude_of_each_channel(shape, kind, axes) -> None:
    x = torch.randn(shape)
    expected = x.abs().mean(dim=axes) if axes else x.abs()
    torch.testing.assert_close(channel_activity(x, kind), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_shown_too(dtype: torch.dtype) -> None:
    layer = nn.Linear(40, 30, dtype=dtype)
    bank = filters(layer, WeightView(room=(10, 10)))
    truth = F.avg_pool2d(layer.weight.detach().float()[None], (3, 4), ceil_mode=True)[0].numpy()
    assert bank.tiles is not None
    np.testing.assert_allclose(values(bank.tiles), truth, atol=float(np.ptp(truth)) / 252 + 1e-6)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that was made anew."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        known = {id(a.untyped_storage()) for a in args if isinstance(a, torch.Tensor)}
        if isinstance(result, torch.Tensor) and not func.is_view and id(result.untyped_storage()) not in known:
            self.elements = max(self.elements, result.numel())
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sort", ["number", "similarity"])
def test_showing_a_large_layer_makes_no_second_one(dtype: torch.dtype, sort: str) -> None:
    layer = nn.Linear(4096, 2048, bias=False, dtype=dtype)
    with Largest() as made:
        filters(layer, WeightView(sort=sort))  # type: ignore[arg-type]
    assert 0 < made.elements <= matrix.PIECE < layer.weight.numel() / 2


def test_a_weight_without_values_is_no_error() -> None:
    layer = nn.Linear(3, 2)
    layer.weight = nn.Parameter(torch.zeros(0, 3))
    bank = filters(layer)
    assert bank.statistics is not None and bank.statistics.count == 0
