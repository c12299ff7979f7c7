"""What is known about a notebook whose kernel never came: what the page, the server and its log say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Error, Page

from tests.e2e.server import Server

LOG_LINES = 40
PAGE = """() => {
    const app = window.jupyterapp;
    const widget = app?.shell?.currentWidget;
    const context = widget?.sessionContext;
    const kernel = context?.session?.kernel;
    const pick = (from, names) => from && Object.fromEntries(names.map((name) => [name, from[name]]));
    return JSON.stringify({
        address: location.pathname,
        document: document.readyState,
        splash: document.querySelector("#jupyterlab-splash") !== null,
        open: app?.shell ? Array.from(app.shell.widgets("main"), (one) => one.title.label) : null,
        current: widget && { id: widget.id, label: widget.title.label, cells: widget.content?.widgets?.length },
        context: pick(context, ["isReady", "isRestarting", "isTerminating", "kernelDisplayStatus", "pendingInput"]),
        preference: context?.kernelPreference,
        kernel: pick(kernel, ["id", "name", "status", "connectionStatus"]),
        dialogs: Array.from(document.querySelectorAll(".jp-Dialog-content"), (one) => one.innerText),
    });
}"""


def of_page(page: Page) -> Any:
    """Ask the page; an evaluation has no time limit of its own, and a page that hangs would never answer."""
    return json.loads(page.wait_for_function(PAGE, timeout=5000).json_value())


def describe(server: Server, page: Page, path: str, console: list[str]) -> str:
    """Return all of it as text; what cannot be found out says why and hides nothing else."""
    asked: dict[str, Callable[[], Any]] = {
        "page": lambda: of_page(page),
        "sessions": lambda: [one for one in server.request("GET", "/api/sessions") if one["path"] == path],
        "kernels": lambda: server.request("GET", "/api/kernels"),
    }
    lines = [f"{path}:"]
    for name, ask in asked.items():
        try:
            answer = json.dumps(ask(), indent=1)
        except (Error, OSError) as error:
            answer = f"no answer: {error}"
        lines.append(f"{name}: {answer}")
    lines += ["console:", *console[-LOG_LINES:]]
    lines += ["server.log:", *server.log().splitlines()[-LOG_LINES:]]
    return "\n".join(lines)
