"""What shows itself in a notebook; how, only the top floor knows, so that a script loads no widgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_make: Callable[[Any], Any] | None = None


def shown_by(make: Callable[[Any], Any]) -> None:
    """Say what makes the panel of a thing: it has ``widget``, ``closed``, ``close()`` and ``_repr_mimebundle_()``."""
    global _make
    _make = make


class Shows:
    """A thing with a panel, made when it is shown for the first time."""

    _panel: Any = None

    @property
    def widget(self) -> Any:
        """The panel as an ipywidgets widget, for boxes; as the last line of a cell it shows itself."""
        return self._shown().widget

    def hide(self) -> None:
        """Take it off the pages that show it; it may be shown again."""
        panel, self._panel = self._panel, None
        if panel is not None:
            panel.close()

    def _shown(self) -> Any:
        if self._panel is None or self._panel.closed:
            assert _make is not None, "nnwidget itself says it when it is imported"
            self._panel = _make(self)
        return self._panel

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._shown()._repr_mimebundle_(**kwargs)


__all__ = ["Shows", "shown_by"]
