"""Keep widgets answering while a cell runs, on kernels that would re-route their messages to the busy thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ipywidgets


def keep_on_subshell(widget: ipywidgets.Widget) -> bool:
    """Let the page's messages to one widget stay on the thread that JupyterLab chose for them.

    ipykernel 7.4 routes the messages of a comm to the thread that published on it last: after one push from a running
    cell they would all wait for the end of that cell. Earlier kernels have no such rule and are left alone.

    Parameters
    ----------
    widget : ipywidgets.Widget
        The widget, right after its construction. Its own comm is treated, not those of its children: see `keep_live`.

    Returns
    -------
    bool
        True if the widget's kernel has the rule and it no longer holds for this widget.

    Examples
    --------
    Without a kernel there is nothing to do:

    >>> import ipywidgets
    >>> keep_on_subshell(ipywidgets.IntSlider())
    False
    """
    comm = getattr(widget, "comm", None)
    # A private rule of the kernel: absent before 7.4, and perhaps again one day.
    if comm is None or not callable(getattr(comm, "_reply_subshell_for", None)):
        return False
    noted = getattr(comm, "_reply_subshell_ids", None)

    def as_the_page_says(data: object, default: str | None) -> str | None:
        # The rule's own memory would grow by an entry for each answered message, since nobody reads it now.
        if isinstance(noted, dict):
            noted.clear()
        return default

    try:
        comm._reply_subshell_for = as_the_page_says
    except AttributeError:
        return False
    return True


def keep_live(*widgets: ipywidgets.Widget) -> int:
    """Do the same for widgets and all widgets inside them: figures with their marks, scales, axes and interactions.

    Parameters
    ----------
    *widgets : ipywidgets.Widget
        Any widgets. Call it again after adding children later.

    Returns
    -------
    int
        How many widgets were found, each counted once, whether or not the kernel needed the remedy.

    Examples
    --------
    >>> import ipywidgets
    >>> keep_live(ipywidgets.HBox([ipywidgets.IntSlider(), ipywidgets.Label("step")]))
    8
    """
    seen: dict[int, ipywidgets.Widget] = {}
    waiting = list(widgets)
    while waiting:
        widget = waiting.pop()
        if id(widget) in seen:
            continue
        seen[id(widget)] = widget
        keep_on_subshell(widget)
        for name in widget.keys:
            if name in _BY_NAME:
                continue
            waiting.extend(_inside(getattr(widget, name, None)))
    return len(seen)


# Identity of a model, never a widget.
_BY_NAME = frozenset({"_model_module", "_model_name", "_view_module", "_view_name"})


def _inside(value: Any) -> Iterator[ipywidgets.Widget]:
    """Yield the widgets in a trait's value, also within lists and dicts."""
    if isinstance(value, ipywidgets.Widget):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _inside(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _inside(item)
