"""Make the picture of the README: run the quickstart in a real JupyterLab, use the explorer, photograph it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.lab import Lab, launch  # noqa: E402  (needs the line above when run as a script)
from tests.e2e.microscope import Microscope  # noqa: E402
from tests.e2e.server import serving  # noqa: E402

TARGET = ROOT / "docs" / "explorer.png"


def main() -> int:
    """Write ``docs/explorer.png``."""
    book = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    cells = [cell.source for cell in book.cells if cell.cell_type == "code"]
    shown = next(i for i, source in enumerate(cells) if "nnwidget.explore(" in source)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server, sync_playwright() as playwright:
        chromium = launch(playwright)
        lab = Lab(server, chromium)
        notebook = lab.open(cells[: shown + 1], width=1640, height=1100)
        notebook.page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        for index in range(shown + 1):
            notebook.run(index)
        scope = Microscope(notebook).wait()
        scope.choose("features.2")
        scope.shows("features.2")
        scope.tiles().nth(1).click()
        scope.button("Use mean").click()
        scope.root.locator(".nnw-prediction", has_text="1 edit").wait_for()
        notebook.page.mouse.move(2, 2)
        notebook.page.wait_for_timeout(1000)
        scope.root.screenshot(path=str(TARGET))
        lab.close()
        chromium.close()
    print(f"wrote {TARGET.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
