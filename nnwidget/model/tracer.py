"""One run of a model with every module call in view: edits, copies for observers, the order, the cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import nn

from nnwidget.model.cut import Cursor, Entry, Recorder, copied
from nnwidget.model.edits import Edit
from nnwidget.model.intercept import run
from nnwidget.model.structure import tensors

# What a module was called with.
Given: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any]]"
# Does the edits of one call: (module, call, given, output) -> output.
Apply: TypeAlias = Callable[[nn.Module, int, Given, Any], Any]
# Looks at one call before any edit, without keeping anything: (given, output).
Look: TypeAlias = Callable[[Given, Any], None]


class StoppedError(BaseException):
    """The run must end here; not an Exception, so that the model's own handlers do not swallow it."""


@dataclass(slots=True)
class Tracer:
    """The handler of :func:`nnwidget.model.intercept.intercepted` for one run.

    Modules are known by ``id``; modules that are not part of the model run live and unseen.
    """

    known: Mapping[int, str]
    observe: frozenset[int] = frozenset()
    edits: Mapping[int, Apply] = field(default_factory=dict)
    looks: Mapping[int, Sequence[Look]] = field(default_factory=dict)
    recorder: Recorder | None = None
    cursor: Cursor | None = None
    should_stop: Callable[[], bool] | None = None
    # Modules outside the probe's care, since the plan serves all their calls: one that is called ends the run.
    idle: frozenset[int] = frozenset()
    strayed: bool = False
    # Modules looked at whose output came as a nested tensor.
    nested: set[int] = field(default_factory=set)
    counts: dict[int, int] = field(default_factory=dict)
    order: list[tuple[int, int]] = field(default_factory=list)
    outputs: dict[int, list[Any]] = field(default_factory=dict)
    failed: tuple[BaseException, int] | None = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Serve one module call."""
        if self.should_stop is not None and self.should_stop():
            raise StoppedError
        ident = id(module)
        if ident not in self.known:
            return run(module, args, kwargs)
        entry = self.cursor.take(ident) if self.cursor is not None else None
        call = self._begin(ident)
        if entry is not None and entry.served:
            self._serve_inside(entry)
            output = copied(entry.output) if entry.fragile else entry.output
        else:
            if ident in self.idle:
                self.strayed = True
                raise StoppedError
            output = self._live(module, ident, call, args, kwargs)
        if ident in self.edits or ident in self.observe:
            self._note_nested(ident, output)
        if ident in self.edits:
            output = self.edits[ident](module, call, (args, kwargs), output)
        if ident in self.observe:
            self.outputs.setdefault(ident, []).append(copied(output))
        return output

    def _begin(self, ident: int) -> int:
        """Give a call its number."""
        call = self.counts.get(ident, 0)
        self.counts[ident] = call + 1
        self.order.append((ident, call))
        return call

    def _live(self, module: nn.Module, ident: int, call: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the module, recording where asked; remember the innermost layer that raised."""
        mark = self.recorder.start(ident, args, kwargs) if self.recorder is not None else None
        try:
            output = run(module, args, kwargs)
        except StoppedError:
            raise
        except BaseException as error:
            if self.failed is None or self.failed[0] is not error:
                self.failed = (error, ident)
            raise
        if self.recorder is not None:
            self.recorder.finish(mark, call, args, kwargs, output)
        if ident in self.looks:
            self._note_nested(ident, output)
        for look in self.looks.get(ident, ()):
            look((args, kwargs), output)
        return output

    def _note_nested(self, ident: int, output: Any) -> None:
        """Remember an output that holds a nested tensor, as the fused path makes of a padded batch."""
        if any(tensor.is_nested for _, tensor in tensors(output)):
            self.nested.add(ident)

    def _serve_inside(self, entry: Entry) -> None:
        """Count the calls inside a served call, and hand out what was seen of them."""
        assert self.cursor is not None
        seen = self.cursor.plan.seen
        counts, order = self.counts, self.order
        for ident in entry.calls[1:]:
            # As _begin does; most of the calls of a cut run pass here.
            call = counts.get(ident, 0)
            counts[ident] = call + 1
            order.append((ident, call))
            if ident in self.observe and (ident, call) in seen:
                self.outputs.setdefault(ident, []).append(copied(seen[ident, call]))


def edits_of(edits: Sequence[Edit], do: Callable[[int, Edit, nn.Module, int, Given, Any], Any]) -> Apply:
    """Chain the edits of one layer that apply to a call; ``do`` gets the edit's number, the edit and the call."""

    def apply(module: nn.Module, call: int, given: Given, output: Any) -> Any:
        for number, edit in enumerate(edits):
            if edit.call is None or edit.call == call:
                output = do(number, edit, module, call, given, output)
        return output

    return apply


__all__ = ["Apply", "Given", "Look", "StoppedError", "Tracer", "edits_of"]
