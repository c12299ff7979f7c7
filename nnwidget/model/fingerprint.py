"""Tell by value whether a model is still what it was: version counters do not see fused optimisers and ``.data``."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from itertools import chain
from operator import attrgetter, is_, methodcaller
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnwidget.model.structure import tensors
from nnwidget.model.taps import OBSERVE, Hook

# Words (of eight bytes on the CPU) in a row; sums of rows and of columns together see values that changed places.
_LANES = 256
# Tensors of fewer words are compared together in one operation.
_SMALL = 1024
# Words read of a tensor of which not every bit counts.
_SAMPLE = 8
_version = attrgetter("_version")
# The registries of a ScriptModule are no dictionaries.
_entries = methodcaller("values")


class Fingerprint:
    """Remembers a model and its inputs, and says whether they are unchanged.

    Of the modules in ``thorough`` every bit of every parameter, buffer and plain tensor attribute counts (an integer
    checksum, so that the smallest change of a single weight shows), with their attributes (by identity) and hooks.
    Of all others, which run live anyway, the first values, the version counter and the address. Memory that cannot be
    read as words (sparse, quantised, nested) counts by version and address. Built so that asking is cheap.

    Parameters
    ----------
    modules : sequence of torch.nn.Module
        Every module of the model.
    thorough : collection of int
        ``id`` of the modules whose every bit counts.
    inputs : object
        A nested value; every bit of its tensors counts.

    Examples
    --------
    >>> net = nn.Linear(2, 2)
    >>> mark = Fingerprint([net], {id(net)}, ())
    >>> mark.holds(())
    True
    >>> net.weight.data[0, 0] += 1e-6
    >>> mark.holds(())
    False
    """

    def __init__(self, modules: Sequence[nn.Module], thorough: Collection[int], inputs: Any) -> None:
        chosen = [module for module in modules if id(module) in thorough]
        self._dicts = [part for module in chosen for part in (module.__dict__, module._parameters, module._buffers)]
        self._hooks = [part for module in chosen for part in (module._forward_pre_hooks, module._forward_hooks)]
        self._values = list(chain.from_iterable(map(_entries, self._dicts)))
        self._sizes = [*map(len, self._dicts)]
        whole = _held(chosen)
        known = {id(tensor) for tensor in whole}
        others = [tensor for tensor in _held(modules) if id(tensor) not in known]
        versioned = (*others, *(tensor for tensor in whole if not _plain(tensor)))
        # Inference tensors have no version counter.
        self._versioned = [tensor for tensor in versioned if not tensor.is_inference()]
        self._whole = _Memory(whole)
        self._others = _Memory(others, sample=True)
        self._strided = [
            tensor for tensor in (*whole, *others) if tensor.layout == torch.strided and not tensor.is_nested
        ]
        self._addresses = [*map(Tensor.data_ptr, self._strided)]
        self._state = self._ask(inputs)

    def holds(self, inputs: Any) -> bool:
        """Whether nothing has changed since this was made.

        Parameters
        ----------
        inputs : object
            The inputs as they are now; equal values count as unchanged wherever they lie.
        """
        if [*map(len, self._dicts)] != self._sizes:
            return False
        if not all(map(is_, chain.from_iterable(map(_entries, self._dicts)), self._values)):
            return False
        # Replaced memory must be seen before the old is read.
        if [*map(Tensor.data_ptr, self._strided)] != self._addresses:
            return False
        return bool(self._ask(inputs) == self._state)

    def _ask(self, inputs: Any) -> tuple[Any, ...]:
        """Everything that must stay equal, in the order of what is asked first."""
        given = list(tensors(inputs))
        return (
            [*map(_version, self._versioned)],
            [_changing(hooks) for hooks in self._hooks if hooks],
            (
                torch.get_num_threads(),
                torch.get_float32_matmul_precision(),
                torch.are_deterministic_algorithms_enabled(),
            ),
            [(path, str(t.dtype), t.device, None if t.is_nested else (t.shape, t.stride())) for path, t in given],
            _Memory([tensor for _, tensor in given]).sums(),
            self._whole.sums(),
            self._others.sums(),
        )


class _Memory:
    """Tensors as views of their memory, so that reading them again costs a few operations in all."""

    def __init__(self, held: Sequence[Tensor], *, sample: bool = False) -> None:
        readable = [tensor.detach() for tensor in held if _plain(tensor) and tensor.numel()]
        words = [_words(tensor) for tensor in readable if tensor.device.type == "cpu"]
        if sample:
            # One line of the processor's cache each: those are what asking costs.
            words = [array[:_SAMPLE] for array in words]
        small = [array for array in words if len(array) < _SMALL]
        self._small = [[array for array in small if array.dtype == kind] for kind in {array.dtype for array in small}]
        self._large = [_lanes(array) for array in words if len(array) >= _SMALL]
        self._device: dict[torch.device, list[Tensor]] = {}
        for tensor in readable:
            if tensor.device.type != "cpu":
                bits = _bits(tensor)
                self._device.setdefault(tensor.device, []).append(bits[:_SAMPLE] if sample else bits)

    def sums(self) -> list[Hashable]:
        """Checksums of what the memory holds now; small tensors as they are."""
        found: list[Hashable] = [np.concatenate(group).tobytes() for group in self._small]
        for body, tail in self._large:
            # Each does what it is faster at.
            columns, rows = np.add.reduce(body, axis=0, dtype=body.dtype), torch.from_numpy(body).sum(1)
            found.extend((columns.tobytes(), rows.numpy().tobytes(), tail.tobytes()))
        for group in self._device.values():
            found.append(_device_sums(group))
        return found


def _held(modules: Sequence[nn.Module]) -> list[Tensor]:
    """Parameters, buffers and plain tensor attributes of modules, each once."""
    found: dict[int, Tensor] = {}
    for module in modules:
        for value in (*module._parameters.values(), *module._buffers.values(), *module.__dict__.values()):
            if isinstance(value, Tensor):
                found[id(value)] = value
    return list(found.values())


def _changing(hooks: Mapping[int, Any]) -> list[int]:
    """List the hooks that may change values; those of ours that only look do not."""
    return [key for key, hook in hooks.items() if not (isinstance(hook, Hook) and hook.rank == OBSERVE)]


def _plain(tensor: Tensor) -> bool:
    """Whether the memory can be read as words."""
    return tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_nested


def _ordered(tensor: Tensor) -> Tensor:
    """Give the elements in one dimension in the order of memory; a dense layout such as channels last is not copied."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if not tensor.is_contiguous():
        tensor = tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))
    return tensor.reshape(-1)


def _words(tensor: Tensor) -> Any:
    """Memory on the CPU as 8-byte words where it can be viewed so, else as bytes."""
    flat = _ordered(tensor).view(torch.uint8).numpy()
    return flat.view(np.int64) if len(flat) % 8 == 0 and tensor.data_ptr() % 8 == 0 else flat


def _lanes(words: Any) -> tuple[Any, Any]:
    """Words as rows and columns to add up, and what is left over."""
    whole = len(words) // _LANES * _LANES
    return words[:whole].reshape(-1, _LANES), words[whole:]


def _bits(tensor: Tensor) -> Tensor:
    """Memory on an accelerator as integers."""
    flat = _ordered(tensor)
    if flat.element_size() == 1:
        return flat.view(torch.uint8)
    return flat.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.element_size()])


def _device_sums(group: Sequence[Tensor]) -> Hashable:
    """Checksums on an accelerator, of rows and of columns weighted by position, in one transfer."""
    sums = []
    for bits in group:
        whole = bits.numel() // _LANES * _LANES
        body = bits[:whole].view(-1, _LANES)
        rest = (bits[whole:].long() * _odd(bits.numel() - whole, bits.device)).sum()
        for axis in (0, 1):
            part = body.sum(axis, dtype=torch.int64)
            sums.append((part * _odd(len(part), bits.device)).sum() + rest)
    return tuple(torch.stack(sums).tolist())


def _odd(count: int, device: torch.device) -> Tensor:
    """Weights for positions; an odd one loses no bit of an integer that wraps."""
    return torch.arange(1, 2 * count + 1, 2, device=device)


__all__ = ["Fingerprint"]
