"""One recorded step: armed before it, taken in after it, handed to the history once everything is on the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from nnwidget.training.binning import binned
from nnwidget.training.courier import Courier
from nnwidget.training.history import History
from nnwidget.training.layer_set import Watched
from nnwidget.training.layer_taps import Flow, LayerTaps
from nnwidget.training.measure import Moments, Part
from nnwidget.training.parameters import LayerNorms, spread
from nnwidget.training.shares import Shares
from nnwidget.training.thinning import ABSENT
from nnwidget.types import Array

# Recorded steps in a row in which no layer is seen, before hooks on layers are given up.
_UNSEEN = 3
_ELSEWHERE = "no forward of it was seen; pass what the loop calls, such as the compiled model, to watch()"
# Recorded steps that wait for the shares of other ranks.
_WAITING = 3
# Layers of recorded steps that wait, each step's counted, before they are delivered.
_BATCH = 60

# A backward that begins with so much was begun by a gradient scaler.
_SCALED = 128.0

QUANTITIES = ("mean", "std", "min", "max", "zero", "nan", "inf")


class Sampler:
    """Records the layers on chosen steps.

    Parameters
    ----------
    model : nn.Module
        The root.
    watched : sequence of Watched
        The layers.
    history : History
        Where samples go.
    failed : callable
        ``failed(layer, exception)`` when observing a layer failed and was given up.
    seen : callable
        ``seen(step, values)`` with what is recorded of each step.
    """

    def __init__(
        self,
        model: nn.Module,
        watched: Sequence[Watched],
        history: History,
        failed: Callable[[str, Exception], None],
        seen: Callable[[int, Mapping[str, Array]], None],
    ) -> None:
        self._watched = watched
        self._size = len(watched)
        self._history = history
        self._seen = seen
        self.taps = LayerTaps(model, watched, failed)
        self.norms = LayerNorms(watched)
        self._under_way: list[_Sample] = []
        self._directly = False
        # What the hooks of the last observed step saw themselves take.
        self.seconds = 0.0
        # The gradient that the backward of this step began with, and who is told when it was far from one.
        self.begun_with: Tensor | None = None
        self.on_scaled: Callable[[float], None] | None = None
        self._unseen = 0
        self.armed = self._closing = False
        # Of a sharded model: what puts the norms of all ranks together, and this rank's norm of all gradients.
        self.shares: Shares | None = None
        self.total: float | Tensor = math.nan

    @property
    def blind(self) -> str:
        """Say why no layer is seen, once it is given up; empty while layers are."""
        return _ELSEWHERE if self._unseen >= _UNSEEN else ""

    @property
    def presses(self) -> bool:
        """Say whether what was recorded is to be delivered now."""
        # Other ranks wait for our share; and what waits is in no history yet that would bound it.
        return self.shares is not None or len(self._under_way) * self._size >= _BATCH

    def give_up(self) -> None:
        """Attach no hooks to layers any more."""
        self.taps.disarm()
        self._unseen = _UNSEEN

    def arm(
        self,
        limit: int | None,
        keep: Callable[[str, str, Tensor, Part | None], None] | None = None,
        *,
        directly: bool = False,
        begun: bool = False,
    ) -> None:
        """Observe the coming step; the arguments are those of :meth:`LayerTaps.arm`."""
        self.armed = True
        self._directly = self._directly or directly
        if not self.blind:
            self.taps.arm(limit=limit, directly=self._directly, begun=begun, keep=keep)

    def about_to_step(self) -> None:
        """Keep what tells the update, just before the optimiser changes the parameters."""
        if self.armed:
            self.norms.about_to_step()

    def stepped(self, step: int, divisor: float, scale: float, *, cleared: bool = False, skipped: bool = False) -> None:
        """Take in a step that was observed.

        Parameters
        ----------
        step : int
            Its number.
        divisor, scale : float
            What its gradients of parameters and of outputs are to be divided by.
        cleared : bool
            The loop has cleared the gradients of parameters already.
        skipped : bool
            A gradient scaler skipped the step, since gradients were not finite: only activations are recorded.
        """
        self.armed = False
        flow = self.taps.harvest()
        if not flow.calls and not self.taps.seen_root:
            # The loop calls parts of the model: no forward of the root tells when to begin.
            self._directly = True
            self._unseen += any(layer.observed for layer in self._watched)
        elif not self.blind:
            self._unseen = 0
        self.seconds = flow.seconds
        sample = _Sample(step, flow)
        sample.total, self.total = self.total, math.nan
        sample.skipped = skipped
        if not skipped:
            sample.parameters = self.norms.stepped(
                flow.courier, sample.values.__setitem__, divisor, gradients=not cleared
            )
        sample.scale = scale
        if self.begun_with is not None:
            flow.courier.add(self.begun_with, self._begun_with)
            self.begun_with = None
        flow.courier.send()
        self._under_way.append(sample)

    def deliver(self, *, wait: bool = False) -> int:
        """Hand the history what has arrived, and return of how many steps it was."""
        before = len(self._under_way)
        while self._under_way and self._under_way[0].flow.courier.arrived(wait=wait):
            if not self._joined(self._under_way[0]):
                break
            self._deliver(self._under_way.pop(0))
        return before - len(self._under_way)

    def close(self) -> None:
        """Remove every hook; what is under way can still be delivered."""
        self.taps.disarm()
        self.armed, self._closing = False, True

    def _begun_with(self, values: Array) -> None:
        if self.on_scaled is not None and abs(float(values[0])) >= _SCALED:
            self.on_scaled(float(values[0]))

    def let_go(self) -> None:
        """Keep no module and no parameter, for good."""
        self.taps.close()
        self._watched, self.norms = [], LayerNorms([])

    def _joined(self, sample: _Sample) -> bool:
        """Put the norms of a sharded model together; False while other ranks' shares may still come."""
        if self.shares is None:
            return True
        impatient = len(self._under_way) > _WAITING
        more = self.shares.together(
            sample.step, sample.values, float(sample.total), impatient=impatient, closing=self._closing
        )
        for name, value in (more or {}).items():
            self._history.log(sample.step, name, value)
        return more is not None

    def _deliver(self, sample: _Sample) -> None:
        values = {name: np.array(row, np.float32) for name, row in sample.values.items()}
        flow = sample.flow
        if sample.skipped:
            flow.gradients.clear()
        for kind, found, scale in (
            ("activation", flow.activations, 1.0),
            ("output_grad", flow.gradients, sample.scale),
        ):
            if found:
                values.update(rows_of(kind, found, self._size, scale))
        if any(layer.low is not None or layer.high is not None for layer in self._watched):
            values["activation_saturated"] = self._saturated(flow.activations)
        kinds = {
            "activation": {index: moments.samples for index, moments in flow.activations.items()},
            "output_grad": {
                index: [part / sample.scale for part in moments.samples] for index, moments in flow.gradients.items()
            },
            **sample.parameters,
        }
        histograms = binned(self._size, {kind: samples for kind, samples in kinds.items() if samples})
        self._seen(sample.step, values)
        self._history.add_sample(sample.step, values, histograms)

    def _saturated(self, found: Mapping[int, Moments]) -> Array:
        shares: dict[int, float] = {}
        for layer in self._watched:
            moments = found.get(layer.index)
            if moments is None or not moments.samples or (layer.low is None and layer.high is None):
                continue
            values = np.concatenate(moments.samples)
            low = -math.inf if layer.low is None else layer.low
            high = math.inf if layer.high is None else layer.high
            shares[layer.index] = float(((values <= low) | (values >= high)).mean()) if values.size else math.nan
        return spread(shares, self._size)


def rows_of(kind: str, found: Mapping[int, Moments], size: int, scale: float = 1.0) -> dict[str, Array]:
    """Write the statistics of the layers that were seen as rows of a sample; of the others nothing was measured.

    Examples
    --------
    >>> float(rows_of("activation", {0: Moments(4, zeros=1)}, 2)["activation_zero"][0])
    0.25
    """
    table = [[ABSENT] * size for _ in QUANTITIES]
    mean, std, low, high, zero, nan, inf = table
    for index, m in found.items():
        if m.finite:
            mean[index], std[index], low[index], high[index] = (
                m.mean / scale,
                m.std / scale,
                m.low / scale,
                m.high / scale,
            )
        if m.count:
            zero[index], nan[index], inf[index] = m.zeros / m.count, m.nan, m.inf
    # Doubles may be out of the range of what is kept.
    with np.errstate(over="ignore"):
        rows = np.array(table).astype(np.float32)
    return {f"{kind}_{quantity}": row for quantity, row in zip(QUANTITIES, rows, strict=True)}


class _Sample:
    """What is known of one recorded step so far."""

    __slots__ = ("flow", "parameters", "scale", "skipped", "step", "total", "values")

    def __init__(self, step: int, flow: Flow) -> None:
        self.step = step
        self.flow = flow
        self.values: dict[str, Array] = {}
        self.parameters: dict[str, dict[int, list[Array]]] = {}
        self.scale = 1.0
        self.skipped = False
        self.total: float | Tensor = math.nan


__all__ = ["QUANTITIES", "Courier", "Sampler", "rows_of"]
