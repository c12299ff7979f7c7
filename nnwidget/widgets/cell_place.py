"""The place of a notebook cell: what a thread prints, shows and raises appears there, also after the cell ended."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from nnwidget.widgets.cells import shell


class CellPlace:
    """The output of the cell that runs now, for a thread that outlives it.

    What is printed finds its way by the context that the thread was started with; what is displayed does so only on
    ipykernel 7, so each message is addressed here.
    """

    # A kernel that is restarted must not wait for a training.
    daemon = True

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._parent: Any = dict(getattr(shell.display_pub, "parent_header", {}))

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Address what this thread displays to the cell."""
        publisher = self._shell.display_pub
        # Kept by the publisher for each thread apart.
        if not hasattr(publisher, "register_hook"):
            yield
            return
        publisher.register_hook(self._address)
        try:
            yield
        finally:
            publisher.unregister_hook(self._address)

    def failed(self, error: BaseException, trace: TracebackType | None) -> None:
        """Show the traceback as a cell does."""
        kind = type(error)
        try:
            lines = self._shell.InteractiveTB.structured_traceback(kind, error, trace, tb_offset=0)
        except Exception:  # the formatting of a traceback must not cost the traceback
            lines = "".join(traceback.format_exception(kind, error, trace)).splitlines()
        kernel = getattr(self._shell, "kernel", None)
        if kernel is None:
            print("\n".join(lines))
            return
        content = {"traceback": lines, "ename": kind.__name__, "evalue": str(error)}
        kernel.session.send(kernel.iopub_socket, "error", content, self._parent)

    def _address(self, message: dict[str, Any]) -> dict[str, Any]:
        message["parent_header"] = self._parent
        return message


def cell_place() -> CellPlace | None:
    """Return the place of the cell that runs now; None where there is no IPython."""
    found = shell()
    return None if found is None else CellPlace(found)


def say_alive() -> None:
    """Send the smallest message that a server counts as activity, so that a hub does not end a kernel that trains.

    Pages know no such message and pass over it.
    """
    kernel = getattr(shell(), "kernel", None)
    if kernel is not None:
        kernel.session.send(kernel.iopub_socket, "nnwidget_alive", {})


def in_cell() -> bool:
    """Say whether the calling thread is the one that runs a notebook's cells."""
    return getattr(shell(), "kernel", None) is not None and threading.current_thread() is threading.main_thread()
