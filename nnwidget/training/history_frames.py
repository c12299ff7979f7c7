"""What is recorded as frames, and frames played back into a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from nnwidget.errors import InputError
from nnwidget.training.history_store import Store
from nnwidget.training.history_table import Table
from nnwidget.training.segments import VERSION, Frame, encode
from nnwidget.training.thinning import Run
from nnwidget.types import Array, Event, HistogramBlock


def segment_frame(layers: Sequence[str], run: int, start_step: int, meta: Mapping[str, Any]) -> bytes:
    """Begin a segment."""
    more = (("version", VERSION), ("run", run), ("start_step", start_step), ("layers", tuple(layers)))
    return encode("segment", start_step, {"json": _text(meta)}, more)


def steps_frame(steps: Array, walls: Array, columns: Mapping[str, Array]) -> bytes:
    """Write down the scalars of consecutive steps."""
    values = np.array(list(columns.values()), np.float64).reshape(len(columns), len(steps))
    arrays: dict[str, Array] = {"steps": steps, "walls": walls, "values": values}
    return encode("steps", int(steps[-1]), arrays, (("names", tuple(columns)),))


def logs_frame(logs: Sequence[tuple[int, str, float]]) -> bytes:
    """Write down numbers of the user's: (step, name, value)."""
    names = {name: place for place, name in enumerate(dict.fromkeys(name for _, name, _ in logs))}
    arrays: dict[str, Array] = {
        "steps": np.array([step for step, _, _ in logs], np.int64),
        "values": np.array([value for _, _, value in logs], np.float64),
        "which": np.array([names[name] for _, name, _ in logs], np.uint16),
    }
    return encode("logs", logs[-1][0], arrays, (("names", tuple(names)),))


def sample_frame(
    step: int, quantities: tuple[str, ...], values: Array, histograms: Mapping[str, HistogramBlock]
) -> bytes:
    """Write down what was measured of all layers."""
    arrays: dict[str, Array] = {"values": values}
    for place, block in enumerate(histograms.values()):
        arrays |= {f"counts{place}": block.counts, f"lo{place}": block.lo, f"hi{place}": block.hi}
    return encode("sample", step, arrays, (("quantities", quantities), ("histograms", tuple(histograms))))


def picture_frame(step: int, about: str, name: str, array: Array) -> bytes:
    """Write down an array."""
    return encode("picture", step, {"array": array}, (("about", about), ("name", name)))


def event_frame(event: Event) -> bytes:
    """Write down an event."""
    content = {"wall": event.wall, "kind": event.kind, "text": event.text, "data": event.data}
    return encode("event", event.step, {"json": _text(content)})


def end_frame(step: int, wall: float) -> bytes:
    """Write down that a run was closed."""
    return encode("end", step, {"json": _text({"wall": wall})})


def memory_frames(store: Store) -> list[Callable[[], bytes]]:
    """Return what makes the frames of everything that a store holds; what they need does not change any more."""
    places = {place: (q, layer) for q, layers in store.sample_columns.items() for layer, place in layers.items()}
    made = _table_frames("scalars", store.scalars, [(name,) for name in store.scalar_columns])
    made += _table_frames("logs", store.logs, [(name,) for name in store.log_columns])
    made += _table_frames("samples", store.samples, [places[place] for place in range(len(places))])
    for kind in store.histograms:
        for entry in store.histograms.entries(kind):
            layers, block = entry.thing
            arrays = {"counts": block.counts, "lo": block.lo, "hi": block.hi}
            made.append(partial(encode, "histogram", entry.step, arrays, (("of", kind), ("layers", layers))))
    for about, name in store.pictures:
        for picture in store.pictures.entries((about, name)):
            made.append(partial(picture_frame, picture.step, about, name, picture.thing))
    return made + [partial(event_frame, event) for event in events_of(store)]


def _table_frames(name: str, table: Table, columns: Sequence[tuple[str, ...]]) -> list[Callable[[], bytes]]:
    of = ("table", name)
    made: list[Callable[[], bytes]] = [partial(encode, "columns", 0, {}, (of, ("columns", tuple(columns))))]
    for part in table.parts():
        if isinstance(part, Run):
            arrays = {"steps": part.steps, "starts": part.starts, "rows": part.rows, "values": part.values}
            made.append(partial(encode, "run", int(part.steps[-1]), arrays, (of, ("level", part.level))))
        elif len(part[0]):
            arrays = {"steps": part[0], "values": part[1]}
            made.append(partial(encode, "rows", int(part[0][-1]), arrays, (of,)))
    return made


def events_of(store: Store) -> list[Event]:
    """Return all events in the order of their steps, and as they came within one."""
    entries = [entry for kind in store.events for entry in store.events.entries(kind)]
    return [entry.thing for entry in sorted(entries, key=lambda entry: (entry.step, entry.order))]


class Player:
    """Plays frames back into a store, in their order.

    Parameters
    ----------
    store : Store
        Where they go.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.run = 0
        self.meta: dict[str, Any] = {}
        # When the last run was closed, in unix seconds; None while it goes on or when it was killed.
        self.ended: float | None = None
        self._layers: tuple[str, ...] = ()

    def play(self, frame: Frame) -> None:
        """Take in one frame; of kinds that it does not know, nothing."""
        play = getattr(self, f"_play_{frame.kind}", None)
        if play is not None:
            play(frame, frame.arrays)

    def _play_segment(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        if frame.head["version"] != VERSION:
            raise InputError(
                f"This history has format version {frame.head['version']}; this nnwidget reads {VERSION}.",
                argument="path",
                remedy="Install a newer nnwidget.",
            )
        self._layers = tuple(frame.head["layers"])
        self.store.know(self._layers)
        if frame.head["run"] != self.run:
            if self.run:
                self.store.truncate(frame.head["start_step"])
            self.run, self.ended = frame.head["run"], None
            self.meta |= json.loads(arrays["json"].tobytes())

    def _play_steps(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        columns = dict(zip(frame.head["names"], arrays["values"], strict=True))
        self.store.add_steps(arrays["steps"], arrays["walls"], columns)

    def _play_logs(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        names = frame.head["names"]
        for step, value, which in zip(*(arrays[name].tolist() for name in ("steps", "values", "which")), strict=True):
            self.store.log(step, names[which], value)

    def _play_sample(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        quantities = tuple(frame.head["quantities"])
        if quantities:
            self.store.add_sample(frame.step, self._layers, quantities, arrays["values"].copy())
        for place, kind in enumerate(frame.head["histograms"]):
            block = HistogramBlock(arrays[f"counts{place}"], arrays[f"lo{place}"], arrays[f"hi{place}"])
            self.store.add_histograms(frame.step, self._layers, kind, block)

    def _play_histogram(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        block = HistogramBlock(arrays["counts"], arrays["lo"], arrays["hi"])
        self.store.add_histograms(frame.step, tuple(frame.head["layers"]), frame.head["of"], block)

    def _play_picture(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        self.store.add_picture(frame.step, frame.head["about"], frame.head["name"], arrays["array"])

    def _play_event(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        self.store.add_event(Event(step=frame.step, **json.loads(arrays["json"].tobytes())))

    def _play_end(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        self.ended = float(json.loads(arrays["json"].tobytes())["wall"])
        self.store.taken += 1

    def _play_columns(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        self.store.name_columns(frame.head["table"], frame.head["columns"])

    def _play_rows(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        self._table(frame).restore((arrays["steps"], arrays["values"]))

    def _play_run(self, frame: Frame, arrays: Mapping[str, Array]) -> None:
        copies = {name: array.copy() for name, array in arrays.items()}
        self._table(frame).restore(Run(level=frame.head["level"], **copies))

    def _table(self, frame: Frame) -> Table:
        name = frame.head["table"]
        return {"scalars": self.store.scalars, "logs": self.store.logs, "samples": self.store.samples}[name]


def plain(value: Any) -> Any:
    """Turn a value into what JSON holds: arrays and tensors become lists, what is foreign its text.

    Examples
    --------
    >>> plain({"step": np.int64(3), 4: (np.float32(0.5), Ellipsis)})
    {'step': 3, '4': [0.5, 'Ellipsis']}
    """
    if value is None or isinstance(value, (str, bool)) or type(value) in (int, float):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(part) for part in value]
    listed = getattr(value, "tolist", None)
    if callable(listed):
        return listed()
    return str(value)


def _text(value: Any) -> Array:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


__all__ = [
    "Player",
    "end_frame",
    "event_frame",
    "events_of",
    "logs_frame",
    "memory_frames",
    "picture_frame",
    "plain",
    "sample_frame",
    "segment_frame",
    "steps_frame",
]
