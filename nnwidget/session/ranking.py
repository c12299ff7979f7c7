"""What the feature maps are told when channels are ranked: by class selectivity at once, by influence part by part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnwidget.errors import InputError, MovedError
from nnwidget.model.influence import Influence, Place
from nnwidget.model.selectivity import class_selectivity, classes_of
from nnwidget.session.bench import Bench, Seen
from nnwidget.types import PredictionKind
from nnwidget.wire.messages import Look, RankingOf

# How many outputs one can choose from: the largest ones, and the target.
TOP = 5
_WORDS: dict[PredictionKind, str] = {
    "logits": "logit",
    "softmax of logits": "logit",
    "probabilities": "probability",
    "log-probabilities": "log-probability",
}
Stop = Callable[[], bool]


@dataclass(slots=True)
class Ranked:
    """The influences of one layer's channels, as far as they are known; ``outputs`` are those that were noted."""

    of: Look
    influence: Influence
    outputs: list[int]
    before: list[float]
    kind: PredictionKind
    note: str


def ranking_result(bench: Bench, want: RankingOf, step: int | None, stop: Stop, enough: Stop) -> dict[str, Any]:
    """Return a ``RankingResult``; edits stay out of it, so that a dragged slider does not move the tiles.

    Parameters
    ----------
    bench, want, step
        The model, the question, the step it is answered at.
    stop : callable
        Whether the answer is no longer wanted.
    enough : callable
        Asked between two runs: whether to answer with what there is; the page asks for the rest.

    Raises
    ------
    NNWidgetError
        The layer cannot be ranked, or what was ranked so far is void since the model moved.
    """
    plain = replace(want.look, edits=(), channel=None, want=frozenset({"maps"}))
    found = (
        _selectivity(bench, plain, stop) if want.by == "selectivity" else _influence(bench, plain, want, stop, enough)
    )
    head = {"by": want.by, "layer": plain.layer, "input": plain.input, "call": plain.call, "output": plain.output}
    return head | found | {"step": step}


def _selectivity(bench: Bench, look: Look, stop: Stop) -> dict[str, Any]:
    classes = classes_of(bench.pinned.targets)
    # Targets of several classes mean several inputs, hence a batch.
    means = torch.stack([_means(seen) for seen in bench.everywhere(look, stop)])
    index, preferred = class_selectivity(means, classes)
    known = {name for name in classes if name is not None}
    without = int(index.isnan().sum())
    if without == len(index):
        raise InputError(
            f"The outputs of '{look.layer}' have negative means for some classes, where the index means nothing.",
            layer=look.layer,
            argument="layer",
            remedy="Choose a layer whose outputs are not negative, such as the ReLU after it.",
        )
    return {
        "total": len(index),
        "channels": np.arange(len(index), dtype=np.int32),
        "scores": index.cpu().numpy(),
        "preferred": [bench.class_name(int(name)) for name in preferred.tolist()],
        "classes": len(known),
        "inputs": sum(name is not None for name in classes),
        "without": without,
        "target": None,
        "targets": [],
        "before": None,
        "quantity": "",
        "note": "",
    }


def _means(seen: Seen) -> Tensor:
    """Mean of each channel of one input over its positions, ``(channels,)``."""
    return _by_channel(seen).float().mean(1)


def _by_channel(seen: Seen) -> Tensor:
    """One input's activation as ``(channels, positions)``."""
    if seen.layout.channel is None:
        raise InputError(
            f"The output of '{seen.spec.path or 'this layer'}' has no channels to rank.",
            argument="layer",
            remedy="Choose a layer with feature maps.",
        )
    last = seen.layout.kind in ("tokens", "vector")
    return (
        (seen.tensor.movedim(-1, 0) if last else seen.tensor).flatten(1)
        if seen.tensor.ndim > 1
        else seen.tensor[:, None]
    )


def _influence(bench: Bench, look: Look, want: RankingOf, stop: Stop, enough: Stop) -> dict[str, Any]:
    kept = bench.ranked
    if kept is None or kept.of != look or (want.target is not None and want.target not in kept.outputs):
        if want.resume:
            raise MovedError(
                f"The model changed after {want.resume} channels were ranked, so what was found is void.",
                layer=look.layer,
                remedy="Rank again when its weights rest: pause the training, or wait for its end.",
            )
        kept = bench.ranked = _begun(bench, look, want.target, stop)
    kept.influence.advance(enough, stop)
    place = 0 if want.target is None else kept.outputs.index(want.target)
    changes = kept.influence.changes
    names = [bench.class_name(number) for number in kept.outputs]
    return {
        "total": len(kept.influence.order),
        "channels": np.fromiter(changes, np.int32, len(changes)),
        "scores": np.array([float(row[place]) for row in changes.values()], np.float32),
        "preferred": [],
        "classes": 0,
        "inputs": bench.pinned.count,
        "without": 0,
        "target": kept.outputs[place],
        "targets": [{"index": at, "name": name} for at, name in zip(kept.outputs, names, strict=True)],
        "before": kept.before[place],
        "quantity": _WORDS.get(kept.kind, "output"),
        "note": kept.note,
    }


def _begun(bench: Bench, look: Look, target: int | None, stop: Stop) -> Ranked:
    """Make ready: what the model says by itself, the means, the order in which to try the channels."""
    seen, numbers, kind = bench.unedited(look, stop)
    activity = _by_channel(seen).float().abs().mean(1).nan_to_num(float("inf"))
    assert seen.layout.channel is not None
    path = 0 if look.output is None else look.output
    args, kwargs = bench.pinned.all()
    means = bench.replayer.channel_means(
        args, kwargs, look.layer, output=path, call=look.call, axis=seen.layout.channel, should_stop=stop
    )
    outputs = _outputs(bench, look, numbers, target)
    place = Place(
        look.layer,
        seen.layout.channel,
        seen.layout.batch if bench.pinned.batched and bench.pinned.batch_axis == 0 else None,
        # A layer that is called once shares its cut with the sliders.
        look.call if seen.calls > 1 else None,
        path,
    )
    args, kwargs = bench.pinned.select(look.input)
    influence = Influence(
        bench.replayer,
        args,
        kwargs,
        look.input,
        place,
        means,
        # What hardly answers can hardly matter: the first tiles settle early.
        activity.argsort(descending=True, stable=True).tolist(),
        lambda result: bench.numbers(result)[:, outputs],
        numbers[outputs],
    )
    return Ranked(look, influence, outputs, numbers[outputs].tolist(), kind, seen.note)


def _outputs(bench: Bench, look: Look, numbers: Tensor, target: int | None) -> list[int]:
    """Choose the outputs whose changes are noted, the largest first: any of them can be shown without another run."""
    found = numbers.nan_to_num(float("-inf")).topk(min(TOP, len(numbers))).indices.tolist()
    right = bench.pinned.targets[look.input] if bench.pinned.targets else None
    for more in (right, target):
        if isinstance(more, int) and not isinstance(more, bool) and 0 <= more < len(numbers) and more not in found:
            found.append(more)
    if target is not None and target not in found:
        raise InputError(f"There is no output {target}.", argument="target", remedy=f"Choose 0 to {len(numbers) - 1}.")
    return found


__all__ = ["Ranked", "ranking_result"]
