"""The sentence on zero agrees with what the model computes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from nnwidget.model.what_zero import number, what_zero_becomes

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def trained(model: nn.Sequential) -> nn.Sequential:
    """Running statistics and affine parameters away from their defaults."""
    for module in model.modules():
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)):
            for values in (module.running_mean, module.weight, module.bias):
                if values is not None:
                    nn.init.normal_(values, std=2)
            if module.running_var is not None:
                nn.init.uniform_(module.running_var, 0.5, 3)
    return model.eval()


def order(model: nn.Module) -> list[str]:
    """Names in the order of the calls, containers after their parts, as forward hooks report them."""
    return [name for name, module in model.named_modules() if name]


@pytest.mark.parametrize(
    ("behind", "words"),
    [
        ([nn.BatchNorm2d(4)], "BatchNorm2d"),
        ([nn.BatchNorm2d(4, affine=False)], "BatchNorm2d"),
        ([nn.BatchNorm2d(4), nn.ReLU6(inplace=True)], "BatchNorm2d and ReLU6"),
        ([nn.Identity(), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.GELU(), nn.Tanh()], "BatchNorm2d, GELU and Tanh"),
        ([nn.BatchNorm2d(4), nn.PReLU(4), nn.Conv2d(4, 4, 1)], "BatchNorm2d and PReLU"),
        ([nn.SyncBatchNorm(4)], "SyncBatchNorm"),
        ([nn.InstanceNorm2d(4, affine=True)], "InstanceNorm2d"),
        ([nn.InstanceNorm2d(4, affine=True, track_running_stats=True), nn.SiLU()], "InstanceNorm2d and SiLU"),
    ],
)
@pytest.mark.parametrize("channel", range(4))
def test_the_number_is_what_the_model_computes(behind: list[nn.Module], words: str, channel: int) -> None:
    model = trained(nn.Sequential(nn.Conv2d(3, 4, 3), *behind))
    said = what_zero_becomes(model, "0", channel, order(model))
    found = re.fullmatch(r"0 here becomes (\S+) after (.+)\.", said)
    assert found is not None and found[2] == words
    values = torch.randn(2, 4, 3, 3)
    values[:, channel] = 0
    with torch.no_grad():
        for module in behind:
            if isinstance(module, nn.Conv2d):
                break
            values = module(values)
    assert values[:, channel].std() < 1e-6
    assert float(found[1].replace("−", "-")) == pytest.approx(float(values[0, channel, 0, 0]), rel=6e-3, abs=1e-4)


def test_it_depends_where_it_depends() -> None:
    for norm in (nn.GroupNorm(2, 4), nn.LayerNorm([4, 3, 3]), nn.LocalResponseNorm(2)):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), norm)
        assert what_zero_becomes(model, "0", 0, ["0", "1"]).endswith("depends on the other channels.")
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    assert what_zero_becomes(model, "0", 0, ["0", "1"]).endswith("depends on the batch.")


def test_nothing_is_said_where_no_normalisation_follows() -> None:
    model = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3)))
    names = order(model)
    for layer in ("1", "2", "3", "", "no such layer"):
        assert what_zero_becomes(model, layer, 0, names) == ""
    assert what_zero_becomes(model, "0", 99, names) == ""
    assert what_zero_becomes(model, "0", 0, []) == ""


class Residual(nn.Module):
    """An addition lies between the second normalisation and the activation called next."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.next_norm = nn.BatchNorm2d(4)


def test_what_is_not_certain_is_not_said() -> None:
    model = Residual()
    nn.init.constant_(model.bn2.bias, -1.0)
    names = ["conv1", "bn1", "relu", "conv2", "bn2", "relu", "next_norm"]
    # The activation comes after the sum, so zero is followed to the normalisation only.
    assert what_zero_becomes(model, "conv2", 0, names) == "0 here becomes −1 after BatchNorm2d."
    # Whether the last activation is what the norm gets cannot be known from the order of calls.
    assert what_zero_becomes(model, "relu", 0, ["relu", "next_norm"]) == ""


def test_channels_must_fit() -> None:
    # A concatenation in between: the norm takes more channels than the layer gives.
    model = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 1), "norm": nn.BatchNorm2d(8)})
    assert what_zero_becomes(model, "conv", 0, ["conv", "norm"]) == ""


def test_nested_blocks_and_linear_layers_are_followed() -> None:
    model = trained(
        nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()))
    )
    assert what_zero_becomes(model, "0.0", 0, ["0.0", "0.1", "0", "1.0", "1.1", "1", ""]) == ""
    model = trained(nn.Sequential(nn.Sequential(nn.ReLU(), nn.Linear(3, 4)), nn.BatchNorm1d(4), nn.Sigmoid()))
    said = what_zero_becomes(model, "0.1", 2, ["0.0", "0.1", "0", "1", "2"])
    assert said.endswith("after BatchNorm1d and Sigmoid.")
    assert what_zero_becomes(model, "0", 2, ["0", "0.0", "0.1", "1", "2"]) == said


def test_asking_moves_nothing_and_calls_no_hook() -> None:
    model = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())).train()
    called: list[nn.Module] = []
    for module in model:
        module.register_forward_hook(lambda m, i, o: called.append(m))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert what_zero_becomes(model, "0", 1, ["0", "1", "2"])
    assert called == [] and all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.6598, "0.66"),
        (-1.0, "−1"),
        (12.345, "12.3"),
        (99.96, "100"),
        (123456.0, "123000"),
        (1.2e7, "1.2e7"),
        (-3e-6, "−3e−6"),
        (float("nan"), "NaN"),
        (float("-inf"), "−∞"),
    ],
)
def test_numbers_have_three_significant_digits_and_a_true_minus(value: float, text: str) -> None:
    assert number(value) == text
