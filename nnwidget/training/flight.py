"""The flight recorder: notices values that are not finite, freezes what is kept, and says where they began."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from nnwidget.errors import UnknownLayerError
from nnwidget.model.view import eager
from nnwidget.training.batch import BatchKeeper
from nnwidget.training.forensics import Culprit, from_gradients, investigate
from nnwidget.training.history import History
from nnwidget.training.layer_set import Watched
from nnwidget.training.ring import Ring
from nnwidget.training.thinning import is_absent
from nnwidget.training.wrapping import look_through
from nnwidget.types import Array, Finding

log = logging.getLogger("nnwidget")

# Sound steps after which the next failure is a new one.
_SOUND = 50

_WORDS = {
    "input": "The inputs of the model hold {what}",
    "parameters": "The parameters of {layer} hold {what} before the step",
    "forward": "The output of {layer} holds {what}, the first in the forward pass",
    "loss": "The loss ({kind}) is the first value that is not finite: the output of the model is",
    "backward": "The gradient at the {at} of {layer} holds {what}, the first in the backward pass",
}
_MASK = "If it is a mask, all is well."
_KINDS = {"forward": "activation", "backward": "output_grad"}
_REMEDIES = {
    "input": "Look at this batch: a missing value, a zero deviation or the log of zero in the preprocessing.",
    "parameters": "An earlier step wrote them: clip gradients or lower the learning rate.",
    "forward": "Look for a log, root, division or exponential of a value out of range in this layer, or for weights "
    "that have grown: clip gradients or lower the learning rate.",
    "loss": "Use a loss that takes logits, or keep probabilities away from 0 and 1.",
    "backward": "Its derivative is infinite where it was taken (a root or a norm at zero): add a small constant.",
}


class FlightRecorder:
    """Looks after one training for values that are not finite.

    Parameters
    ----------
    model : nn.Module
        What the loop calls.
    watched : sequence of Watched
        The recorded layers.
    history : History
        For the last good values.
    memory : int
        Bytes for full tensors.
    found : callable
        ``found(finding)`` for each new failure.
    """

    def __init__(
        self,
        model: nn.Module,
        watched: Sequence[Watched],
        history: History,
        memory: int,
        found: Callable[[Finding], None],
    ) -> None:
        self._model = weakref.ref(model)
        self._watched = watched
        self._history = history
        self._found = found
        self._bad_at: int | None = None
        self.keeper = BatchKeeper(model)
        self.ring = Ring(memory)
        self.culprit: Culprit | None = None
        self._wondered: set[str] = set()
        # Called before the history is asked for the last good values.
        self.catch_up: Callable[[], None] = _nothing

    def about_to_step(
        self, step: int, loss: Sequence[float | Tensor], norm: float | Tensor | None, *, changed: bool = False
    ) -> None:
        """Check the numbers of a step: what is on the host, and once something smelt, what is not.

        Parameters
        ----------
        step : int
            Its number.
        loss : sequence of float or Tensor
            Its losses.
        norm : float, Tensor or None
            The norm of all gradients; None leaves it out.
        changed : bool
            The optimiser has changed the parameters already, so that the step cannot be run again.
        """
        if self._bad_at is None and (norm is None or _sound(norm)) and all(map(_sound, loss)):
            return
        numbers = [*loss] if norm is None else [norm, *loss]
        if self._bad_at is not None:
            numbers = [float(number) for number in numbers]
        bad = [number for number in numbers if isinstance(number, float) and not math.isfinite(number)]
        if bad and self._new(step):
            self.catch_up()
            evidence = {"total_grad_norm": norm, "loss": next((value for value in bad if value is not norm), None)}
            self._report(step, from_gradients(self._watched) if changed else self._search(), evidence)

    def arrived(self, steps: Array, columns: Mapping[str, Array]) -> None:
        """Check numbers that came from an accelerator only after their steps."""
        for name in ("loss", "total_grad_norm"):
            values = columns.get(name)
            if values is None:
                continue
            bad = ~np.isfinite(values) & ~is_absent(values)
            for place in np.flatnonzero(bad)[:1]:
                if self._new(int(steps[place])):
                    self._report(int(steps[place]), None, {name: float(values[place])})

    def recorded(self, step: int, values: Mapping[str, Array]) -> None:
        """Check the counts of a recorded step."""
        for kind, direction in (("activation", "forward"), ("output_grad", "backward")):
            nan, inf = values.get(f"{kind}_nan"), values.get(f"{kind}_inf")
            if nan is None or inf is None:
                continue
            bad = [layer for layer in self._watched if nan[layer.index] > 0 or inf[layer.index] > 0]
            if direction == "forward" and not any(nan[layer.index] > 0 for layer in bad):
                self._wonder(step, [layer for layer in bad if layer.name not in self._wondered], inf)
                continue
            if bad and self._new(step):
                layer = bad[0] if direction == "forward" else bad[-1]
                counts = int(nan[layer.index]), int(inf[layer.index])
                name = type(layer.module).__name__
                self._report(step, Culprit(layer.name, name, direction, *counts, 0), {})  # type: ignore[arg-type]
                return

    def close(self) -> None:
        """Let go of everything but what is kept on the host."""
        self.keeper.close()
        self.ring.own()

    def let_go(self) -> None:
        """Keep no module and no parameter, for good."""
        self.keeper.let_go()
        self._watched = []

    def _new(self, step: int) -> bool:
        last = self._bad_at
        # What arrives late may be of an earlier step.
        self._bad_at = step if last is None else max(last, step)
        return last is None or step - last > _SOUND

    def _wonder(self, step: int, layers: Sequence[Watched], inf: Array) -> None:
        """Tell of infinite outputs that no NaN came of: they may be meant, as in a mask."""
        known = self._bad_at is not None and abs(step - self._bad_at) <= _SOUND
        for layer in layers[: not known]:
            self._wondered.update(layer.name for layer in layers)
            text = f"The output of {layer.name!r} ({type(layer.module).__name__}) holds {int(inf[layer.index]):,} "
            text += "infinite values, while loss and gradients are finite."
            evidence = {"inf": int(inf[layer.index]), "direction": "forward"}
            self._found(Finding("infinite_output", "warning", layer.name, step, evidence, text, _MASK))

    def _search(self) -> Culprit | None:
        model, batch = self._model(), self.keeper.last
        if model is not None and batch is not None:
            try:
                wrapped = look_through(model)
                if not wrapped.again:
                    return from_gradients(self._watched)
                with eager():
                    return investigate(wrapped.inner, batch) or from_gradients(self._watched)
            except Exception:  # the model may not be runnable a second time
                log.debug("the failed step could not be run again", exc_info=True)
        return from_gradients(self._watched)

    def _report(self, step: int, culprit: Culprit | None, seen: Mapping[str, Any]) -> None:
        self.ring.freeze()
        self.culprit = culprit
        evidence: dict[str, Any] = {key: float(value) for key, value in seen.items() if isinstance(value, float)}
        last = self.keeper.last
        evidence["batch"] = (self.keeper.number if last is None else last.number) or step
        if culprit is None:
            text = f"The loss or a gradient is not finite at step {step}, batch {evidence['batch']}; no layer shows it."
            self._found(Finding("not_finite", "error", None, step, evidence, text, _REMEDIES["loss"]))
            return
        if culprit.tensor is not None and culprit.at == "output" and culprit.direction in _KINDS:
            self.ring.add(step, _KINDS[culprit.direction], culprit.layer, culprit.tensor)
        evidence |= {"direction": culprit.direction, "nan": culprit.nan, "inf": culprit.inf, "exact": culprit.exact}
        evidence["last_good"] = self._last_good(culprit.layer, step)
        layer = f"{culprit.layer!r} ({culprit.kind})" if culprit.layer else f"the model ({culprit.kind})"
        what = " and ".join(
            f"{count:,} {name}" for count, name in ((culprit.nan, "NaN"), (culprit.inf, "infinite values")) if count
        )
        text = _WORDS[culprit.direction].format(layer=layer, kind=culprit.kind, what=what, at=culprit.at)
        if not culprit.exact:
            text = f"The gradients of the parameters of {layer} hold {what}, the nearest to the loss"
        words = f"{text}, at step {step}, batch {evidence['batch']}."
        name = culprit.layer if culprit.direction not in ("input", "loss") else None
        self._found(Finding("not_finite", "error", name, step, evidence, words, _REMEDIES[culprit.direction]))

    def _last_good(self, layer: str, step: int) -> dict[str, float]:
        """Return the layer's last recorded values from before the failure, and their step."""
        last: dict[str, float] = {}
        for quantity in ("activation_min", "activation_max", "activation_std", "grad_norm", "param_norm"):
            try:
                steps, values = self._history[quantity][layer]
            except (KeyError, UnknownLayerError):
                continue
            good = [
                (s, v) for s, v in zip(steps.tolist(), values.tolist(), strict=True) if s < step and math.isfinite(v)
            ]
            if good:
                last["step"], last[quantity] = good[-1]
        return last


def _sound(number: float | Tensor) -> bool:
    return not isinstance(number, float) or math.isfinite(number)


def _nothing() -> None:
    """Stand in until an engine has something to deliver."""
