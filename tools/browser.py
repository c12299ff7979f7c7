"""Find a Chromium for the tests, or install one: Playwright's own download first, else the distribution's package."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
REMEDY = (
    "No Chromium was found and none could be installed. Install the package 'chromium' of your distribution, or run "
    "'.venv/bin/python -m playwright install --with-deps chromium', or set NNWIDGET_CHROMIUM to the path of one."
)


def playwright_chromium() -> str | None:
    """Return the path of Playwright's own Chromium if it was downloaded; needs the playwright package."""
    code = (
        "from playwright.sync_api import sync_playwright as s\nwith s() as p: print(p.chromium.executable_path, end='')"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return None
    path = done.stdout.strip()
    return path if done.returncode == 0 and path and Path(path).exists() else None


def works(path: str) -> bool:
    """Say whether the browser starts at all: a downloaded one may miss system libraries."""
    command = [path, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "about:blank"]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def find() -> str | None:
    """Return the path of a Chromium that starts, or None."""
    named = os.environ.get("NNWIDGET_CHROMIUM")
    candidates = [named] if named else [playwright_chromium(), *(shutil.which(name) for name in NAMES)]
    return next((path for path in candidates if path and works(path)), None)


def install() -> str:
    """Return the path of a Chromium, installing it if need be.

    Raises
    ------
    RuntimeError
        When there is none and none of the ways to get one works; the message says what to do.
    """
    found = find()
    if found:
        return found
    print("    no Chromium here; trying Playwright's download (at most 3 minutes)", flush=True)
    download = [sys.executable, "-m", "playwright", "install", "chromium"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(download, timeout=180, check=False, capture_output=True)
    found = find()
    if found:
        return found
    root = apt_prefix()
    if root is not None:
        print("    trying the distribution's package with apt-get", flush=True)
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        quiet = {"check": False, "env": env, "capture_output": True, "stdin": subprocess.DEVNULL}
        subprocess.run([*root, "apt-get", "update"], **quiet)  # type: ignore[call-overload]
        for package in ("chromium", "chromium-browser"):
            command = [*root, "apt-get", "install", "-y", "--no-install-recommends", package]
            subprocess.run(command, **quiet)  # type: ignore[call-overload]
            found = find()
            if found:
                return found
    raise RuntimeError(REMEDY)


def apt_prefix() -> list[str] | None:
    """Return what to put before apt-get ([] as root, sudo without a password), or None where it cannot be used."""
    if shutil.which("apt-get") is None:
        return None
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return []
    if (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        return ["sudo", "-n"]
    return None


if __name__ == "__main__":
    try:
        print(install())
    except RuntimeError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
