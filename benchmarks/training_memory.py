"""How much a process grows over 3,000 watched steps, against the memory that its history may take.

Run with ``python -m benchmarks.training_memory``; prints one line of JSON and fails when a limit is exceeded.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import resource
import sys
from pathlib import Path

import torch

import nnwidget
from benchmarks.trainings import mlp

STEPS, EARLY = 3000, 300
MEMORY = 16_000_000
LIMIT = 1.0


def resident() -> int:
    """Bytes of this process that are in memory now; where the system does not tell, the most there ever were."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        # What was freed and not yet handed back is the allocator's, and differs from run to run.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return pages * resource.getpagesize()


def measure() -> dict[str, object]:
    """Record everything at every step, and a picture: three times the bound, if nothing were thinned."""
    torch.set_num_threads(1)
    training = mlp("cpu")
    for _ in range(EARLY):
        training.step()
    before, sizes = resident(), []
    with nnwidget.watch(training.model, training.optimizer, every=1, budget=None, memory=MEMORY, display=False) as w:
        for step in range(1, STEPS + 1):
            training.step()
            w.log(picture=torch.rand(64, 64))
            if step % EARLY == 0:
                sizes.append(resident() - before)
        held, recorded = w.history.nbytes, len(w.history.steps)
    detail = {
        "history_MB": round(held / 1e6, 1),
        "bound_MB": round(MEMORY / 1e6, 1),
        "growth_MB": [round(size / 1e6, 1) for size in sizes],
        "steps_kept": recorded,
    }
    ratio = round(sizes[-1] / MEMORY, 2)
    return {"name": "growth over 3,000 steps / memory", "ratio": ratio, "limit": LIMIT, "detail": detail}


def main() -> int:
    """Print the result; 1 when a limit is exceeded."""
    result = measure()
    print(json.dumps(result))
    detail = result["detail"]
    assert isinstance(detail, dict)
    return int(float(str(result["ratio"])) > LIMIT or detail["history_MB"] > detail["bound_MB"])


if __name__ == "__main__":
    sys.exit(main())
