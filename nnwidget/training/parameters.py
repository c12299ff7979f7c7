"""Norms of parameters, gradients and updates: of every step in all, of sampled steps by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from nnwidget.training.courier import Courier
from nnwidget.training.layer_set import Watched
from nnwidget.training.measure import sample
from nnwidget.training.thinning import ABSENT, is_absent
from nnwidget.types import Array

# By kind and layer: strided samples, float32.
Samples: TypeAlias = dict[str, dict[int, list[Array]]]


def local(tensor: Tensor) -> Tensor:
    """Return the part of a sharded tensor that this process holds, and any other tensor as it is."""
    inner = getattr(tensor, "_local_tensor", None)
    return inner if isinstance(inner, Tensor) else tensor


def total_norm(gradients: list[Tensor]) -> float | Tensor:
    """Return the L2 norm of all gradients together: a number on the host, a 0-d tensor elsewhere.

    Parameters
    ----------
    gradients : list of Tensor
        Any shapes and floating dtypes, dense or sparse.

    Examples
    --------
    >>> total_norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
    5.0
    """
    if all(map(_plain, gradients)):
        squares = sum([root.item() ** 2 for root in torch._foreach_norm(gradients)])
        return math.sqrt(squares) if _sound(squares) else _careful(gradients)
    roots = norms(gradients)
    total: Tensor = torch.stack([root.to(roots[0].device, torch.float32) for root in roots]).norm()
    if not total.is_cpu:
        return total
    found = float(total)
    return found if _sound(found * found) else _careful(gradients)


def _plain(tensor: Tensor) -> bool:
    """Say whether a tensor is what nearly all are on the host, and can be measured as it is."""
    return (
        tensor.dtype is torch.float32
        and tensor.is_cpu
        and type(tensor) is Tensor
        and tensor.layout is torch.strided
        and not tensor.requires_grad
    )


def norms(values: Sequence[Tensor]) -> list[Tensor]:
    """Return the L2 norm of each tensor, 0-d float32 (or float64), without overflow in half precision."""
    wide = [part.float() if part.dtype in (torch.float16, torch.bfloat16) else part for part in _dense(values)]
    return list(torch._foreach_norm(wide)) if wide else []


def _dense(values: Iterable[Tensor]) -> list[Tensor]:
    """Return what this process holds of each tensor, of sparse ones the entries."""
    parts = [local(value.detach()) for value in values]
    return [part.coalesce().values() if part.layout is torch.sparse_coo else part for part in parts]


def _careful(gradients: Iterable[Tensor]) -> float:
    return math.sqrt(sum(_squares_of(part.double()) for part in _dense(gradients)))


class LayerNorms:
    """Takes norms by layer on sampled steps, and how far a strided sample of each parameter moved.

    Parameters
    ----------
    layers : sequence of Watched
        Whose own parameters are measured.
    """

    def __init__(self, layers: Sequence[Watched]) -> None:
        self._size = len(layers)
        self._of: list[tuple[int, nn.Parameter]] = [
            (layer.index, p) for layer in layers for p in layer.parameters if p.is_floating_point()
        ]
        self._before: list[Tensor] = []
        self._on_host = all(_plain(p.detach()) for _, p in self._of)

    def about_to_step(self) -> None:
        """Keep what is needed to tell the update afterwards."""
        if self._on_host:
            parts = [sample(p.detach().numpy().reshape(-1)) for _, p in self._of]
            self._before = [torch.from_numpy(np.concatenate(parts))] if parts else []
        else:
            self._before = [part.clone() for part in _samples(p.detach() for _, p in self._of)]

    def stepped(
        self,
        courier: Courier,
        deliver: Callable[[str, Array], None],
        scale: float = 1.0,
        *,
        gradients: bool = True,
    ) -> Samples:
        """Measure after the optimiser's step.

        Parameters
        ----------
        courier : Courier
            Brings the numbers to the host.
        deliver : callable
            ``deliver(quantity, values)`` for ``param_norm``, ``grad_norm``, ``update_norm`` and ``update_ratio``,
            float32 ``(layers,)``; where a layer has none nothing was measured.
        scale : float
            What gradients are divided by (of a GradScaler that has not divided yet).
        gradients : bool
            False when the loop has cleared them already.

        Returns
        -------
        dict
            ``weight`` and ``grad`` to strided samples of each layer, complete once the courier has arrived; for
            :func:`nnwidget.training.binning.binned`.
        """
        before, self._before = self._before, []
        samples: Samples = {"weight": {}, "grad": {}}
        if not self._of:
            return samples
        graded = [(index, p.grad) for index, p in self._of if gradients and p.grad is not None]
        if self._on_host and all(_plain(gradient) for _, gradient in graded):
            self._measure(graded, before, scale, courier, deliver, samples)
        else:
            if self._on_host and before:
                # Taken as one, before it was known that a gradient is sparse, say.
                before = list(torch.split(before[0], [len(part) for part in _samples(p.detach() for _, p in self._of)]))
            self._measure_there(graded, before, scale, courier, deliver)
            self._sample_there(graded, scale, courier, samples)
        return samples

    def _measure(
        self,
        graded: Sequence[tuple[int, Tensor]],
        before: Sequence[Tensor],
        scale: float,
        courier: Courier,
        deliver: Callable[[str, Array], None],
        samples: Samples,
    ) -> None:
        """Take on the host what changes with the next step; the rest can wait."""
        weights = _Taken([(index, p.detach()) for index, p in self._of])
        gradients = _Taken(graded) if graded else None

        def measure() -> None:
            with np.errstate(all="ignore"):
                norms = self._roots(weights.indices, weights.squares)
                deliver("param_norm", norms)
                _split(weights.joined, weights.indices, weights.taken, samples["weight"])
                if before:
                    updates = self._roots(weights.indices, weights.moved_from(before[0].numpy()))
                    deliver("update_norm", updates)
                    deliver("update_ratio", np.where(is_absent(updates), updates, updates / norms))
                if gradients is not None:
                    squares = [value / scale**2 for value in gradients.squares]
                    deliver("grad_norm", self._roots(gradients.indices, squares))
                    joined = gradients.joined / scale if scale != 1.0 else gradients.joined
                    _split(joined, gradients.indices, gradients.taken, samples["grad"])

        courier.later(measure)

    def _measure_there(
        self,
        graded: Sequence[tuple[int, Tensor]],
        before: Sequence[Tensor],
        scale: float,
        courier: Courier,
        deliver: Callable[[str, Array], None],
    ) -> None:
        """Measure where the parameters are, with few calls and without waiting."""
        device = self._of[0][1].device
        indices = [index for index, _ in self._of]
        weights = self._scatter(indices, norms([p for _, p in self._of]), device)
        found = {"param_norm": weights}
        if graded:
            values = norms([grad for _, grad in graded])
            found["grad_norm"] = self._scatter([index for index, _ in graded], values, device) / scale
        if len(before) == len(self._of):
            parts = _samples(p.detach() for _, p in self._of)
            moved = [
                norm * math.sqrt(local(p).numel() / max(part.numel(), 1))
                for norm, part, (_, p) in zip(norms(_differences(parts, before)), parts, self._of, strict=True)
            ]
            updates = self._scatter(indices, moved, device)
            found |= {"update_norm": updates, "update_ratio": updates / weights}
        for quantity, row in found.items():
            have = {index for index, _ in (graded if quantity == "grad_norm" else self._of)}
            courier.add(row, partial(self._arrived, deliver, quantity, have))

    def _sample_there(
        self, graded: Sequence[tuple[int, Tensor]], scale: float, courier: Courier, samples: Samples
    ) -> None:
        parameters = [(index, p.detach()) for index, p in self._of]
        for kind, tensors, divisor in (("weight", parameters, 1.0), ("grad", graded, scale)):
            for index, tensor in tensors:
                if tensor.layout is not torch.strided or not tensor.numel():
                    continue
                (part,) = _samples([tensor.detach()])
                # A copy: what is on the host would move with the next step.
                part = part / divisor if divisor != 1.0 else part.clone()
                courier.add(part, samples[kind].setdefault(index, []).append)

    def _arrived(self, deliver: Callable[[str, Array], None], quantity: str, have: set[int], row: Array) -> None:
        deliver(quantity, spread({index: float(row[index]) for index in have}, self._size))

    def _roots(self, indices: Sequence[int], squares: Sequence[float]) -> Array:
        totals: dict[int, float] = {}
        for index, value in zip(indices, squares, strict=True):
            totals[index] = totals.get(index, 0.0) + value
        return spread({index: math.sqrt(total) for index, total in totals.items()}, self._size)

    def _scatter(self, indices: Sequence[int], values: Sequence[Tensor], device: torch.device) -> Tensor:
        squares = torch.stack([value.to(device, torch.float32) for value in values]).square()
        places = torch.tensor(indices, device=device)
        total = torch.zeros(self._size, device=device).index_add_(0, places, squares)
        present = torch.zeros(self._size, dtype=torch.bool, device=device).index_fill_(0, places, True)
        return torch.where(present, total.sqrt(), math.nan)


def _differences(after: Sequence[Tensor], before: Sequence[Tensor]) -> list[Tensor]:
    return list(torch._foreach_sub([a.float() for a in after], [b.float() for b in before]))


class _Taken:
    """What was taken of plain tensors, layer by layer: sums of squares, sizes, and samples in one vector."""

    __slots__ = ("indices", "joined", "sizes", "squares", "taken")

    def __init__(self, tensors: Sequence[tuple[int, Tensor]]) -> None:
        values = [tensor.numpy().reshape(-1) for _, tensor in tensors]
        parts = [sample(part) for part in values]
        self.indices = [index for index, _ in tensors]
        self.squares = [_square(part) for part in values]
        self.sizes = [part.size for part in values]
        self.taken = [part.size for part in parts]
        self.joined: Array = np.concatenate(parts)

    def moved_from(self, before: Array) -> list[float]:
        """Estimate the sum of squares of each tensor's change since its sample was ``before``."""
        moved = np.square(self.joined - before, dtype=np.float64)
        sums = [float(part.sum()) for part in _cut(moved, self.taken)]
        return [total * (size / max(taken, 1)) for total, size, taken in zip(sums, self.sizes, self.taken, strict=True)]


def _square(values: Array) -> float:
    """Sum the squares, also where single precision runs out."""
    found = float(values.dot(values))
    return found if _sound(found) else float(np.square(values, dtype=np.float64).sum())


def _sound(squares: float) -> bool:
    """Say whether single precision was enough: squares run over and under long before values do."""
    return 1e-28 < squares < math.inf


def _squares_of(wide: Tensor) -> float:
    return float(wide.square().sum())


def _samples(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [sample(local(tensor).reshape(-1)) for tensor in tensors]


def _cut(values: Array, sizes: Iterable[int]) -> Iterator[Array]:
    start = 0
    for size in sizes:
        yield values[start : start + size]
        start += size


def _split(values: Array, indices: Iterable[int], sizes: Iterable[int], into: dict[int, list[Array]]) -> None:
    for index, part in zip(indices, _cut(values, sizes), strict=True):
        if part.size:
            into.setdefault(index, []).append(part)


def spread(values: Mapping[int, float], size: int) -> Array:
    """Write one value a layer into a row; of the others nothing was measured.

    Examples
    --------
    >>> spread({1: 2.0}, 2)
    array([nan,  2.], dtype=float32)
    """
    row = np.full(size, ABSENT, np.float32)
    for index, value in values.items():
        row[index] = value
    return row
