"""An explorer's two outputs of a cell: the live widget, and the saved picture that takes its place without a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnwidget.widgets.cells import shell


class StillOutput:
    """Publishes the widget and its picture as outputs of their own.

    One output for both would not do: JupyterLab draws a widget anew whenever anything of its output changes.

    Parameters
    ----------
    name : str
        Tells the pictures of this kernel apart.
    """

    def __init__(self, name: str) -> None:
        self._name = f"nnwidget-{name}"

    def publish(self, widget: Mapping[str, Any], picture: str) -> None:
        """Show the widget, and behind it the picture.

        Raises
        ------
        NotImplementedError
            There is no notebook; IPython then shows an object in its usual ways.
        """
        found = shell()
        if getattr(found, "kernel", None) is None:
            raise NotImplementedError
        # Where widgets cannot be, the picture speaks for both.
        alone = {**widget, "text/html": "<!-- The saved picture follows. -->"}
        found.display_pub.publish(data=alone, metadata={})
        found.display_pub.publish(data=_data(picture), metadata={}, transient={"display_id": self._name})

    def update(self, picture: str) -> None:
        """Replace the picture wherever it was published; outside of a notebook nothing happens."""
        found = shell()
        if getattr(found, "kernel", None) is not None:
            transient = {"display_id": self._name}
            found.display_pub.publish(data=_data(picture), metadata={}, transient=transient, update=True)


def _data(picture: str) -> dict[str, str]:
    return {"text/html": picture, "text/plain": "The saved picture of an explorer (HTML)"}


__all__ = ["StillOutput"]
