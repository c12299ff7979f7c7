"""A recorded training as its panel shows it: perhaps still being written, by this kernel or by another process."""

from __future__ import annotations

import threading
import time
from typing import Any

from nnwidget.errors import MessageError
from nnwidget.training.history import History
from nnwidget.wire.messages import Control, Rate

_STILL = 5.0  # seconds without growth after which an unfinished end is worth a word


class Recorded:
    """What is known of a history, for every page that shows it; see :class:`nnwidget.session.shown.Shown`.

    Parameters
    ----------
    history : History
        Loaded, or of a watch of this kernel.
    """

    live = False

    def __init__(self, history: History) -> None:
        self.history = history
        self._looking = threading.Lock()
        self._taken = history.taken
        self._looked = time.monotonic()
        source = history.source
        # By our own clock: that of a file server may be off, so it counts for what was written before we looked only.
        self._written = None if source is None else self._looked - max(0.0, time.time() - source.written)

    def catch_up(self) -> None:
        """Read what was written since the last time."""
        with self._looking:
            self.history.refresh()
            now, taken, source = time.monotonic(), self.history.taken, self.history.source
            if taken != self._taken:
                ago = 0.0 if source is None else max(0.0, time.time() - source.written)
                # It came between the two looks, whatever the file says.
                self._written = max(self._looked, now - ago)
            self._taken, self._looked = taken, now

    def measure(self) -> None:
        """Do nothing: what watching cost is not recorded."""

    def news(self) -> object:
        """Return something that is unequal once there is more to show."""
        return self._taken, self._problem()

    def facts(self) -> dict[str, Any]:
        """Return how it stands."""
        history, source = self.history, self.history.source
        kind = "memory" if source is None else "file" if source.path.is_file() else "folder"
        meta = history.meta
        return {
            "name": str(meta.get("model", "")),
            "state": "recorded",
            "asked": "",
            "step": history.last_step or 0,
            "first": 0,
            "controls": "view",
            "cost": None,
            "groups": [],
            "asked_rates": [],
            "loss": "",
            "loss_missing": False,
            "problem": self._problem(),
            "record": {
                "kind": kind,
                "path": "" if source is None else str(source.path),
                "lost": source is not None and bool(source.lost),
                "ended": history.ended is not None,
                "empty": history.last_step is None,
                **{name: _whole(meta.get(name)) for name in ("parameters", "rank", "ranks")},
            },
            "ago": self._ago(),
        }

    def serve(self, wanted: Control | Rate) -> dict[str, Any]:
        """Refuse: nothing of it runs here.

        Raises
        ------
        MessageError
            Always.
        """
        raise MessageError("A history is only read.", remedy="Steer a training from the panel of its watch.")

    def _ago(self) -> float | None:
        return None if self._written is None else time.monotonic() - self._written

    def _problem(self) -> str:
        source = self.history.source
        said = list(self.history.problems[-2:])
        if source is not None and source.lost:
            said.append(source.lost)
        elif source is not None and source.unread and (self._ago() or 0.0) > _STILL:
            said.append(
                f"The last {source.unread:,} bytes are no complete record and are left out: they are damaged, or their "
                "writer was killed."
            )
        return " ".join(said)


def _whole(value: object) -> int | None:
    """Return a whole number of a file that anybody may have written."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


__all__ = ["Recorded"]
