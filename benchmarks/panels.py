"""What panels ask of the model, against the bare tensor work: all 192 channels of a MobileNetV2 layer by influence.

Run with ``python -m benchmarks.panels``; prints one line of JSON and fails when a limit is exceeded.
"""

from __future__ import annotations

import json
import statistics as middle
import sys

import torch

from benchmarks.cut import seconds
from nnwidget.explorer import explore
from nnwidget.session.bench import Bench
from nnwidget.session.ranking import ranking_result
from nnwidget.wire.messages import Look, RankingOf
from tests.unit.nets import MobileNetV2

LIMIT = 0.5
# 192 channels each, at 14×14 and at 28×28; the earlier one for the record: more of the model lies behind it.
LAYERS = ("features.7.conv.1.2", "features.7.conv.0.2")
EARLIER = ("features.5.conv.1.0",)


def rank(bench: Bench, layer: str) -> None:
    """Rank as a page's questions do, part by part, from nothing: the means, the first cut and its proof included."""
    bench.moved()
    done, total = 0, 1
    while done < total:
        runs = iter(range(4))
        want = RankingOf(Look(layer), resume=done)
        result = ranking_result(bench, want, None, lambda: False, lambda runs=runs: next(runs, None) is None)
        done, total = len(result["channels"]), result["total"]
    assert total == 192 and bench.ranked is not None and bench.ranked.influence.together


def measure(rounds: int = 5) -> dict[str, object]:
    """Alternate 192 full forwards of one image with one ranking of each layer, all four pinned images in its means."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = MobileNetV2().eval()
    images = torch.rand(4, 3, 224, 224)

    def forwards() -> None:
        with torch.no_grad():
            for _ in range(192):
                model(images[:1])

    times: dict[str, list[float]] = {layer: [] for layer in (*LAYERS, *EARLIER)}
    with explore(model, images) as explorer:
        rank(explorer._bench, LAYERS[0])
        for _ in range(rounds):
            full = seconds(forwards)
            for layer in times:
                times[layer].append(seconds(lambda layer=layer: rank(explorer._bench, layer)) / full)
    ratios = {layer: round(middle.median(found), 3) for layer, found in times.items()}
    return {"name": "influence", "ratio": max(ratios[layer] for layer in LAYERS), "limit": LIMIT, "detail": ratios}


if __name__ == "__main__":
    result = measure()
    print(json.dumps(result))
    sys.exit(int(float(str(result["ratio"])) > LIMIT))
