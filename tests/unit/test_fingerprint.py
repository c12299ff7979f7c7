"""What a fingerprint sees: values that only changed places, and models whose parts are not plain."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnwidget.model.fingerprint import Fingerprint, _device_sums
from nnwidget.model.replay import Replayer

MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "rows in reverse": lambda weight: weight.flip(0),
    "columns in reverse": lambda weight: weight.flip(1),
    "the next row": lambda weight: weight.roll(1, 0),
    "the next row but one": lambda weight: weight.roll(2, 0),
    "251 rows on": lambda weight: weight.roll(251, 0),
    "the next column": lambda weight: weight.roll(1, 1),
    "columns half way round": lambda weight: weight.roll(weight.shape[1] // 2, 1),
    "transposed": lambda weight: weight.t(),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
@pytest.mark.parametrize("size", [64, 256, 512, 1024])
def test_values_that_changed_places_are_seen(size: int, move: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    net = nn.Linear(size, size)
    mark = Fingerprint([net], {id(net)}, ())
    assert mark.holds(())
    # As an old fused optimiser does it: past the version counter.
    net.weight.data.copy_(move(net.weight.data).clone())
    assert not mark.holds(())


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_an_accelerator_sees_them_too(dtype: torch.dtype, move: Callable[[Tensor], Tensor]) -> None:
    bits = torch.randint(-(2**15), 2**15, (512, 512), dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert _device_sums([bits.reshape(-1)]) == _device_sums([bits.clone().reshape(-1)])
    assert _device_sums([bits.reshape(-1)]) != _device_sums([move(bits).reshape(-1)])


@pytest.mark.parametrize("place", [0, 1, 255, 256, 511, 99_999])
def test_an_accelerator_sees_the_sign_of_a_double(place: int) -> None:
    values = torch.ones(100_000, dtype=torch.float64)
    before = _device_sums([values.view(torch.int64)])
    values[place] = -1.0
    assert _device_sums([values.view(torch.int64)]) != before


def test_an_answer_from_weights_that_changed_places_is_not_served_again() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 512), nn.Linear(512, 512), nn.ReLU())
    rows = torch.rand(2, 8)
    replayer = Replayer(net)
    before = replayer.channel_means((rows,), {}, "1")
    net[1].weight.data.copy_(net[1].weight.data.roll(1, 0))
    with torch.no_grad():
        expected = net[1](net[0](rows)).mean(0)
    after = replayer.channel_means((rows,), {}, "1")
    assert not torch.equal(after, before)
    assert torch.allclose(after, expected)


def test_a_script_module_among_the_layers() -> None:
    with warnings.catch_warnings():
        # Deprecated, and still found in people's models.
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted: Any = torch.jit.script(nn.Sequential(nn.Linear(4, 4)))
    net = nn.Sequential(nn.Linear(4, 4), scripted, nn.Linear(4, 2))
    mark = Fingerprint(list(net.modules()), {id(module) for module in net.modules()}, ())
    assert mark.holds(())
    replayer = Replayer(net)
    rows = torch.rand(3, 4)
    with torch.no_grad():
        expected = net(rows)
    for _ in range(2):
        replay = replayer.run((rows,), observe=["0"])
        assert replay.error is None
        assert torch.equal(replay.result, expected)
