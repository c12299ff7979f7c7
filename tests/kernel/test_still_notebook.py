"""A notebook that is run, saved and turned into a page by Jupyter's own tools: what of an explorer is in it."""

import json
import os
import re
import subprocess
import sys

import nbformat
import pytest
from bs4 import BeautifulSoup

import nnwidget
from nnwidget.session.still import still
from nnwidget.widgets import still_page
from nnwidget.widgets.still_page import LIMIT, LIMIT_PIXELS

MODEL = """
import torch, nnwidget
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
images = torch.rand(5, 1, 8, 8)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
"""
EXPLORE = "ex = nnwidget.explore(model, images, captions=list('abcde'){})\nex.layers.selected = ['1']\nex"
TRAIN = """
for _ in range(3):
    optimizer.zero_grad()
    model(images).sum().backward()
    optimizer.step()
"""
URI = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")


def convert(folder, *arguments):
    """Run nbconvert as a person does."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(folder), "JUPYTER_CONFIG_DIR": str(folder)}
    command = [sys.executable, "-m", "nbconvert", "--log-level=WARN", *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module", params=[False, True], ids=["without pixels", "with pixels"])
def saved(request, tmp_path_factory):
    """Return whether pixels were wanted, the folder, and the notebook as it was saved."""
    folder = tmp_path_factory.mktemp("saved")
    cells = [MODEL, EXPLORE.format(", save_pixels=True" if request.param else ""), TRAIN, "ex.close()"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    nbformat.write(book, folder / "book.ipynb")
    convert(
        folder, "--to", "notebook", "--execute", "--ExecutePreprocessor.kernel_name=python3", "--inplace", "book.ipynb"
    )
    return request.param, folder, nbformat.read(folder / "book.ipynb", as_version=4)


def private():
    """Return the pictures of inputs and feature maps that the same code would save, and the weights' own."""
    scope: dict = {}
    exec(MODEL + TRAIN, scope)
    with nnwidget.explore(scope["model"], scope["images"], save_pixels=True) as ex:
        ex.layers.selected = ["1"]
        found = still(ex._bench, ex._panels.durable(), (), ex._words, pixels=True, step=None)
        weights, maps = (still_page._figure(sheet) for sheet in found.sheets)
        inputs = [still_page._input(number, one) for number, one in enumerate(found.inputs)]
    return set(URI.findall(weights)), set(URI.findall(maps)), {uri for each in inputs for uri in URI.findall(each)}


def test_pixels_are_in_the_file_only_if_wanted(saved):
    wanted, folder, _ = saved
    text = (folder / "book.ipynb").read_text()
    weights, maps, inputs = private()
    assert len(weights) == len(maps) == 1 and len(inputs) == 5
    file = set(URI.findall(text))
    # The weights are those after the training of a later cell, so the picture was brought up to date.
    assert file == (weights | maps | inputs if wanted else weights)
    outputs = json.loads(text)["cells"][1]["outputs"]
    assert not any(kind.startswith("image/") for output in outputs for kind in output["data"])


def test_the_picture_keeps_its_bound_in_the_file(saved):
    wanted, _, book = saved
    (_, picture) = book.cells[1].outputs
    assert len(picture["data"]["text/html"].encode()) <= (LIMIT_PIXELS if wanted else LIMIT)
    assert "after 3 training steps" in picture["data"]["text/html"]


@pytest.mark.parametrize("state", [True, False], ids=["widget state", "none"])
def test_nbconvert_shows_the_picture(saved, state):
    _, folder, book = saved
    if not state:
        book.metadata.pop("widgets", None)
    name = f"state-{state}"
    nbformat.write(book, folder / f"{name}.ipynb")
    convert(folder, "--to", "html", f"{name}.ipynb")
    page = (folder / f"{name}.html").read_text()
    (_, picture) = book.cells[1].outputs
    # nbconvert writes all markup in its own way.
    assert page.count(str(BeautifulSoup(picture["data"]["text/html"], "html.parser"))) == 1
    assert "Sequential: " not in page
