"""The control channel of real kernels: it answers while a cell runs, and nothing that arrives can hurt it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.kernel.conftest import Kernel
from tools import kernels

KERNELS = [kernels.CURRENT, "ipykernel-7.3", "ipykernel-6.31"]

INSTALL = """
import json, threading, time
from nnwidget.widgets import control
heard = []
def handler(comm_id, data):
    heard.append([comm_id, data, threading.current_thread().name])
    if data == "raise":
        raise RuntimeError("asked for")
print(control.install(handler))
"""
# Ends when it has heard something: what comes only after it finds nothing heard.
BUSY = """
print("begun", flush=True)
end = time.monotonic() + 20
while not heard and time.monotonic() < end: time.sleep(0.001)
print(len(heard))
"""


@pytest.mark.parametrize("name", KERNELS)
def test_messages_are_answered_while_a_cell_runs(start_kernel: Callable[[str], Kernel], name: str) -> None:
    kernel = start_kernel(name)
    assert kernel.run(INSTALL) == "True\n"
    cell = kernel.start(BUSY)
    assert kernel.printed(cell) == "begun\n"
    reply = kernel.control("nnwidget_request", {"comm_id": "abc", "data": {"k": "ack", "seq": 1}}, timeout=40)
    assert reply == {"msg_type": "nnwidget_reply", "status": "ok"}
    assert kernel.wait(cell) == "1\n"
    heard = json.loads(kernel.run("print(json.dumps(heard))"))
    assert heard == [["abc", {"k": "ack", "seq": 1}, "Control"]]


@pytest.mark.parametrize("name", [kernels.CURRENT, "ipykernel-6.31"])
def test_malformed_messages_and_raising_handlers_are_errors_not_harm(
    start_kernel: Callable[[str], Kernel], name: str
) -> None:
    kernel = start_kernel(name)
    kernel.run(INSTALL)
    bad: list[dict[str, Any]] = [{}, {"comm_id": 3, "data": 1}, {"comm_id": "abc"}, {"comm_id": "abc", "data": "raise"}]
    for content in bad:
        assert kernel.control("nnwidget_request", content)["status"] == "error"
    assert kernel.control("nnwidget_request", {"comm_id": "abc", "data": None})["status"] == "ok"
    assert kernel.run("print(1)") == "1\n"


def test_a_later_handler_replaces_the_first_and_remove_takes_it_away(start_kernel: Callable[[str], Kernel]) -> None:
    kernel = start_kernel(kernels.CURRENT)
    kernel.run(INSTALL)
    kernel.run("second = []\ncontrol.install(lambda comm_id, data: second.append(comm_id))")
    kernel.control("nnwidget_request", {"comm_id": "abc", "data": None})
    assert kernel.run("print(heard, second)") == "[] ['abc']\n"
    kernel.run("control.remove(); control.remove()")
    assert kernel.run("print('nnwidget_request' in get_ipython().kernel.control_handlers)") == "False\n"


def test_interrupting_works_while_messages_arrive(start_kernel: Callable[[str], Kernel]) -> None:
    kernel = start_kernel(kernels.CURRENT)
    kernel.run(INSTALL)
    sleeps = "print('begun', flush=True)\n    time.sleep(300)"
    cell = kernel.start(f"try:\n    {sleeps}\nexcept KeyboardInterrupt:\n    print('interrupted')")
    assert kernel.printed(cell) == "begun\n"
    assert kernel.control("nnwidget_request", {"comm_id": "abc", "data": None})["status"] == "ok"
    kernel.manager.interrupt_kernel()
    assert kernel.wait(cell) == "interrupted\n"
