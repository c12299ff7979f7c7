"""The oldest supported versions, in an environment of their own (``.venv-oldest``)."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-oldest"
SUITES = ("unit", "wire", "zoo", "untouched")
# What the suites need beside the project itself.
EXTRA = ("pytest", "hypothesis", "pillow", "scikit-learn", "ipykernel", "jupyter-client", "tqdm")


def interpreter() -> str:
    """Return Python 3.10 where it is installed, else the running Python; torch 2.4 has builds up to 3.12."""
    for name in ("python3.10", "python3.11", sys.executable):
        path = shutil.which(name)
        if path and subprocess.run([path, "-m", "venv", "-h"], capture_output=True, check=False).returncode == 0:
            return path
    return sys.executable


def prepare() -> Path:
    """Make or update the environment and return its Python.

    The front end must be built already: it is taken from the checkout, which the tests put on the path.

    Raises
    ------
    RuntimeError
        When the packages cannot be installed.
    """
    python = VENV / "bin" / "python"
    constraints = ROOT / "tools" / "constraints-oldest.txt"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + constraints.read_bytes()).hexdigest()
    stamp = VENV / "nnwidget-stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    base = interpreter()
    print(f"    making {VENV.name} with {base}; torch 2.4 comes with 3 GB of CUDA libraries", flush=True)
    for command in (
        [base, "-m", "venv", "--clear", str(VENV)],
        # Installed editable, so that the dependencies are those of pyproject.toml at their lower bounds.
        [
            str(python),
            "-m",
            "pip",
            "install",
            "-q",
            "--no-compile",
            "--no-cache-dir",
            *EXTRA,
            "-e",
            str(ROOT),
            "-c",
            str(constraints),
        ],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"The oldest versions could not be installed.\n{done.stderr[-3000:]}")
    stamp.write_text(wanted)
    return python
