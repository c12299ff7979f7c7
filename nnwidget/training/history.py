"""The history of a watched training: fed by its engine, read by people and pages, kept in memory and on disk."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnwidget.errors import InputError
from nnwidget.training.history_disk import Disk, take_in
from nnwidget.training.history_frames import (
    Player,
    event_frame,
    memory_frames,
    picture_frame,
    plain,
    sample_frame,
    segment_frame,
    steps_frame,
)
from nnwidget.training.history_packing import pack
from nnwidget.training.history_reading import Reading
from nnwidget.training.history_store import LEAST_MEMORY, Store, small
from nnwidget.training.segments_reader import SegmentReader
from nnwidget.training.showing import Shows
from nnwidget.training.sizes import parse_bytes
from nnwidget.types import Array, Event, HistogramBlock


class History(Reading, Shows):
    """What was recorded of a training, by step.

    In memory it takes at most ``memory`` bytes: 40 % for the numbers of layers, 20 % for histograms, 18 % for snapshots
    and images, 15 % for the numbers of each step, 5 % for what the user logs, 2 % for events. The newest half of the
    numbers is whole; of what is older, extremes stay (see :mod:`nnwidget.training.thinning`), and of histograms,
    snapshots and events evenly spaced ones. With ``path`` everything is written to a folder as well (see
    :mod:`nnwidget.training.segments`), from which :meth:`load` reads, in this or another process.

    One thread at a time may add; any may read meanwhile. In a forked child adding does nothing.

    Parameters
    ----------
    layers : sequence of str
        The names of the layers, in the order of all arrays that have a value a layer.
    memory : int
        Bytes, at least 1,000,000.
    path : path, optional
        A folder. One that holds a history already is continued after ``start_step``: what it holds is read, and what it
        recorded of later steps is void.
    start_step : int
        The step before the first that will be recorded.
    meta : mapping, optional
        What else there is to know of this run; it becomes JSON.

    Raises
    ------
    InputError
        ``memory`` is too small; ``path`` cannot be written to, or holds a history and ``start_step`` is 0.

    Examples
    --------
    >>> history = History(["0", "2"], memory=1_000_000)
    >>> history.add_steps(np.array([1, 2]), np.array([0.0, 0.1]), {"loss": np.array([0.9, 0.7])})
    >>> history.add_sample(2, {"grad_norm": np.array([3.0, np.nan], np.float32)}, {})
    >>> history["loss"]
    Series(steps=array([1, 2]), values=array([0.9, 0.7]))
    >>> list(history["grad_norm"]), history.steps
    (['0'], array([1, 2]))
    """

    def __init__(
        self,
        layers: Sequence[str],
        *,
        memory: int,
        path: str | os.PathLike[str] | None = None,
        start_step: int = 0,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        if memory < LEAST_MEMORY:
            raise InputError(
                f"memory={memory:,} bytes is too little for a history.",
                argument="memory",
                remedy='Pass at least "1 MB".',
            )
        super().__init__(Store(memory), threading.Lock())
        self._pid = os.getpid()
        self._names = tuple(layers)
        self._player = Player(self._store)
        self._reader: SegmentReader | None = None
        self._reads = threading.Lock()
        self._disk: Disk | None = None
        self._path = None if path is None else Path(path).expanduser()
        meta = plain(meta or {})
        if self._path is not None:
            self._disk = Disk(self._path, self._player, self._names, start_step, meta, self._failed)
        self._store.know(self._names)
        self._player.meta |= meta

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, memory: int | str = "256 MB") -> History:
        """Open a folder, also one that is still being written, or a file made by :meth:`save`.

        Parameters
        ----------
        path : path
            The folder or file.
        memory : int or str
            What of it is kept in memory; see :func:`nnwidget.training.sizes.parse_bytes`.

        Raises
        ------
        InputError
            There is no history, or ``memory`` is no size or too small.
        """
        history = cls((), memory=parse_bytes(memory))
        history._path = Path(path).expanduser()
        history._reader = SegmentReader(history._path)
        take_in(history._reader, history._player, history._lock)
        return history

    @property
    def path(self) -> Path | None:
        """Where it is on disk, None in memory only."""
        return self._path

    @property
    def meta(self) -> dict[str, Any]:
        """What was said when recording began; of a continued history all runs together."""
        return dict(self._player.meta)

    @property
    def ended(self) -> float | None:
        """When the run that a loaded history is of was closed, in unix seconds; None if it goes on or was killed."""
        return self._player.ended

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong with the disk or did not fit, one sentence each."""
        return tuple(self._store.problems)

    @property
    def source(self) -> SegmentReader | None:
        """What a loaded history is read from; None of one that is recorded here."""
        return self._reader

    def refresh(self) -> bool:
        """Read what was written since the last time; only of a loaded history.

        Returns
        -------
        bool
            Whether there was anything. Where nothing can be read any more, ``source.lost`` says why.
        """
        reader, taken = self._reader, self.taken
        if reader is None:
            return False
        with self._reads:
            try:
                found, reader.lost = take_in(reader, self._player, self._lock), ""
            except InputError as error:
                found, reader.lost = self.taken != taken, str(error)
            except OSError as error:
                found, reader.lost = self.taken != taken, f"{reader.path} cannot be read: {error.strerror or error}."
        return found

    def add_steps(self, steps: Array, walls: Array, columns: Mapping[str, Array]) -> None:
        """Record scalars of consecutive steps.

        Parameters
        ----------
        steps : ndarray
            int64 ``(n,)``, rising.
        walls : ndarray
            float64 ``(n,)``, unix seconds; readable as ``history["wall_time"]``.
        columns : mapping of str to ndarray
            float64 ``(n,)``. :data:`~nnwidget.training.thinning.ABSENT` says that nothing was measured; NaN is a value.

        Raises
        ------
        InputError
            The arrays differ in length.
        """
        if not len(steps) or os.getpid() != self._pid:
            return
        if len(walls) != len(steps) or any(len(values) != len(steps) for values in columns.values()):
            raise InputError("Steps, walls and columns must have one length.", argument="columns")
        with self._lock:
            self._store.add_steps(steps, walls, columns)
        if self._disk is not None:
            self._disk.write(steps_frame(steps, walls, columns))

    def log(self, step: int, name: str, value: float) -> None:
        """Record one number of the user's; NaN is a value. Of very many in a row some are written with what follows."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._store.log(step, name, value)
        if self._disk is not None:
            self._disk.log(step, name, value)

    def add_sample(
        self, step: int, values: Mapping[str, Array], histograms: Mapping[str, HistogramBlock] | None = None
    ) -> None:
        """Record what was measured of all layers at one step.

        Parameters
        ----------
        step : int
            The step.
        values : mapping of str to ndarray
            By quantity, float32 ``(layers,)``. :data:`~nnwidget.training.thinning.ABSENT` says that nothing was
            measured, and so does NaN until a layer has had its first number; from then on NaN is a value.
        histograms : mapping of str to HistogramBlock, optional
            By kind.

        Raises
        ------
        InputError
            An array has not one value a layer.
        """
        if os.getpid() != self._pid:
            return
        size, histograms = len(self._names), {kind: small(block) for kind, block in (histograms or {}).items()}
        if any(len(row) != size for row in values.values()) or any(len(b.lo) != size for b in histograms.values()):
            raise InputError(f"Every array needs one entry for each of the {size} layers.", argument="values")
        quantities = tuple(values)
        rows = np.array([*values.values()], np.float32).reshape(len(quantities), size)
        with self._lock:
            if quantities and size:
                self._store.add_sample(step, self._names, quantities, rows)
            for kind, block in histograms.items():
                self._store.add_histograms(step, self._names, kind, block)
        if self._disk is not None:
            self._disk.write(sample_frame(step, quantities, rows, histograms))

    def add_event(self, event: Event) -> None:
        """Record that something happened; ``data`` becomes plain values."""
        if os.getpid() != self._pid:
            return
        event = Event(event.step, event.wall, event.kind, event.text, plain(event.data))
        with self._lock:
            self._store.add_event(event)
        if self._disk is not None:
            self._disk.write(event_frame(event))

    def add_snapshot(self, step: int, kind: str, name: str, array: Array) -> None:
        """Record a copy of an array.

        Parameters
        ----------
        step : int
            The step.
        kind : str
            ``"map"``, ``"prediction"``, ``"weight"`` or ``"input"``.
        name : str
            Which one, e.g. the layer's name.
        array : ndarray
            Numbers of any shape and dtype.

        Raises
        ------
        InputError
            It does not hold numbers.
        """
        if os.getpid() != self._pid:
            return
        array = np.asarray(array)
        if array.dtype.kind not in "biufc":
            raise InputError(f"A snapshot holds numbers, not {array.dtype}.", argument="array")
        with self._lock:
            self._store.add_picture(step, kind, name, array)
        if self._disk is not None:
            self._disk.write(picture_frame(step, kind, name, array))

    def add_image(self, step: int, name: str, array: Array) -> None:
        """Record an image of the user's, uint8 or float; it is the snapshot ``("image", name)``."""
        self.add_snapshot(step, "image", name, array)

    def flush(self) -> None:
        """Write what :meth:`log` holds back; everything else is written when it is added."""
        if self._disk is not None:
            self._disk.flush()

    def close(self) -> None:
        """Write everything to the disk and close it; what is in memory stays readable. Again it changes nothing.

        A loaded history is taken off the pages that show it.
        """
        if self._disk is not None:
            self._disk.close(self.last_step or 0)
        if self._reader is not None:
            self.hide()

    def __repr__(self) -> str:
        """Return one line."""
        name, last = self.meta.get("model"), self.last_step
        of = f" of {name}" if name else ""
        at = "no step yet" if last is None else f"to step {last:,}"
        layers = f"{len(self.layers):,} layer{'' if len(self.layers) == 1 else 's'}"
        return f"<History{of}, {at}, {layers}, {self._path or 'in memory'}>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Pack everything into one file: all that is on disk, or what is in memory where that is all there is.

        Parameters
        ----------
        path : path
            The file. An existing one is replaced once the new one is complete.

        Raises
        ------
        NNWidgetError
            It cannot be written.
        """
        self.flush()
        pack(Path(path).expanduser(), self._frames())

    def _frames(self) -> Iterable[bytes | memoryview]:
        if self._path is not None and not (self._disk is not None and self._disk.failed):
            # Somebody may have removed the folder.
            with contextlib.suppress(InputError):
                yield from (frame.raw for frame in SegmentReader(self._path).frames())
                return
        with self._lock:
            made = memory_frames(self._store)
            head = segment_frame(self._store.layers, max(self._player.run, 1), 0, self._player.meta)
        yield head
        for make in made:
            yield make()

    def _failed(self, sentence: str) -> None:
        with self._lock:
            self._store.note(sentence)
            self._store.add_event(Event(self._store.last_step or 0, time.time(), "disk", sentence))


__all__ = ["History"]
