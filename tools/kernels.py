"""Side kernels for the tests: older ipykernels beside the one of the environment, made without a second environment.

Each lies in a folder of its own (``.venv/kernels/<version>``) that its kernelspec puts first on ``PYTHONPATH``; torch
and the widgets come from the environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# The comm remedy is needed on 7.4 only, subshells exist since 7.0, and 6.x handles nothing while a cell is busy.
SIDE = {
    "ipykernel-7.3": ("ipykernel==7.3.0",),
    "ipykernel-7.1": ("ipykernel==7.1.0",),
    "ipykernel-6.31": ("ipykernel==6.31.0", "nest_asyncio"),
}
CURRENT = "ipykernel-current"


def home() -> Path:
    """Return where the side kernels are kept: inside the running environment."""
    return Path(sys.prefix) / "kernels"


def install(names: tuple[str, ...] = tuple(SIDE)) -> Path:
    """Install the kernels that are not there yet and return a Jupyter data folder with all kernelspecs.

    Parameters
    ----------
    names : tuple of str
        Which of `SIDE`.

    Returns
    -------
    pathlib.Path
        A folder for ``JUPYTER_PATH``.

    Raises
    ------
    RuntimeError
        When pip cannot install one of them.
    """
    for name in names:
        target = home() / name
        done = target / ".complete"
        if not done.exists():
            command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade", "--target", str(target)]
            result = subprocess.run([*command, *SIDE[name]], capture_output=True, text=True, check=False)
            if result.returncode:
                raise RuntimeError(f"The kernel {name} could not be installed.\n{result.stderr[-2000:]}")
            done.write_text("")
        # The checkout comes too, for environments in which it is not installed.
        launcher = "tools.side_kernel" if name.startswith("ipykernel-7") else "ipykernel_launcher"
        write_spec(name, launcher, {"PYTHONPATH": f"{target}{os.pathsep}{ROOT}"})
    write_spec(CURRENT, "ipykernel_launcher", {})
    return home() / "share"


def write_spec(name: str, launcher: str, env: dict[str, str]) -> None:
    """Write the kernelspec of one kernel, started by this module."""
    folder = home() / "share" / "kernels" / name
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": [sys.executable, "-Xfrozen_modules=off", "-m", launcher, "-f", "{connection_file}"],
        "display_name": name,
        "language": "python",
        "env": env,
        "metadata": {"debugger": False},
    }
    text = json.dumps(spec, indent=1)
    path = folder / "kernel.json"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


if __name__ == "__main__":
    try:
        print(install())
    except RuntimeError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
