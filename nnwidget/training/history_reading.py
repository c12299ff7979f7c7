"""What everybody may ask of a history, on any thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nnwidget.errors import UnknownRecordError
from nnwidget.training.history_frames import events_of
from nnwidget.training.history_store import Store
from nnwidget.training.history_table import in_order, read, steps_of
from nnwidget.training.history_tracks import Entry
from nnwidget.training.history_views import LayerSeries, Series, long_table, to_frame, unknown
from nnwidget.types import Array, Event, Histogram


class Reading:
    """The side of a history that is read; the lock is held only while references are taken.

    Parameters
    ----------
    store : Store
        What there is.
    lock : Lock
        Held by whoever adds.
    """

    def __init__(self, store: Store, lock: threading.Lock) -> None:
        self._store = store
        self._lock = lock

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers; of a continued history those of all runs."""
        return self._store.layers

    @property
    def nbytes(self) -> int:
        """Bytes held in memory; at most ``memory``."""
        with self._lock:
            return self._store.nbytes

    @property
    def last_step(self) -> int | None:
        """The last step of which there are numbers, None without any."""
        return self._store.last_step

    @property
    def taken(self) -> int:
        """How often anything was taken in; rises with whatever is new."""
        return self._store.taken

    @property
    def taken_back(self) -> int:
        """How often later steps became void, because another run went on from an earlier one."""
        return self._store.taken_back

    @property
    def steps(self) -> Array:
        """Every step of which anything is kept, int64 ``(n,)``, rising."""
        store = self._store
        with self._lock:
            parts = [part for table in (store.scalars, store.samples, store.logs) for part in table.parts()]
            others = [*store.histograms.steps(), *store.pictures.steps()]
        # Sorted stretches: the stable sort is much quicker than unique.
        steps = np.sort(np.concatenate([*map(steps_of, parts), np.array(others, np.int64)]), kind="stable")
        rising: Array = steps[np.append(np.diff(steps) > 0, np.ones(min(1, len(steps)), np.bool_))]
        return rising

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is recorded: numbers of each step, then numbers that were logged, then quantities of layers."""
        with self._lock:
            scalars, layered = self._names_of()
        return tuple(dict.fromkeys((*scalars, *layered)))

    @property
    def scalars(self) -> tuple[str, ...]:
        """What of it is of no layer: numbers of each step, then numbers that were logged."""
        with self._lock:
            return tuple(self._names_of()[0])

    def __getitem__(self, name: str) -> Any:
        """Return the :class:`Series` of a number, or the :class:`LayerSeries` of a quantity of layers.

        Where one name means both, the layers'; :meth:`series` gives the other.

        Raises
        ------
        UnknownRecordError
            There is none of that name; a KeyError that names the nearest.
        """
        with self._lock:
            scalars, layered = self._names_of()
        if name in layered:
            return LayerSeries(name, layered[name], lambda layer: self.series(name, layer))
        if name not in scalars:
            raise unknown("The history has no quantity", name, [*scalars, *layered])
        return self.series(name)

    def __contains__(self, name: object) -> bool:
        return name in self.quantities

    def series(self, name: str, layer: str | None = None, *, since: int | None = None) -> Series:
        """Return one series.

        Parameters
        ----------
        name : str
            The quantity.
        layer : str, optional
            The layer, for a quantity of layers.
        since : int, optional
            Leave out smaller steps; quick when only the newest are asked for.

        Raises
        ------
        UnknownRecordError
            There is none of that name.
        """
        store = self._store
        with self._lock:
            if layer is not None:
                found = [(store.samples.parts(since), store.sample_columns.get(name, {}).get(layer))]
            else:
                found = [
                    (store.scalars.parts(since), store.scalar_columns.get(name)),
                    (store.logs.parts(since), store.log_columns.get(name)),
                ]
        pieces = [read(parts, column, since) for parts, column in found if column is not None]
        if not pieces:
            names = self.quantities if layer is None or name not in self else self[name]
            raise unknown("The history has no", name if layer is None or name not in self else layer, names)
        # What the user logged under a name counts more than what was found under it.
        steps, values = (np.concatenate(part) for part in zip(*pieces, strict=True))
        return Series(*in_order(steps, values))

    @property
    def histograms(self) -> tuple[str, ...]:
        """The kinds of histograms there are."""
        with self._lock:
            return tuple(self._store.histograms)

    def histogram_steps(self, kind: str) -> Array:
        """Return the steps of which histograms of a kind are kept, int64 ``(n,)``."""
        with self._lock:
            entries = self._store.histograms.entries(kind)
        return np.array([entry.step for entry in entries], np.int64)

    def histogram(self, kind: str, layer: str, step: int | None = None) -> tuple[int, Histogram]:
        """Return the histogram of a layer at a step, else the last one before it.

        Parameters
        ----------
        kind : str
            One of ``histograms``.
        layer : str
            The layer.
        step : int, optional
            The step; the newest when None.

        Returns
        -------
        int
            Its step.
        Histogram
            ``edges`` float64 ``(bins + 1,)``, ``counts`` uint32 ``(bins,)``.

        Raises
        ------
        UnknownRecordError
            There is none of that kind, layer, or so early.
        """
        with self._lock:
            entries = self._store.histograms.entries(kind)
        if not entries:
            raise unknown("The history has no histograms of", kind, self.histograms)
        first: int | None = None
        for entry in reversed(entries):
            layers, block = entry.thing
            row = layers.index(layer) if layer in layers else None
            if row is None or np.isnan(block.lo[row]):
                continue
            first = entry.step
            if step is None or first <= step:
                edges = np.linspace(float(block.lo[row]), float(block.hi[row]), block.counts.shape[1] + 1)
                return first, Histogram(edges, block.counts[row].astype(np.uint32))
        if first is None:
            blocks = [entry.thing for entry in entries]
            names = dict.fromkeys(name for layers, block in blocks for name in np.array(layers)[~np.isnan(block.lo)])
            raise unknown(f"The history has no histogram of {kind} of the layer", layer, map(str, names))
        raise _too_early(f"histogram of {kind} of {layer!r}", step, first)

    @property
    def snapshots(self) -> tuple[tuple[str, str], ...]:
        """What there are snapshots of: (kind, name)."""
        with self._lock:
            return tuple(self._store.pictures)

    def snapshot_steps(self, kind: str, name: str) -> Array:
        """Return the steps of which snapshots are kept, int64 ``(n,)``."""
        return np.array([entry.step for entry in self._pictures(kind, name)], np.int64)

    def snapshot(self, kind: str, name: str, step: int | None = None) -> tuple[int, Array]:
        """Return the snapshot of a step, else the last one before it; the newest when None.

        Raises
        ------
        UnknownRecordError
            There is none of that kind and name, or so early.
        """
        entries = self._pictures(kind, name)
        for entry in reversed(entries):
            if step is None or entry.step <= step:
                return entry.step, entry.thing
        raise _too_early(f"{kind} of {name!r}", step, entries[0].step)

    @property
    def events(self) -> tuple[Event, ...]:
        """What happened, in order."""
        with self._lock:
            return tuple(events_of(self._store))

    def to_dataframe(self, names: Sequence[str] | None = None) -> Any:
        """Return a pandas DataFrame with a row for every number: step, quantity, layer, value.

        Parameters
        ----------
        names : sequence of str, optional
            Only these quantities.

        Returns
        -------
        pandas.DataFrame
            ``step`` int64, ``value`` float64; ``quantity`` and ``layer`` are categories, ``layer`` missing where a
            number is of no layer. Wide, for numbers of no layer:
            ``frame[frame.layer.isna()].pivot(index="step", columns="quantity", values="value")``.

        Raises
        ------
        UnknownRecordError
            There is no such quantity.
        MissingPackageError
            Pandas cannot be imported.
        """
        return to_frame(long_table(self._columns(self.quantities if names is None else names)))

    def _columns(self, names: Sequence[str]) -> Iterator[tuple[str, str | None, Series]]:
        for name in names:
            found = self[name]
            if isinstance(found, Series):
                yield name, None, found
            else:
                for layer in found:
                    yield name, layer, found[layer]

    def _names_of(self) -> tuple[list[str], dict[str, list[str]]]:
        """Return the names that have had a number: of no layer, and of layers with these."""
        store = self._store
        spoken, sampled = store.scalars.spoken, store.samples.spoken
        scalars = [name for name, column in store.scalar_columns.items() if spoken[column]]
        scalars += [name for name in store.log_columns if name not in scalars]
        layered = {
            quantity: [layer for layer, column in layers.items() if sampled[column]]
            for quantity, layers in store.sample_columns.items()
        }
        return scalars, {quantity: layers for quantity, layers in layered.items() if layers}

    def _pictures(self, kind: str, name: str) -> list[Entry[Array]]:
        with self._lock:
            entries = self._store.pictures.entries((kind, name))
        if not entries:
            names = [other for about, other in self.snapshots if about == kind]
            raise unknown(f"The history has no snapshot {kind!r} of", name, names)
        return entries


def _too_early(what: str, step: int | None, first: int) -> UnknownRecordError:
    return UnknownRecordError(f"No {what} was recorded by step {step}.", remedy=f"The first is of step {first:,}.")


__all__ = ["Reading"]
