"""What a history holds in memory, within a bound of bytes split between its kinds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from nnwidget.training.history_table import Table
from nnwidget.training.history_tracks import Tracks
from nnwidget.training.thinning import ABSENT
from nnwidget.types import Array, Event, HistogramBlock

WALL_TIME = "wall_time"

# Shares of the memory, in percent. Each bound holds for itself, so that no kind drives out another.
SHARES = {"samples": 40, "histograms": 20, "pictures": 18, "scalars": 15, "logs": 5, "events": 2}
LEAST_MEMORY = 1_000_000

# Of the Python objects around a thing in a track, and around one that holds arrays.
_OBJECTS = 200
_ARRAYS = 600


class Store:
    """Tables and tracks, and which column is what. Not safe for threads by itself.

    Parameters
    ----------
    memory : int
        Bytes in all; see ``SHARES``.

    Examples
    --------
    >>> store = Store(1_000_000)
    >>> store.add_steps(np.array([1, 2]), np.array([0.0, 0.1]), {"loss": np.array([0.5, 0.4])})
    >>> store.scalars.column(store.scalar_columns["loss"])
    (array([1, 2]), array([0.5, 0.4]))
    """

    def __init__(self, memory: int) -> None:
        share = {kind: memory * percent // 100 for kind, percent in SHARES.items()}
        self.memory = memory
        self.layers: tuple[str, ...] = ()
        self.scalars = Table(np.float64, share["scalars"], explicit=True)
        self.scalar_columns: dict[str, int] = {}
        self.logs = Table(np.float64, share["logs"], explicit=True)
        self.log_columns: dict[str, int] = {}
        self.samples = Table(np.float32, share["samples"])
        self.sample_columns: dict[str, dict[str, int]] = {}
        self.histograms: Tracks[str, tuple[tuple[str, ...], HistogramBlock]] = Tracks(share["histograms"])
        self.pictures: Tracks[tuple[str, str], Array] = Tracks(share["pictures"])
        self.events: Tracks[str, Event] = Tracks(share["events"])
        self.problems: list[str] = []
        # How often anything was taken in, and how often something was taken back.
        self.taken = 0
        self.taken_back = 0
        # Of layers and quantities: their columns, and whether these are the first ones in order.
        self._plans: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[Array, bool] | None] = {}

    @property
    def nbytes(self) -> int:
        """Bytes held, with an estimate of the Python objects."""
        tables = self.scalars.nbytes + self.logs.nbytes + self.samples.nbytes
        return tables + self.histograms.nbytes + self.pictures.nbytes + self.events.nbytes

    @property
    def last_step(self) -> int | None:
        """The last step of which there are numbers, None without any."""
        found = [last for last in (self.scalars.last, self.samples.last) if last is not None]
        # What is logged may be a step ahead, or count epochs.
        return max(found) if found else self.logs.last

    def know(self, layers: Iterable[str]) -> None:
        """Take up the names of layers that are new, after those that are known."""
        self.layers = tuple(dict.fromkeys((*self.layers, *layers)))

    def note(self, problem: str) -> None:
        """Remember a problem once."""
        if problem not in self.problems:
            self.problems.append(problem)

    def add_steps(self, steps: Array, walls: Array, columns: Mapping[str, Array]) -> None:
        """Append scalars of consecutive steps; see :meth:`nnwidget.training.history.History.add_steps`."""
        self.taken += 1
        places = self.scalar_columns
        if not (WALL_TIME in places and places.keys() >= columns.keys()) and not self._name(
            self.scalars, places, [name for name in (WALL_TIME, *columns) if name not in places], "per-step numbers"
        ):
            return
        rows = np.full((len(steps), self.scalars.columns), ABSENT)
        rows[:, places[WALL_TIME]] = walls
        for name, values in columns.items():
            rows[:, places[name]] = values
        self.scalars.append(steps, rows)

    def log(self, step: int, name: str, value: float) -> None:
        """Append one number of the user's."""
        self.taken += 1
        if name in self.log_columns or self._name(self.logs, self.log_columns, [name], "logged numbers"):
            self.logs.put(step, self.log_columns[name], value)

    def add_sample(self, step: int, layers: tuple[str, ...], quantities: tuple[str, ...], values: Array) -> None:
        """Append one value for each quantity and layer.

        Parameters
        ----------
        values : ndarray
            float32 ``(quantities, layers)``; it may be written to.
        """
        self.taken += 1
        key = (layers, quantities)
        if key not in self._plans:
            self._plans[key] = self._plan(layers, quantities)
        plan = self._plans[key]
        if plan is None:
            return
        columns, in_order = plan
        if in_order and len(columns) == self.samples.columns:
            row = values.reshape(1, -1)
        else:
            row = np.full((1, self.samples.columns), ABSENT, np.float32)
            row[0, columns] = values.reshape(-1)
        self.samples.append(np.array([step], np.int64), row)

    def add_histograms(self, step: int, layers: tuple[str, ...], kind: str, block: HistogramBlock) -> None:
        """Keep a copy of one kind of histogram of all layers; see :func:`small`."""
        self.taken += 1
        copy = HistogramBlock(block.counts.copy(), block.lo.copy(), block.hi.copy())
        size = copy.counts.nbytes + copy.lo.nbytes + copy.hi.nbytes + _OBJECTS + _ARRAYS
        if not self.histograms.add(kind, step, (layers, copy), size):
            self._no_room("histograms", f"those of {len(layers):,} layers")

    def add_picture(self, step: int, about: str, name: str, array: Array) -> None:
        """Keep a copy of an array."""
        self.taken += 1
        copy = np.array(array, order="C")
        copy.flags.writeable = False
        if not self.pictures.add((about, name), step, copy, copy.nbytes + _OBJECTS + _ARRAYS):
            self._no_room("snapshots", f"{about} {name!r} of {copy.nbytes:,} bytes")

    def add_event(self, event: Event) -> None:
        """Keep an event."""
        self.taken += 1
        size = 4 * (len(event.text) + len(event.kind)) + sys.getsizeof(event.data) + _OBJECTS
        size += sum(sys.getsizeof(key) + sys.getsizeof(value) for key, value in event.data.items())
        if not self.events.add(event.kind, event.step, event, size):
            self._no_room("events", f"one with a text of {len(event.text):,} characters")

    def truncate(self, after: int) -> None:
        """Forget everything that was recorded of later steps."""
        self.taken += 1
        self.taken_back += 1
        for part in (self.scalars, self.logs, self.samples, self.histograms, self.pictures, self.events):
            part.truncate(after)

    def name_columns(self, table: str, names: Sequence[Sequence[str]]) -> bool:
        """Make the columns of an empty table that a packed file is about to fill; False when there is no room."""
        if table == "samples":
            for quantity in dict.fromkeys(quantity for quantity, _ in names):
                self._plan(tuple(layer for other, layer in names if other == quantity), (quantity,))
            return self.samples.columns == len(names)
        of, columns = (self.logs, self.log_columns) if table == "logs" else (self.scalars, self.scalar_columns)
        return self._name(of, columns, [name for (name,) in names], "numbers")

    def _plan(self, layers: tuple[str, ...], quantities: tuple[str, ...]) -> tuple[Array, bool] | None:
        """Find or make the columns of quantities and layers; None when there is no room."""
        new = [(q, layer) for q in quantities for layer in layers if layer not in self.sample_columns.get(q, ())]
        start = self.samples.columns
        if not self.samples.fits(start + len(new)):
            self._no_room("samples", f"{len(quantities):,} quantities of {len(layers):,} layers")
            return None
        for place, (quantity, layer) in enumerate(new, start):
            self.sample_columns.setdefault(quantity, {})[layer] = place
        if new:
            self.samples.widen(len(new))
        found = np.array([self.sample_columns[q][layer] for q in quantities for layer in layers], np.int64)
        return (found, bool((found == np.arange(len(found))).all())) if len(found) else None

    def _name(self, table: Table, columns: dict[str, int], new: Sequence[str], what: str) -> bool:
        if not table.fits(table.columns + len(new)):
            self._no_room(what, f"{table.columns + len(new):,} different names")
            return False
        for name in new:
            columns[name] = len(columns)
        if new:
            table.widen(len(new))
        return True

    def _no_room(self, what: str, size: str) -> None:
        self.note(
            f"memory={self.memory:,} has no room for {what} such as {size}; they are left out of memory. "
            "Raise memory, or record fewer layers."
        )


def small(block: HistogramBlock) -> HistogramBlock:
    """Return the same counts in two bytes each where they fit, as they do of samples."""
    if block.counts.dtype == np.uint16 or block.counts.max(initial=0) > np.iinfo(np.uint16).max:
        return block
    return HistogramBlock(block.counts.astype(np.uint16), block.lo, block.hi)


__all__ = ["LEAST_MEMORY", "SHARES", "WALL_TIME", "Store", "small"]
