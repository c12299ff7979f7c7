"""Detached copies of tensors in nested values, reduced and moved on request, within a number of bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nnwidget.model.structure import map_tensors, tensors


class OverBudgetError(Exception):
    """A copy would not fit; the value in question was not copied."""


class Copier:
    """Make copies that nothing later can change.

    Parameters
    ----------
    reduce : callable, optional
        Applied to each detached tensor first, without gradients.
    to : device or dtype, optional
        Where copies go; a dtype applies to floating point tensors only.
    max_bytes : int, optional
        Limit for all copies together; when it is reached, no more copies are made, but their size is counted.

    Attributes
    ----------
    used, needed : int
        Bytes copied, and bytes that all copies would have taken.

    Examples
    --------
    >>> copier = Copier(max_bytes=8)
    >>> copier.structure({"a": torch.ones(2), "b": None})
    {'a': tensor([1., 1.]), 'b': None}
    """

    def __init__(
        self,
        reduce: Callable[[Tensor], Any] | None = None,
        to: str | torch.device | torch.dtype | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.used = 0
        self.needed = 0
        self.full = False
        self._plain = reduce is None and to is None
        self._reduce = reduce
        self._to = torch.device(to) if isinstance(to, str) else to
        self._max_bytes = max_bytes

    def structure(self, value: Any) -> Any:
        """Copy every tensor in a nested value.

        Raises
        ------
        OverBudgetError
            It does not fit, or an earlier one did not.
        """
        if type(value) is Tensor and self._plain and not value.is_inference():
            # The usual case, quickly.
            self._take(_bytes(value))
            return value.detach().clone()
        with torch.no_grad(), _normal_mode():
            fresh: set[int] = set()
            source = map_tensors(value, lambda tensor: self._prepare(tensor, fresh))
            self._take(sum(_bytes(tensor) for _, tensor in tensors(source)))
            return map_tensors(source, lambda tensor: tensor if id(tensor) in fresh else tensor.clone())

    def _take(self, size: int) -> None:
        """Account for a copy, or refuse it."""
        self.needed += size
        if self.full or (self._max_bytes is not None and self.used + size > self._max_bytes):
            self.full = True
            raise OverBudgetError
        self.used += size

    def summary(self) -> str:
        """Say what was needed and what was allowed."""
        return f"All copies need {self.needed:,} bytes; max_bytes is {self._max_bytes or 0:,}."

    def _prepare(self, tensor: Tensor, fresh: set[int]) -> Any:
        """Detach, reduce and convert; ``fresh`` collects what conversion has copied already."""
        ready = tensor.detach()
        if self._reduce is not None:
            ready = self._reduce(ready)
        if not isinstance(ready, Tensor) or self._to is None:
            return ready
        if isinstance(self._to, torch.dtype) and not ready.is_floating_point():
            return ready
        moved = ready.to(self._to)
        if moved is not ready:
            fresh.add(id(moved))
        return moved


def _bytes(tensor: Tensor) -> int:
    """Count the bytes of the values, and of the indices of a sparse tensor."""
    if tensor.layout == torch.sparse_coo:
        return _bytes(tensor._values()) + _bytes(tensor._indices())
    return tensor.numel() * tensor.element_size()


def _normal_mode() -> contextlib.AbstractContextManager[Any]:
    """Leave inference mode, so that copies of inference tensors are usable anywhere."""
    return torch.inference_mode(False) if torch.is_inference_mode_enabled() else contextlib.nullcontext()


__all__ = ["Copier", "OverBudgetError"]
