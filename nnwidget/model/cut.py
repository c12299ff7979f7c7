"""The cut in time: what finished before an edit acts is served from copies, everything after it runs live."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from nnwidget.model.structure import map_tensors, opaque, tensors

# Modules whose calls are edited: every call, or the numbers of some.
Targets: TypeAlias = Mapping[int, "frozenset[int] | None"]


@dataclass(slots=True)
class Entry:
    """One module call before the cut: served from a copy, or run live with its children as entries of their own.

    ``calls`` are the modules called inside a served call, itself included, in the order in which they started.
    """

    module: int
    first: int
    served: bool = False
    output: Any = None
    # Something later writes into the output, so each run gets a copy of its own.
    fragile: bool = False
    calls: tuple[int, ...] = ()
    size: int = 0


@dataclass(slots=True)
class Plan:
    """What to serve up to the cut; ``seen`` holds copies of observed outputs before it, by module and call."""

    entries: list[Entry]
    seen: dict[tuple[int, int], Any]
    observed: frozenset[int]
    size: int
    # Modules of which every call is served.
    idle: frozenset[int] = frozenset()
    # Modules called inside served calls, which can be observed only when they were while recording.
    inside: frozenset[int] = frozenset()

    def rows(self, times: int, channels_last: bool) -> Plan:
        """Make a plan for a batch of equal rows out of one for a batch of one; nothing inside it can be observed."""
        entries = [
            replace(entry, output=repeated(entry.output, times, channels_last=channels_last), size=entry.size * times)
            if entry.served
            else entry
            for entry in self.entries
        ]
        return Plan(entries, {}, frozenset(), self.size * times, self.idle, self.inside)


@dataclass(slots=True)
class _Mark:
    """What is remembered while a recorded call is under way."""

    index: int
    given: list[tuple[Tensor, int]]
    pointers: set[int]
    served: bool = True


@dataclass(slots=True)
class Recorder:
    """Records a run up to the first finished call of a target.

    Outputs of calls that finish before it are copied, and the copies of their children dropped. A call that returns
    memory it was given, changes its arguments in place, or takes or gives objects that cannot be walked is not
    served: it runs live, so that aliasing stays what it is in a full run.
    """

    targets: Targets
    observe: frozenset[int]
    max_bytes: int
    entries: list[Entry] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    seen: dict[tuple[int, int], Any] = field(default_factory=dict)
    originals: list[tuple[Entry, list[tuple[Tensor, int]]]] = field(default_factory=list)
    size: int = 0
    reached: bool = False
    reason: str = ""

    @property
    def recording(self) -> bool:
        """Whether the cut is still ahead and memory lasts."""
        return not self.reached and not self.reason

    def start(self, module: int, args: Any, kwargs: Any) -> _Mark | None:
        """Note a call that begins."""
        if not self.recording:
            return None
        self.entries.append(Entry(module, len(self.calls)))
        self.calls.append(module)
        given = [tensor for _, tensor in tensors((args, kwargs))]
        mark = _Mark(len(self.entries) - 1, [], set())
        for tensor in given:
            pointer = storage(tensor)
            mark.given.append((tensor, _version(tensor)))
            if pointer is None:
                mark.served = False
            elif pointer:
                mark.pointers.add(pointer)
        if any(True for _ in opaque((args, kwargs))):
            mark.served = False
        return mark

    def finish(self, mark: _Mark | None, call: int, args: Any, kwargs: Any, output: Any) -> None:
        """Note a call that ended, with its output before any edit."""
        if mark is None or not self.recording:
            return
        entry = self.entries[mark.index]
        if mark.served and self._detached(mark, args, kwargs, output):
            entry.served, entry.output, entry.size = True, copied(output), nbytes(output)
            entry.calls = tuple(self.calls[entry.first :])
            self.originals.append((entry, _versions(output)))
            self.size += entry.size - sum(child.size for child in self.entries[mark.index + 1 :])
            del self.entries[mark.index + 1 :]
        chosen = self.targets.get(entry.module, frozenset())
        if chosen is None or call in chosen:
            self.reached = True
        elif entry.module in self.observe:
            self.seen[entry.module, call] = copied(output)
            self.size += nbytes(output)
        if self.size > self.max_bytes:
            self.reason = f"the copies for a cut need more than {self.max_bytes:,} bytes"
            self.entries.clear()
            self.seen.clear()
            self.originals.clear()

    def plan(self, counts: Mapping[int, int]) -> Plan | None:
        """Return what was recorded, None when there is nothing to serve; call it when the run is over.

        ``counts`` are the calls that each module had in the whole run.
        """
        for entry, versions in self.originals:
            # Without edits, what comes later may write into the target's output.
            last = entry is self.entries[-1] if self.entries else False
            entry.fragile = last or any(_version(tensor) != version for tensor, version in versions)
        self.originals.clear()
        if not self.reached or not any(entry.served for entry in self.entries):
            return None
        inside = frozenset(module for entry in self.entries for module in entry.calls[1:])
        seen = {key: value for key, value in self.seen.items() if key[0] in inside}
        size = sum(entry.size for entry in self.entries) + sum(nbytes(value) for value in seen.values())
        served: dict[int, int] = {}
        for entry in self.entries:
            for module in entry.calls:
                served[module] = served.get(module, 0) + 1
        idle = frozenset(module for module, calls in served.items() if calls == counts[module])
        return Plan(list(self.entries), seen, self.observe, size, idle, inside)

    def _detached(self, mark: _Mark, args: Any, kwargs: Any, output: Any) -> bool:
        """Whether a copy of the output can stand for the call."""
        after = [tensor for _, tensor in tensors((args, kwargs))]
        if len(after) != len(mark.given):
            return False
        if any(
            new is not old or _version(new) != version for new, (old, version) in zip(after, mark.given, strict=True)
        ):
            return False
        pointers = [storage(tensor) for _, tensor in tensors(output)]
        if any(pointer is None or pointer in mark.pointers for pointer in pointers):
            return False
        return not any(True for _ in opaque(output))


class Cursor:
    """Walks through a plan while the model runs again."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.position = 0
        self.diverged = False
        self._versions = [_versions(entry.output) for entry in plan.entries if entry.served and not entry.fragile]

    def take(self, module: int) -> Entry | None:
        """Return the entry of the call that begins, None after the cut or when the run took another way."""
        if self.diverged or self.position >= len(self.plan.entries):
            return None
        entry = self.plan.entries[self.position]
        if entry.module != module:
            self.diverged = True
            return None
        self.position += 1
        return entry

    @property
    def spoilt(self) -> bool:
        """Whether the run wrote into what the plan holds: right for this run, and useless for the next."""
        return any(_version(tensor) != version for versions in self._versions for tensor, version in versions)

    @property
    def finished(self) -> bool:
        """Whether every entry was met, in order."""
        return not self.diverged and self.position == len(self.plan.entries)


def copied(value: Any) -> Any:
    """Copy a nested value so that nothing later can change it; the same tensor twice stays the same tensor twice."""
    memo: dict[int, Tensor] = {}

    def copy(tensor: Tensor) -> Tensor:
        if id(tensor) not in memo:
            memo[id(tensor)] = _exact(tensor)
        return memo[id(tensor)]

    return map_tensors(value, copy)


def repeated(value: Any, times: int, *, channels_last: bool = False) -> Any:
    """Repeat a batch of one along its first axis; tensors that have another size there stay as they are.

    ``channels_last`` lays four-dimensional ones out so, which convolutions on the CPU are faster with.

    Examples
    --------
    >>> repeated((torch.ones(1, 3), torch.ones(2)), 4)[0].shape
    torch.Size([4, 3])
    """
    memo: dict[int, Tensor] = {}

    def repeat(tensor: Tensor) -> Tensor:
        if tensor.ndim == 0 or tensor.shape[0] != 1:
            return tensor
        if id(tensor) not in memo:
            new = tensor.repeat_interleave(times, dim=0)
            last = channels_last and new.ndim == 4
            memo[id(tensor)] = new.contiguous(memory_format=torch.channels_last) if last else new
        return memo[id(tensor)]

    return map_tensors(value, repeat)


def nbytes(value: Any) -> int:
    """Bytes that the tensors of a nested value take as copies."""
    return sum(tensor.numel() * tensor.element_size() for _, tensor in tensors(value))


def storage(tensor: Tensor) -> int | None:
    """Address of a tensor's memory, 0 for none, None where torch cannot tell."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return None


def same(a: Any, b: Any) -> bool:
    """Whether two nested values hold the same tensors bit for bit (NaN equals NaN), and equal values where none."""
    left, right = list(tensors(a)), list(tensors(b))
    if not left and not right:
        return type(a) is type(b) and (a is b or not hasattr(a, "__eq__") or bool(a == b))
    if [path for path, _ in left] != [path for path, _ in right]:
        return False
    return all(_same_tensor(x, y) for (_, x), (_, y) in zip(left, right, strict=True))


def _same_tensor(a: Tensor, b: Tensor) -> bool:
    """Bitwise equality of two tensors."""
    if a.dtype != b.dtype or a.is_nested != b.is_nested or a.layout != b.layout:
        return False
    if a.is_nested:
        left, right = a.unbind(), b.unbind()
        return len(left) == len(right) and all(_same_tensor(x, y) for x, y in zip(left, right, strict=True))
    if a.shape != b.shape:
        return False
    if a.layout != torch.strided or a.is_quantized:
        return bool(torch.equal(a.to_dense() if not a.is_quantized else a, b.to_dense() if not b.is_quantized else b))
    if a.is_complex():
        a, b = torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj())
    if torch.equal(a, b) and not a.is_floating_point():
        return True
    if not a.is_floating_point():
        return False
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    equal = a.contiguous().view(bits) == b.contiguous().view(bits)
    return bool((equal | (a.isnan() & b.isnan())).all())


def _exact(tensor: Tensor) -> Tensor:
    """Clone with the same strides, since the kernels of what comes after may be chosen by them."""
    tensor = tensor.detach()
    new = tensor.clone()
    if tensor.layout == torch.strided and not tensor.is_nested and new.stride() != tensor.stride():
        dense = all(step > 0 or size < 2 for step, size in zip(tensor.stride(), tensor.shape, strict=True))
        if dense and not tensor.is_quantized:
            strided = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
            # Elements that share memory (unfold) cannot be written; there the plain clone stays.
            with contextlib.suppress(RuntimeError):
                new = strided.copy_(tensor)
    return new


def _versions(value: Any) -> list[tuple[Tensor, int]]:
    """List the tensors of a nested value with their version counters."""
    return [(tensor, _version(tensor)) for _, tensor in tensors(value)]


def _version(tensor: Tensor) -> int:
    """Read the version counter; inference tensors have none."""
    return -1 if tensor.is_inference() else tensor._version


__all__ = ["Cursor", "Entry", "Plan", "Recorder", "Targets", "copied", "nbytes", "repeated", "same", "storage"]
