"""What all suites share: one thread for torch, and no tests of what the installed torch does not have."""

from __future__ import annotations

import os
import signal
import threading

import pytest

# Before torch is imported: its pools read it once. Two threads under contention ran a small net many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Shells have what they start in the background ignore Ctrl-C, and so would every process that a test starts.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = {item: marker.args[0] for item in items if (marker := item.get_closest_marker("needs_torch"))}
    if not wanted:
        return
    import torch

    def numbers(version: str) -> tuple[int, ...]:
        return tuple(int(part) for part in version.split(".")[:2])

    gone = [item for item, version in wanted.items() if numbers(torch.__version__) < numbers(version)]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in gone]
