"""What is live in this kernel: explorers and watches that are not closed."""

from __future__ import annotations

from typing import Any

_live: list[Any] = []


def opened(thing: Any) -> None:
    """Note something that was opened."""
    _live.append(thing)


def closed(thing: Any) -> None:
    """Forget something that was closed."""
    if thing in _live:
        _live.remove(thing)


def running() -> list[Any]:
    """Return the watches and explorers of this kernel that are not closed, to show one again from any cell.

    Returns
    -------
    list of Watch and Explorer
        In the order they were made.

    Examples
    --------
    >>> running()
    []
    """
    return list(_live)
