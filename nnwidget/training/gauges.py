"""What a recorded step says of the machine: samples a second and memory in use."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nnwidget.model.structure import tensors

_STATM = Path("/proc/self/statm")
_GAP = 0.5  # seconds between two looks at the memory of the process


class Gauges:
    """Reads what a step says of the machine, without waiting for an accelerator.

    Parameters
    ----------
    model : nn.Module
        Its devices' memory is read; on the host that of the process.

    Examples
    --------
    >>> found = Gauges(nn.Linear(1, 1)).read(samples=32, took=0.5)
    >>> found["throughput"]
    64.0
    """

    def __init__(self, model: nn.Module) -> None:
        self._cuda = sorted({p.device.index or 0 for p in model.parameters() if p.is_cuda})
        self._page = os.sysconf("SC_PAGE_SIZE") if _STATM.exists() else 0
        self._resident = 0.0
        self._due = 0.0

    def read(self, samples: int, took: float) -> dict[str, float]:
        """Return ``throughput`` in samples a second and ``memory`` in bytes, as far as they are known.

        Memory of the host is read twice a second at most.
        """
        found: dict[str, float] = {}
        if samples and took > 0:
            found["throughput"] = samples / took
        if self._cuda:
            found["memory"] = float(sum(torch.cuda.memory_allocated(index) for index in self._cuda))
        elif self._page:
            now = time.monotonic()
            if now >= self._due:
                # The system takes its time to answer.
                self._resident = float(int(_STATM.read_bytes().split()[1]) * self._page)
                self._due = now + _GAP
            found["memory"] = self._resident
        return found


def batch_size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return the length of the first tensor among a model's arguments; 0 without any.

    Examples
    --------
    >>> batch_size((), {"tokens": torch.zeros(7, 3)})
    7
    """
    if args and type(args[0]) is Tensor:
        first = args[0]
    else:
        found = next((tensor for _, tensor in tensors((args, kwargs))), None)
        if found is None:
            return 0
        first = found
    return int(first.shape[0]) if first.dim() else 1
