"""Tensor to bytes, against the bare per-channel uint8 quantisation of the same tensor in the same run.

Run with ``python -m benchmarks.quantise``; prints one line of JSON and fails when a limit is exceeded.
"""

from __future__ import annotations

import json
import statistics as middle
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nnwidget.model import reduce, statistics
from nnwidget.wire import codec

SHAPE = (512, 28, 28)
LIMIT = 3.0
MEGABYTES = 0.42


def bare(x: Tensor) -> bytes:
    """Range of each channel, scale, uint8: the least anybody does, with the quickest primitives there are."""
    rows = x.reshape(len(x), -1)
    lo, hi = rows.amin(dim=1), rows.amax(dim=1)
    scaled = (rows - lo[:, None]).mul_((255 / (hi - lo))[:, None])
    return scaled.numpy().astype(np.uint8).tobytes()


def ours(x: Tensor) -> int:
    """All that a frame needs: tiles with reserved codes, ranges and activity, the statistics, the wire's bytes."""
    tree = {"tiles": reduce.tiles(x, "maps", edge=64), "statistics": statistics.statistics(x)}
    json_tree, buffers = codec.encode(tree)
    return len(json.dumps(json_tree)) + sum(len(b) for b in buffers)


def seconds(call: Callable[[], object]) -> float:
    """CPU time of one call: others' load on the machine does not count."""
    start = time.process_time_ns()
    call()
    return (time.process_time_ns() - start) / 1e9


def measure(rounds: int = 60) -> dict[str, object]:
    """Alternate both ways, so that whatever slows the machine slows both."""
    torch.set_num_threads(1)
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    size = ours(x) / 1e6
    pairs = [(seconds(lambda: bare(x)), seconds(lambda: ours(x))) for _ in range(rounds)]
    ratio = middle.median(b / a for a, b in pairs)
    detail = {
        "bare_ms": round(middle.median(a for a, _ in pairs) * 1e3, 3),
        "ours_ms": round(middle.median(b for _, b in pairs) * 1e3, 3),
        "megabytes": round(size, 3),
        "megabytes_limit": MEGABYTES,
    }
    return {"name": "tensor to bytes, 512×28×28", "ratio": round(ratio, 2), "limit": LIMIT, "detail": detail}


def main() -> int:
    """Print the result; 1 when a limit is exceeded."""
    result = measure()
    print(json.dumps(result, ensure_ascii=False))
    detail = result["detail"]
    assert isinstance(detail, dict)
    return int(float(str(result["ratio"])) > LIMIT or detail["megabytes"] > MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
