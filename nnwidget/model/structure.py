"""Walk what modules take and give: tensors nested in tuples, lists, mappings and dataclasses."""

from __future__ import annotations

import copy
import dataclasses
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from torch import Tensor

from nnwidget.errors import InputError
from nnwidget.types import TensorSpec

Change: TypeAlias = Callable[[str, Tensor], Any]

# Deeper nesting than this is a container that holds itself.
_DEEPEST = 60


def tensors(obj: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor in a nested input or output with its path.

    Parameters
    ----------
    obj : object
        A tensor, or tuples, named tuples, lists, mappings and dataclasses of tensors; anything else is passed over.

    Yields
    ------
    tuple of (str, Tensor)
        The path (``""`` for a bare tensor, ``"0"``, ``"1.0"``, ``"logits"``) and the tensor itself, not a copy.

    Examples
    --------
    >>> import torch
    >>> [path for path, _ in tensors({"logits": torch.ones(2), "states": (torch.ones(1), None)})]
    ['logits', 'states.0']
    """
    yield from _walk(obj, "", 0)


def map_tensors(obj: Any, fn: Callable[[Tensor], Any]) -> Any:
    """Return the same structure with every tensor replaced by ``fn(tensor)``.

    Containers are rebuilt, so the result shares none with ``obj``; other objects are kept by reference.

    Parameters
    ----------
    obj : object
        What :func:`tensors` walks.
    fn : callable
        Gets a tensor and returns what takes its place.

    Returns
    -------
    object
        A structure of the same types; a mapping that is neither a dict nor a UserDict becomes a plain dict.

    Examples
    --------
    >>> import torch
    >>> map_tensors((torch.ones(2), None), lambda tensor: tuple(tensor.shape))
    ((2,), None)
    """
    return map_paths(obj, lambda _path, tensor: fn(tensor))


def map_paths(obj: Any, fn: Change) -> Any:
    """Like :func:`map_tensors`, with ``fn(path, tensor)``."""
    return _map(obj, "", 0, fn)


def get_at(obj: Any, path: str) -> Tensor:
    """Return the tensor at a path of :func:`tensors`.

    Raises
    ------
    InputError
        No tensor lies there; the message lists the paths that exist.

    Examples
    --------
    >>> import torch
    >>> get_at([torch.zeros(1), {"a": torch.ones(2)}], "1.a")
    tensor([1., 1.])
    """
    for found, tensor in tensors(obj):
        if found == path:
            return tensor
    raise _no_tensor(obj, path)


def replace_at(obj: Any, path: str, tensor: Any) -> Any:
    """Return the same structure with the tensor at ``path`` replaced; the other tensors stay the same objects.

    Raises
    ------
    InputError
        No tensor lies there; the message lists the paths that exist.

    Examples
    --------
    >>> import torch
    >>> replace_at((torch.zeros(1), 3), "0", torch.ones(1))
    (tensor([1.]), 3)
    """
    get_at(obj, path)
    return map_paths(obj, lambda found, old: tensor if found == path else old)


def specs(obj: Any) -> tuple[TensorSpec, ...]:
    """Describe every tensor in a structure: path, shape and dtype (``"float32"``).

    Examples
    --------
    >>> import torch
    >>> specs(torch.zeros(2, 3))
    (TensorSpec(path='', shape=(2, 3), dtype='float32'),)
    """
    return tuple(TensorSpec(path, _shape(tensor), str(tensor.dtype)[6:]) for path, tensor in tensors(obj))


def opaque(obj: Any) -> Iterator[str]:
    """Yield the type names of objects that may hold tensors but cannot be walked, such as a key-value cache."""
    parts = _parts(obj)
    if parts is not None:
        for _, part in parts:
            yield from opaque(part)
    elif not isinstance(obj, (Tensor, str, bytes, int, float, complex, type(None), type)) and hasattr(obj, "__dict__"):
        yield type(obj).__name__


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """Give the shape; sizes in which the parts of a nested tensor differ count as -1."""
    if not tensor.is_nested:
        return tuple(tensor.shape)
    sizes = [tuple(part.shape) for part in tensor.unbind()]
    same = [axis[0] if len(set(axis)) == 1 else -1 for axis in zip(*sizes, strict=True)]
    return (len(sizes), *same)


def _no_tensor(obj: Any, path: str) -> InputError:
    """Word the error for a path that leads to no tensor."""
    known = [found for found, _ in tensors(obj)]
    return InputError(
        f"There is no tensor at {path!r}.",
        argument="output",
        remedy=f"Use one of {known}." if known else "The value holds no tensors.",
    )


def _parts(obj: Any) -> list[tuple[str, Any]] | None:
    """List the named parts of a container; None for everything else."""
    if isinstance(obj, Tensor):
        return None
    if isinstance(obj, Mapping):
        return [(str(key), obj[key]) for key in obj]
    if isinstance(obj, (tuple, list)):
        return [(str(index), value) for index, value in enumerate(obj)]
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return [(f.name, getattr(obj, f.name)) for f in dataclasses.fields(obj) if hasattr(obj, f.name)]
    return None


def _walk(obj: Any, path: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Depth-first walk behind :func:`tensors`."""
    if isinstance(obj, Tensor):
        yield path, obj
        return
    parts = _parts(obj) if depth < _DEEPEST else None
    for key, part in parts or ():
        yield from _walk(part, f"{path}.{key}" if path else key, depth + 1)


def _map(obj: Any, path: str, depth: int, fn: Change) -> Any:
    """Rebuild behind :func:`map_tensors`."""
    if isinstance(obj, Tensor):
        return fn(path, obj)
    parts = _parts(obj) if depth < _DEEPEST else None
    if parts is None:
        return obj
    values = [_map(part, f"{path}.{key}" if path else key, depth + 1, fn) for key, part in parts]
    return _rebuild(obj, [key for key, _ in parts], values)


def _rebuild(obj: Any, names: list[str], values: list[Any]) -> Any:
    """Make a container like ``obj`` that holds ``values`` instead of its parts."""
    if isinstance(obj, Mapping):
        return _rebuild_mapping(obj, values)
    if isinstance(obj, list):
        return values
    if isinstance(obj, tuple):
        if type(obj) is tuple:
            return tuple(values)
        make = getattr(type(obj), "_make", None) or type(obj)
        try:
            return make(values)
        except TypeError:
            return tuple(values)
    new = copy.copy(obj)
    for name, value in zip(names, values, strict=True):
        # Frozen dataclasses refuse plain assignment.
        object.__setattr__(new, name, value)
    return new


def _rebuild_mapping(obj: Mapping[Any, Any], values: list[Any]) -> Any:
    """Make a mapping of the same type where a shallow copy is sure not to share its items with ``obj``."""
    items = dict(zip(obj, values, strict=True))
    if type(obj) is dict or not isinstance(obj, (dict, UserDict)):
        return items
    new = copy.copy(obj)
    for key, value in items.items():
        new[key] = value
    return new


__all__ = ["get_at", "map_paths", "map_tensors", "opaque", "replace_at", "specs", "tensors"]
