"""A real JupyterLab server and notebooks in it, driven through Chromium."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import nbformat
from playwright.sync_api import BrowserContext, ConsoleMessage, Error, Locator, Page, Playwright, TimeoutError

from tests.e2e import diagnosis
from tests.e2e.server import ROOT, Server
from tools import browser, kernels

RESULTS = ROOT / "test-results"
Windowing = Literal["none", "defer", "full", "contentVisibility", "default"]
Comms = Literal["disabled", "perComm", "perCommTarget"]

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
)
# Milliseconds; every frame, the default, costs a core a twentieth of its time.
POLLING = 50
# What JupyterLab itself says on the console; anything else fails the test.
NOISE = (
    "favicon",
    "Failed to load resource: the server responded with a status of 404",  # settings and workspaces not yet made
)


def launch(playwright: Playwright) -> BrowserContext:
    """Start the Chromium that ``tools/browser.py`` finds or installs.

    All windows share one new profile on disk, as a person's do: only there does Chromium keep JupyterLab's compiled
    code, which is a third of what opening a notebook costs.
    """
    path = os.environ.get("NNWIDGET_CHROMIUM") or browser.install()
    context = playwright.chromium.launch_persistent_context("", executable_path=path, args=list(CHROMIUM_FLAGS))
    context.set_default_navigation_timeout(90_000)
    return context


class NotebookPage:
    """One notebook open in one browser window."""

    def __init__(self, server: Server, page: Page, path: str) -> None:
        self.server = server
        self.page = page
        self.path = path
        self.console: list[str] = []
        self.console_errors: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.console_errors.append(f"page error: {error}"))

    def _on_console(self, message: ConsoleMessage) -> None:
        self.console.append(f"{message.type}: {message.text}")
        if message.type == "error" and not any(part in message.text for part in NOISE):
            self.console_errors.append(f"{message.text} ({message.location.get('url', '')})")

    def goto(self) -> None:
        """Go to the notebook's address."""
        workspace = Path(self.path).stem
        self.page.goto(f"{self.server.url}/lab/workspaces/{workspace}/tree/{self.path}?token={self.server.token}")

    def load(self) -> None:
        """Open a notebook that is new; where no kernel comes, do what a person does and open it again."""
        self.goto()
        try:
            self.wait_ready(45)
        except AssertionError as late:
            print(late)
            stem = f"late-{Path(self.path).stem}"
            self.screenshot(RESULTS / f"{stem}.png")
            (RESULTS / f"{stem}.txt").write_text(str(late))
            self.server.close_sessions(self.path, stuck=True)
            self.page.reload()
            self.wait_ready()
            self.console_errors.clear()

    def wait_ready(self, timeout: float = 90) -> None:
        """Wait until the notebook is shown and its kernel is known, else say all that is known of both."""
        try:
            self.page.wait_for_function(
                """() => {
                    const panel = window.jupyterapp?.shell?.currentWidget;
                    if (!panel?.sessionContext?.session?.kernel || !panel.content?.widgets?.length) return false;
                    window.nbPending ??= 0;
                    return ["idle", "busy"].includes(panel.sessionContext.session.kernel.status);
                }""",
                timeout=timeout * 1000,
                polling=POLLING,
            )
        except TimeoutError:
            known = diagnosis.describe(self.server, self.page, self.path, self.console)
            raise AssertionError(f"No kernel after {timeout} s.\n{known}") from None

    def reload(self, timeout: float = 90) -> None:
        """Reload the page as a person does."""
        self.page.reload()
        self.wait_ready(timeout)

    def save(self) -> None:
        """Save the notebook, outputs and all."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def _execute(self, command: str, index: int | None) -> None:
        self.page.evaluate(
            """([command, index]) => {
                const { content } = window.jupyterapp.shell.currentWidget;
                if (index !== null) { content.deselectAll(); content.activeCellIndex = index; }
                window.nbPending += 1;
                const done = () => { window.nbPending -= 1; };
                window.jupyterapp.commands.execute(command).then(done, done);
            }""",
            [command, index],
        )

    def run_async(self, index: int) -> None:
        """Start a cell and return at once."""
        self._execute("notebook:run-cell", index)

    def run(self, index: int, *, timeout: float = 60, errors: bool = False) -> str:
        """Run a cell to its end and return its text; an exception in it fails the test unless ``errors``."""
        self.run_async(index)
        self.wait_idle(timeout)
        self.check(index, errors=errors)
        return self.output_text(index)

    def run_all(self, *, timeout: float = 120, errors: bool = False) -> None:
        """Run all cells to their end."""
        self._execute("notebook:run-all-cells", None)
        self.wait_idle(timeout)
        for index in range(self.cell_count()):
            self.check(index, errors=errors)

    def check(self, index: int, *, errors: bool = False) -> None:
        """Fail when the cell raised."""
        raised = [output for output in self.outputs(index) if output["output_type"] == "error"]
        if raised and not errors:
            raise AssertionError("\n".join(raised[0]["traceback"]))

    def wait_idle(self, timeout: float = 60) -> None:
        """Wait until no cell that was started here runs."""
        self.page.wait_for_function("() => window.nbPending === 0", timeout=timeout * 1000, polling=POLLING)

    def enough(self, timeout: float = 30) -> None:
        """End the cell that runs until a file named ``enough`` appears: this reaches a kernel where no message can.

        The cell removes the file, so that this fails where none runs.
        """
        file = self.server.root / "enough"
        file.touch()
        deadline = time.monotonic() + timeout
        while file.exists():
            assert time.monotonic() < deadline, "no running cell has taken the file"
            self.page.wait_for_timeout(50)

    def busy(self) -> bool:
        """Say whether a cell that was started here still runs."""
        return bool(self.page.evaluate("() => window.nbPending > 0"))

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """Return the outputs of a cell as in the notebook file."""
        script = "index => window.jupyterapp.shell.currentWidget.content.widgets[index].model.outputs?.toJSON() ?? []"
        result: list[dict[str, Any]] = self.page.evaluate(script, index)
        return result

    def output_text(self, index: int) -> str:
        """Return what a cell printed, its plain result and its error."""

        def text(output: dict[str, Any]) -> str:
            if output["output_type"] == "stream":
                return str("".join(output["text"]))
            if output["output_type"] == "error":
                return f"{output['ename']}: {output['evalue']}"
            return str("".join(output.get("data", {}).get("text/plain", "")))

        return "".join(text(output) for output in self.outputs(index))

    def ask(self, code: str, timeout: float = 30) -> str:
        """Run code in the idle kernel outside any cell and return what it printed (or raise what it raised)."""
        result = self.page.evaluate(
            """async ([code, limit]) => {
                const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
                let text = "";
                let error = "";
                const future = kernel.requestExecute({ code, store_history: false, stop_on_error: false });
                future.onIOPub = ({ header, content }) => {
                    if (header.msg_type === "stream") text += content.text;
                    if (header.msg_type === "error") error = content.traceback.join("\\n");
                };
                const late = new Promise((_, no) => setTimeout(() => no(new Error("no answer")), limit));
                await Promise.race([future.done, late]);
                return { text, error };
            }""",
            [code, timeout * 1000],
        )
        if result["error"]:
            raise AssertionError(result["error"])
        return str(result["text"])

    def cell_count(self) -> int:
        """Return the number of cells: a key that reached the notebook changes it."""
        return int(self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length"))

    def cell(self, index: int) -> Locator:
        """Return the cell's element."""
        return self.page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{index}']")

    def screenshot(self, path: Path | str) -> None:
        """Write what the window shows as PNG; a page that hangs is none to fail for."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(Error):
            self.page.screenshot(path=str(path))


class Lab:
    """What a test asks for notebooks: each with a window and a kernel of its own."""

    def __init__(self, server: Server, chromium: BrowserContext) -> None:
        self.server = server
        self.chromium = chromium
        self.opened: list[NotebookPage] = []

    def open(
        self,
        cells: Sequence[str],
        *,
        kernel: str = kernels.CURRENT,
        windowing: Windowing = "none",
        comms: Comms = "perCommTarget",
        width: int = 1400,
        height: int = 900,
        theme: Literal["light", "dark"] = "light",
    ) -> NotebookPage:
        """Write a notebook with these code cells and open it."""
        self.server.setting(
            "@jupyterlab/notebook-extension:tracker", None if windowing == "default" else {"windowingMode": windowing}
        )
        self.server.setting("@jupyterlab/apputils-extension:kernels-settings", {"commsOverSubshells": comms})
        name = "JupyterLab Dark" if theme == "dark" else "JupyterLab Light"
        self.server.setting("@jupyterlab/apputils-extension:themes", {"theme": name, "adaptive-theme": False})
        book = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in cells],
            metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
        )
        path = f"nb-{secrets.token_hex(4)}.ipynb"
        nbformat.write(book, self.server.root / path)
        (self.server.root / "enough").unlink(missing_ok=True)
        notebook = self._page(path, width, height)
        notebook.load()
        return notebook

    def window(self, notebook: NotebookPage, *, width: int = 1400, height: int = 900) -> NotebookPage:
        """Open a second browser window on the same notebook."""
        other = self._page(notebook.path, width, height)
        other.goto()
        other.wait_ready()
        return other

    def _page(self, path: str, width: int, height: int) -> NotebookPage:
        page = self.chromium.new_page()
        page.set_viewport_size({"width": width, "height": height})
        self.opened.append(NotebookPage(self.server, page, path))
        return self.opened[-1]

    def close(self) -> list[str]:
        """Close all windows and kernels; return the unexpected console errors."""
        errors: list[str] = []
        for notebook in self.opened:
            errors += notebook.console_errors
            notebook.page.close()
            self.server.close_sessions(notebook.path)
        self.opened.clear()
        return errors
