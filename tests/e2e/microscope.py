"""How a person uses the explorer: what they click, read and type, in one place for all tests."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, expect

from tests.e2e.lab import NotebookPage

SETUP = """
import importlib.util, os, pathlib, time
import numpy, torch, nnwidget
from torch import nn
torch.manual_seed(0); torch.set_num_threads(1)
# The file itself: importing scikit-learn takes longer than importing torch.
folder = pathlib.Path(importlib.util.find_spec("sklearn").origin).parent / "datasets" / "data"
digits = torch.tensor(numpy.loadtxt(folder / "digits.csv.gz", delimiter=","))
images, labels = digits[:, :64].float().reshape(-1, 1, 8, 8) / 16, digits[:, 64].long()
class DigitsNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Linear(512, 10)
    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))
model = DigitsNet()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
def train(steps=None, net=model, optimizer=optimizer, seed=0, wait=0.0):
    "Train so many steps, or until the test has seen enough; return how many they were."
    generator = torch.Generator().manual_seed(seed)
    net.train()
    step = 0
    while step != steps and not (steps is None and enough()):
        batch = torch.randint(0, 1500, (50,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
        optimizer.step()
        step += 1
        time.sleep(wait)
    net.eval()
    return step
def enough():
    "Say whether the test has ended the cell that asks."
    said = os.path.exists("enough")
    if said:
        os.remove("enough")
    return said
train(100);
"""
EXPLORE = """
ex = nnwidget.explore(model, images[1500:1508], targets=labels[1500:1508], class_names=[str(i) for i in range(10)])
ex
"""


class Microscope:
    """One display of an explorer on a page."""

    def __init__(self, notebook: NotebookPage, nth: int = 0) -> None:
        self.notebook = notebook
        self.page = notebook.page
        self.root = self.page.locator(".nnw").nth(nth)

    def wait(self, timeout: float = 30) -> Microscope:
        """Wait for the first picture."""
        expect(self.root).to_be_visible(timeout=timeout * 1000)
        self.root.scroll_into_view_if_needed()
        expect(self.root.locator(".nnw-layer-name")).to_be_visible(timeout=timeout * 1000)
        return self

    def layer(self, name: str) -> Locator:
        """Return the row of a layer in the tree."""
        return self.root.locator(f'[role=treeitem][data-layer="{name}"]')

    def choose(self, name: str) -> None:
        """Click a layer."""
        self.layer(name).click()

    def shows(self, name: str, timeout: float = 10) -> None:
        """Wait until the maps of this layer are on the screen, not dimmed."""
        expect(self.root.locator(".nnw-layer-name")).to_have_text(name, timeout=timeout * 1000)
        expect(self.root.locator(".nnw-stale")).to_have_count(0, timeout=timeout * 1000)

    def tiles(self) -> Locator:
        """Return the tiles of the grid."""
        return self.root.locator("[role=grid] [data-place]")

    def tile(self, channel: int) -> Locator:
        """Return the tile of one channel."""
        return self.root.locator(f'[role=grid] [data-channel="{channel}"]')

    def slider(self) -> Locator:
        """Return the strength slider."""
        return self.root.get_by_role("slider", name="strength")

    def button(self, name: str) -> Locator:
        """Return a button by its words."""
        return self.root.get_by_role("button", name=name, exact=True)

    def state(self) -> str:
        """Return the state of play, as the header says it."""
        return self.root.locator(".nnw-state").inner_text()

    def predictions(self) -> dict[str, tuple[float, float]]:
        """Return what the prediction panel says: name -> (before, after)."""
        found: dict[str, tuple[float, float]] = {}
        for row in self.root.locator(".nnw-prediction tbody tr").all():
            name = row.locator(".nnw-name").inner_text()
            numbers = [
                float(n.replace("−", "-")) for n in re.findall(r"[−\d.]+", row.locator(".nnw-numbers").inner_text())
            ]
            found[name] = (numbers[0], numbers[-1])
        return found

    def pixels(self, locator: Locator) -> dict[str, Any]:
        """Return the RGBA pixels of the part of a canvas that lies under an element, when it has been drawn."""
        script = """async cell => {
            // What was asked for before is drawn in one of the next frames.
            for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
            const grid = cell.closest('[role=grid]') ?? cell.parentElement;
            const canvas = cell instanceof HTMLCanvasElement ? cell : grid.querySelector('canvas');
            const a = canvas.getBoundingClientRect(), b = cell.getBoundingClientRect();
            const sx = canvas.width / a.width, sy = canvas.height / a.height;
            const [x, y] = [Math.round((b.x - a.x) * sx), Math.round((b.y - a.y) * sy)];
            const [w, h] = [Math.round(b.width * sx), Math.round(b.height * sy)];
            const data = canvas.getContext('2d').getImageData(x, y, w, h);
            return { width: w, height: h, data: Array.from(data.data) };
        }"""
        result: dict[str, Any] = locator.evaluate(script)
        return result
