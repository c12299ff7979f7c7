"""Models whose control flow, structure or calls are odd."""

from __future__ import annotations

import random
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.conv(x)).mean((2, 3)))


class AddsInPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out = self.a(x)
        out += x
        out = self.b(out)
        out.mul_(2)
        return out


class Halves(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :4], x[:, 4:]


class Views(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(8, 8)
        self.halves = Halves()

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.halves(self.lin(x))
        return left.t() @ right


class First(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2]


class ViewThenMutate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(8, 4)
        self.first = First()

    def forward(self, x: Tensor) -> Tensor:
        h = self.lin(x) * 1.0
        self.first(h).add_(1)
        return h


class _Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)


class TupleAndNone(_Pair):
    def forward(self, x: Tensor) -> Any:
        return self.lin(x), None, (x * 2, [None])


class ListAndInt(_Pair):
    def forward(self, x: Tensor) -> Any:
        return [self.lin(x), 3, "text", x.shape]


class DictOutput(_Pair):
    def forward(self, x: Tensor) -> Any:
        return {"logits": self.lin(x), "aux": {"a.b": x, 7: None}}


class Output(OrderedDict):  # type: ignore[type-arg]
    """Like the outputs of transformers: keys are attributes, too."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.__dict__[key] = value


class MappingOutput(_Pair):
    def forward(self, x: Tensor) -> Any:
        return Output(logits=self.lin(x), states=(x, x + 1))


@dataclass(frozen=True)
class Result:
    logits: Tensor
    loss: Tensor | None = None
    steps: int = 0


class DataclassOutput(_Pair):
    def forward(self, x: Tensor) -> Any:
        y = self.lin(x)
        return Result(y, y.square().mean(), 2)


Named = namedtuple("Named", ["first", "second"])


class NamedOutput(_Pair):
    def forward(self, x: Tensor) -> Any:
        return Named(self.lin(x), torch.max(x, 1))


class ReturnsNone(_Pair):
    def forward(self, x: Tensor) -> None:
        self.lin(x)


class Keywords(_Pair):
    def forward(self, x: Tensor, *, scale: float = 1.0, bias: Tensor | None = None) -> Tensor:
        y = self.lin(input=x) * scale
        return y if bias is None else y + bias


class Reused(_Pair):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.act(self.lin(x))
        return x


class SharedNames(_Pair):
    def __init__(self) -> None:
        super().__init__()
        self.again = self.lin
        self.block = nn.Sequential(self.lin, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.again(self.lin(x)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embed(ids))


class NeverCalled(_Pair):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x)


class Recursive(_Pair):
    def forward(self, x: Tensor, depth: int = 2) -> Tensor:
        x = self.lin(x)
        return self(x, depth - 1) if depth else x


class Child(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.parent.scale  # type: ignore[operator, union-attr]


class HoldsParent(_Pair):
    scale = 3.0

    def __init__(self) -> None:
        super().__init__()
        self.child = Child()
        self.child.parent = self

    def forward(self, x: Tensor) -> Tensor:
        return self.child(self.lin(x))

    def train(self, mode: bool = True) -> HoldsParent:
        # nn.Module.train recurses over children for ever on a cycle.
        for module in self.modules():
            module.training = mode
        return self


class Loop(_Pair):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(5):
            if float(x.detach().abs().sum()) > 6:
                break
            x = x + self.lin(x).abs()
        return x * self.lin.weight.sum()


class Branch(_Pair):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x) if bool(x.sum() > 1e9) else self.other(x)


class RandomDepth(_Pair):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(1 + random.randrange(3) + int(np.random.randint(2))):
            x = self.lin(x) + 0.1 * torch.randn_like(x)
        return x


class KeepsFrozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm1d(4)
        self.lin = nn.Linear(4, 4)

    def train(self, mode: bool = True) -> KeepsFrozen:
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(self.frozen(x))


class OwnCall(_Pair):
    def __call__(self, x: Tensor) -> Any:
        return super().__call__(x * 2) + 1

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x)


class CallsForward(_Pair):
    def forward(self, x: Tensor) -> Tensor:
        return self.lin.forward(x)


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("on purpose")


class Catches(_Pair):
    def __init__(self) -> None:
        super().__init__()
        self.fails = Fails()

    def forward(self, x: Tensor) -> Tensor:
        x = self.lin(x)
        try:
            return self.fails(x)
        except ValueError:
            return self.lin(x)


class Counter(_Pair):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.last: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.last.append(1.0)
        return self.lin(x) * float(self.count)


class UserHooks(_Pair):
    def __init__(self) -> None:
        super().__init__()
        self.lin.register_forward_pre_hook(_double_input)
        self.lin.register_forward_hook(_add_one)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x)


def _double_input(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (args[0] * 2,)


def _add_one(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + 1


class Containers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by_name = nn.ModuleDict({"left": nn.Linear(4, 4), "right": nn.Linear(4, 4)})
        self.row = nn.ModuleList([nn.Linear(4, 4), nn.ReLU()])
        self.scales = nn.ParameterList([nn.Parameter(torch.ones(4)) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        for name, scale in zip(self.by_name, self.scales, strict=True):
            x = self.by_name[name](x) * scale
        for layer in self.row:
            x = layer(x)
        return x


class HtmlNames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.add_module("<b>bold</b>", nn.Linear(4, 4))
        self.add_module("a'\"&<script>alert(1)</script>", nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


class Unprintable(_Pair):
    def extra_repr(self) -> str:
        raise RuntimeError("not for printing")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not for comparing")

    __hash__ = nn.Module.__hash__

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x)


def thousand() -> nn.Module:
    return nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(333)))


def deep() -> nn.Module:
    model: nn.Module = nn.Linear(4, 4)
    for _ in range(60):
        model = nn.Sequential(model)
    return model


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.first = nn.Linear(4, 4)
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(2):
            x = checkpoint(self.inner, x, use_reentrant=self.reentrant)
        return x


class Gan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Linear(4, 4)
        self.discriminator = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(inplace=True), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fake = self.generator(x)
        return self.discriminator(fake.detach()), self.discriminator(fake)


def frozen_backbone() -> nn.Module:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    backbone.requires_grad_(False).eval()
    return nn.Sequential(backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(4, 2))
