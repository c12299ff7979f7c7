"""Handle waiting widget messages from inside a running cell, for kernels that cannot do it by themselves."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
import time
from typing import Any

INTERVAL = 0.05
"""Seconds between two polls: one costs about 2 ms, polling at each step of a small model up to half of its time."""

_last = 0.0


def available() -> bool:
    """Say whether polling can work here: ipykernel 6 and the package jupyter-ui-poll (extra ``poll``).

    Examples
    --------
    >>> available()
    False
    """
    kernel = _kernel()
    # ipykernel 7 took the method away.
    return hasattr(kernel, "do_one_iteration") and importlib.util.find_spec("jupyter_ui_poll") is not None


def poll_if_due(messages: int = 10) -> bool:
    """Handle widget messages that wait, at most once in `INTERVAL`.

    Cells that the user starts meanwhile are put off until this one ends. The widgets' handlers run on a helper
    thread while this one waits for them.

    Parameters
    ----------
    messages : int
        At most so many messages are handled.

    Returns
    -------
    bool
        True if messages were looked for; False when it is not time yet, and wherever polling cannot work: outside a
        running cell, on another thread than the cell's, on other kernels, and inside the user's own polling.

    Examples
    --------
    >>> poll_if_due()
    False
    """
    global _last
    now = time.monotonic()
    if now - _last < INTERVAL or not available() or not _in_cell():
        return False
    from jupyter_ui_poll import ui_events

    try:
        with ui_events() as poll:
            poll(messages)
    except ValueError:
        # The user's own loop polls already, and polls do not nest.
        return False
    finally:
        _last = time.monotonic()
    return True


def _kernel() -> Any:
    """Return the ipykernel that runs this code, or None."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return getattr(get_ipython(), "kernel", None)


def _in_cell() -> bool:
    """Say whether this is the main thread inside a cell; polling elsewhere would hold back the user's next cell."""
    if threading.current_thread() is not threading.main_thread():
        return False
    try:
        if asyncio.current_task() is None:
            return False
        header = _kernel().get_parent("shell").get("header", {})
    except (RuntimeError, AttributeError, TypeError):
        return False
    return bool(header.get("msg_type") == "execute_request")
