"""Norms of parameters, gradients and updates: of every step in all, of sampled steps by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from nnwidget.training.courier import Courier
from nnwidget.training.layer_set import Watched
from nnwidget.training.measure import BINS, sample
from nnwidget.types import Array, HistogramBlock

# Above this many elements numpy's product may start threads of its own; torch's obeys the user's setting.
_SMALL = 10_000


def local(tensor: Tensor) -> Tensor:
    """Return the part of a sharded tensor that this process holds, and any other tensor as it is."""
    inner = getattr(tensor, "_local_tensor", None)
    return inner if isinstance(inner, Tensor) else tensor


def total_norm(gradients: Sequence[Tensor]) -> float | Tensor:
    """Return the L2 norm of all gradients together: a number on the host, a 0-d tensor elsewhere.

    Parameters
    ----------
    gradients : sequence of Tensor
        Any shapes and floating dtypes, dense or sparse.

    Examples
    --------
    >>> total_norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
    5.0
    """
    total = 0.0
    others: list[Tensor] = []
    # Warnings of overflow are for the user's own numbers.
    with np.errstate(all="ignore"):
        for gradient in gradients:
            if _plain(gradient):
                total += _squares(gradient.detach())
            else:
                others.append(gradient)
    if not others:
        return math.sqrt(total) if _sound(total) else _careful(gradients)
    rest = torch.stack([norm.to(others[0].device, torch.float32) for norm in norms(others)]).norm()
    if rest.is_cpu:
        return math.hypot(math.sqrt(total), float(rest))
    combined: Tensor = (rest.square() + total).sqrt()
    return combined


def _plain(tensor: Tensor) -> bool:
    """Say whether a tensor is what nearly all are on the host, and can be read without a copy."""
    return (
        tensor.dtype is torch.float32
        and tensor.is_cpu
        and type(tensor) is Tensor
        and tensor.layout is torch.strided
        and tensor.is_contiguous()
    )


def norms(values: Sequence[Tensor]) -> list[Tensor]:
    """Return the L2 norm of each tensor, 0-d float32 (or float64), without overflow in half precision."""
    parts = [local(value.detach()) for value in values]
    dense = [part.coalesce().values() if part.layout is torch.sparse_coo else part for part in parts]
    wide = [part.float() if part.dtype in (torch.float16, torch.bfloat16) else part for part in dense]
    return list(torch._foreach_norm(wide)) if wide else []


def _careful(gradients: Iterable[Tensor]) -> float:
    return math.sqrt(sum(_squares_of(local(g.detach()).double()) for g in gradients))


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
        self._before = [sample(local(p.detach()).reshape(-1)).clone() for _, p in self._of]

    def stepped(
        self,
        courier: Courier,
        deliver: Callable[[str, Array], None],
        scale: float = 1.0,
        *,
        gradients: bool = True,
    ) -> None:
        """Measure after the optimiser's step.

        Parameters
        ----------
        courier : Courier
            Brings the numbers to the host.
        deliver : callable
            ``deliver(quantity, values)`` for ``param_norm``, ``grad_norm``, ``update_norm`` and ``update_ratio``,
            float32 ``(layers,)`` with NaN where a layer has none.
        scale : float
            What gradients are divided by (of a GradScaler that has not divided yet).
        gradients : bool
            False when the loop has cleared them already.
        """
        before, self._before = self._before, []
        if not self._of:
            return
        graded = [(index, p.grad) for index, p in self._of if gradients and p.grad is not None]
        if self._on_host and all(_plain(gradient) for _, gradient in graded):
            found = self._measured(graded, before, scale)
        else:
            found = self._on_device(graded, before, scale)
        for quantity, row in found.items():
            if isinstance(row, Tensor):
                courier.add(row, partial(deliver, quantity))
            else:
                deliver(quantity, row)

    def _measured(
        self, graded: Sequence[tuple[int, Tensor]], before: Sequence[Tensor], scale: float
    ) -> dict[str, Array | Tensor]:
        """Measure on the host, where calls cost more than sums."""
        with np.errstate(all="ignore"):
            weights = self._roots((index, _sure_squares(p.detach())) for index, p in self._of)
            found: dict[str, Array | Tensor] = {"param_norm": weights}
            if graded:
                found["grad_norm"] = self._roots((index, _sure_squares(grad) / scale**2) for index, grad in graded)
            if len(before) == len(self._of):
                updates = self._roots(
                    (index, _moved(p.detach(), then)) for (index, p), then in zip(self._of, before, strict=True)
                )
                found |= {"update_norm": updates, "update_ratio": updates / weights}
        return found

    def _on_device(
        self, graded: Sequence[tuple[int, Tensor]], before: Sequence[Tensor], scale: float
    ) -> dict[str, Array | Tensor]:
        """Measure where the parameters are, with few calls and without waiting."""
        device = self._of[0][1].device
        indices = [index for index, _ in self._of]
        weights = self._scatter(indices, norms([p for _, p in self._of]), device)
        found: dict[str, Array | Tensor] = {"param_norm": weights}
        if graded:
            values = norms([grad for _, grad in graded])
            found["grad_norm"] = self._scatter([index for index, _ in graded], values, device) / scale
        if len(before) == len(self._of):
            parts = [sample(local(p.detach()).reshape(-1)) for _, p in self._of]
            moved = [
                norm * math.sqrt(local(p).numel() / max(part.numel(), 1))
                for norm, part, (_, p) in zip(norms(_differences(parts, before)), parts, self._of, strict=True)
            ]
            updates = self._scatter(indices, moved, device)
            found |= {"update_norm": updates, "update_ratio": updates / weights}
        return found

    def _roots(self, squares: Iterable[tuple[int, float]]) -> Array:
        total = np.full(self._size, np.nan)
        for index, value in squares:
            total[index] = value if np.isnan(total[index]) else total[index] + value
        roots: Array = np.sqrt(total).astype(np.float32)
        return roots

    def histograms(
        self, courier: Courier, scale: float = 1.0, *, gradients: bool = True
    ) -> dict[str, dict[int, list[Array]]]:
        """Take a strided sample of weights and gradients; the arguments are those of :meth:`stepped`.

        Returns
        -------
        dict
            ``weight`` and ``grad`` to the samples of each layer, complete once the courier has arrived; for
            :func:`binned`.
        """
        found: dict[str, dict[int, list[Array]]] = {"weight": {}, "grad": {}}
        for index, p in self._of:
            for kind, tensor in (("weight", p.detach()), ("grad", p.grad if gradients else None)):
                values = None if tensor is None else local(tensor.detach())
                if values is None or values.layout is not torch.strided or not values.numel():
                    continue
                part = sample(values.reshape(-1))
                if kind == "grad" and scale != 1.0:
                    part = part / scale
                # A copy: what is on the host would move with the next step.
                courier.add(part.clone(), found[kind].setdefault(index, []).append)
        return found

    def _scatter(self, indices: Sequence[int], values: Sequence[Tensor], device: torch.device) -> Tensor:
        squares = torch.stack([value.to(device, torch.float32) for value in values]).square()
        places = torch.tensor(indices, device=device)
        total = torch.zeros(self._size, device=device).index_add_(0, places, squares)
        present = torch.zeros(self._size, dtype=torch.bool, device=device).index_fill_(0, places, True)
        return torch.where(present, total.sqrt(), math.nan)


def _differences(after: Sequence[Tensor], before: Sequence[Tensor]) -> list[Tensor]:
    return list(torch._foreach_sub([a.float() for a in after], [b.float() for b in before]))


def _squares(tensor: Tensor) -> float:
    """Sum the squares of a plain tensor on the host."""
    if tensor.numel() > _SMALL:
        flat = tensor.view(-1)
        return float(flat.dot(flat))
    values = tensor.numpy().ravel()
    return float(np.dot(values, values))


def _sure_squares(tensor: Tensor) -> float:
    """Sum the squares of a plain tensor, also where single precision runs out."""
    found = _squares(tensor)
    return found if _sound(found) else _squares_of(tensor.double())


def _sound(squares: float) -> bool:
    """Say whether single precision was enough: squares run over and under long before values do."""
    return 1e-28 < squares < math.inf


def _squares_of(wide: Tensor) -> float:
    return float(wide.square().sum())


def _moved(now: Tensor, before: Tensor) -> float:
    """Estimate the squared distance from a strided sample."""
    part = sample(now.view(-1)).numpy() - before.numpy()
    found = float(np.dot(part, part))
    if not _sound(found):
        found = float(np.square(part, dtype=np.float64).sum())
    return found * float(now.numel() / max(part.size, 1))


def binned(size: int, kinds: Mapping[str, Mapping[int, Sequence[Array]]]) -> dict[str, HistogramBlock]:
    """Count the samples of each layer in equal bins between their lowest and highest finite value, all in one pass.

    Parameters
    ----------
    size : int
        Number of layers.
    kinds : mapping
        Kind to layer index to samples, float32.

    Examples
    --------
    >>> block = binned(2, {"weight": {1: [np.array([0.0, 1.0, np.inf], np.float32)]}})["weight"]
    >>> int(block.counts[1, 0]), int(block.counts[1, -1]), float(block.lo[1]), float(block.hi[1])
    (1, 1, 0.0, 1.0)
    """
    blocks: dict[str, HistogramBlock] = {}
    rows: list[tuple[HistogramBlock, int]] = []
    groups: list[Array] = []
    for kind, layers in kinds.items():
        none = np.full(size, np.nan, np.float32)
        blocks[kind] = HistogramBlock(np.zeros((size, BINS), np.uint32), none, none.copy())
        for index, parts in layers.items():
            if not parts:
                continue
            values = parts[0] if len(parts) == 1 else np.concatenate(parts)
            with np.errstate(all="ignore"):
                whole = math.isfinite(float(values.sum()))
            if not whole:
                values = values[np.isfinite(values)]
            if values.size:
                groups.append(values)
                rows.append((blocks[kind], index))
    if not groups:
        return blocks
    sizes = np.array([values.size for values in groups])
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    joined = np.concatenate(groups)
    low, high = np.minimum.reduceat(joined, starts), np.maximum.reduceat(joined, starts)
    with np.errstate(divide="ignore", over="ignore"):
        factor = BINS / (high.astype(np.float64) - low)
    # All values equal: the middle bin.
    flat = ~np.isfinite(factor)
    factor[flat] = 0.0
    # Ranges so wide or so narrow that single precision runs out.
    kind_of = np.float32 if np.all(flat | ((factor > 1e-36) & (factor < 1e36))) else np.float64
    factor = np.repeat(factor.astype(kind_of), sizes)
    places = ((joined.astype(kind_of, copy=False) - np.repeat(low, sizes)) * factor).astype(np.int32)
    np.clip(places, 0, BINS - 1, out=places)
    places += np.repeat(np.where(flat, BINS // 2, 0) + BINS * np.arange(len(groups)), sizes).astype(np.int32)
    counts = np.bincount(places, minlength=BINS * len(groups)).reshape(-1, BINS)
    for (block, index), row, lo, hi in zip(rows, counts, low, high, strict=True):
        block.counts[index], block.lo[index], block.hi[index] = row, lo, hi
    return blocks


def spread(values: Mapping[int, float], size: int) -> Array:
    """Write one value a layer into a row, NaN elsewhere.

    Examples
    --------
    >>> spread({1: 2.0}, 2)
    array([nan,  2.], dtype=float32)
    """
    row = np.full(size, np.nan, np.float32)
    for index, value in values.items():
        row[index] = value
    return row
