"""A real kernel without a browser: start one, run cells, send it messages."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tools import kernels

ROOT = Path(__file__).resolve().parents[2]


class Kernel:
    """One running kernel and a client of it."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client

    def start(self, code: str) -> str:
        """Start a cell and return the id of its message at once."""
        return str(self.client.execute(code))

    def wait(self, message: str, timeout: float = 60) -> str:
        """Wait for the end of a cell and return what it printed; what it raised fails the test."""
        text, deadline = "", time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                found = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if found["parent_header"].get("msg_id") != message:
                continue
            content = found["content"]
            if found["msg_type"] == "stream":
                text += content["text"]
            elif found["msg_type"] == "error":
                raise AssertionError("\n".join(content["traceback"]))
            elif found["msg_type"] == "status" and content["execution_state"] == "idle":
                return text
        raise AssertionError(f"The cell did not end within {timeout} s; it printed: {text}")

    def printed(self, message: str, timeout: float = 60) -> str:
        """Wait until a cell that goes on prints something, and return it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                found = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if found["parent_header"].get("msg_id") == message and found["msg_type"] == "stream":
                return str(found["content"]["text"])
        raise AssertionError(f"The cell printed nothing within {timeout} s.")

    def run(self, code: str) -> str:
        """Run a cell to its end and return what it printed."""
        return self.wait(self.start(code))

    def control(self, kind: str, content: dict[str, Any], timeout: float = 10) -> dict[str, Any]:
        """Send a message over the control channel and return the reply's content."""
        message = self.client.session.msg(kind, content)
        self.client.control_channel.send(message)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                reply = self.client.get_control_msg(timeout=1)
            except queue.Empty:
                continue
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                return {"msg_type": reply["msg_type"], **reply["content"]}
        raise AssertionError(f"No reply to {kind} within {timeout} s.")


@contextlib.contextmanager
def starting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Kernel]]:
    """Yield a function that starts a kernel by the name of its kernelspec; all end with the scope."""
    monkeypatch.setenv("JUPYTER_PATH", str(kernels.install()))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    opened: list[Kernel] = []

    def start(name: str = kernels.CURRENT) -> Kernel:
        manager = KernelManager(kernel_name=name)
        manager.start_kernel(env=dict(os.environ))
        client = manager.blocking_client()
        client.start_channels()
        kernel = Kernel(manager, client)
        opened.append(kernel)
        client.wait_for_ready(timeout=60)
        return kernel

    yield start
    for kernel in opened:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)


@pytest.fixture
def start_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Kernel]]:
    """Return a function that starts a kernel of the test's own."""
    with starting(tmp_path, monkeypatch) as start:
        yield start
