"""The cuts at hand: when one may serve, when it is void, and the proof before it is first used."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from nnwidget.model.cut import Cursor, Plan, Targets, repeated, same
from nnwidget.model.fingerprint import Fingerprint
from nnwidget.model.runner import Question, Replay, Runner, noted
from nnwidget.model.tracer import Apply, Tracer

# The inputs' key, the edited calls, whether the fused attention path is off.
Slot: TypeAlias = tuple[Hashable, Hashable, bool]

_UNEQUAL = "full run: a cut gave other values, since layers share state or memory that is changed later"
_OTHER_WAY = "full run: the model took another way than when the cut was recorded"


@dataclass(slots=True)
class _Held:
    """A plan with what it was recorded from."""

    plan: Plan
    fingerprint: Fingerprint
    # The same for a batch of so many equal rows, with channels last or not.
    rows: tuple[tuple[int, bool], Plan] | None = None
    checked: float = field(default_factory=lambda: time.monotonic())

    def holds(self, inputs: Any, trust: float) -> bool:
        """Whether the plan is still true; asked again only when the last look is older than ``trust`` seconds."""
        now = time.monotonic()
        if now - self.checked < trust:
            return True
        self.checked = now
        return self.fingerprint.holds(inputs)


class CutStore:
    """Serves edited runs from cuts, within a number of bytes for all of them together."""

    def __init__(self, runner: Runner, max_bytes: int, trust: float) -> None:
        self.runner = runner
        self.max_bytes = max_bytes
        self.trust = trust
        self._held: OrderedDict[Slot, _Held] = OrderedDict()
        self._refused: dict[Slot, str] = {}
        self._proved: set[Slot] = set()

    def clear(self, *, forget: bool = False) -> None:
        """Drop all copies; with ``forget`` also what was proved and refused."""
        self._held.clear()
        if forget:
            self._refused.clear()
            self._proved.clear()

    def run(self, question: Question, applies: Mapping[int, Apply], targets: Targets, key: Hashable) -> Replay:
        """Serve from a cut where one holds; else run in full, record, and prove the cut for the next time."""
        off = self.runner.path_off(question.idents | applies.keys())
        slot = (key, frozenset(targets.items()), off)
        if slot in self._refused:
            return noted(self.runner.full(question, applies)[0], self._refused[slot])
        served = self._serve(slot, question, applies)
        return served if served is not None else self._record(slot, question, applies, targets)

    def rows(
        self,
        question: Question,
        applies: Mapping[int, Apply],
        targets: Targets,
        key: Hashable,
        how: tuple[int, bool],
    ) -> Replay | None:
        """Answer for a batch of equal rows from the cut of the one input in ``question``; None where there is none."""
        off = self.runner.path_off(frozenset(applies))
        held, times = self._held.get((key, frozenset(targets.items()), off)), how[0]
        if held is None or not held.holds(question.inputs, self.trust) or held.plan.size * times > self.max_bytes:
            return None
        if held.rows is None or held.rows[0] != how:
            held.rows = how, held.plan.rows(*how)
        args, kwargs = repeated(question.inputs, times)
        outcome, spoilt = self._cut(held.rows[1], off, replace(question, args=args, kwargs=kwargs), applies)
        if outcome is None or spoilt:
            held.rows = None
        return outcome

    def _serve(self, slot: Slot, question: Question, applies: Mapping[int, Apply]) -> Replay | None:
        """Answer from a plan that still holds, else None."""
        held = self._held.get(slot)
        if held is None or question.idents & held.plan.inside - held.plan.observed:
            return None
        if not held.holds(question.inputs, self.trust):
            del self._held[slot]
            return None
        self._held.move_to_end(slot)
        outcome, spoilt = self._cut(held.plan, slot[2], question, applies)
        if self.runner.path_off(question.idents | applies.keys()) != slot[2]:
            return None
        if outcome is None or spoilt:
            del self._held[slot]
        if outcome is None:
            self._refused[slot] = _OTHER_WAY
        # What a failing model says comes from a full run.
        return outcome if outcome is None or outcome.error is None else None

    def _cut(
        self, plan: Plan, off: bool, question: Question, applies: Mapping[int, Apply]
    ) -> tuple[Replay | None, bool]:
        """Run with a plan; None when the run did not follow it. The flag says that the plan cannot serve again."""
        cursor = Cursor(plan)
        tracer = Tracer(self.runner.view.known, question.idents, applies, cursor=cursor, idle=plan.idle)
        outcome = self.runner.trace(tracer, question, off=off)
        self.runner.learn(question.idents, tracer, off)
        followed = (cursor.finished or outcome.error is not None) and not tracer.strayed
        return replace(outcome, served="cut") if followed else None, cursor.spoilt

    def _record(self, slot: Slot, question: Question, applies: Mapping[int, Apply], targets: Targets) -> Replay:
        """Run in full and keep what comes before the first edit."""
        outcome, tracer = self.runner.full(question, applies, targets, self.max_bytes)
        recorder = tracer.recorder
        if outcome.error is not None or recorder is None:
            return outcome
        if recorder.reason:
            self._refused[slot] = f"full run: {recorder.reason}"
            return noted(outcome, self._refused[slot])
        plan = recorder.plan(tracer.counts)
        if plan is None:
            return noted(outcome, "full run: nothing before the edit can be left out")
        slot = (*slot[:2], self.runner.path_off(question.idents | applies.keys()))
        before = set(recorder.calls)
        thorough = frozenset(self.runner.view.known) - (tracer.counts.keys() - before)
        if slot not in self._proved:
            reason = self._prove(plan, slot[2], question, applies, outcome)
            if reason:
                self._refused[slot] = reason
                return noted(outcome, reason)
            self._proved.add(slot)
        self._keep(slot, _Held(plan, self.runner.fingerprint(thorough, question)))
        return noted(outcome, "full run: recorded for the next")

    def _prove(self, plan: Plan, off: bool, question: Question, applies: Mapping[int, Apply], edited: Replay) -> str:
        """Compare an edited and an unedited run from the plan with full ones, bit for bit; return what is wrong."""
        plain, _ = self.runner.full(question, {}, off=off)
        nothing: dict[int, Apply] = {}
        for full, what in ((edited, applies), (plain, nothing)):
            cut, spoilt = self._cut(plan, off, question, what)
            if cut is None:
                return _OTHER_WAY
            if spoilt:
                return _UNEQUAL
            if cut.error is not None or not same((cut.result, dict(cut.outputs)), (full.result, dict(full.outputs))):
                return _UNEQUAL
        return ""

    def _keep(self, slot: Slot, held: _Held) -> None:
        """Keep a plan, dropping those not used for longest."""
        self._held[slot] = held
        self._held.move_to_end(slot)
        while len(self._held) > 1 and sum(other.plan.size for other in self._held.values()) > self.max_bytes:
            self._held.popitem(last=False)


__all__ = ["CutStore"]
