"""Remember what plain containers hold, and put it back by identity."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable
from operator import is_not
from typing import Any, TypeAlias

# A container and a copy of it, None of an empty one.
Kept: TypeAlias = "tuple[Any, Any]"

_MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
# Subclasses of people's own may do anything when written to and stay out.
CONTAINERS = frozenset({list, set, deque, *_MAPPINGS})
# A tuple cannot change, a list in it can.
_LOOKED_INTO = CONTAINERS | {tuple}
# Bounds of the search: containers in containers, all of them together, and the parts of one.
_DEEPEST = 8
_MOST = 10_000
_LARGEST = 100_000


def kept(roots: Iterable[Any]) -> list[Kept]:
    """Copy plain containers and those inside them, each once; what else they hold counts by identity.

    Containers of more than 100,000 parts are copied and not looked into; the search ends after eight levels and
    10,000 containers.

    Parameters
    ----------
    roots : iterable
        Lists, dictionaries, sets, deques and tuples; anything else is left out.

    Returns
    -------
    list of (container, copy)
        To hand to :func:`put_back`.

    Examples
    --------
    >>> cache = {"seen": [1]}
    >>> before = kept([cache])
    >>> cache["seen"].append(2)
    >>> put_back(before)
    >>> cache
    {'seen': [1]}
    """
    found: dict[int, Kept] = {}
    level = [root for root in roots if type(root) in _LOOKED_INTO]
    seen: set[int] = set()
    for _ in range(_DEEPEST):
        deeper: list[Any] = []
        for container in level:
            if id(container) in seen or len(found) >= _MOST:
                continue
            seen.add(id(container))
            if type(container) is not tuple:
                found[id(container)] = (container, container.copy() if container else None)
            if container and len(container) <= _LARGEST:
                parts = container.values() if isinstance(container, dict) else container
                # Most hold no containers at all, which the types tell quickly.
                if not _LOOKED_INTO.isdisjoint(map(type, parts)):
                    deeper.extend(part for part in parts if type(part) in _LOOKED_INTO)
        level = deeper
    return list(found.values())


def put_back(contents: Iterable[Kept]) -> None:
    """Give containers back what they held, in its order; those that did not change are not written."""
    for container, content in contents:
        if not container and not content:
            continue
        before = content if content is not None else ()
        if isinstance(container, dict):
            if _differ(container, before) or (before and _differ(container.values(), before.values())):
                container.clear()
                container.update(before)
        elif isinstance(container, set):
            if len(container) != len(before) or not container.issuperset(before):
                container.clear()
                container.update(before)
        elif _differ(container, before):
            container.clear()
            container.extend(before)


def _differ(now: Any, before: Any) -> bool:
    """Whether two series are not the same objects in the same order."""
    return len(now) != len(before) or any(map(is_not, now, before))


__all__ = ["CONTAINERS", "Kept", "kept", "put_back"]
