"""Edits in the user's own forwards, through hooks that leave with the block."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from nnwidget.errors import InputError
from nnwidget.model.axes import sequence_first, teller
from nnwidget.model.edit_apply import apply_edit, as_sequence
from nnwidget.model.edits import Edit
from nnwidget.model.names import select
from nnwidget.model.taps import EDIT, Taps


@contextlib.contextmanager
def edit(model: nn.Module, edits: Mapping[str | nn.Module, Edit | Sequence[Edit]]) -> Iterator[None]:
    """Edit layers' outputs in the user's own forwards, with or without gradients, in any thread.

    ``Ablate(value="mean")`` takes the mean over the batch that flows through, as a constant. Edits come after the
    user's own hooks. Inside a compiled region hooks are not reliable: use the model before compiling.

    Parameters
    ----------
    model : nn.Module
        The model whose forwards are edited.
    edits : mapping
        From layer name, glob or module to an edit or a sequence of edits, which are done in their order.

    Raises
    ------
    UnknownLayerError
        The model has no such layer.
    InputError
        While the model runs: a channel, head or output that the layer does not have. On leaving the block, when the
        model ran and an edit was never reached.

    Examples
    --------
    >>> import torch
    >>> from nnwidget.model.edits import Scale
    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Identity())
    >>> with edit(net, {"0": Scale(0.0)}):
    ...     bool(net(torch.ones(1, 2)).any())
    False
    """
    plan = [(named, as_sequence(what)) for layer, what in edits.items() for named in select(model, layer)]
    run = _Run(model)
    with _Strict(rank=EDIT) as taps:
        taps.add("", model, before=run.started)
        for named, sequence in plan:
            if run.add(named.name, sequence):
                taps.add(named.name, named.module, after=run.called)
        yield
    run.check()


class _Strict(Taps):
    """Taps whose failures reach the user: an edit that cannot be done must not pass silently."""

    def _failed(self, key: int, tap: Any, error: Exception) -> None:
        """Raise in the user's forward."""
        raise error


class _Run:
    """Counts calls in each thread and remembers which edits were reached."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.edits: dict[str, tuple[Edit, ...]] = {}
        self.batch_axis: dict[str, int] = {}
        self.teller: dict[str, nn.Module] = {}
        self.waiting: set[tuple[str, int]] = set()
        self.ran = False
        self.calls: dict[tuple[int, str], int] = {}

    def add(self, name: str, edits: tuple[Edit, ...]) -> bool:
        """Add the edits of one layer; True when it had none yet."""
        new = name not in self.edits
        self.edits[name] = (*self.edits.get(name, ()), *edits)
        self.batch_axis[name] = int(sequence_first(self.model, name))
        self.teller[name] = teller(self.model, name)
        self.waiting.update((name, index) for index in range(len(self.edits[name])))
        return new

    def started(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Count calls anew with each forward of the model."""
        self.ran = True
        thread = threading.get_ident()
        for key in [key for key in self.calls if key[0] == thread]:
            del self.calls[key]

    def called(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """Return the edited output of one call."""
        key = (threading.get_ident(), name)
        call = self.calls.get(key, 0)
        self.calls[key] = call + 1
        for index, what in enumerate(self.edits[name]):
            if what.call is None or what.call == call:
                output = apply_edit(
                    what,
                    output,
                    module=module,
                    name=name,
                    teller=self.teller[name],
                    given=(args, kwargs),
                    batch_axis=self.batch_axis[name],
                )
                self.waiting.discard((name, index))
        return output

    def check(self) -> None:
        """Raise when the model ran and an edit had no effect."""
        for name, index in sorted(self.waiting) if self.ran else ():
            what = self.edits[name][index]
            which = f"call {what.call} of layer" if what.call is not None else "layer"
            raise InputError(
                f"The {type(what).__name__} of {which} {name!r} was never reached.",
                layer=name,
                remedy="The model did not call it: choose another layer or call, and edit before torch.compile.",
            )


__all__ = ["edit"]
