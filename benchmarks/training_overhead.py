"""What watching adds to a training: CPU time watched, divided by CPU time plain, interleaved in one process.

Run with ``python -m benchmarks.training_overhead [--quick] [--device cuda] [--models mlp …] [--rows every=1 …]``;
prints a line of JSON for each row and fails when a price is certainly above its limit: with its whole interval.
"""

from __future__ import annotations

import argparse
import json
import sys

import torch

from benchmarks.arms import ARMS, installed
from benchmarks.interleaved import Price, compare, keep_freed_memory
from benchmarks.trainings import TRAININGS

LIMITS = {
    **{("budget=0.02", model): 1.03 for model in TRAININGS},
    ("every=10", "mlp"): 1.30,
    ("every=10", "cnn"): 1.03,
    ("every=10", "transformer"): 1.08,
    ("every=1", "cnn"): 1.35,
    ("every=1", "transformer"): 1.50,
}


def line(name: str, price: Price, limit: float | None) -> str:
    """Return one row as JSON."""
    detail: dict[str, object] = {
        "95%": f"[{price.low:.3f}, {price.high:.3f}]",
        "added_us": round(price.added, 1),
        "start_ms": round(price.start, 1),
        "steps": price.steps,
    }
    if price.stated is not None:
        detail["stated"] = round(price.stated, 3)
    row = {"name": name, "ratio": round(price.ratio, 3), "limit": limit or "", "detail": detail}
    return json.dumps(row, ensure_ascii=False)


def main(arguments: list[str]) -> int:
    """Print every row; 1 when one is certainly over its limit."""
    rows = {**ARMS, **installed()}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="a glance: wide intervals")
    parser.add_argument("--models", nargs="+", choices=list(TRAININGS), default=list(TRAININGS))
    parser.add_argument("--rows", nargs="+", choices=list(rows), default=list(rows))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    seconds, settle, rounds = (4.0, 20, 2) if given.quick else (24.0, 40, 4)
    over = 0
    for model in given.models:
        for name in given.rows:
            price = compare(
                TRAININGS[model], rows[name], device=given.device, seconds=seconds, settle=settle, rounds=rounds
            )
            # The limits are those of a processor, whose steps are long.
            limit = LIMITS.get((name, model)) if given.device == "cpu" else None
            over += limit is not None and price.low > limit
            print(line(f"{model}: {name}", price, limit), flush=True)
    return int(over > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
