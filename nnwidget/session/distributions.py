"""What the distribution panel is told: counts of the chosen layers over common bins, and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nnwidget.errors import NNWidgetError, UnknownLayerError, UnobservableError
from nnwidget.model.distribution import Spread, channel_shares, common_edges, counted, spread
from nnwidget.model.weight_parts import gradient, weight_tensors
from nnwidget.session.bench import Bench, Seen
from nnwidget.types import Array
from nnwidget.wire.messages import DistributionOf

# Draws the curves; returns what the page needs to show them. Called by the owner of the model.
Draw = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class _Found:
    """The tensor of one layer, or why there is none."""

    layer: str
    tensor: Tensor | None
    what: str = ""
    error: NNWidgetError | None = None
    seen: Seen | None = None


def distribution_result(
    bench: Bench, want: DistributionOf, step: int | None, should_stop: Callable[[], bool] | None = None
) -> dict[str, Any]:
    """Return a ``DistributionResult`` without its figure and what it cost.

    Raises
    ------
    NNWidgetError
        The chosen layer itself cannot be counted. Of the layers it is compared with, those that cannot are listed
        with the reason.
    """
    names: list[str] = []
    if want.quantity == "activations":
        found = _activations(bench, want, should_stop)
    else:
        bench.module(want.look.layer)
        found, names = _weights(bench, want)
    spreads: list[Spread | None] = []
    for at, item in enumerate(found):
        try:
            spreads.append(None if item.tensor is None else spread(item.tensor))
        except UnobservableError as error:
            found[at] = _Found(item.layer, None, item.what, error)
            spreads.append(None)
    first = found[0]
    if first.error is not None and want.quantity == "activations":
        raise first.error
    edges = common_edges(item for item in spreads if item is not None)
    shares = None
    if first.seen is not None:
        shares = channel_shares(first.seen.tensor, first.seen.layout.kind, edges)
    series = [_series(bench, item, counts, edges, want.quantity) for item, counts in zip(found, spreads, strict=True)]
    made = len(want.look.edits) + sum(map(len, bench.python_edits.values()))
    return {
        "quantity": want.quantity,
        "parameter": first.what if want.quantity != "activations" else "",
        "parameters": names,
        "input": want.look.input,
        "lo": float(edges[0]),
        "hi": float(edges[-1]),
        "bins": len(edges) - 1,
        "whole": all(item.whole for item in spreads if item is not None) and any(spreads),
        "series": series,
        "shares": shares,
        "layout": "" if first.seen is None else first.seen.layout.kind,
        "edits": made if want.quantity == "activations" else 0,
        "step": step,
        "note": "" if first.seen is None else first.seen.note,
    }


def _activations(bench: Bench, want: DistributionOf, should_stop: Callable[[], bool] | None) -> list[_Found]:
    seen, _, _ = bench.look(want.look, should_stop=should_stop)
    assert seen is not None
    found = [_Found(want.look.layer, seen.tensor, seen=seen, error=None)]
    for layer, other in bench.others(want.look, want.others, should_stop).items():
        if isinstance(other, Seen):
            found.append(_Found(layer, other.tensor, seen=other))
        else:
            found.append(_Found(layer, None, error=other))
    return found


def _weights(bench: Bench, want: DistributionOf) -> tuple[list[_Found], list[str]]:
    """Return the weights or gradients of each layer, and the names that the first one has to choose from."""
    found: list[_Found] = []
    choice: list[str] = []
    asked = want.parameter
    for layer in (want.look.layer, *want.others):
        try:
            # No copies, which would double the memory of a large layer: counted before anything else runs.
            tensors: dict[str, Tensor] = bench.weights(layer, weight_tensors)
        except UnknownLayerError as error:
            found.append(_Found(layer, None, error=error))
            continue
        if not found:
            choice = list(tensors)
        # Where the first layer does not have what was asked for, its first weight is shown; the others follow it.
        name = asked if asked in tensors else next(iter(tensors), "") if not found or not asked else ""
        asked = name if not found else asked or name
        try:
            tensor = _weight(bench, layer, tensors, name or asked, want.quantity)
            found.append(_Found(layer, tensor, name))
        except NNWidgetError as error:
            found.append(_Found(layer, None, name, error))
    return found, choice


def _weight(bench: Bench, layer: str, tensors: Mapping[str, Tensor], name: str, quantity: str) -> Tensor:
    module = bench.module(layer)
    if not tensors:
        inside = any(True for _ in module.parameters())
        raise UnobservableError(
            "This layer has no weights of its own." if inside else "This layer has no weights.",
            layer=layer,
            remedy="Choose one of the layers inside it." if inside else "Choose a layer that has parameters.",
        )
    if name not in tensors:
        raise UnobservableError(
            f"'{layer}' has no '{name}', only {', '.join(tensors)}.", layer=layer, remedy="Choose another weight."
        )
    if quantity == "weights":
        return tensors[name]
    left, why = gradient(module, name)
    if left is None:
        raise UnobservableError(why, layer=layer)
    return left


def _series(bench: Bench, item: _Found, values: Spread | None, edges: Array, quantity: str) -> dict[str, Any]:
    """Return a ``DistributionSeries``: one layer's counts, or why there are none."""
    error = item.error
    reason = "" if error is None else str(error)
    head = {
        "layer": item.layer,
        "type": "" if isinstance(error, UnknownLayerError) else bench.table[item.layer].type,
        "what": item.what,
        "reason": reason,
        # A backward may bring what is missing.
        "waiting": item.what != "" and quantity == "gradients" and error is not None,
    }
    if values is None or item.tensor is None:
        return head | {"counts": None, "shape": [], "dtype": "", "complex": False, "stride": 1, "statistics": None}
    shape = item.tensor.shape if item.seen is None else item.seen.spec.shape
    return head | {
        "counts": counted(values, edges),
        "shape": list(shape),
        "dtype": str(item.tensor.dtype).removeprefix("torch."),
        "complex": values.complex,
        "stride": values.stride,
        "statistics": values.statistics,
    }


__all__ = ["Draw", "distribution_result"]
