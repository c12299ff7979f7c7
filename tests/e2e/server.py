"""A JupyterLab server for the tests, with everything it writes in a temporary folder."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools import kernels

ROOT = Path(__file__).resolve().parents[2]

OVERRIDES: dict[str, Any] = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}


class Server:
    """One JupyterLab server with everything it writes in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "notebooks"
        self.settings = folder / "user-settings"
        self.token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for name in (
            "notebooks",
            "user-settings",
            "workspaces",
            "config/labconfig",
            "home",
            "data",
            "runtime",
            "ipython",
        ):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "config/labconfig/default_setting_overrides.json").write_text(json.dumps(OVERRIDES))
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={self.port}"),
            *(
                "--ServerApp.port_retries=0",
                f"--IdentityProvider.token={self.token}",
                f"--ServerApp.root_dir={self.root}",
            ),
            *(f"--LabApp.workspaces_dir={self.folder / 'workspaces'}", f"--LabApp.user_settings_dir={self.settings}"),
            *("--LabApp.news_url=None", "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"),
            *("--ServerApp.terminals_enabled=False", "--allow-root"),
        ]
        env = {
            **os.environ,
            "HOME": str(self.folder / "home"),
            "JUPYTER_CONFIG_DIR": str(self.folder / "config"),
            "JUPYTER_DATA_DIR": str(self.folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            "JUPYTER_PATH": str(kernels.install()),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError):
                self.request("GET", "/api/status")
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"JupyterLab did not start.\n{self.log()[-4000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError):
            for session in self.request("GET", "/api/sessions"):
                self.request("DELETE", f"/api/sessions/{session['id']}")
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def log(self) -> str:
        """Return what the server and its kernels have printed."""
        return (self.folder / "server.log").read_text(errors="replace")

    def request(self, method: str, path: str) -> Any:
        """Call the server's REST interface and return what it answers."""
        request = urllib.request.Request(
            self.url + path, method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def close_sessions(self, path: str, *, stuck: bool = False) -> None:
        """Shut down the kernel of one notebook; with ``stuck`` only one that has never become idle or busy."""
        for session in self.request("GET", "/api/sessions"):
            if session["path"] == path and not (stuck and session["kernel"]["execution_state"] in ("idle", "busy")):
                with contextlib.suppress(urllib.error.HTTPError):
                    self.request("DELETE", f"/api/sessions/{session['id']}")

    def setting(self, plugin: str, values: dict[str, Any] | None) -> None:
        """Write a user setting that the next page reads; None removes it."""
        package, name = plugin.split(":")
        path = self.settings / package / f"{name}.jupyterlab-settings"
        if values is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run a server for the time of a ``with`` block."""
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
