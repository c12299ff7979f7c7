"""Four trainings of the usual sizes, each a plain loop whose step can be called as often as one likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tests.unit.nets import BasicBlock

# Two periods without a common factor: no pairing of input and label comes back soon, so nothing can be learnt by heart
# and no gradient dies away while the clock runs.
_INPUTS, _LABELS = 13, 17


@dataclass(frozen=True)
class Training:
    """A model, its optimiser and its loss, and ``step()``: one step of an ordinary loop."""

    name: str
    model: nn.Module
    optimizer: Optimizer
    loss: nn.Module
    step: Callable[[], None]


def _training(
    name: str,
    device: str,
    model: nn.Module,
    optimizer: Callable[..., Optimizer],
    inputs: Callable[[], Tensor],
    labels: Callable[[], Tensor],
) -> Training:
    model.to(device)
    made = optimizer(model.parameters())
    loss_module = nn.CrossEntropyLoss()
    xs = [inputs().to(device) for _ in range(_INPUTS)]
    ys = [labels().to(device) for _ in range(_LABELS)]
    number = 0

    def step() -> None:
        nonlocal number
        x, y = xs[number % _INPUTS], ys[number % _LABELS]
        number += 1
        made.zero_grad()
        loss_module(model(x).flatten(0, -2), y.flatten()).backward()
        made.step()

    return Training(name, model, made, loss_module, step)


def mlp(device: str) -> Training:
    """784-128-10, batch 32: the step is so short that everything beside it shows."""
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    return _training(
        "MLP 784-128-10",
        device,
        model,
        lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        lambda: torch.rand(32, 784),
        lambda: torch.randint(0, 10, (32,)),
    )


def cnn(device: str) -> Training:
    """194 thousand parameters at 28×28, batch 64."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 49, 120),
        nn.ReLU(),
        nn.Linear(120, 10),
    )
    return _training(
        "CNN 194k",
        device,
        model,
        lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        lambda: torch.rand(64, 1, 28, 28),
        lambda: torch.randint(0, 10, (64,)),
    )


class ResNet18(nn.Module):
    """The architecture of the ImageNet net, 11 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        for number, (inp, out, stride) in enumerate(widths, 1):
            self.add_module(f"layer{number}", nn.Sequential(BasicBlock(inp, out, stride), BasicBlock(out, out, 1)))
        self.fc = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 10)``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(x.mean((2, 3)))


def resnet18(device: str) -> Training:
    """Small pictures, batch 32: most of the work is on weights."""
    return _training(
        "ResNet-18 at 32×32",
        device,
        ResNet18(),
        lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9),
        lambda: torch.rand(32, 3, 32, 32),
        lambda: torch.randint(0, 10, (32,)),
    )


class Decoder(nn.Module):
    """A language model: 4 layers of width 256, 4 heads, each token sees those before it."""

    def __init__(self, tokens: int = 512, length: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, 256)
        self.position = nn.Parameter(0.02 * torch.randn(length, 256))
        layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.1, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 4, nn.LayerNorm(256), enable_nested_tensor=False)
        self.head = nn.Linear(256, tokens)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits ``(batch, token, vocabulary)``."""
        return self.head(self.blocks(self.embed(ids) + self.position, mask=self.mask, is_causal=True))


def transformer(device: str) -> Training:
    """Batch 8 of 64 tokens."""
    return _training(
        "transformer 4×256",
        device,
        Decoder(),
        lambda parameters: torch.optim.AdamW(parameters, lr=1e-4),
        lambda: torch.randint(0, 512, (8, 64)),
        lambda: torch.randint(0, 512, (8, 64)),
    )


TRAININGS: dict[str, Callable[[str], Training]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet18,
    "transformer": transformer,
}
