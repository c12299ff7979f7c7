"""The loops that everybody writes."""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.untouched.job import Each, Job


def batches(shape: tuple[int, ...], *, classes: int = 3, rows: int = 48, size: int = 12) -> DataLoader:
    """A shuffled loader: its order draws from torch's generator in every epoch."""
    pairs = TensorDataset(torch.randn(rows, *shape), torch.randint(0, classes, (rows,)))
    return DataLoader(pairs, batch_size=size, shuffle=True)


def inputs(loader: DataLoader, count: int = 3) -> Tensor:
    return loader.dataset.tensors[0][:count].clone()


def mlp() -> Job:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = batches((8,))

    def train(each: Each) -> None:
        step = 0
        for _ in range(3):
            for x, y in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                each(step, loss)
                step += 1

    return Job({"model": model}, {"model": [optimizer]}, {"model": inputs(loader)}, train)


def cnn() -> Job:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(54, 3),
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    loader = batches((1, 8, 8))

    def train(each: Each) -> None:
        step = 0
        for _ in range(3):
            for x, y in loader:
                if random.random() < 0.5:
                    x = x.flip(-1)
                x = x + 0.1 * torch.from_numpy(np.random.randn(*x.shape)).float()
                optimizer.zero_grad(set_to_none=False)
                loss = criterion(model(x), y)
                loss.backward()
                optimizer.step()
                each(step, loss)
                step += 1

    return Job({"model": model}, {"model": [optimizer]}, {"model": inputs(loader)}, train)


class Block(nn.Module):
    """A residual block that works in place where it can, as torchvision's does."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = (
            nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out)) if stride != 1 else None
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.shortcut is None else self.shortcut(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.layer1 = nn.Sequential(Block(6, 6, 1), Block(6, 6, 1))
        self.layer2 = nn.Sequential(Block(6, 12, 2), Block(12, 12, 1))
        self.fc = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer2(self.layer1(self.stem(x))).mean((2, 3)))


def resnet() -> Job:
    model = ResNet()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 1e-3}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=8)
    loader = batches((3, 12, 12), size=12)

    def train(each: Each) -> None:
        step = 0
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                scheduler.step()
                each(step, loss)
                step += 1

    return Job({"model": model}, {"model": [optimizer]}, {"model": inputs(loader)}, train)


class Classifier(nn.Module):
    """A transformer over padded sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 16, padding_idx=0)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.encoder(self.embed(ids), src_key_padding_mask=mask)
        return self.head(states[:, 0])


def transformer(validated: bool = False) -> Job:
    model = Classifier()
    ids, targets = torch.randint(1, 11, (40, 7)), torch.randint(0, 3, (40,))
    mask = torch.arange(7)[None] >= torch.randint(3, 8, (40, 1))
    ids[mask] = 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def train(each: Each) -> None:
        for step in range(9):
            rows = torch.randperm(40)[:10]
            model.train()
            loss = F.cross_entropy(model(ids[rows], mask=mask[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            each(step, loss)
            if validated and step % 3 == 2:
                # In eval mode this layer has a fused path with other bits, which any hook inside it switches off.
                model.eval()
                with torch.no_grad():
                    each(step, F.cross_entropy(model(ids, mask=mask), targets))

    pinned = {"ids": ids[:3].clone(), "mask": mask[:3].clone()}
    return Job({"model": model}, {"model": [optimizer]}, {"model": pinned}, train)


class Tagger(nn.Module):
    """Returns its loss in a dictionary, as language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 6)
        self.lstm = nn.LSTM(6, 8, num_layers=2, dropout=0.2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 4)

    def forward(self, ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        states, _ = self.lstm(self.embed(ids))
        logits = self.head(states)
        if labels is None:
            return {"logits": logits}
        return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits}


def lstm() -> Job:
    model = Tagger()
    ids, labels = torch.randint(0, 9, (30, 6)), torch.randint(0, 4, (30, 6))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)

    def train(each: Each) -> None:
        for step in range(9):
            rows = torch.randperm(30)[:10]
            loss = model(ids[rows], labels=labels[rows])["loss"]
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            each(step, loss)

    return Job({"model": model}, {"model": [optimizer]}, {"model": {"ids": ids[:3].clone()}}, train)


def gan() -> Job:
    generator = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6))
    critic = nn.Sequential(nn.Linear(6, 16), nn.LeakyReLU(0.2, inplace=True), nn.Dropout(0.2), nn.Linear(16, 1))
    of_generator = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    of_critic = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()
    real = torch.randn(12, 6) + 2
    yes, no = torch.ones(12, 1), torch.zeros(12, 1)

    def train(each: Each) -> None:
        for step in range(9):
            fake = generator(torch.randn(12, 4))
            of_critic.zero_grad()
            loss = criterion(critic(real), yes) + criterion(critic(fake.detach()), no)
            loss.backward()
            of_critic.step()
            of_generator.zero_grad()
            fooled = criterion(critic(fake), yes)
            fooled.backward()
            of_generator.step()
            each(step, torch.stack([loss.detach(), fooled.detach()]))

    return Job(
        {"generator": generator, "critic": critic},
        {"generator": [of_generator], "critic": [of_critic]},
        {"generator": torch.randn(3, 4), "critic": real[:3].clone()},
        train,
    )
