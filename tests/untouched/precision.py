"""Loops that save memory or time: mixed precision, scaled gradients, accumulation, checkpoints, compilation."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.untouched.job import Each, Job
from tests.untouched.usual import batches, inputs

# The default one writes C++; without a compiler the graphs run as they were captured, with the same hooks and guards.
COMPILER = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")
BACKEND = "inductor" if COMPILER and Path(sysconfig.get_path("include"), "Python.h").exists() else "aot_eager"


def autocast() -> Job:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(144, 3)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = batches((1, 8, 8))

    def train(each: Each) -> None:
        step = 0
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                each(step, loss)
                step += 1

    return Job({"model": model}, {"model": [optimizer]}, {"model": inputs(loader)}, train)


def scaled(fused: bool, clipped: bool = False) -> Job:
    """One of the steps overflows on purpose and is skipped by the scaler."""
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=4)
    loader = batches((8,))

    def train(each: Each) -> None:
        step = 0
        for _ in range(3):
            for x, y in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                if step == 5:
                    loss = loss * float("inf")
                scaler.scale(loss).backward()
                if clipped:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                each(step, loss)
                step += 1

    return Job(
        {"model": model}, {"model": [optimizer]}, {"model": inputs(loader)}, train, scaler, skipped=frozenset({6})
    )


def accumulated() -> Job:
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = batches((8,), rows=96, size=6)

    def train(each: Each) -> None:
        step = 0
        for _ in range(2):
            total = torch.zeros(())
            for number, (x, y) in enumerate(loader):
                loss = F.cross_entropy(model(x), y) / 4
                loss.backward()
                total += loss.detach()
                if number % 4 == 3:
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    optimizer.zero_grad()
                    each(step, total)
                    step += 1

    return Job({"model": model}, {"model": [optimizer]}, {"model": inputs(loader)}, train)


class Checkpointed(nn.Module):
    """Its blocks run again during the backward, with the random numbers of the first time."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.first = nn.Linear(8, 12)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(12, 12), nn.Dropout(0.2), nn.ReLU(inplace=True)) for _ in range(3)
        )
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant) if self.training else block(x)
        return self.head(x)


def checkpointed(reentrant: bool) -> Job:
    model = Checkpointed(reentrant)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = batches((8,))

    def train(each: Each) -> None:
        step = 0
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                each(step, loss)
                step += 1

    return Job({"model": model}, {"model": [optimizer]}, {"model": inputs(loader)}, train)


def compiled(convolution: bool, warm: bool = False) -> Job:
    """Compiled at the first step or, when ``warm``, before anybody could watch."""
    torch.compiler.reset()
    if convolution:
        shape: tuple[int, ...] = (1, 8, 8)
        plain = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(144, 3)
        )
    else:
        shape = (8,)
        plain = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    model = torch.compile(plain, backend=BACKEND)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = batches(shape)

    def train(each: Each) -> None:
        step = 0
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                each(step, loss)
                step += 1

    if warm:
        train(lambda step, loss: None)
    return Job({"model": model}, {"model": [optimizer]}, {"model": inputs(loader)}, train)
