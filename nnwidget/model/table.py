"""The table of layers: every module of a model, described and, given inputs, seen in one run."""

from __future__ import annotations

import dataclasses
import html
import importlib
from collections.abc import Callable, Sequence
from typing import Any, overload

from torch import nn

from nnwidget.errors import ForwardError
from nnwidget.model.inputs import PinnedInputs, check_model, pinned_inputs
from nnwidget.model.listing import listing, uninitialised
from nnwidget.model.measuring import Measurement, measure
from nnwidget.model.names import nearest, unknown, walk
from nnwidget.types import LayerInfo, TensorSpec

# More rows than this make a printed table useless.
_MOST_ROWS = 400
_HEAD = ("layer", "type", "output", "parameters", "trainable", "calls", "ms", "remarks")


def layers(model: nn.Module, inputs: Any = None, *, forward: Callable[..., Any] | None = None) -> LayerTable:
    """List every module of a model.

    Parameters
    ----------
    model : torch.nn.Module
        The model; it is left exactly as it was.
    inputs : Tensor, array, tuple, mapping, DataLoader or PinnedInputs, optional
        Run the model once on these, in eval mode and without gradients, for shapes, calls and seconds. Without them
        only the structure is listed and ``calls`` is None.
    forward : callable, optional
        ``forward(model, inputs)`` for models that are not simply called.

    Returns
    -------
    LayerTable
        A sequence of :class:`~nnwidget.types.LayerInfo`. When the model's forward raises, the table holds what was seen
        up to there, and ``error`` says what happened in which layer.

    Raises
    ------
    InputError
        The model is not a module or the inputs cannot be used.

    Examples
    --------
    >>> import torch
    >>> table = layers(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.zeros(4, 2))
    >>> table["0"].outputs[0].shape, table["0"].parameters, table["1"].calls
    ((4, 3), 9, 1)
    """
    check_model(model)
    named = walk(model)
    rows = listing(named)
    if inputs is None:
        return LayerTable(rows)
    lazy = uninitialised(named)
    if lazy:
        note = f"The model was not run: layer {lazy[0]!r} has no parameters yet. Run it once on a batch first."
        return LayerTable(rows, note=note)
    pinned = inputs if isinstance(inputs, PinnedInputs) else pinned_inputs(model, inputs, forward=forward)
    found = measure(model, named, pinned, forward)
    if found.refused:
        return LayerTable(rows, note=f"The model was not run. {found.refused}")
    return LayerTable([_seen(row, found) for row in rows], error=found.error, order=found.order)


class LayerTable(Sequence[LayerInfo]):
    """A sequence of :class:`~nnwidget.types.LayerInfo` that also takes names.

    Parameters
    ----------
    rows : sequence of LayerInfo
        The layers in the order of ``model.named_modules()``.
    error : ForwardError, optional
        What the model's forward raised.
    note : str
        Why the model was not run.
    order : sequence of str
        One name per call of the run, in the order in which the calls began.
    """

    def __init__(
        self,
        rows: Sequence[LayerInfo],
        *,
        error: ForwardError | None = None,
        note: str = "",
        order: Sequence[str] = (),
    ) -> None:
        self._rows = tuple(rows)
        self._index = {name: i for i, row in enumerate(self._rows) for name in (row.name, *row.aliases)}
        self.error = error
        self.note = note
        self.order = tuple(order)

    @overload
    def __getitem__(self, key: int | str) -> LayerInfo: ...
    @overload
    def __getitem__(self, key: slice) -> Sequence[LayerInfo]: ...
    def __getitem__(self, key: int | str | slice) -> LayerInfo | Sequence[LayerInfo]:
        """Return a layer by position or by any of its names.

        Raises
        ------
        UnknownLayerError
            No such name; the message names the nearest.
        """
        if isinstance(key, str):
            if key not in self._index:
                raise unknown(key, list(self._index))
            return self._rows[self._index[key]]
        return self._rows[key]

    def __len__(self) -> int:
        """Count the layers, the root included."""
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        """Tell whether there is a layer of this name."""
        return key in self._index if isinstance(key, str) else key in self._rows

    @property
    def names(self) -> tuple[str, ...]:
        """The first names."""
        return tuple(row.name for row in self._rows)

    def to_dataframe(self) -> Any:
        """Return the table as a pandas DataFrame, one row per layer, indexed by name.

        Raises
        ------
        ImportError
            Pandas is not installed.
        """
        pandas = importlib.import_module("pandas")
        frame = pandas.DataFrame([dataclasses.asdict(row) for row in self._rows])
        for column in ("inputs", "outputs"):
            frame[column] = [_shapes(getattr(row, column)) for row in self._rows]
        frame["dtype"] = [row.outputs[0].dtype if row.outputs else "" for row in self._rows]
        return frame.set_index("name")

    def __repr__(self) -> str:
        """Print the table."""
        cells = [_HEAD, *(_cells(row) for row in self._rows[:_MOST_ROWS])]
        widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
        right = {"parameters", "calls", "ms"}
        lines = [
            "  ".join(
                cell.rjust(width) if head in right else cell.ljust(width)
                for head, cell, width in zip(_HEAD, line, widths, strict=True)
            ).rstrip()
            for line in cells
        ]
        return "\n".join([*lines, *self._remarks()])

    def _repr_html_(self) -> str:
        """Show the table in a notebook; every text is escaped."""
        head = "".join(f"<th>{html.escape(word)}</th>" for word in _HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(row)) + "</tr>"
            for row in self._rows[:_MOST_ROWS]
        )
        remarks = "".join(f"<p>{html.escape(remark)}</p>" for remark in self._remarks())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{remarks}"

    def _remarks(self) -> list[str]:
        """Say what the rows do not."""
        left = len(self._rows) - _MOST_ROWS
        more = [f"… and {left:,} more layers."] if left > 0 else []
        return [*more, *([self.note] if self.note else []), *([str(self.error)] if self.error is not None else [])]


def _seen(row: LayerInfo, found: Measurement) -> LayerInfo:
    """Add to a row what the run showed."""
    seen = found.layers[row.name]
    note = row.note
    if not seen.calls and not row.reason:
        note = f"{note} Not called in this run.".strip()
    return dataclasses.replace(
        row,
        inputs=seen.inputs,
        outputs=seen.outputs,
        calls=seen.calls,
        seconds=seen.seconds if found.timed and seen.calls else None,
        note=note,
    )


def _shapes(specs: Sequence[TensorSpec]) -> str:
    """Write shapes as ``4×3``, several with their paths."""
    words = ["×".join(map(str, spec.shape)) or "scalar" for spec in specs]
    if len(specs) == 1 and not specs[0].path:
        return words[0]
    return ", ".join(f"{spec.path}: {word}" for spec, word in zip(specs, words, strict=True))


def _cells(row: LayerInfo) -> tuple[str, ...]:
    """Write one row out."""
    mixed = "" if not row.parameters else "mixed"
    trainable = mixed if row.trainable is None else ("yes" if row.trainable else "frozen")
    also = [f"also {', '.join(row.aliases)}"] if row.aliases else []
    return (
        row.name or "(model)",
        row.type,
        _shapes(row.outputs),
        f"{row.parameters:,}",
        trainable,
        "" if row.calls is None else str(row.calls),
        "" if row.seconds is None else f"{row.seconds * 1e3:.2f}",
        "; ".join([*also, *([row.reason] if row.reason else []), *([row.note] if row.note else [])]),
    )


__all__ = ["LayerTable", "layers", "nearest"]
