"""One move of a slider in MobileNetV2, against the full forward of the same input in the same run.

Run with ``python -m benchmarks.cut``; prints one line of JSON and fails when a limit is exceeded.
"""

from __future__ import annotations

import json
import statistics as middle
import sys
import time
from collections.abc import Callable

import torch

from nnwidget.model.edits import Scale
from nnwidget.model.replay import Replayer
from nnwidget.session.bench import TRUST
from tests.unit.nets import MobileNetV2

LIMIT = 0.35
LAYERS = ("features.13", "features.16", "features.18")


def seconds(call: Callable[[], object]) -> float:
    """CPU time of one call: others' load on the machine does not count."""
    start = time.process_time_ns()
    call()
    return (time.process_time_ns() - start) / 1e9


def measure(rounds: int = 15) -> dict[str, object]:
    """Alternate the full forward and a slider move at each layer; the cut is recorded and checked before."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = MobileNetV2().eval()
    image = torch.rand(1, 3, 224, 224)
    replayer = Replayer(model, trust=TRUST)
    factors = iter(torch.linspace(0, 1, 1000).tolist())

    def forward() -> None:
        with torch.no_grad():
            model(image)

    def move(layer: str) -> None:
        replay = replayer.run((image,), observe=(layer,), edits={layer: [Scale(next(factors), channel=3)]}, key=0)
        assert replay.served == "cut", replay.note

    for layer in LAYERS:
        replayer.run((image,), observe=(layer,), edits={layer: [Scale(0.5, channel=3)]}, key=0)
        move(layer)
    times: dict[str, list[float]] = {layer: [] for layer in LAYERS}
    for _ in range(rounds):
        full = seconds(forward)
        for layer in LAYERS:
            times[layer].append(seconds(lambda layer=layer: move(layer)) / full)
    ratios = {layer: round(middle.median(found), 3) for layer, found in times.items()}
    return {"name": "cut", "ratio": max(ratios.values()), "limit": LIMIT, "detail": ratios}


if __name__ == "__main__":
    result = measure()
    print(json.dumps(result))
    sys.exit(int(float(str(result["ratio"])) > LIMIT))
