"""Runs of a model inside the probe scope, each with every module call in view."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from operator import methodcaller
from typing import Any, Literal

from torch import nn

from nnwidget.errors import CancelledError, ForwardError, NNWidgetError, UnobservableError
from nnwidget.model.cut import Recorder, Targets, copied
from nnwidget.model.fingerprint import Fingerprint
from nnwidget.model.inputs import given
from nnwidget.model.intercept import intercepted
from nnwidget.model.probe import probe_modules, refuse
from nnwidget.model.tracer import Apply, StoppedError, Tracer
from nnwidget.model.view import View, eager, fastpath

Stop = Callable[[], bool]
# The same noise in every run of a model that draws, so that before and after differ by the edit alone.
_SEED = 0
_entries = methodcaller("values")


@dataclass(frozen=True, slots=True)
class Replay:
    """What one run gave.

    ``result`` is what the model (or the user's ``forward``) returned, None when it raised; ``outputs`` has for each
    observed name one entry per call, structure kept, as copies; ``order`` lists (name, call) as the calls began.
    ``served`` says whether all of it ran (``"full"``) or what comes before the edit was served from copies
    (``"cut"``); ``note`` says why not, and what was switched off. ``error`` keeps the model's exception as its cause,
    and ``outputs`` then holds what was seen up to there. ``seconds`` is what the whole answer took.
    """

    result: Any
    outputs: Mapping[str, list[Any]]
    order: tuple[tuple[str, int], ...]
    served: Literal["full", "cut"] = "full"
    note: str = ""
    seconds: float = 0.0
    error: ForwardError | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What a run is asked: the inputs, whom to observe (name to ``id``), and when to give up."""

    args: Any
    kwargs: Mapping[str, Any]
    observe: Mapping[str, int]
    should_stop: Stop | None = None

    @property
    def inputs(self) -> Any:
        """All inputs as one nested value."""
        return (self.args, dict(self.kwargs))

    @property
    def idents(self) -> frozenset[int]:
        """The observed modules."""
        return frozenset(self.observe.values())


class Runner:
    """Runs one model; knows which layers are seen only without torch's fused attention path."""

    def __init__(self, model: nn.Module, forward: Callable[[nn.Module, Any], Any] | None, train: bool | None) -> None:
        self.model = model
        self.forward = forward
        self.train = train
        # Whether the model draws random numbers in these runs, and whether that was found out just now.
        self.noisy = self.again = False
        self.fused: set[int] = set()
        # Empty until the first run, which also looks for what must not be run.
        self.modules: list[nn.Module] = []
        self.view = View(model)
        self._registries: list[dict[str, nn.Module | None]] = []
        self._dicts: list[dict[str, Any]] = []
        self._known: list[Any] = []

    def refresh(self, *, force: bool = False) -> bool:
        """Look at the model's modules again; True when they are not what they were."""
        if not force and self.modules and self._structure() == self._known:
            return False
        modules = refuse(self.model)
        changed = force or modules != self.modules
        self.view = View(self.model)
        self.modules = modules
        self._registries = [module._modules for module in modules]
        self._dicts = [module.__dict__ for module in modules]
        self._known = self._structure()
        return changed

    def _structure(self) -> list[Any]:
        """List the children of every module known, by identity, and whether each is compiled."""
        # The registry of a ScriptModule is no dictionary.
        children = chain.from_iterable(map(_entries, self._registries))
        return [*children, *[own.get("_compiled_call_impl") for own in self._dicts]]

    def fingerprint(self, thorough: Collection[int], question: Question) -> Fingerprint:
        """Remember the model and the inputs as they are now."""
        return Fingerprint(self.modules, thorough, question.inputs)

    def ident(self, name: str) -> int:
        """Find a module by any of its names, also one it got since the last run."""
        if name not in self.view.by_name:
            self.refresh(force=True)
        return self.view.ident(name)

    def path_off(self, needed: frozenset[int]) -> bool:
        """Whether the fused attention path must be off to see these modules, as far as known."""
        return bool(needed & self.fused)

    def full(
        self,
        question: Question,
        applies: Mapping[int, Apply],
        targets: Targets | None = None,
        max_bytes: int = 0,
        *,
        off: bool = False,
    ) -> tuple[Replay, Tracer]:
        """Run all of it, recording up to the first target; once more with the fused attention path off where needed."""
        needed = question.idents | applies.keys()
        while True:
            off = off or self.path_off(needed)
            recorder = Recorder(targets, question.idents, max_bytes) if targets is not None else None
            tracer = Tracer(self.view.known, question.idents, applies, recorder=recorder)
            outcome = self.attempt(needed, tracer, question, off=off)
            if outcome is not None:
                return outcome, tracer

    def attempt(self, needed: frozenset[int], tracer: Tracer, question: Question, *, off: bool) -> Replay | None:
        """Run once; None when another run, with the fused attention path off, will show what this one did not."""
        try:
            outcome = self.trace(tracer, question, off=off)
        except UnobservableError:
            if self.learn(needed, tracer, off):
                return None
            raise
        return None if self.learn(needed, tracer, off) and outcome.error is None else outcome

    def learn(self, needed: frozenset[int], tracer: Tracer, off: bool) -> bool:
        """Remember modules that the fused path hid or packed in a run; True when another run will show them."""
        if self.again:
            # The first run that drew random numbers was not seeded; the next is, like all after it.
            self.again = False
            return True
        if off:
            return False
        unseen = {i for i in needed if i not in tracer.counts or i in tracer.nested}
        hidden = {i for i in unseen if self.view.fusable(i, tracer.counts)}
        self.fused |= hidden
        return bool(hidden)

    def trace(self, tracer: Tracer, question: Question, *, off: bool) -> Replay:
        """Run the model once under a tracer; everything the model touches is put back, inputs are copies."""
        tracer.should_stop = question.should_stop
        result, error = None, None
        modules, compiled = self.modules, self.view.compiled
        drew: list[bool] = []
        if tracer.idle:
            modules = [module for module in modules if id(module) not in tracer.idle]
        with (
            probe_modules(modules, train=self.train, seed=_SEED if self.noisy else None, drew=drew),
            eager(),
            fastpath(not off),
            intercepted(tracer, compiled=compiled),
        ):
            args, kwargs = copied(question.inputs)
            try:
                if self.forward is not None:
                    result = self.forward(self.model, given(args, kwargs))
                else:
                    result = self.model(*args, **kwargs)
                # Results may lie in buffers, which the probe puts back.
                result = copied(result)
            except StoppedError:
                if not tracer.strayed:
                    raise CancelledError("The run was stopped because a newer one is wanted.") from None
            except NNWidgetError:
                raise
            except Exception as raised:
                error = self.view.error(raised, tracer.failed)
        if any(drew) and not self.noisy:
            self.noisy = self.again = True
        outputs = {name: tracer.outputs.get(ident, []) for name, ident in question.observe.items()}
        order = tuple((self.view.known[ident], call) for ident, call in tracer.order)
        note = join(self.view.note, "fused attention path off" if off else "")
        return Replay(result, outputs, order, note=note, error=error)


def join(*notes: str) -> str:
    """Join what there is to say."""
    return "; ".join(note for note in notes if note)


def noted(outcome: Replay, note: str) -> Replay:
    """Add to a run's note."""
    return replace(outcome, note=join(outcome.note, note))


__all__ = ["Question", "Replay", "Runner", "Stop", "join", "noted"]
