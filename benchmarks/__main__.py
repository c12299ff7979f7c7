"""Run every benchmark and print one table; fails when any limit is exceeded."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("quantise", "cut", "panels", "lifetime", "page", "training_overhead", "training_memory")


def main(arguments: list[str]) -> int:
    """Run the named benchmarks (all without names), one process each; options are handed to each of them."""
    names, options = ([a for a in arguments if a.startswith("-") is kind] for kind in (False, True))
    failed = 0
    print("| what | ratio | limit | detail |\n|---|---|---|---|")
    for name in names or SCRIPTS:
        command = [sys.executable, "-m", f"benchmarks.{name}", *options]
        with (
            tempfile.TemporaryFile("w+") as said,
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=said, text=True) as running,
        ):
            assert running.stdout is not None
            for line in running.stdout:
                result = json.loads(line)
                detail = ", ".join(f"{key} {value}" for key, value in result["detail"].items())
                print(f"| {result['name']} | {result['ratio']} | {result['limit']} | {detail} |", flush=True)
            if running.wait():
                failed += 1
                said.seek(0)
                print(f"\n{name} is over its limit or failed.\n{said.read()[-2000:]}", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
