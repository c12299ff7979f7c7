"""Frozen dataclasses that travel between the floors; numpy and plain Python only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
LayoutKind: TypeAlias = Literal["maps", "tokens", "vector", "signal", "scalar"]
PredictionKind: TypeAlias = Literal[
    "softmax of logits", "logits", "probabilities", "log-probabilities", "multi-label", "regression", "values"
]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and dtype of one tensor inside a (possibly nested) input or output.

    ``path`` is where it sits in the structure: ``""`` for a bare tensor, ``"0"``, ``"1.0"``, ``"logits"`` otherwise.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One module of the model, as :func:`nnwidget.layers` lists it.

    ``name`` is the first of its names in ``model.named_modules()`` (``""`` for the root), ``aliases`` the others.
    ``parameters`` and ``buffers`` count elements of the whole subtree, ``own_parameters`` of the module alone.
    ``trainable`` is True, False or None (mixed subtree); None with no parameters too: see ``parameters``.
    ``calls`` is None when the model was not run. ``seconds`` sums over the calls, children included.
    ``reason`` says why the layer cannot be observed (empty: it can); ``note`` says what observing it changes.
    """

    name: str
    type: str
    depth: int
    parameters: int
    own_parameters: int
    buffers: int
    trainable: bool | None
    aliases: tuple[str, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    calls: int | None = None
    seconds: float | None = None
    reason: str = ""
    note: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which axis of an activation (batch axis included) is what; ``guessed`` unless the user said so.

    ``kind``: ``maps`` (channel, row, column), ``tokens`` (token, feature), ``signal`` (channel, position),
    ``vector`` (unit), ``scalar``. ``batch`` and ``channel`` are axis numbers of the full tensor, or None.
    ``order`` is the permutation of the non-batch axes, numbered without the batch, that brings them into the kind's
    order; further axes (depth of a 3-d convolution) come first and are indexed at their middle. ``words`` names the
    shown axes.
    """

    kind: LayoutKind
    batch: int | None
    channel: int | None
    order: tuple[int, ...]
    words: tuple[str, ...]
    guessed: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Exact statistics over finite values; counts over all. ``zeros`` is a fraction of all elements."""

    count: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    zeros: float
    nan: int
    posinf: int
    neginf: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts[i]`` finite values lie in ``[edges[i], edges[i+1])`` (the last bin is closed)."""

    edges: Array
    counts: Array


@dataclass(frozen=True, slots=True)
class HistogramBlock:
    """Histograms of all layers at one step: ``counts`` uint32 ``(layers, bins)``, equal bins from ``lo`` to ``hi``.

    ``lo`` and ``hi`` are float32 ``(layers,)``; a NaN in ``lo`` says that the layer has none.
    """

    counts: Array
    lo: Array
    hi: Array


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened during a training: ``wall`` in unix seconds, ``data`` plain values (JSON)."""

    step: int
    wall: float
    kind: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tiles:
    """Pictures of channels, quantised: ``value = lo[i] + code / 252 * (hi[i] - lo[i])`` for codes 0..252.

    253 is -inf, 254 is +inf, 255 is NaN. ``codes`` is uint8 ``(n, rows, columns)``; ``lo``, ``hi`` and
    ``activity`` (mean of absolute finite values) are float32 ``(n,)``; ``index`` int32 ``(n,)`` names the channels.
    ``pool`` is the (rows, columns) block that one pixel averages, (1, 1) when nothing was pooled.
    """

    codes: Array
    lo: Array
    hi: Array
    activity: Array
    index: Array
    pool: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the model says of each pinned input, before and after the edits.

    ``before`` and ``after`` are float32 arrays ``(inputs, outputs)`` of the displayed quantity, ``kind`` says which:
    ``softmax of logits`` is a guess unless told. ``names`` has one entry per output. ``after`` equals
    ``before`` without edits.
    """

    before: Array
    after: Array
    kind: PredictionKind
    names: tuple[str, ...]
    targets: tuple[int | float | None, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class WeightView:
    """What to show of a layer's weights.

    ``part`` names a tensor (None: the first); ``section`` one of its equal parts, such as a gate (None: the first,
    -1: all of them together). ``mode`` says what to show of a convolution's input channels, ``slice`` which plane of a
    3-d kernel (None: the middle one). ``window`` is the part of a matrix in sight: first row, row after the last,
    first column, column after the last. A matrix is pooled to ``room`` (rows, columns), a tile to ``edge``.
    ``sort`` orders the rows of a matrix; of filters it says which score is wanted. ``reference`` is the filter or
    row that others are compared with. ``gradient`` asks for the gradient beside the weight.
    """

    part: str | None = None
    section: int | None = None
    mode: Literal["auto", "norm"] | int = "auto"
    slice: int | None = None
    window: tuple[int, int, int, int] | None = None
    room: tuple[int, int] = (384, 512)
    edge: int = 64
    sort: Literal["number", "norm", "activity", "similarity"] = "number"
    reference: int | None = None
    gradient: bool = False


@dataclass(frozen=True, slots=True)
class Strip:
    """A vector of a layer, float32 ``(n,)``; each value averages ``pool`` neighbours; ``gradient`` is like it."""

    name: str
    values: Array
    statistics: Statistics
    pool: int = 1
    gradient: Array | None = None


@dataclass(frozen=True, slots=True)
class FilterBank:
    """Weights of one layer as pictures, or the reason there are none.

    ``kind``: ``rgb`` (``tiles.codes`` is ``(n, rows, columns, 3)``, one common affine range), ``channel`` (one input
    channel), ``norm`` (L2 norm over the input channels), ``plane`` (each tile a whole filter, ``axes`` names its
    rows and columns), ``matrix`` (one heat map of ``window``), ``strips``, ``none``.

    ``parts`` can be chosen, with words for people; ``sections`` are the equal parts of ``part``. ``norms`` float32
    ``(n,)`` are the L2 norms of whole filters, ``scores`` what was asked for in order to sort. Of a matrix, ``shape``
    is that of all of it, ``row_norms`` and ``column_norms`` are the L2 norms of whole rows and columns,
    averaged like the picture; ``order`` int32 names the rows in sight when they are sorted. ``gradient`` is a bank
    like this one, and ``gradient_note`` says why there is none.
    """

    kind: Literal["rgb", "channel", "norm", "plane", "matrix", "strips", "none"]
    shape: tuple[int, ...]
    tiles: Tiles | None
    statistics: Statistics | None
    inputs: int = 0
    channel: int | None = None
    reason: str = ""
    note: str = ""
    axes: tuple[str, str] = ("row", "column")
    part: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    section: int | None = None
    sections: tuple[str, ...] = ()
    slice: int | None = None
    slices: int = 1
    norms: Array | None = None
    scores: Array | None = None
    window: tuple[int, int, int, int] | None = None
    row_norms: Array | None = None
    column_norms: Array | None = None
    order: Array | None = None
    strips: tuple[Strip, ...] = ()
    gradient: FilterBank | None = None
    gradient_note: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of play, as the header of the page shows it."""

    state: Literal["idle", "busy", "training", "evaluating", "closed"]
    regime: Literal["unknown", "subshell", "control", "polling", "after-cell"] = "unknown"
    step: int | None = None
    interval: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found: ``explanation`` in plain words, ``remedy`` as what to do, ``evidence`` in numbers.

    ``layer`` is None for what concerns the whole training.
    """

    rule: str
    severity: Literal["note", "warning", "error"]
    layer: str | None
    step: int | None
    evidence: Mapping[str, Any]
    explanation: str
    remedy: str = ""

    def __str__(self) -> str:
        """Say it in a line."""
        where = f"step {self.step}: " if self.step is not None else ""
        return f"{where}{self.explanation} {self.remedy}".rstrip()


__all__ = [
    "Array",
    "Event",
    "FilterBank",
    "Finding",
    "Histogram",
    "HistogramBlock",
    "LayerInfo",
    "Layout",
    "LayoutKind",
    "PredictionKind",
    "Predictions",
    "Statistics",
    "Status",
    "Strip",
    "TensorSpec",
    "Tiles",
    "WeightView",
]
