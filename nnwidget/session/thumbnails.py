"""The pinned inputs as the page shows them: small pictures, targets, and whether the prediction is right."""

from __future__ import annotations

from typing import Any

from nnwidget.errors import NNWidgetError
from nnwidget.session.bench import Bench
from nnwidget.types import Predictions

LIMIT = 64
_CLASSES = ("softmax of logits", "logits", "probabilities", "log-probabilities")


def thumbnails(bench: Bench, edge: int) -> dict[str, Any]:
    """Return an ``InputsResult``; pictures are at most ``edge`` pixels wide and high."""
    pinned = bench.pinned
    said: Predictions | None
    try:
        said, note = bench.predictions(()), ""
    except NNWidgetError as error:
        # Inputs are worth seeing also when the model fails on them.
        said, note = None, error.message
    items = []
    for index in range(min(pinned.count, LIMIT)):
        target = pinned.targets[index] if pinned.targets else None
        predicted = _predicted(said, index)
        named = said.names[target] if said and isinstance(target, int) and 0 <= target < len(said.names) else target
        items.append(
            {
                "index": index,
                "caption": pinned.captions[index] if pinned.captions else "",
                "target": None if named is None else str(named),
                "predicted": predicted and predicted[1],
                "correct": None if predicted is None or not isinstance(target, int) else predicted[0] == target,
                "picture": pinned.picture(index, edge, bench.display),
            }
        )
    if pinned.count > LIMIT:
        note = f"The first {LIMIT} of {pinned.count:,} inputs. {note}".strip()
    return {"total": pinned.count, "items": items, "note": note}


def _predicted(said: Predictions | None, index: int) -> tuple[int, str] | None:
    if said is None or said.kind not in _CLASSES or said.before.shape[0] <= index:
        return None
    best = int(said.before[index].argmax())
    return best, said.names[best]
