"""Loops and models that do something of their own between a forward and a step."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.untouched.job import Each, Job
from tests.untouched.usual import Block, batches, inputs


def _simple(model: nn.Module, shape: tuple[int, ...]) -> Job:
    """The plainest loop, where the model is what is odd."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    loader = batches(shape)

    def train(each: Each) -> None:
        step = 0
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                each(step, loss)
                step += 1

    return Job({"model": model}, {"model": [optimizer]}, {"model": inputs(loader)}, train)


def lbfgs() -> Job:
    """The closure runs the model several times within one step."""
    model = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Dropout(0.1), nn.Linear(12, 3))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4, line_search_fn="strong_wolfe")
    x, y = torch.randn(24, 8), torch.randint(0, 3, (24,))

    def train(each: Each) -> None:
        for step in range(8):

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            each(step, optimizer.step(closure))

    return Job({"model": model}, {"model": [optimizer]}, {"model": x[:3].clone()}, train)


def epochs() -> Job:
    """Schedulers, and a validation in eval mode between the epochs that picks the best weights."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 3)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 4))
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    loader = batches((1, 8, 8), rows=36)
    held_out = torch.randn(20, 1, 8, 8), torch.randint(0, 3, (20,))

    def train(each: Each) -> None:
        step, best = 0, (float("inf"), {})
        for _ in range(4):
            model.train()
            for x, y in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                warm.step()
                each(step, loss)
                step += 1
            model.eval()
            with torch.no_grad():
                score = F.cross_entropy(model(held_out[0]), held_out[1])
            each(step - 1, score)
            plateau.step(score)
            if score < best[0]:
                best = (float(score), copy.deepcopy(model.state_dict()))
        model.load_state_dict(best[1])

    return Job({"model": model}, {"model": [optimizer]}, {"model": inputs(loader)}, train)


def averaged() -> Job:
    """A moving average of the model, copied from the live one; the average is validated, too."""
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = batches((8,))
    average: list[nn.Module] = []

    def train(each: Each) -> None:
        step = 0
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                if not average:
                    average.append(copy.deepcopy(model))
                with torch.no_grad():
                    for old, new in zip(average[0].parameters(), model.parameters(), strict=True):
                        old.lerp_(new, 0.1)
                    each(step, average[0](x).sum())
                step += 1

    return Job({"model": model}, {"model": [optimizer]}, {"model": inputs(loader)}, train)


def by_hand() -> Job:
    """No optimiser at all."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    loader = batches((8,))

    def train(each: Each) -> None:
        step = 0
        for _ in range(2):
            for x, y in loader:
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter -= 0.1 * parameter.grad
                        parameter.grad = None
                each(step, loss)
                step += 1

    return Job({"model": model}, {"model": []}, {"model": inputs(loader)}, train)


def two_optimizers() -> Job:
    """One for the body and one for the head, which steps every other time; a part of the body stays frozen."""
    frozen = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)).requires_grad_(False).eval()
    model = nn.Sequential(frozen, Block(4, 8, 2), nn.Flatten(), nn.Linear(128, 3))
    body = torch.optim.SGD(model[1].parameters(), lr=0.02, momentum=0.9)
    head = torch.optim.Adam(model[3].parameters(), lr=0.01)
    loader = batches((1, 8, 8))

    def train(each: Each) -> None:
        step = 0
        for _ in range(2):
            for x, y in loader:
                body.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                body.step()
                if step % 2:
                    head.step()
                    head.zero_grad()
                each(step, loss)
                step += 1

    return Job({"model": model}, {"model": [body, head]}, {"model": inputs(loader)}, train, stride=2)


def stepped_in_backward() -> Job:
    """One optimiser for each parameter, which steps as soon as its gradient is there."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    optimizers = {p: torch.optim.SGD([p], lr=0.05, momentum=0.9) for p in model.parameters()}
    loader = batches((8,))

    def apply(parameter: Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(apply)

    def train(each: Each) -> None:
        step = 0
        for _ in range(2):
            for x, y in loader:
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                each(step, loss)
                step += 1

    return Job({"model": model}, {"model": list(optimizers.values())}, {"model": inputs(loader)}, train)


def spectral() -> Job:
    """Only reading such a weight in train mode moves its buffers."""
    normed = nn.utils.parametrizations.spectral_norm
    model = nn.Sequential(normed(nn.Conv2d(1, 4, 3)), nn.ReLU(), nn.Flatten(), normed(nn.Linear(144, 3)))
    return _simple(model, (1, 8, 8))


class FakeQuantized(nn.Module):
    """Quantisation-aware training: the observers move with every call, in eval mode, too."""

    def __init__(self) -> None:
        super().__init__()
        from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver

        self.first = nn.Linear(8, 16)
        self.quantize = FakeQuantize(MovingAverageMinMaxObserver, quant_min=0, quant_max=255)
        self.weights = FakeQuantize(MovingAverageMinMaxObserver, quant_min=0, quant_max=255)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.quantize(self.first(x).relu())
        return F.linear(x, self.weights(self.head.weight), self.head.bias)


def fake_quantized() -> Job:
    return _simple(FakeQuantized(), (8,))


class Hooked(nn.Module):
    """Hooks of every kind that change what passes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.drop = nn.Linear(8, 12), nn.ReLU(), nn.Dropout(0.2)
        self.second, self.head = nn.Linear(12, 12), nn.Linear(12, 3)
        self.seen: list[float] = []
        self.first.register_forward_pre_hook(_halved)
        self.first.register_forward_hook(_shifted)
        self.second.register_full_backward_hook(_scaled)
        self.second.register_full_backward_pre_hook(_clamped)
        self.head.weight.register_hook(_noised)
        self.head.bias.register_post_accumulate_grad_hook(_rounded)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.act(self.first(x)))
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient + 0.01 * torch.randn_like(gradient))
        return self.head(self.second(x))


def _halved(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (args[0] * 0.5,)


def _shifted(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output + 0.1


def _scaled(module: nn.Module, inward: tuple[Tensor, ...], outward: Any) -> tuple[Tensor, ...]:
    return (inward[0] * 1.1,)


def _clamped(module: nn.Module, outward: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (outward[0].clamp(-0.1, 0.1),)


def _noised(gradient: Tensor) -> Tensor:
    return gradient + 0.01 * torch.randn_like(gradient)


def _rounded(parameter: Tensor) -> None:
    parameter.grad.mul_(64).round_().div_(64)


def hooked() -> Job:
    """The optimiser has hooks of the user's own, too."""
    job = _simple(Hooked(), (8,))
    (optimizer,) = job.optimizers["model"]
    optimizer.register_step_pre_hook(_decayed)
    optimizer.register_step_post_hook(_drifted)
    return job


def _decayed(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= 0.9


def _drifted(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    with torch.no_grad():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.add_(torch.randn_like(parameter), alpha=1e-4)
