"""What a saved notebook shows of an explorer: the layers with their numbers, filters, and pixels only if wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from nnwidget.errors import NNWidgetError
from nnwidget.model.filters import filters
from nnwidget.model.reduce import LEVELS, MISSING, NEGATIVE, POSITIVE, tiles
from nnwidget.session.bench import Bench, Seen
from nnwidget.session.thumbnails import thumbnails
from nnwidget.types import Array, FilterBank, LayerInfo, Tiles, WeightView
from nnwidget.wire.messages import Look, PageEdit

ROWS = 60
FILTERS = 64
MAPS = 24
THUMBNAILS = 8
_FILTER_EDGE = 16
_MAP_EDGE = 32
_PLANE_EDGE = 96
_STRIP = 256
_THUMBNAIL_EDGE = 48

_FILTER_WORDS = {
    "rgb": "the three input channels as red, green and blue, grey is zero",
    "channel": "input channel {channel}",
    "norm": "the L2 norm over {inputs:,} input channels",
    "plane": "{axes[0]} by {axes[1]}",
    "matrix": "{axes[0]} by {axes[1]}",
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """Small pictures side by side, of one range.

    ``pictures`` holds colours, uint8 ``(n, rows, columns, 3)``, or values, float32 ``(n, rows, columns)`` with NaN and
    infinities as they are; ``bound`` is the largest magnitude among the finite ones. ``label`` says in a line what they
    are, ``numbers`` names each, or none.
    """

    title: str
    label: str
    pictures: Array
    bound: float | None = None
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One input: uint8 ``(rows, columns, 3)`` or None, its caption, its target, and whether it was predicted."""

    picture: Array | None
    caption: str
    target: str
    correct: bool | None


@dataclass(frozen=True, slots=True)
class Still:
    """Everything a saved picture is made of; ``omitted`` layers are too deep for it."""

    words: Mapping[str, Any]
    rows: tuple[LayerInfo, ...]
    omitted: int
    selected: str
    step: int | None
    sheets: tuple[Sheet, ...]
    inputs: tuple[Thumbnail, ...] = ()
    total: int = 0
    notes: tuple[str, ...] = field(default=())


def still(
    bench: Bench,
    state: Mapping[str, Any],
    edits: tuple[PageEdit, ...],
    words: Mapping[str, Any],
    *,
    pixels: bool,
    step: int | None,
) -> Still:
    """Gather what is saved; the caller owns the model.

    Parameters
    ----------
    bench : Bench
        The model with its inputs. Without ``pixels`` the model is not run.
    state : mapping
        The durable state: ``selected``, ``input``, ``call``, ``output``.
    edits : tuple of PageEdit
        What is in force.
    words : mapping
        ``name`` and ``parameters`` of the model.
    pixels : bool
        With feature maps and inputs.
    step : int or None
        How many steps of a training were seen.

    Returns
    -------
    Still
        Its arrays hold at most a few ten thousand numbers, whatever the model.
    """
    chosen = next((name for name in state["selected"] if name in bench.table), "")
    rows, omitted = _rows(bench.table, chosen)
    sheets, notes = [], []
    bank = _bank(bench, chosen)
    if bank is not None:
        sheets += _filter_sheets(*bank)
    inputs: tuple[Thumbnail, ...] = ()
    total = 0
    if pixels:
        look = Look(
            layer=chosen,
            input=state["input"],
            call=state["call"],
            output=state["output"] or None,
            edits=edits,
            want=frozenset({"maps"}),
        )
        try:
            seen, _, _ = bench.look(look)
            if seen is not None:
                sheets.append(_maps(look, seen, bench))
        except NNWidgetError as error:
            notes.append(str(error))
        try:
            found = thumbnails(bench, _THUMBNAIL_EDGE)
            total, inputs = found["total"], tuple(_thumbnail(item) for item in found["items"][:THUMBNAILS])
        except NNWidgetError as error:
            notes.append(str(error))
    return Still(words, rows, omitted, chosen, step, tuple(sheets), inputs, total, tuple(notes))


def _rows(table: Sequence[LayerInfo], chosen: str) -> tuple[tuple[LayerInfo, ...], int]:
    """Return the layers down to the depth that still fits, always with the chosen one and what is around it."""
    around = {chosen} | {chosen[:at] for at, letter in enumerate(chosen) if letter == "."}
    inner = [info for info in table if info.name]
    kept = [info for info in inner if info.name in around]
    for depth in range(1, max((info.depth for info in inner), default=0) + 1):
        wider = [info for info in inner if info.depth <= depth or info.name in around]
        if len(wider) > ROWS:
            if depth == 1:
                # Too many even without any inside others: the first of them.
                first = {info.name for info in wider[:ROWS]} | around
                wider = [info for info in wider if info.name in first]
                kept = wider
            break
        kept = wider
    return tuple(kept), len(inner) - len(kept)


def _bank(bench: Bench, chosen: str) -> tuple[str, FilterBank] | None:
    """Return the weights of the chosen layer, or else of the first that has any."""
    view = WeightView(edge=_FILTER_EDGE, room=(_PLANE_EDGE, _PLANE_EDGE))
    names = [chosen, *(info.name for info in bench.table if info.own_parameters and info.name != chosen)]
    for name in names:

        def read(module: nn.Module, name: str = name) -> FilterBank:
            return filters(module, view, name=name)

        try:
            bank: FilterBank = bench.weights(name, read)
        except NNWidgetError:
            continue
        if bank.kind != "none":
            return name, bank
    return None


def _filter_sheets(name: str, bank: FilterBank) -> list[Sheet]:
    title = f"Weights of {name}" if name else "Weights of the model"
    if bank.kind == "strips":
        return [
            Sheet(f"{title}, {strip.name}", f"{strip.statistics.count:,} values", values, _bound(values))
            for strip in bank.strips
            for values in (_short(strip.values)[None, None],)
        ]
    if bank.tiles is None:
        return []
    alone = bank.kind == "channel" and bank.inputs == 1
    kind = "" if alone else _FILTER_WORDS[bank.kind].format(channel=bank.channel, inputs=bank.inputs, axes=bank.axes)
    size = "×".join(map(str, bank.shape))
    if bank.kind == "matrix":
        values = _values(bank.tiles)
        return [Sheet(title, _sentence(size, kind, bank.note), values, _bound(values))]
    n = len(bank.tiles.codes)
    many = f"the first {FILTERS} of {n:,} filters" if n > FILTERS else f"{n:,} filters"
    label = _sentence(f"{many} of {size}", kind, bank.note)
    numbers = tuple(str(number) for number in range(min(n, FILTERS)))
    if bank.kind == "rgb":
        codes = bank.tiles.codes[:FILTERS]
        colours = np.minimum(codes, LEVELS).astype(np.float32) * (255 / LEVELS)
        if (codes > LEVELS).any():
            label = _sentence(label, "white where values are NaN or infinite")
        return [Sheet(title, label, colours.round().astype(np.uint8), None, numbers)]
    values = _values(bank.tiles)[:FILTERS]
    return [Sheet(title, label, values, _bound(values), numbers)]


def _maps(want: Look, seen: Seen, bench: Bench) -> Sheet:
    kind = seen.layout.kind
    flat = kind == "vector"
    found = tiles(seen.tensor, kind, edge=_MAP_EDGE if kind == "maps" else _STRIP if flat else _PLANE_EDGE)
    first = np.argsort(-found.activity, kind="stable")[:MAPS]
    values = _values(found)[first]
    n = len(found.codes)
    many = f"the {MAPS} most active of {n:,} channels" if n > MAPS else f"{n:,} channels" if n > 1 else kind
    captions = bench.pinned.captions
    of = f"input {want.input}" + (f" ({captions[want.input]})" if captions else "")
    pool = "" if found.pool == (1, 1) else f"each pixel averages {found.pool[0]} × {found.pool[1]} values"
    edited = "with edits" if want.edits or bench.python_edits else ""
    numbers = tuple(str(found.index[place]) for place in first) if kind == "maps" else ()
    shape = "×".join(map(str, seen.spec.shape))
    title = f"Output of {want.layer}" if want.layer else "Output of the model"
    return Sheet(title, _sentence(f"{many} of {shape}", of, pool, edited), values, _bound(values), numbers)


def _thumbnail(item: Mapping[str, Any]) -> Thumbnail:
    return Thumbnail(item["picture"], item["caption"], item["target"] or "", item["correct"])


def _values(pictures: Tiles) -> Array:
    """Undo the quantisation."""
    codes = pictures.codes
    low = pictures.lo.astype(np.float32)[:, None, None]
    high = pictures.hi.astype(np.float32)[:, None, None]
    # Divided first: the difference of the largest numbers overflows.
    values = low + (high / LEVELS - low / LEVELS) * codes.astype(np.float32)
    values[codes == NEGATIVE], values[codes == POSITIVE], values[codes == MISSING] = -np.inf, np.inf, np.nan
    return np.asarray(values, np.float32)


def _short(values: Array) -> Array:
    """Average a vector to what fits in a line."""
    if len(values) <= _STRIP:
        return np.asarray(values, np.float32)
    return np.array([part.mean() for part in np.array_split(values, _STRIP)], np.float32)


def _bound(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max(initial=0.0))


def _sentence(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


__all__ = ["Sheet", "Still", "Thumbnail", "still"]
