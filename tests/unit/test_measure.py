"""Statistics of large tensors on the host: extremes of all values, the rest from a stated part of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnwidget import watch
from nnwidget.training.measure import USUAL, on_host

SHAPE = (16, 8, 40, 40)


def images() -> torch.Tensor:
    torch.manual_seed(0)
    return (torch.randn(SHAPE) * 3 + 1).relu()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_estimates_are_near_and_extremes_are_exact(memory_format: torch.memory_format) -> None:
    given = images()
    given[7, 3, 11, 13], given[9, 1, 2, 3] = 99.0, -50.0
    found = on_host(given.to(memory_format=memory_format))
    assert (found.count, found.finite, found.nan, found.inf) == (given.numel(), given.numel(), 0, 0)
    assert (found.low, found.high) == (-50.0, 99.0)
    tolerance = 4 * float(given.std()) / USUAL**0.5
    assert found.mean == pytest.approx(float(given.mean()), abs=tolerance)
    assert found.std == pytest.approx(float(given.std()), abs=2 * tolerance)
    assert found.zeros / found.count == pytest.approx(float((given == 0).float().mean()), abs=0.01)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_that_is_not_finite_is_found_among_many(value: float) -> None:
    given = images()
    given[3, 7, 39, 38] = value
    found = on_host(given)
    assert found.nan + found.inf == 1 and found.finite == given.numel() - 1


def test_up_to_the_bound_everything_is_exact() -> None:
    torch.manual_seed(0)
    given = torch.randn(USUAL).relu()
    found = on_host(given)
    assert found.mean == pytest.approx(float(given.double().mean()), rel=1e-5)
    assert found.std == pytest.approx(float(given.double().std(unbiased=False)), rel=1e-4)
    assert found.zeros == int((given == 0).sum())


def test_several_calls_of_large_tensors_add_up() -> None:
    one, two = on_host(images()), on_host(images() + 5)
    one.add(two)
    whole = torch.cat([images(), images() + 5])
    assert one.count == whole.numel()
    assert one.mean == pytest.approx(float(whole.mean()), rel=0.02)
    assert one.std == pytest.approx(float(whole.std()), rel=0.02)


def test_coverage_says_what_is_estimated() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    x = torch.randn(32, 1, 34, 34)
    with watch(model, every=1, budget=None) as w:
        wanted = float(model[0](x).detach().mean())
        model(x).sum().backward()
        w.step()
    said = {row.layer: row.reason for row in w.coverage if row.state == "observed"}
    assert "estimated from 8,192 values" in said["0"] and not said["3"]
    assert w.history["activation_mean"]["0"].values[0] == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("channels", [2, 3, 4, 5, 7, 31, 32, 96, 97])
@pytest.mark.parametrize("side", [8, 28, 32])
def test_all_channels_are_met(channels: int, side: int) -> None:
    batch = max(2 * USUAL // (channels * side * side), 2)
    given = torch.arange(channels).float().view(1, -1, 1, 1).expand(batch, channels, side, side).contiguous()
    found = on_host(given)
    assert found.mean == pytest.approx(float(given.mean()), abs=0.03 * channels)
    assert found.std == pytest.approx(float(given.std()), rel=0.05)
