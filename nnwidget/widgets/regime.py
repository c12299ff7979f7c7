"""How a page's messages reach Python while a cell runs: found out at run time, best way first."""

from __future__ import annotations

import threading
from collections.abc import Callable

from nnwidget.widgets.control import install
from nnwidget.widgets.polling import available, poll_if_due


class Regime:
    """Watches on which thread messages arrive and settles on a way.

    ``subshell`` (messages arrive while the cell runs), else ``control`` (the kernel's control channel), else
    ``polling`` (the loop's boundary looks for messages), else ``after-cell`` (controls apply when the cell ends).

    Parameters
    ----------
    handle : callable
        ``handle(comm_id, data)`` for messages that come over the control channel.
    """

    def __init__(self, handle: Callable[[str, object], None]) -> None:
        self._handle = handle
        self._control = False
        # A page that is first shown in a busy cell has no other way in.
        install(handle)
        self._may_poll = available()
        self.name = "unknown"

    def heard(self, control_capable: bool | None = None) -> str:
        """Note that a message arrived on this thread; returns the regime in force."""
        thread = threading.current_thread().name
        if thread.startswith("subshell-"):
            self.name = "subshell"
        elif control_capable is not None and self.name != "subshell":
            self._control = self._control or (control_capable and install(self._handle))
            self.name = "control" if self._control else "polling" if available() else "after-cell"
        return self.name

    def poll(self) -> None:
        """Look for messages from a loop's boundary, where that is the way."""
        if self._may_poll and self.name in ("polling", "unknown"):
            poll_if_due()
