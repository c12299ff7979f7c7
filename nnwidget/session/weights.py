"""From a page's question about weights to its answer: pictures, the gradient beside them, one exact number."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from torch import Tensor, nn

from nnwidget.model.filter_order import channel_activity
from nnwidget.model.filters import filters
from nnwidget.model.weight_parts import tied
from nnwidget.model.weight_value import WeightPlace, weight_value
from nnwidget.session.bench import Bench
from nnwidget.types import FilterBank, Strip
from nnwidget.wire.messages import FiltersOf, WeightAt


def filters_result(bench: Bench, want: FiltersOf, step: int | None) -> dict[str, Any]:
    """Return a ``FiltersResult``."""
    activity = _activity(bench, want)

    def read(module: nn.Module) -> tuple[FilterBank, list[str]]:
        bank = filters(module, want.view, name=want.layer, activity=activity)
        return bank, tied(bench.model, module, (bank.part,)) if bank.part else []

    bank, also = bench.weights(want.layer, read)
    return {
        "layer": want.layer,
        "type": bench.table[want.layer].type,
        "step": step,
        "sort": want.view.sort,
        "reference": want.view.reference if want.view.sort == "similarity" else None,
        "input": want.look.input if want.view.sort == "activity" and want.look is not None else None,
        "tied": also,
        **bank_result(bank),
    }


def bank_result(bank: FilterBank) -> dict[str, Any]:
    """Return what of a ``FiltersResult`` the pictures say."""
    return {
        "kind": bank.kind,
        "shape": list(bank.shape),
        "inputs": bank.inputs,
        "channel": bank.channel,
        "axes": list(bank.axes),
        "part": bank.part,
        "parts": [{"name": name, "label": label} for name, label in bank.parts.items()],
        "section": bank.section,
        "sections": list(bank.sections),
        "slice": bank.slice,
        "slices": bank.slices,
        "window": None if bank.window is None else list(bank.window),
        "order": bank.order,
        "scores": bank.scores,
        "weight": _picture(bank),
        "gradient": None if bank.gradient is None else _picture(bank.gradient),
        "gradient_note": bank.gradient_note,
        "strips": [_strip(strip) for strip in bank.strips],
        "reason": bank.reason,
        "note": bank.note,
    }


def weight_result(bench: Bench, at: WeightAt) -> dict[str, Any]:
    """Return the exact numbers under the pointer, as numbers and as text."""
    place = WeightPlace(at.tile, at.row, at.column, at.rows, at.columns)

    def read(module: nn.Module) -> list[float]:
        return weight_value(module, at.of.view, place, gradients=at.gradient, name=at.of.layer)

    values = bench.weights(at.of.layer, read)
    # Nine digits tell any float32 from its neighbours.
    text = ", ".join(f"{value:.9g}" for value in values)
    return {"values": values, "text": text.replace("-", "\N{MINUS SIGN}")}


def _picture(bank: FilterBank) -> dict[str, Any] | None:
    """Return a ``WeightPicture``."""
    pictures, found = bank.tiles, bank.statistics
    if pictures is None or found is None:
        return None
    return {
        "codes": pictures.codes,
        "lo": pictures.lo,
        "hi": pictures.hi,
        "pool": list(pictures.pool),
        "norms": bank.norms,
        "row_norms": bank.row_norms,
        "column_norms": bank.column_norms,
        **asdict(found),
    }


def _strip(strip: Strip) -> dict[str, Any]:
    """Return a ``WeightStrip``."""
    return {
        "name": strip.name,
        "values": strip.values,
        "gradient": strip.gradient,
        "pool": strip.pool,
        **asdict(strip.statistics),
    }


def _activity(bench: Bench, want: FiltersOf) -> Tensor | None:
    """How strongly each output channel answers to the chosen input, where weights are sorted by it."""
    if want.view.sort != "activity" or want.look is None:
        return None
    seen, _, _ = bench.look(replace(want.look, layer=want.layer, want=frozenset({"maps"})), cut=False)
    assert seen is not None
    return channel_activity(seen.tensor, seen.layout.kind)


__all__ = ["bank_result", "filters_result", "weight_result"]
