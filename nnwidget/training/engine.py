"""The engine of a watched training: what happens at each boundary, in order, and never at the user's expense."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from nnwidget.training.flight import FlightRecorder
from nnwidget.training.gauges import Gauges
from nnwidget.training.governor import LEVELS, SNAPSHOTS_SHARE, Governor
from nnwidget.training.history import History
from nnwidget.training.layer_set import Watched
from nnwidget.training.loop import Loop
from nnwidget.training.losses import LossFinder
from nnwidget.training.optimizers import Optimizers
from nnwidget.training.overheard import Overheard
from nnwidget.training.rows import Rows
from nnwidget.training.sample import Sampler
from nnwidget.training.scaler import Scaling
from nnwidget.training.snapshots import Snapshots
from nnwidget.training.steps import Steps
from nnwidget.training.user_log import UserLog
from nnwidget.training.wrapping import compiled_graphs
from nnwidget.types import Event, Finding

log = logging.getLogger("nnwidget")

_FLUSH = 0.2  # seconds between two deliveries to the history
_SKIPPED = "The gradient scaler skipped this step: a gradient was not finite."


class Engine:
    """Joins one training loop and records it.

    Parameters
    ----------
    model : nn.Module
        What the loop calls.
    optimizers : sequence of Optimizer
        Those the user named; may be empty.
    history : History
        Where records go.
    watched : sequence of Watched
        The layers; see :func:`nnwidget.training.layer_set.layer_set`.
    scaler : GradScaler, optional
        As the loop uses it.
    budget, every
        See :class:`nnwidget.training.governor.Governor`.
    start_step : int
        The number of the step before the first.
    tensors : int
        Bytes for full tensors of the last recorded steps.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        history: History,
        watched: Sequence[Watched],
        *,
        scaler: Any = None,
        budget: float | None = 0.02,
        every: int | Literal["auto"] = "auto",
        start_step: int = 0,
        tensors: int = 0,
    ) -> None:
        self._model = weakref.ref(model)
        self._pid = os.getpid()
        self.history = history
        self.governor = Governor(budget, every, start_step)
        self.error = ""
        self.closed = False
        self._broken = False
        # Called after each step with (step, recorded).
        self.listener: Callable[[int, bool], None] | None = None
        self._start = self._step_at = start_step
        self._looking = True
        # What the coming step needs is attached already: it is like the one before.
        self._only_looks = False
        self._scaling = Scaling(scaler)
        self.optimizers = Optimizers(optimizers, self._scaling)
        self.optimizers.on_cleared = functools.partial(self.event, "no gradients")
        self._gauges = Gauges(model)
        self._skipping = self._in_forward = False
        # Of a sharded model it is the norm of what this rank holds.
        self.norm_name = "total_grad_norm"
        self.snapshots: Snapshots | None = None
        self._graphs: int | None = compiled_graphs()
        self._others = False
        # Of what is done here, seconds that are due to steps before this one.
        self._later = 0.0
        # Seconds in which hooks were attached for the next look, and taken off after the last.
        self._arranged = 0.0
        self._inside = 0.0
        self._out = self._flushed = time.perf_counter()
        self.findings: list[Finding] = []
        self.losses = LossFinder(model, self._heard)
        self.flight = FlightRecorder(model, watched, history, tensors, self._found)
        self.flight.catch_up = self.flush
        self.flight.keeper.resting = self._resting
        self._rows = Rows(history, self.flight.arrived)
        self._overheard = Overheard(self._rows)
        self._log = UserLog(history, self.losses, self._rows, self.flight)
        self.sampler = Sampler(model, watched, history, self._layer_failed, self.flight.recorded)
        self.steps = Steps(model, optimizers, before=self._before, after=self._after, count=start_step)
        self.loop = Loop(model, self.steps, functools.partial(self.flush, wait=True), self._remove)
        self.steps.others = self._others_stepped
        self.steps.heed_others(True)
        self.sampler.on_scaled = self._scaled
        self.losses.gave_up = functools.partial(self._gave_up, "Hearing the loss", self.losses.close)
        self.flight.keeper.gave_up = functools.partial(self._gave_up, "Keeping the batch", self.flight.keeper.let_go)
        self._scaling.gave_up = functools.partial(self._gave_up, "Following the scaler", self._scaling.close)
        self._scaling.watch(model, lambda: self.step, self.optimizers.live, self._skipped)
        self._prepare()

    @property
    def step(self) -> int:
        """The number of the last step that ended."""
        return self.steps.count

    def take_snapshots(self, snapshots: Snapshots) -> None:
        """Run pinned inputs at boundaries from now on, within their part of the budget."""
        self.snapshots = snapshots
        self.governor.reserved = SNAPSHOTS_SHARE

    def log(self, step: int | None, values: Mapping[str, Any]) -> None:
        """Take in what the user logs: scalars, 0-d tensors, images."""
        if "loss" in values and step is None:
            self._overheard.drop(self.step + 1)
        self._log.take(step, values, self.step + 1, looking=self._looking)

    def event(self, kind: str, text: str, **data: Any) -> None:
        """Note something that happened."""
        self.history.add_event(Event(self.step, time.time(), kind, text, data))

    def flush(self, *, wait: bool = False) -> None:
        """Hand the history everything that has arrived."""
        if self._broken:
            return
        self._flushed = time.perf_counter()
        try:
            self._overheard.stepped(self.step)
            self._rows.deliver(wait=wait)
            began = time.perf_counter()
            records = self.sampler.deliver(wait=wait)
            if records:
                seconds = time.perf_counter() - began
                self._later += seconds
                self.governor.delivered(records, seconds)
        except Exception as error:  # a history that fails is no reason to fail the loop
            self._failed(error)

    def _resting(self) -> None:
        """Hand over what waits for the next step: a validation may take long, and be killed."""
        if time.perf_counter() - self._flushed > _FLUSH and self.loop.mine():
            self.flush()

    def close(self) -> None:
        """Remove every hook and hand over what is left; calling it again changes nothing."""
        if self.closed:
            return
        self.closed = True
        self.loop.leave()
        if os.getpid() == self._pid:
            self._log.stepped()
            self.flush(wait=True)
        self.loop.meanwhile = self.listener = self.snapshots = None

    def let_go(self) -> None:
        """Keep no module and no parameter, once closed."""
        if self.steps.closed:
            self.sampler.let_go()
            self.flight.let_go()

    def _remove(self, stepping: bool) -> None:
        self.steps.close(stepping=stepping)
        self._scaling.close()
        self.losses.close()
        self.flight.close()
        self.sampler.close()
        if self.steps.closed:
            self.loop.let_go()

    def _heard(self, value: float | Tensor, module: nn.Module | None, args: tuple[Any, ...]) -> None:
        self.flight.keeper.heard(module, args)
        if isinstance(value, float) and not math.isfinite(value):
            self.flight.keeper.hold()

    def _overhear(self, value: float | Tensor, source: Hashable) -> None:
        """Note a loss in a step that nobody looks at."""
        step = self.step + 1
        self._overheard.hear(step, value, source)
        if isinstance(value, float) and not math.isfinite(value):
            self.flight.about_to_step(step, [value], None)

    def _backward_begins(self, gradient: Tensor) -> None:
        if self.sampler.armed:
            self.sampler.begun_with = gradient

    def _scaled(self, scale: float) -> None:
        """Say once that gradients of outputs are recorded as a scaler left them."""
        self.sampler.on_scaled = None
        text = (
            f"The backward begins with {scale:,.0f}: gradients of outputs are recorded scaled. Pass scaler= to watch()."
        )
        self.event("scaled", text, scale=scale)

    def _others_stepped(self) -> None:
        """Know that an optimiser of another model stepped: what was seen so far may have been its step's."""
        self._others = True
        self.losses.now.others_stepped()
        if self.sampler.armed:
            self.sampler.taps.split()

    def _before(self, optimizer: Optimizer, closure: bool) -> None:
        if self.closed or self._broken or os.getpid() != self._pid:
            return
        started = time.perf_counter()
        try:
            if not closure:
                self.optimizers.take(optimizer)
                # A gradient that is not finite is a scaler's own affair.
                norm = None if self._scaling.minds(optimizer) else self.optimizers.norm
                self.flight.about_to_step(self.step + 1, self.losses.now.values, norm)
            if self.sampler.armed:
                self.sampler.about_to_step()
        except Exception as error:  # never break the user's step
            self._failed(error)
        self._inside += time.perf_counter() - started

    def _skipped(self) -> None:
        """Take in a step that the scaler skipped, before the forward of the next one."""
        if self.closed or self._broken:
            return
        try:
            self._skipping = self._in_forward = True
            # The parameters are those of that step still.
            self.flight.about_to_step(self.step + 1, self.losses.now.values, None)
            self.steps.skipped()
            self.event("skipped step", _SKIPPED)
        except Exception as error:  # never break the user's step
            self._failed(error)
        finally:
            self._skipping = self._in_forward = False

    def _check_afterwards(self, optimizer: Optimizer, step: int) -> None:
        norm = self.optimizers.norm
        if norm is not None and not self._scaling.minds(optimizer):
            self.flight.about_to_step(step, self.losses.now.values, norm, changed=True)

    def _after(self, optimizer: Optimizer | None, ended: bool) -> None:
        if os.getpid() != self._pid:
            return
        if self.closed:
            self._remove(True)
            return
        now = time.perf_counter()
        if not self._broken:
            try:
                self._note(optimizer, now, ended=ended)
            except Exception as error:  # never break the user's step
                self._failed(error)
        if ended:
            if now >= self.loop.pulse.due:
                self.loop.pulse.beat()
            if self.steps.pressing:
                self.loop.hold()
            self._out = time.perf_counter()

    def _note(self, optimizer: Optimizer | None, now: float, *, ended: bool) -> None:
        if optimizer is not None and self._looking:
            self.optimizers.meet(optimizer)
            if self.optimizers.norm is None:
                # A closure computed the gradients within the step.
                self.optimizers.take(optimizer)
                self._check_afterwards(optimizer, self.step + (not ended))
            self._skipping = self._scaling.skips(optimizer)
            if self._skipping:
                self.event("skipped step", _SKIPPED)
        elif optimizer is None and self._looking and self.optimizers.norm is None and not self._skipping:
            self.optimizers.take_left(self._model())
        if ended:
            self._ended(optimizer, now)
        else:
            self._inside += time.perf_counter() - now

    def _ended(self, optimizer: Optimizer | None, now: float) -> None:
        self.loop.thread = threading.get_ident()
        took, steps = now - self._out, self.step - self._step_at
        recorded, looked = self.sampler.armed, self._looking
        self._log.stepped()
        self._overheard.stepped(self.step)
        if looked:
            self._look(optimizer, took, recorded=recorded)
        inside = self._inside + (self.sampler.seconds if recorded else 0.0)
        if recorded:
            self._rows.note("watch_time", self.governor.extra(took, inside) + time.perf_counter() - now)
        self._later = 0.0
        if now - self._flushed > _FLUSH or (recorded and self.sampler.presses):
            self.flush()
        after = time.perf_counter() - now - self._later + self._arranged
        if recorded:
            self.governor.recorded(self.step, took, inside, after)
        elif looked:
            self.governor.looked(self.step, took, inside, after)
        else:
            self.flight.keeper.slept(steps)
            self.governor.passed(self.step, steps, took)
        self._inside = 0.0
        if recorded or looked:
            self._arranged = 0.0
        began = time.perf_counter()
        self._prepare()
        self._arranged += time.perf_counter() - began
        if self.listener is not None:
            started = time.perf_counter()
            self.listener(self.step, recorded)
            self.governor.showed(time.perf_counter() - started)
        if self.snapshots is not None and self.snapshots.due(self.step, self.governor):
            self.flush()
            self.governor.snapped(self.snapshots.take(self.step))
            if self.snapshots.failed:
                self.event("error", f"The pinned inputs were given up: {self.snapshots.failed}")
        self._step_at = self.step

    def _look(self, optimizer: Optimizer | None, took: float, *, recorded: bool) -> None:
        row: dict[str, float | Tensor] = {"step_time": took}
        several, loss = len(self.losses.now) > 1, self.losses.now.take()
        if loss is not None:
            row["loss"] = loss
        optimizers = self.optimizers
        if optimizers.norm is not None and not self._skipping:
            row[self.norm_name] = self.sampler.total = optimizers.norm
        if recorded:
            row |= self._gauges.read(self.flight.keeper.samples, took)
        number = self.flight.keeper.number
        if number and number != self.step - self._start:
            # The last of this step; where each step takes one, it has the number of its step.
            row["batch"] = float(number)
        optimizers.rates(row)
        self._rows.add(self.step, row)
        if recorded:
            if self._scaling.divisor(optimizer) != 1.0:
                self.sampler.begun_with = None
            self.flight.ring.stepped()
            left, scale = self._scaling.left(optimizer), self._scaling.scale(optimizer)
            self.sampler.stepped(self.step, left, scale, cleared=optimizers.cleared, skipped=self._skipping)
        optimizers.stepped()
        if several or not self._only_looks:
            self.losses.stepped()
            self._notice_compiled()
            # Several losses in a step may be another model's too.
            self.steps.heed_others(several or self._others or not self.losses.settled)
        self.flight.keeper.release()

    def _notice_compiled(self) -> None:
        """Leave a model alone that is called inside a compiled function: a change of hooks would compile it again."""
        before, self._graphs = self._graphs, None
        if before is None:
            return
        met = self.losses.source or self.flight.keeper.number
        if not met and compiled_graphs() > before:
            self.sampler.give_up()
            self.losses.close()
            self._only_looks = False

    def _prepare(self) -> None:
        """Attach what the next step needs, and sleep until the one before the next that is seen."""
        if self._broken:
            return
        following = self.step + 1
        records, settled = self.governor.records(following), self.losses.settled
        self._looking = records or not settled or self.governor.looks(following)
        if self._only_looks and self._looking and not records:
            self.steps.quiet_until = following
            return
        self._only_looks = self._looking and settled and not records
        self.steps.attend(self._looking)
        overhears = not self._looking and self.losses.source != "log" and self.governor.overhears
        self.losses.listen(self._looking or overhears)
        self.losses.aside = self._overhear if overhears else None if self._looking else _ignore
        self.flight.keeper.listen(self._looking and not self.sampler.blind)
        self.flight.keeper.counts = records
        # Without the scaler nothing else tells whether the gradients of outputs are scaled.
        asks = records and not self._scaling.active and self.sampler.on_scaled is not None
        self.losses.begins = self._backward_begins if asks else None
        if records:
            ring, level = self.flight.ring, self.governor.level
            keeps = ring.open and not level
            if keeps:
                ring.begin(following)
            # In a loop that calls parts of the model no forward of the root begins a step.
            parts = following > self._start + 1 and not self.flight.keeper.number
            # Where a forward of the root is the boundary, it is under way already.
            begun = self._in_forward or self.steps.source == "forward"
            self.sampler.arm(LEVELS[level], keep=ring.keep if keeps else None, directly=parts, begun=begun)
            if not self.optimizers:
                # Nobody says when the parameters are about to change.
                self.sampler.about_to_step()
        self.steps.quiet_until = following if self._looking else self.governor.wake(self.step)

    def _found(self, finding: Finding) -> None:
        """Keep a finding, say it, and look closely for a while."""
        self.findings.append(finding)
        # Of the step it names, which may be under way still; that step is said beside the text.
        at, text = finding.step or self.step, f"{finding.explanation} {finding.remedy}".rstrip()
        self.history.add_event(Event(at, time.time(), "finding", text, {"rule": finding.rule, "layer": finding.layer}))
        self.governor.alert(self.step)
        self.steps.quiet_until = self.step

    def _layer_failed(self, layer: str, error: Exception) -> None:
        self.event(
            "error", f"Observing {layer!r} failed and was given up: {type(error).__name__}: {error}", layer=layer
        )

    def _gave_up(self, what: str, end: Callable[[], None], error: Exception) -> None:
        end()
        self.event("error", f"{what} failed and was given up: {type(error).__name__}: {error}")

    def _failed(self, error: Exception) -> None:
        """Give up recording and say so once; pause and stop go on working."""
        log.exception("nnwidget could not record this training and leaves it alone from now on")
        self.error = f"{type(error).__name__}: {error}"
        self._broken = True
        # Whatever else fails now has been said.
        with contextlib.suppress(Exception):
            self._rest()
        with contextlib.suppress(Exception):
            self.event("error", f"Recording failed and was given up: {self.error}")

    def _rest(self) -> None:
        """Take off what records, so that only pause and stop are left."""
        self.sampler.taps.disarm()
        self.sampler.armed = self._looking = False
        self._scaling.close()
        self.losses.close()
        self.flight.close()
        self.steps.attend(False)
        self.steps.heed_others(False)
        self.steps.quiet_until = self.step


def _ignore(value: float | Tensor, source: Hashable) -> None:
    """Hear nothing of a step that nobody looks at, where even that would cost too much."""
