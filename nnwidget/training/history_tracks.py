"""Things recorded now and then (pictures, histograms, events) under a key, within a bound of bytes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar

import numpy as np

_Key = TypeVar("_Key", bound=Hashable)
_Thing = TypeVar("_Thing")
_step = attrgetter("step")


@dataclass(frozen=True, slots=True)
class Entry(Generic[_Thing]):
    """A thing and its step; ``order`` numbers all things of the tracks as they came."""

    step: int
    order: int
    nbytes: int
    thing: _Thing


class Tracks(Generic[_Key, _Thing]):
    """For each key, things in the order of their steps.

    Parameters
    ----------
    limit : int
        The most bytes. Beyond it the key that takes most loses every second of its older three quarters, so that what
        stays is evenly spaced in steps; its first and its last stay as long as there is anything else to drop.

    Examples
    --------
    >>> tracks: Tracks[str, str] = Tracks(10_000)
    >>> tracks.add("a", 10, "ten", 1_000), tracks.add("a", 20, "twenty", 1_000)
    (True, True)
    >>> [entry.thing for entry in tracks.entries("a")]
    ['ten', 'twenty']
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self._entries: dict[_Key, list[Entry[_Thing]]] = {}
        self._order = 0

    def add(self, key: _Key, step: int, thing: _Thing, nbytes: int) -> bool:
        """Take in a thing; False when it alone is larger than a quarter of the limit and was left out."""
        if 4 * nbytes > self.limit:
            return False
        self._order += 1
        entry = Entry(step, self._order, nbytes, thing)
        entries = self._entries.setdefault(key, [])
        # Most come in order; behind others of the same step otherwise.
        place = len(entries) if not entries or entries[-1].step <= step else bisect_right(entries, step, key=_step)
        entries.insert(place, entry)
        self.nbytes += nbytes
        while self.nbytes > self.limit:
            self._thin()
        return True

    def __iter__(self) -> Iterator[_Key]:
        return iter(list(self._entries))

    def entries(self, key: _Key) -> list[Entry[_Thing]]:
        """Return a copy of what there is under a key, in the order of steps; empty when there is nothing."""
        return list(self._entries.get(key, ()))

    def steps(self) -> list[int]:
        """Return the step of every thing, in no order."""
        return [entry.step for entries in self._entries.values() for entry in entries]

    def truncate(self, after: int) -> None:
        """Forget everything with a larger step."""
        for key, entries in list(self._entries.items()):
            self._keep(key, [entry for entry in entries if entry.step <= after])

    def _thin(self) -> None:
        sizes = {key: sum(entry.nbytes for entry in entries) for key, entries in self._entries.items()}
        several = {key: size for key, size in sizes.items() if len(self._entries[key]) > 2}
        if not several:
            # Nothing between first and last anywhere: the oldest of all goes.
            key = min(self._entries, key=lambda key: self._entries[key][0].order)
            self._keep(key, self._entries[key][1:])
            return
        key = max(several, key=several.__getitem__)
        entries = self._entries[key]
        older = max(len(entries) - len(entries) // 4, 3)
        steps = np.array([entry.step for entry in entries[:older]])
        targets = np.linspace(steps[0], steps[-1], max(2, older // 2))
        places = {0, older - 1, *np.searchsorted(steps, targets).tolist()}
        if len(places) >= older:
            # Several of one step: by their number then.
            places = {*range(0, older, 2), older - 1}
        self._keep(key, [entries[place] for place in sorted(places) if place < older] + entries[older:])

    def _keep(self, key: _Key, entries: list[Entry[_Thing]]) -> None:
        before = sum(entry.nbytes for entry in self._entries[key])
        self.nbytes += sum(entry.nbytes for entry in entries) - before
        if entries:
            self._entries[key] = entries
        else:
            del self._entries[key]


__all__ = ["Entry", "Tracks"]
