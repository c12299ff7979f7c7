"""Full tensors of the last recorded steps, for as long as they fit."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor


class Ring:
    """Keeps every activation and output gradient of the last recorded steps on the host, within a bound.

    Parameters
    ----------
    memory : int
        Bytes at most.
    steps : int
        Steps at most.

    Attributes
    ----------
    fits : bool
        False once a single step was too large: then nothing is kept, and statistics have to do.

    Examples
    --------
    >>> import torch
    >>> ring = Ring(memory=100, steps=2)
    >>> for step in (1, 2, 3):
    ...     ring.begin(step)
    ...     ring.keep("activation", "fc", torch.full((4,), float(step)))
    >>> ring.steps, float(ring.tensor(3, "activation", "fc")[0])
    ([2, 3], 3.0)
    """

    def __init__(self, memory: int, steps: int = 3) -> None:
        self._memory = memory
        self._most = steps
        self._kept: OrderedDict[int, dict[tuple[str, str, int], Tensor]] = OrderedDict()
        self._bytes: dict[int, int] = {}
        self._step = 0
        self.fits = True
        self.frozen = self._under_way = False

    @property
    def steps(self) -> list[int]:
        """The steps of which tensors are kept."""
        return list(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(self._bytes.values())

    @property
    def open(self) -> bool:
        """True while tensors are taken."""
        return self.fits and not self.frozen

    def begin(self, step: int) -> None:
        """Start a step; the oldest goes with the first tensor of it when there are too many."""
        self._step = step

    def keep(self, kind: str, layer: str, tensor: Tensor) -> None:
        """Copy a tensor of the step under way to the host."""
        if not self.open:
            return
        if self._step not in self._kept:
            self._kept[self._step], self._bytes[self._step] = {}, 0
            while len(self._kept) > self._most:
                self._drop()
        kept = self._kept[self._step]
        size = tensor.numel() * tensor.element_size()
        while self.nbytes + size > self._memory and len(self._kept) > 1:
            self._drop()
        if self.nbytes + size > self._memory:
            self.fits = False
            self._kept.clear()
            self._bytes.clear()
            return
        call = sum(1 for key in kept if key[:2] == (kind, layer))
        if tensor.is_cpu:
            kept[kind, layer, call] = tensor.detach().clone()
        else:
            # Into pinned memory, without waiting.
            self._under_way = self._under_way or tensor.is_cuda
            kept[kind, layer, call] = tensor.detach().to("cpu", non_blocking=tensor.is_cuda)
        self._bytes[self._step] += size

    def add(self, step: int, kind: str, layer: str, tensor: Tensor) -> None:
        """Take in one tensor that is on the host and nobody else's, whatever is kept otherwise."""
        self._kept.setdefault(step, {}).setdefault((kind, layer, 0), tensor)

    def freeze(self) -> None:
        """Keep what there is from now on."""
        self.frozen = True

    def tensor(self, step: int, kind: str, layer: str, call: int = 0) -> Tensor:
        """Return a kept tensor.

        Raises
        ------
        KeyError
            It is not there.
        """
        if self._under_way:
            torch.cuda.synchronize()
            self._under_way = False
        return self._kept[step][kind, layer, call]

    def _drop(self) -> None:
        oldest, _ = self._kept.popitem(last=False)
        del self._bytes[oldest]
