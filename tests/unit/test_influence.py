"""Influence and class selectivity of channels, against plain torch by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nnwidget
from nnwidget.errors import CancelledError, InputError
from nnwidget.model.influence import TOGETHER, Influence, Place
from nnwidget.model.replay import Replayer
from nnwidget.model.selectivity import class_selectivity, classes_of
from tests.unit import nets

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def brute(model, layer, images, at=0):
    """Change of all outputs for one input, each channel replaced by its mean over all inputs, a hook each."""
    model.eval()
    module = model.get_submodule(layer)
    seen = []
    with torch.no_grad():
        handle = module.register_forward_hook(lambda m, args, out: seen.append(out.clone()))
        model(images)
        handle.remove()
        means = seen[0].transpose(0, 1).flatten(1).mean(1)
        before = model(images[at : at + 1])[0]
        changes = []
        for channel in range(len(means)):

            def swap(m, args, out, channel=channel):
                out = out.clone()
                out[:, channel] = means[channel]
                return out

            handle = module.register_forward_hook(swap)
            changes.append(model(images[at : at + 1])[0] - before)
            handle.remove()
    return torch.stack(changes)


def influence(model, layer, images=IMAGES, at=0):
    replayer = Replayer(model)
    means = replayer.channel_means((images,), {}, layer)
    one = (images[at : at + 1],)
    before = replayer.run(one).result[0]
    order = torch.randperm(len(means)).tolist()
    return Influence(replayer, one, {}, at, Place(layer, 1, 0), means, order, lambda output: output, before)


def changes(found):
    return torch.stack([found.changes[channel] for channel in range(len(found.order))])


class BatchStatistics(nn.Module):
    """Rows mix: it normalises by the batch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 20, 3)
        self.norm = nn.BatchNorm2d(20, track_running_stats=False)
        self.head = nn.Linear(20, 4)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


class OneOnly(nn.Module):
    """Takes batches of one, and of three for the means."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 20, 3)
        self.head = nn.Linear(20, 4)

    def forward(self, x):
        y = self.conv(x).relu()
        if len(y) > 3:
            raise ValueError("too many")
        return self.head(y.mean((2, 3)))


class Viewing(nn.Module):
    """Wants its memory in the usual order."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 20, 3, stride=4)
        self.head = nn.Linear(20 * 64, 4)

    def forward(self, x):
        return self.head(self.conv(x).view(len(x), -1))


@pytest.mark.parametrize(
    ("make", "layer", "together", "last"),
    [
        (lambda: nets.MobileNetV2(10), "features.4.conv.0.0", True, True),
        (nets.ResNet, "layer2.1.bn1", True, True),
        (nets.ResNet, "layer1.0.bn1", False, True),
        (Viewing, "conv", True, False),
        (BatchStatistics, "conv", False, False),
        (OneOnly, "conv", False, False),
    ],
)
def test_influence_is_what_brute_force_finds(make, layer, together, last) -> None:
    model = make()
    found = influence(model, layer, at=1)
    found.advance(lambda: False)
    assert found.finished and (found.together, found._last) == (together, last)
    expected = brute(model, layer, IMAGES, at=1)
    assert torch.allclose(changes(found), expected, atol=1e-5)


def test_it_goes_on_where_it_stopped_and_what_was_found_stays() -> None:
    model = nets.MobileNetV2(10)
    found = influence(model, "features.4.conv.0.0")
    counts = []
    while not found.finished:
        found.advance(lambda: True)
        counts.append(len(found.changes))
    assert counts[:3] == [1, 1 + TOGETHER, 1 + 2 * TOGETHER] and counts[-1] == 144
    assert list(found.changes) == list(found.order)
    other = influence(model, "features.4.conv.0.0")
    other.advance(lambda: True)
    with pytest.raises(CancelledError):
        other.advance(lambda: False, lambda: True)
    assert len(other.changes) == 1


def test_weights_that_move_void_the_cut() -> None:
    model = nets.MobileNetV2(10)
    found = influence(model, "features.4.conv.0.0")
    found.advance(lambda: len(found.changes) > 20)
    with torch.no_grad():
        model.features[0][0].weight.mul_(1.5)
    first = len(found.changes)
    # Means and outputs as before; only the cut must notice.
    found.advance(lambda: len(found.changes) > first)
    channel = found.order[first]
    with torch.no_grad():
        model.eval()

        def swap(m, args, out):
            out = out.clone()
            out[:, channel] = found._means[channel]
            return out

        handle = model.get_submodule("features.4.conv.0.0").register_forward_hook(swap)
        expected = model(IMAGES[:1])[0] - found._before
        handle.remove()
    assert torch.allclose(found.changes[channel], expected, atol=1e-5)


def test_a_channel_whose_zero_is_impossible_does_not_come_first() -> None:
    """As channel 157 of MobileNetV2's features.5.conv.1.0: hardly varies, and zero becomes a large value behind it."""
    conv, norm = nn.Conv2d(3, 12, 1), nn.BatchNorm2d(12)
    model = nn.Sequential(conv, norm, nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3)).eval()
    with torch.no_grad():
        conv.weight[7] *= 0.01
        conv.bias[7] = -5.0
        norm.running_mean[7], norm.running_var[7] = -5.0, 0.01
    found = influence(model, "0")
    found.advance(lambda: False)
    size = changes(found)[:, 0].abs()
    with torch.no_grad():
        y, zeroed = conv(IMAGES[:1]), []
        for channel in range(12):
            z = y.clone()
            z[:, channel] = 0
            zeroed.append((model[1:](z) - model(IMAGES[:1]))[0, 0].abs())
    assert int(torch.stack(zeroed).argmax()) == 7
    assert int(size.argmax()) != 7


def test_selectivity_is_the_papers_formula() -> None:
    means = torch.rand(9, 5, generator=torch.Generator().manual_seed(2)).double()
    classes = [0, 1, 1, 4, 4, 4, None, 0, 1]
    index, preferred = class_selectivity(means, classes)
    for channel in range(5):
        per = {c: np.mean([float(means[n, channel]) for n in range(9) if classes[n] == c]) for c in (0, 1, 4)}
        best = max(per, key=per.get)
        rest = np.mean([value for name, value in per.items() if name != best])
        assert float(index[channel]) == pytest.approx((per[best] - rest) / (per[best] + rest), rel=1e-6)
        assert int(preferred[channel]) == best
    edge = torch.tensor([[0.0, 2.0, -1.0], [0.0, 0.0, 1.0]])
    index, _ = class_selectivity(edge, [0, 1])
    assert index[:2].tolist() == [0.0, 1.0] and index[2].isnan()


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ((), "no targets"),
        ((None, None), "no targets"),
        ((1, None, 1), "at least two"),
        ((0.5, 1.0), "not class numbers"),
    ],
)
def test_selectivity_says_what_it_needs(targets, words) -> None:
    with pytest.raises(InputError, match=words) as caught:
        classes_of(targets)
    assert caught.value.argument == "targets" and caught.value.remedy


def test_whole_numbers_written_as_floats_are_classes() -> None:
    with nnwidget.explore(nn.Linear(2, 2), torch.rand(2, 2), targets=torch.tensor([0.0, 1.0])) as ex:
        assert classes_of(ex._bench.pinned.targets) == [0, 1]
