"""Small nets for tests: one for each way in which data can flow through a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class InvertedResidual(nn.Module):
    """MobileNetV2's block."""

    def __init__(self, inp: int, oup: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inp * expand
        layers = [] if expand == 1 else [_conv_bn(inp, hidden, 1)]
        layers += [_conv_bn(hidden, hidden, 3, stride, hidden), nn.Conv2d(hidden, oup, 1, bias=False)]
        self.conv = nn.Sequential(*layers, nn.BatchNorm2d(oup))
        self.use_res_connect = stride == 1 and inp == oup

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


def _conv_bn(inp: int, oup: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inp, oup, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(oup), nn.ReLU6(inplace=True))


class MobileNetV2(nn.Module):
    """The architecture and the names of torchvision's, randomly initialised."""

    blocks = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_bn(3, 32, 3, 2)]
        inp = 32
        for expand, oup, repeat, stride in self.blocks:
            for index in range(repeat):
                layers.append(InvertedResidual(inp, oup, stride if index == 0 else 1, expand))
                inp = oup
        self.features = nn.Sequential(*layers, _conv_bn(inp, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class BasicBlock(nn.Module):
    """ResNet's block: one ReLU used twice in place, ``out += x``."""

    def __init__(self, inp: int, oup: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inp, oup, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(oup)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(oup, oup, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(oup)
        self.downsample = nn.Conv2d(inp, oup, 1, stride, bias=False) if stride > 1 or inp != oup else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    """A small ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(8, 8, 1), BasicBlock(8, 8, 1))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2), BasicBlock(16, 16, 1))
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer2(self.layer1(functional.relu(self.conv1(x)))).mean((2, 3)))


class Recurrent(nn.Module):
    """Tokens, an LSTM whose states are used, a second LSTM that starts from them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.first = nn.LSTM(8, 12, batch_first=True)
        self.second = nn.LSTM(12, 12, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        out, state = self.first(self.embed(tokens))
        out, (hidden, _) = self.second(out, state)
        return self.head(out.mean(1) + hidden[-1])


class Transformer(nn.Module):
    """Two encoder layers with torch's fused path in eval."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 4)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.head(self.encoder(self.embed(tokens), src_key_padding_mask=mask).mean(1))


class DictNet(nn.Module):
    """Dictionaries between layers and as the result."""

    class Trunk(nn.Module):
        """Two features in a dictionary."""

        def __init__(self) -> None:
            super().__init__()
            self.fine, self.coarse = nn.Linear(6, 5), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"fine": self.fine(x), "coarse": (self.coarse(x), None)}

    def __init__(self) -> None:
        super().__init__()
        self.trunk = self.Trunk()
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        parts = self.trunk(x)
        parts["fine"].relu_()
        return {"logits": self.head(parts["fine"] + parts["coarse"][0]), "fine": parts["fine"]}


class Reused(nn.Module):
    """One layer called three times, and known under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(6, 6)
        self.again = self.shared
        self.act = nn.Tanh()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.shared(x))
        x = self.act(self.again(x)) + x
        return self.head(self.shared(x))


class Loop(nn.Module):
    """As many rounds as the data ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        rounds = 0
        while float(x.abs().sum()) > 1.0 and rounds < 8:
            x = torch.tanh(self.step(x)) * 0.8
            rounds += 1
        return self.head(x) + rounds


class ViewThenMutate(nn.Module):
    """A layer returns a view of its input, which is then changed; the input is read again."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Flatten()
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        self.flat(x).mul_(2.0)
        return self.head(self.mix(x.flatten(1)))


class HiddenView(nn.Module):
    """A layer returns a view of a tensor that it was not given, which is then changed."""

    class Keep(nn.Module):
        """Hands out what somebody put on it."""

        def forward(self) -> Tensor:
            return self.kept.view(-1, 8)

    def __init__(self) -> None:
        super().__init__()
        self.keep = self.Keep()
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        self.keep.kept = x
        self.keep().mul_(2.0)
        return self.head(self.mix(x.flatten(1)))


class Stateful(nn.Module):
    """A layer that leaves something behind for another."""

    class Counter(nn.Module):
        """Counts its calls."""

        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return x * 2.0

    def __init__(self) -> None:
        super().__init__()
        self.counter = self.Counter()
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.counter(x))
        return self.head(x) * self.counter.count
