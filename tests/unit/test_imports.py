"""What importing costs: a script that captures and edits needs no Jupyter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import nnwidget

ROOT = Path(__file__).resolve().parents[2]
JUPYTER = {"ipywidgets", "anywidget", "bqplot", "IPython", "ipykernel", "traitlets", "comm", "pandas"}


def loaded(code: str) -> set[str]:
    """Run code in a fresh Python and return the top-level modules that it has loaded."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_alone_loads_neither_jupyter_nor_torch() -> None:
    assert not loaded("import nnwidget") & (JUPYTER | {"torch", "numpy"})


def test_capturing_and_editing_in_a_script_load_no_jupyter() -> None:
    code = (
        "import nnwidget, torch\n"
        "model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())\n"
        "with nnwidget.capture(model) as seen, nnwidget.edit(model, {'0': nnwidget.Scale(0.0)}):\n"
        "    model(torch.ones(1, 2))\n"
        "nnwidget.layers(model, torch.ones(1, 2))\n"
    )
    assert not loaded(code) & JUPYTER


def test_watching_a_training_in_a_script_loads_no_jupyter() -> None:
    code = (
        "import nnwidget, torch\n"
        "model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "with nnwidget.watch(model, optimizer, every=1) as w:\n"
        "    model(torch.ones(1, 2)).sum().backward()\n"
        "    optimizer.step()\n"
        "assert len(w.history['grad_norm']) == 1 and nnwidget.running() == []\n"
    )
    assert not loaded(code) & JUPYTER


@pytest.mark.parametrize("name", nnwidget.__all__)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    found = getattr(nnwidget, name)
    assert name == "__version__" or (found.__doc__ and len(found.__doc__) > 20)
    assert name in dir(nnwidget)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        nnwidget.nothing  # noqa: B018 (the access is the test)
