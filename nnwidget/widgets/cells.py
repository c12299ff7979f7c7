"""What the notebook tells: a cell begins, a cell ends, which cell this is."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any, Protocol


class Closeable(Protocol):
    """Something a cell makes that must not outlive its next run."""

    def close(self) -> None:
        """Let go of everything."""


_made: dict[str, list[tuple[int, weakref.ref[Closeable]]]] = {}


def replace_earlier(new: Closeable) -> None:
    """Close what an earlier run of the same cell made, and remember what this run makes."""
    cell, count = cell_execution()
    if cell is None:
        return
    made = _made.get(cell, [])
    for run, reference in made:
        earlier = reference()
        if run != count and earlier is not None:
            earlier.close()
    _made[cell] = [*(item for item in made if item[0] == count), (count, weakref.ref(new))]


def cell_execution() -> tuple[str | None, int]:
    """Return the id of the running notebook cell (None outside a notebook) and how many cells ran before."""
    running = shell()
    kernel = getattr(running, "kernel", None)
    if kernel is None:
        return None, 0
    try:
        parent = kernel.get_parent("shell")
    except (AttributeError, TypeError):
        return None, 0
    found = parent.get("metadata", {}).get("cellId") if isinstance(parent, dict) else None
    return (found if isinstance(found, str) else None), int(running.execution_count)


class CellEvents:
    """Calls ``began()`` and ``ended()`` around every cell until :meth:`close`; holds their owner only weakly."""

    def __init__(self, began: Callable[[], None], ended: Callable[[], None]) -> None:
        self._began = weakref.WeakMethod(began)
        self._ended = weakref.WeakMethod(ended)
        self._shell = shell()
        if self._shell is not None:
            self._shell.events.register("pre_run_cell", self._before)
            self._shell.events.register("post_run_cell", self._after)

    def close(self) -> None:
        """Stop listening; calling it again changes nothing."""
        found, self._shell = self._shell, None
        if found is not None:
            found.events.unregister("pre_run_cell", self._before)
            found.events.unregister("post_run_cell", self._after)

    def _before(self, info: Any = None) -> None:
        call = self._began()
        if call is not None:
            call()

    def _after(self, result: Any = None) -> None:
        call = self._ended()
        if call is not None:
            call()


def shell() -> Any:
    """Return the IPython that runs this code, or None; where nobody has imported it there is none."""
    loaded = sys.modules.get("IPython")
    return None if loaded is None else loaded.get_ipython()
