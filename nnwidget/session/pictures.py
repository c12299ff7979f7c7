"""From what the bench has seen to what the page paints: the results of the wire, as plain trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from nnwidget.errors import InputError
from nnwidget.model.predict import top
from nnwidget.model.reduce import exact, plane, tiles
from nnwidget.model.statistics import statistics
from nnwidget.session.bench import Scored, Seen
from nnwidget.types import LayerInfo
from nnwidget.wire.messages import Look, ValueAt, error_json

TOP = 5

_CHANNEL_AXIS = {"maps": "tile", "signal": "row", "tokens": "column", "vector": "column", "scalar": "none"}
# Where channels are rows or columns of one picture, a pooled channel could be neither pointed at nor edited.
_LEAST_EDGE = {"tokens": 1024, "signal": 1024, "vector": 4096}
_SENTENCES = {
    "maps": "Each tile shows where one channel answers to this input.",
    "signal": "Each row is one channel along the signal.",
    "tokens": "Each row is one token, each column one feature.",
    "vector": "One cell for each unit.",
    "scalar": "A single number.",
}


def maps_result(want: Look, seen: Seen, info: LayerInfo) -> dict[str, Any]:
    """Return a ``MapsResult``."""
    kind = seen.layout.kind
    pictures = tiles(seen.tensor, kind, edge=max(want.edge, _LEAST_EDGE.get(kind, 0)))
    found = statistics(seen.tensor)
    rows, columns = pictures.codes.shape[1:3]
    channels = _channels(seen)
    what = f"Output of {info.type}" + (f", {channels:,} channels" if seen.layout.kind in ("maps", "signal") else "")
    return {
        "layer": want.layer,
        "type": info.type,
        "layout": seen.layout.kind,
        "shape": list(seen.spec.shape),
        "dtype": seen.spec.dtype,
        "axes": list(seen.layout.words[-2:] if rows * columns > 1 else seen.layout.words),
        "guessed": seen.layout.guessed,
        "channel_axis": _CHANNEL_AXIS[seen.layout.kind],
        "total": channels,
        "index": pictures.index,
        "codes": pictures.codes,
        "lo": pictures.lo,
        "hi": pictures.hi,
        "activity": pictures.activity,
        "pool": list(pictures.pool),
        "minimum": found.minimum,
        "maximum": found.maximum,
        "mean": found.mean,
        "std": found.std,
        "zeros": found.zeros,
        "nan": found.nan,
        "posinf": found.posinf,
        "neginf": found.neginf,
        "count": found.count,
        "signed": found.minimum is not None and found.minimum < 0,
        "calls": seen.calls,
        "call": want.call,
        "outputs": list(seen.outputs),
        "output": seen.spec.path,
        "sentence": f"{what}. {_SENTENCES[seen.layout.kind]}",
        "note": seen.layout.note,
    }


def channel_result(want: Look, seen: Seen, mean: float | None, zero_note: str) -> dict[str, Any]:
    """Return a ``ChannelResult``: one channel with its exact values."""
    channel = _checked(want.channel or 0, seen)
    values, pool = plane(seen.tensor, seen.layout.kind, channel)
    found = statistics(torch.from_numpy(values))
    return {
        "layer": want.layer,
        "channel": channel,
        "plane": values,
        "pool": list(pool),
        "minimum": found.minimum,
        "maximum": found.maximum,
        "mean": mean,
        "zero_note": zero_note,
        "scale": None,
    }


def value_result(at: ValueAt, seen: Seen) -> dict[str, Any]:
    """Return the exact value under the pointer, as a number and as text."""
    channel = _checked(at.channel, seen)
    try:
        value = exact(seen.tensor, seen.layout.kind, channel, at.row, at.column)
    except IndexError as error:
        raise InputError(
            f"Row {at.row}, column {at.column} lies outside {'×'.join(map(str, seen.spec.shape))}.",
            layer=at.look.layer,
            argument="row",
        ) from error
    number = float(value) if isinstance(value, int | float) else None
    # Nine digits tell any float32 from its neighbours.
    text = f"{value:.9g}" if isinstance(value, float) else str(value)
    return {"value": number, "text": text.replace("-", "\N{MINUS SIGN}")}


def prediction_result(
    before: Scored, after: Scored, names: Sequence[str], target: int | float | None, edits: int
) -> dict[str, Any]:
    """Return a ``PredictionResult``: the top outputs before and after."""
    chosen = target if isinstance(target, int) else None
    return {
        "kind": before.kind,
        "note": before.note,
        "rows": top(before.values.numpy(), after.values.numpy(), TOP, names, chosen),
        "outputs": int(before.values.numel()),
        "target": chosen,
        "edits": edits,
    }


def look_result(
    want: Look,
    seen: Seen | None,
    *,
    maps: Mapping[str, Any] | None,
    channel: Mapping[str, Any] | None,
    prediction: Mapping[str, Any] | None,
    step: int | None,
    cached: bool,
    error: Exception | None,
) -> dict[str, Any]:
    """Return a ``LookResult``."""
    return {
        "layer": want.layer,
        "input": want.input,
        "step": step,
        "maps": maps,
        "channel": channel,
        "prediction": prediction,
        "served": "cached" if cached or seen is None else seen.served,
        "seconds": 0.0 if cached or seen is None else seen.seconds,
        "note": "" if seen is None else seen.note,
        "error": None if error is None else error_json(error),
    }


def layer_row(info: LayerInfo) -> dict[str, Any]:
    """Return a ``LayerRow``."""
    return asdict(info)


def _channels(seen: Seen) -> int:
    shape = seen.spec.shape
    if seen.layout.kind == "scalar":
        return 1
    return int(shape[-1] if seen.layout.kind in ("tokens", "vector") else shape[0])


def _checked(channel: int, seen: Seen) -> int:
    count = _channels(seen)
    if channel >= count:
        raise InputError(
            f"There is no channel {channel}.", argument="channel", remedy=f"This layer has {count}: 0 to {count - 1}."
        )
    return channel
