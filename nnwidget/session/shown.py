"""What a panel of a training shows, whether it runs here or is recorded elsewhere."""

from __future__ import annotations

from typing import Any, Protocol

from nnwidget.training.history_reading import Reading
from nnwidget.wire.messages import Control, Rate


class Shown(Protocol):
    """One training: its history, how it stands, and what a page may do to it."""

    @property
    def history(self) -> Reading:
        """What was recorded."""

    @property
    def live(self) -> bool:
        """Say whether a loop of this kernel reaches boundaries or waits at one."""

    def facts(self) -> dict[str, Any]:
        """Return how it stands, as a page wants it; from any thread."""

    def news(self) -> object:
        """Return something that is unequal once there is more to show; from any thread."""

    def catch_up(self) -> None:
        """Take in what others recorded meanwhile, before a page is answered; from any thread."""

    def measure(self) -> None:
        """Take in what only the loop's own thread may read."""

    def serve(self, wanted: Control | Rate) -> dict[str, Any]:
        """Do what a page asks, and return the facts; from any thread."""


__all__ = ["Shown"]
