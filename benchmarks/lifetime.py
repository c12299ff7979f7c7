"""What is left of explorers: a cell shown twenty times, then everything closed.

Run with ``python -m benchmarks.lifetime``; prints one line of JSON and fails when anything is left.
"""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
import weakref

import torch
from torch import nn
from torch.optim import optimizer

import nnwidget
from nnwidget.model.taps import active

SHOWN = 20
FLAT = 1.1


def hooks(model: nn.Module) -> int:
    """Count every hook on the model and the global ones of optimisers."""
    own = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())
    return own + len(optimizer._global_optimizer_post_hooks)


def measure() -> dict[str, object]:
    """Show twenty times as the same cell does when it runs again, each closing the one before."""
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 10))
    images = torch.rand(8, 1, 8, 8)
    counts, sizes, explorer = set(), [], None
    tracemalloc.start()
    for _ in range(SHOWN):
        if explorer is not None:
            explorer.close()
        explorer = nnwidget.explore(model, images)
        explorer._repr_mimebundle_()
        explorer.activation("2")
        explorer.predictions()
        gc.collect()
        counts.add(hooks(model))
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert explorer is not None
    explorer.close()
    left = hooks(model) + len(active()) + len(nnwidget.running())
    gone = weakref.ref(model)
    del model, explorer
    gc.collect()
    detail = {"hook_counts": sorted(counts), "left_after_close": left, "model_freed": gone() is None}
    ratio = sizes[-1] / sizes[SHOWN // 2]
    return {"name": "memory after 20 shows against 10", "ratio": round(ratio, 3), "limit": FLAT, "detail": detail}


def main() -> int:
    """Print the result; 1 when something is left."""
    result = measure()
    print(json.dumps(result))
    detail = result["detail"]
    assert isinstance(detail, dict)
    clean = len(detail["hook_counts"]) == 1 and not detail["left_after_close"] and detail["model_freed"]
    return int(not clean or float(str(result["ratio"])) > FLAT)


if __name__ == "__main__":
    sys.exit(main())
