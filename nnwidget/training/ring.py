"""Full tensors of the last recorded steps, for as long as they fit."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from nnwidget.training.measure import BLOCK, USUAL, Part
from nnwidget.types import Array

_SMALL = 65_536  # bytes that are copied in less time than it takes to look after them
_PROBES = 16  # values that tell whether somebody wrote to a tensor behind autograd's back
_STRIDE = USUAL // BLOCK // _PROBES


class Ring:
    """Keeps every activation and output gradient of the last recorded steps on the host, within a bound.

    On the host copies would be a third of what recording costs, and most tensors are never written to again: those are
    kept as they are. Which ones are written to is learnt in the first step, where all are copied, and whether one was
    is looked at again when it is asked for.

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
        self._kept: OrderedDict[int, dict[tuple[str, str, int], _Kept]] = OrderedDict()
        # What is written to within a step, and so copied: everything, until one step was seen to its end.
        self._written: set[tuple[str, str, int]] | None = None
        self._lent: dict[tuple[str, str, int], _Kept] = {}
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

    def keep(self, kind: str, layer: str, tensor: Tensor, part: Part | None = None) -> None:
        """Take a tensor of the step under way to the host.

        Parameters
        ----------
        kind, layer : str
            What it is.
        tensor : Tensor
            Of any device.
        part : Part, optional
            What was taken of it already, so that it need not be read again.
        """
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
        call = 0
        while (kind, layer, call) in kept:
            call += 1
        key = (kind, layer, call)
        kept[key] = self._made(key, tensor.detach(), size, part)
        self._bytes[self._step] += size

    def _made(self, key: tuple[str, str, int], tensor: Tensor, size: int, part: Part | None) -> _Kept:
        if part is not None and part.copies(tensor):
            return _Kept(torch.from_numpy(part.values).view(tensor.shape))
        if not tensor.is_cpu:
            # Into pinned memory, without waiting.
            self._under_way = self._under_way or tensor.is_cuda
            return _Kept(tensor.to("cpu", non_blocking=tensor.is_cuda))
        # A view holds more than what is counted.
        lends = (
            size > _SMALL
            and tensor.is_contiguous()
            and tensor.untyped_storage().nbytes() == size
            and not tensor.is_inference()
        )
        if lends and self._written is not None and key not in self._written:
            self._lent[key] = made = _Kept(tensor, lent=True, part=part)
            return made
        if lends and self._written is None:
            self._lent[key] = _Kept(tensor, lent=True, part=part)
        return _Kept(tensor.clone())

    def stepped(self) -> None:
        """Know that the step under way is over: what was written to in it is copied from now on."""
        for kept in self._lent.values():
            kept.settle()
        written = {key for key, kept in self._lent.items() if kept.changed}
        if self._written is None:
            self._written = written if self._lent else None
        else:
            self._written |= written
            for key in written:
                self._kept.get(self._step, {}).pop(key, None)
        self._lent.clear()

    def own(self) -> None:
        """Hold nothing of the loop's any more: copy what it lent, and forget what it has written to since."""
        self._lent.clear()
        for kept in self._kept.values():
            for key, one in list(kept.items()):
                if not one.lent:
                    continue
                if one.sound:
                    kept[key] = _Kept(one.tensor.clone())
                else:
                    del kept[key]

    def add(self, step: int, kind: str, layer: str, tensor: Tensor) -> None:
        """Take in one tensor that is on the host and nobody else's, whatever is kept otherwise."""
        self._kept.setdefault(step, {}).setdefault((kind, layer, 0), _Kept(tensor))

    def freeze(self) -> None:
        """Keep what there is from now on."""
        self.frozen = True

    def tensor(self, step: int, kind: str, layer: str, call: int = 0) -> Tensor:
        """Return a kept tensor.

        Raises
        ------
        KeyError
            It is not there, or the loop has written to it since.
        """
        if self._under_way:
            torch.cuda.synchronize()
            self._under_way = False
        kept = self._kept[step][kind, layer, call]
        if not kept.sound:
            raise KeyError((step, kind, layer))
        # The loop's own memory is not handed out.
        return kept.tensor.clone() if kept.lent else kept.tensor

    def _drop(self) -> None:
        oldest, _ = self._kept.popitem(last=False)
        del self._bytes[oldest]


class _Kept:
    """A tensor, ours or ``lent`` by the loop, which may write to it."""

    __slots__ = ("_part", "_places", "_probe", "_version", "lent", "tensor")

    def __init__(self, tensor: Tensor, *, lent: bool = False, part: Part | None = None) -> None:
        self.tensor = tensor
        self.lent = lent
        self._version = tensor._version if lent else 0
        self._part = part if part is not None and part.places is not None else None
        if lent and self._part is None:
            self._places = np.arange(0, tensor.numel(), -(-tensor.numel() // _PROBES))
            self._probe = self._now()

    def settle(self) -> None:
        """Keep a few values from all over it, of those that are at hand, once there is time."""
        part, self._part = self._part, None
        if part is not None and part.places is not None:
            self._places, self._probe = part.places[::_STRIDE], part.values[:: BLOCK * _STRIDE].copy()

    def _now(self) -> Array:
        found: Array = self.tensor.detach().reshape(-1)[torch.from_numpy(self._places)].float().numpy()
        return found

    @property
    def changed(self) -> bool:
        """True once somebody has written to it, as far as autograd knows."""
        return self.lent and self.tensor._version != self._version

    @property
    def sound(self) -> bool:
        """False once somebody has written to it, in whatever way."""
        if not self.lent:
            return True
        self.settle()
        return not self.changed and np.array_equal(self._now(), self._probe, equal_nan=True)
