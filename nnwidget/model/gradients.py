"""Gradients of layer outputs, taken by tensor hooks that are armed in the forward."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor

from nnwidget.errors import UnobservableError
from nnwidget.model.copies import Copier, OverBudgetError
from nnwidget.model.structure import map_paths, map_tensors, tensors
from nnwidget.model.taps import noop_reduction

# Stands for a tensor in the remembered structure of an output.
_SLOT = torch.empty(0, device="cpu")


class _Call:
    """One call: the structure of its output, the gradients that arrived, and a copy to recognise it by."""

    __slots__ = ("__weakref__", "armed", "copy", "grads", "shape")

    def __init__(self, shape: Any, copy: Any) -> None:
        self.shape = shape
        self.copy = copy
        self.grads: dict[str, Any] = {}
        self.armed = False


class _GradientHook:
    """What autograd holds: it knows the call only weakly, and nothing complains when it is saved."""

    __slots__ = ("_call", "_copier", "_path")

    __torch_unserializable__ = True

    def __init__(self, call: _Call, path: str, copier: Copier) -> None:
        self._call = weakref.ref(call)
        self._path = path
        self._copier = weakref.ref(copier)

    def __call__(self, gradient: Tensor | None) -> None:
        """Copy the gradient; several backwards add up, as in ``.grad``. It never raises."""
        call, copier = self._call(), self._copier()
        if torch.compiler.is_compiling() or call is None or copier is None or gradient is None:
            return
        try:
            copied = copier.structure(gradient)
            before = call.grads.get(self._path)
            call.grads[self._path] = copied if before is None else before + copied
        except OverBudgetError:
            return
        except Exception as error:
            call.grads[self._path] = error

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave a no-op behind."""
        return noop_reduction()


class Gradients:
    """Gradients per layer and call, for as long as the hooks are armed.

    Parameters
    ----------
    copier : Copier
        Makes the copies, under the same limit as those of the outputs.
    names : list of str
        The layers.
    """

    def __init__(self, copier: Copier, names: list[str]) -> None:
        self._copier = copier
        self._calls: dict[str, list[_Call]] = {name: [] for name in names}
        self._handles: list[Any] = []

    def arm(self, name: str, output: Any, copy: Any) -> None:
        """Remember a call and ask autograd for the gradients of its output."""
        call = _Call(map_tensors(output, lambda _: _SLOT), copy)
        self._calls[name].append(call)
        self._hook(call, output)

    def recomputed(self, name: str, output: Any) -> None:
        """Take over from a call that runs again inside a backward.

        Re-entrant checkpointing runs the first forward without gradients: they arrive at the recomputed output. It
        belongs to the call that gave the same values, else to the last one left, as segments are recomputed backwards.
        """
        left = [call for call in self._calls[name] if not call.armed]
        if left:
            self._hook(next((call for call in reversed(left) if _same(call.copy, output)), left[-1]), output)

    def of(self, name: str) -> list[Any]:
        """Give one entry per call: the structure of its output with gradients, None where none arrived.

        Raises
        ------
        UnobservableError
            Copying a gradient failed.
        """
        for call in self._calls[name]:
            for value in call.grads.values():
                if isinstance(value, Exception):
                    raise UnobservableError(f"A gradient of layer {name!r} could not be kept.", layer=name) from value
        return [_filled(call) for call in self._calls[name]]

    def close(self) -> None:
        """Take the hooks off the tensors; the gradients stay."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self, call: _Call, output: Any) -> None:
        """Ask for the gradient of every tensor that takes part in autograd."""
        for path, tensor in tensors(output):
            if tensor.requires_grad:
                call.armed = True
                hook = _GradientHook(call, path, self._copier)
                self._handles.append(tensor.register_hook(hook))  # type: ignore[no-untyped-call]


def _filled(call: _Call) -> Any:
    """Put the gradients that arrived into the structure of the output."""
    return map_paths(call.shape, lambda path, _: call.grads.get(path))


def _same(copy: Any, output: Any) -> bool:
    """Tell whether a recomputed output has the values of an earlier one; reduced copies count as different."""
    first = next((tensor for _, tensor in tensors(copy)), None)
    again = next((tensor for _, tensor in tensors(output)), None)
    if first is None or again is None or first.device != again.device or first.layout != torch.strided:
        return False
    return first.dtype == again.dtype and torch.equal(first, again.detach())


__all__ = ["Gradients"]
