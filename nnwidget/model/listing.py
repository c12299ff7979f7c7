"""What the modules of a model are, without running it: counts, what is trainable, reasons, notes, signatures."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nnwidget.model.fused import fused_notes, never_called
from nnwidget.model.names import Named, compiled_regions, refusal
from nnwidget.types import LayerInfo

_HOLDERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


class _Count:
    """Elements below a module; tensors that lie in several places are kept apart, so that each counts once."""

    __slots__ = ("buffers", "parameters", "shared", "signature", "trainable")

    def __init__(self) -> None:
        self.parameters = 0
        self.trainable = 0
        self.buffers = 0
        self.shared: dict[int, tuple[int, int, int]] = {}
        self.signature = ""

    def add(self, other: _Count) -> None:
        """Take in a child."""
        self.parameters += other.parameters
        self.trainable += other.trainable
        self.buffers += other.buffers
        if other.shared:
            self.shared.update(other.shared)

    def totals(self) -> tuple[int, int, int]:
        """Sum up parameters, trainable ones among them, and buffers."""
        shared = self.shared.values()
        return (
            self.parameters + sum(item[0] for item in shared),
            self.trainable + sum(item[1] for item in shared),
            self.buffers + sum(item[2] for item in shared),
        )


def listing(named: Sequence[Named]) -> list[LayerInfo]:
    """Describe every module, in time linear in their number.

    Parameters
    ----------
    named : sequence of Named
        The walk over the model.

    Returns
    -------
    list of LayerInfo
        In the same order, with ``calls`` None. No weight is read: reading a parametrised one would move its buffers.

    Examples
    --------
    >>> from nnwidget.model.names import walk
    >>> [(info.name, info.parameters) for info in listing(walk(nn.Sequential(nn.Linear(2, 3), nn.ReLU())))]
    [('', 9), ('0', 9), ('1', 0)]
    """
    counts = _counts(named)
    fused, silent, compiled = fused_notes(named), never_called(named), compiled_regions(named)
    rows = []
    for item in named:
        module = item.module
        parameters, trainable, buffers = counts[id(module)].totals()
        notes = [fused[item.name]] if item.name in fused and item.name not in silent else []
        if item.name in compiled:
            notes.append("It runs inside a region of torch.compile and is seen in an eager re-run.")
        rows.append(
            LayerInfo(
                name=item.name,
                type=type_name(module),
                depth=item.depth,
                parameters=parameters,
                own_parameters=sum(_size(parameter) for parameter in _own(module._parameters)),
                buffers=buffers,
                trainable=None if not parameters or 0 < trainable < parameters else trainable > 0,
                aliases=tuple(item.aliases),
                reason=_reason(item, silent),
                note=" ".join(notes),
                signature=counts[id(module)].signature,
            )
        )
    return rows


def type_name(module: nn.Module) -> str:
    """Name the class, for a ScriptModule the class it was made from."""
    return str(getattr(module, "original_name", "")) or type(module).__name__


def uninitialised(named: Sequence[Named]) -> list[str]:
    """Name the lazy layers that have no parameters yet."""
    return [item.name for item in named if _lazy(item.module)]


def _reason(item: Named, silent: dict[str, str]) -> str:
    """Say why a layer cannot be observed; empty when it can."""
    if _lazy(item.module):
        return "it has no parameters yet; run the model once on a batch first"
    if type(item.module) in _HOLDERS:
        return "it only holds other modules or parameters and is never called itself"
    return refusal(item.module) or silent.get(item.name, "")


def _lazy(module: nn.Module) -> bool:
    """Tell whether a module's own parameters or buffers wait for the first batch."""
    return any(is_lazy(tensor) for tensor in (*_own(module._parameters), *_own(module._buffers)))


def _own(held: Mapping[str, Tensor | None]) -> list[Tensor]:
    """List the tensors in a module's dictionary."""
    return [tensor for _, tensor in held.items() if tensor is not None]


def _size(tensor: Tensor) -> int:
    """Count elements; a tensor that does not exist yet has none."""
    return 0 if is_lazy(tensor) else tensor.numel()


def _counts(named: Sequence[Named]) -> dict[int, _Count]:
    """Count below every module, children first."""
    owners: dict[int, int] = {}
    for item in named:
        for tensor in (*_own(item.module._parameters), *_own(item.module._buffers)):
            owners[id(tensor)] = owners.get(id(tensor), 0) + 1
    several = _below_shared(named)
    counts: dict[int, _Count] = {}
    for item in _children_first(named):
        module = item.module
        count = _Count()
        for tensor, parameter in (
            *((tensor, True) for tensor in _own(module._parameters)),
            *((tensor, False) for tensor in _own(module._buffers)),
        ):
            size = _size(tensor)
            entry = (size, size * int(tensor.requires_grad), 0) if parameter else (0, 0, size)
            if owners[id(tensor)] > 1 or id(module) in several:
                count.shared[id(tensor)] = entry
            else:
                count.parameters += entry[0]
                count.trainable += entry[1]
                count.buffers += entry[2]
        for _, child in item.children:
            # A child that is not counted yet is a module above this one.
            if id(child.module) in counts:
                count.add(counts[id(child.module)])
        count.signature = _signature(item, counts)
        counts[id(module)] = count
    return counts


def _below_shared(named: Sequence[Named]) -> set[int]:
    """Collect the modules that can be reached on more than one way."""
    found: set[int] = set()
    stack = [item for item in named if item.parents > 1 or (item.parents and not item.name)]
    while stack:
        item = stack.pop()
        if id(item.module) not in found:
            found.add(id(item.module))
            stack.extend(child for _, child in item.children)
    return found


def _children_first(named: Sequence[Named]) -> list[Named]:
    """Order modules so that children come before parents; a cycle is cut where it closes."""
    order: list[Named] = []
    seen: set[int] = set()
    stack = [(named[0], False)]
    while stack:
        item, done = stack.pop()
        if done:
            order.append(item)
        elif id(item) not in seen:
            seen.add(id(item))
            stack.append((item, True))
            stack.extend((child, False) for _, child in item.children)
    return order


def _signature(item: Named, counts: dict[int, _Count]) -> str:
    """Hash type, settings, own shapes and children; the same in every process."""
    module = item.module
    settings = ""
    if "parametrizations" not in module._modules:
        # Users write these, too.
        with contextlib.suppress(Exception):
            settings = module.extra_repr()
    tensors = (*module._parameters.items(), *module._buffers.items())
    shapes = [(key, None if t is None or is_lazy(t) else tuple(t.shape)) for key, t in tensors]
    children = [(key, counts[id(c.module)].signature if id(c.module) in counts else "") for key, c in item.children]
    text = repr((type(module).__module__, type_name(module), settings, shapes, children))
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


__all__ = ["listing", "type_name", "uninitialised"]
