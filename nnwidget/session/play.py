"""The state of play of a watched training in facts, and what a page may do to it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal, TypeAlias

from torch import Tensor

from nnwidget.errors import MessageError
from nnwidget.training.engine import Engine
from nnwidget.training.history import History
from nnwidget.training.wrapping import refuse_alone
from nnwidget.wire.messages import Control, Rate

Level: TypeAlias = Literal["view", "pause", "full"]
Ending: TypeAlias = Literal["finished", "stopped", "interrupted", "failed"]
# A step has ended, the loop waits, it is over.
Moment: TypeAlias = Literal["step", "waiting", "end"]


class Play:
    """What is known of one training, for every page that shows it.

    Parameters
    ----------
    engine : Engine
        Joins the loop.
    level : str
        What pages may do: nothing (``view``), pause and stop (``pause``), the learning rate too (``full``).
    """

    def __init__(self, engine: Engine, level: Level) -> None:
        self._engine = engine
        self.level: Level = level
        self.ending: Ending | None = None
        self.problem = ""
        self._first = engine.step
        self._rates: dict[int, float] = {}
        self._cost: dict[str, Any] | None = None

    @property
    def history(self) -> History:
        """What was recorded."""
        return self._engine.history

    @property
    def state(self) -> Literal["waiting", "running", "paused", "idle"] | Ending:
        """In a word: ``idle`` is a loop that is over in a watch that is still open."""
        engine = self._engine
        if self.ending is not None:
            return self.ending
        if engine.closed:
            return "finished"
        if engine.loop.gate.waiting:
            return "paused"
        if self._alive():
            return "running"
        if engine.loop.gate.should_stop:
            return "stopped"
        return "waiting" if engine.step == self._first else "idle"

    @property
    def live(self) -> bool:
        """Say whether a loop reaches boundaries or waits at one."""
        return self.state in ("running", "paused")

    def follow(self, moment: Moment) -> None:
        """Do what may only be done between two steps, on the loop's own thread."""
        if self._rates and moment != "end":
            rates, self._rates = self._rates, {}
            for group, rate in rates.items():
                self._change_rate(group, rate)

    def news(self) -> object:
        """Return something that is unequal once there is more to show."""
        return self.facts()

    def catch_up(self) -> None:
        """Do nothing: the history is fed by the loop."""

    def measure(self) -> None:
        """Take in what watching costs; on the loop's own thread, since the governor keeps no lock."""
        cost = self._engine.governor.cost
        if cost.step:
            self._cost = asdict(cost) | {"total": cost.total}

    def end(self, ending: Ending) -> None:
        """Take in how it ended; what was said first counts. Before the engine closes."""
        self.measure()
        self.ending = self.ending or ending

    def failed(self, error: BaseException) -> None:
        """Take in what ended the loop."""
        self.ending = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        if self.ending == "failed":
            self.problem = f"{type(error).__name__}: {error}"[:500]

    def facts(self) -> dict[str, Any]:
        """Return all of it as a page wants it; from any thread."""
        engine = self._engine
        gate = engine.loop.gate
        state = self.state
        asked = ""
        if state in ("waiting", "running", "idle"):
            asked = "stop" if gate.should_stop else "pause" if gate.paused else ""
        full = self.level == "full"
        return {
            "name": str(engine.history.meta.get("model", "")),
            "state": state,
            "asked": asked,
            "ended": "stopped" if state == "idle" and engine.loop.stopped else "",
            "step": engine.step,
            "first": self._first,
            "controls": self.level,
            "cost": self._cost,
            "groups": [float(group["lr"]) for group in engine.optimizers.groups() if "lr" in group] if full else [],
            "asked_rates": [[group, rate] for group, rate in list(self._rates.items())],
            "loss": engine.losses.source,
            "loss_missing": engine.losses.settled and not engine.losses.source,
            "problem": self.problem or engine.error,
            "record": None,
            "ago": None,
        }

    def serve(self, wanted: Control | Rate) -> dict[str, Any]:
        """Do what a page asks, and return the facts; from any thread, since all of it is told to the gate.

        Raises
        ------
        MessageError
            The training is over, or the controls were not offered.
        NNWidgetError
            Several processes train together.
        """
        if self.level == "view" or (isinstance(wanted, Rate) and self.level != "full"):
            raise MessageError("The controls of this training are switched off.", remedy='Use watch(controls="full").')
        if self._engine.closed:
            raise MessageError("This training is over.", remedy="Run the cell again.")
        if isinstance(wanted, Rate):
            if not 0 <= wanted.group < len(self._engine.optimizers.groups()):
                raise MessageError(f"There is no parameter group {wanted.group}.", argument="group")
            self._rates[wanted.group] = wanted.value
            if not self.live:
                # No loop is in the way, and the next one is to begin with it.
                self._change_rate(wanted.group, self._rates.pop(wanted.group))
        else:
            if wanted.action != "resume":
                refuse_alone({"pause": "paused", "step": "paused", "stop": "stopped"}[wanted.action])
            actions: dict[str, Callable[[], None]] = {
                "pause": self._engine.loop.gate.pause,
                "resume": self._resume,
                "step": self._engine.loop.gate.advance,
                "stop": self._engine.loop.gate.stop,
            }
            actions[wanted.action]()
        return self.facts()

    def _resume(self) -> None:
        self._engine.loop.forget_stop()
        self._engine.loop.gate.resume()

    def _alive(self) -> bool:
        return any(thread.ident == self._engine.loop.thread for thread in threading.enumerate())

    def _change_rate(self, index: int, rate: float) -> None:
        groups = self._engine.optimizers.groups()
        if index >= len(groups) or not math.isfinite(rate):
            return
        group = groups[index]
        old = float(group["lr"])
        if isinstance(group["lr"], Tensor):
            # Captured graphs and fused optimisers know the tensor itself.
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
        which = f" of group {index}" if len(groups) > 1 else ""
        self._engine.event(
            "lr changed", f"Learning rate{which} changed from {old:.3g} to {rate:.3g}.", group=index, old=old, new=rate
        )


__all__ = ["Ending", "Level", "Moment", "Play"]
