"""Messages over the kernel's control channel: the way into a busy kernel that has no subshells."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

REQUEST = "nnwidget_request"
REPLY = "nnwidget_reply"

Handler = Callable[[str, object], None]


def install(handler: Handler) -> bool:
    """Let pages send messages over the control channel of the running kernel.

    The page sends a control message of type ``nnwidget_request`` with the content ``{"comm_id": str, "data": {...}}``
    (buffers are ignored). It is answered with an ``nnwidget_reply`` whose status is ``ok`` or ``error``. JupyterLab
    delivers such messages also while a cell runs, with ipykernel 6 and 7; other front ends may not send them.

    Parameters
    ----------
    handler : callable
        ``handler(comm_id, data)``, called on the kernel's control thread, which also serves interrupts and restarts:
        it must be quick. What it raises is caught and reported as status ``error``. A later call replaces it.

    Returns
    -------
    bool
        False where there is no kernel with a control channel (a script, a terminal).

    Examples
    --------
    >>> install(lambda comm_id, data: None)
    False
    """
    kernel = _kernel()
    handlers = getattr(kernel, "control_handlers", None)
    if not isinstance(handlers, dict):
        return False

    async def serve(stream: Any, ident: Any, parent: Any) -> None:
        status = "ok"
        try:
            content = parent["content"]
            comm_id = content["comm_id"]
            if not isinstance(comm_id, str):
                raise TypeError("comm_id is not a string")
            handler(comm_id, content["data"])
        except Exception:
            # The control thread also serves interrupts: nothing may escape into it.
            status = "error"
        with contextlib.suppress(Exception):
            kernel.session.send(stream, REPLY, {"status": status}, parent, ident=ident)

    handlers[REQUEST] = serve
    return True


def remove() -> None:
    """Take the handler away again; does nothing where there is none."""
    handlers = getattr(_kernel(), "control_handlers", None)
    if isinstance(handlers, dict):
        handlers.pop(REQUEST, None)


def _kernel() -> Any:
    """Return the ipykernel that runs this code, or None."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return getattr(get_ipython(), "kernel", None)
