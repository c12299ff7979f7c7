"""Snapshots of pinned inputs: now and then, between two steps, what the model makes of them, and its weights."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from nnwidget.errors import NNWidgetError
from nnwidget.model.axes import sequence_first, teller
from nnwidget.model.glance import Glance
from nnwidget.model.inputs import PinnedInputs
from nnwidget.model.predict import scores
from nnwidget.model.probe import refuse
from nnwidget.model.structure import tensors
from nnwidget.training.binning import binned
from nnwidget.training.governor import SNAPSHOTS_SHARE, Governor
from nnwidget.training.history import History
from nnwidget.training.history_store import SHARES
from nnwidget.training.layer_set import COMPILED, Watched
from nnwidget.training.measure import Moments, from_device, on_device, on_host, usable
from nnwidget.training.sample import rows_of
from nnwidget.training.shrink import feature_maps, strided
from nnwidget.types import Array

log = logging.getLogger("nnwidget")

_BYTES = 65_536  # of one array at most
_FIT = 16  # so many snapshots have room in the history's memory
_AROUND = 800  # bytes that the history counts for each array besides its values
_INPUTS = 4  # feature maps are kept of the first so many pinned inputs
_PIXELS = 96  # a side, of the pictures of pinned inputs
_GROWTH = 8  # the gap is at least the steps so far by this
_AGAIN = 20  # steps after which a gap that time decides is computed again

CADENCE = (
    "pinned inputs are run after the first steps and then at gaps of at least an eighth of the steps so far, "
    f"longer ones where their runs would take more than {SNAPSHOTS_SHARE:.0%} of the budget"
)


class Snapshots:
    """Runs the model on pinned inputs between steps and records what it sees, leaving no trace on the model.

    Of each layer the feature maps of the first four inputs are kept, averaged over blocks to at most 64 kB; of each
    parameter a strided part of at most 64 kB; less where sixteen snapshots would not fit into memory. The runs are in
    evaluation mode, eager, and without hooks. Layers inside compiled regions get their statistics here too.

    The first run is made at once, so that inputs which do not fit raise here.

    Parameters
    ----------
    model : nn.Module
        The model itself, without its wrappers.
    pinned : PinnedInputs
        The inputs.
    watched : sequence of Watched
        The layers.
    memory : int
        Bytes of the history.
    start : int
        The step before the first.

    Raises
    ------
    UnobservableError, ForwardError
        The model must not, or cannot, be run on these inputs.

    Examples
    --------
    >>> import torch
    >>> from nnwidget.model.inputs import pinned_inputs
    >>> from nnwidget.training.layer_set import layer_set
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> watched, _ = layer_set(model)
    >>> shots = Snapshots(model, pinned_inputs(model, torch.ones(5, 2)), watched, 1_000_000)
    >>> history = History(["0", "1"], memory=1_000_000, meta=shots.meta)
    >>> shots.begin(history)
    >>> history.snapshot("map", "1")[1].shape, history.snapshot("prediction", "")[1].shape
    ((4, 3), (5, 3))
    """

    def __init__(
        self, model: nn.Module, pinned: PinnedInputs, watched: Sequence[Watched], memory: int, start: int = 0
    ) -> None:
        self._model = model
        self._pinned = pinned
        self._watched = {layer.name: layer for layer in watched}
        self._again = {layer.name for layer in watched if layer.reason == COMPILED}
        self._tellers = {name: (teller(model, name), int(sequence_first(model, name))) for name in self._watched}
        refuse(model)
        self._weights = [(name, p) for name, p in model.named_parameters() if p.is_floating_point() and p.numel()]
        things = len(self._watched) + len(self._weights) + 1
        self._bytes = max(512, min(_BYTES, memory * SHARES["pictures"] // 100 // _FIT // things - _AROUND))
        self._glance = Glance(model)
        self._kind = "auto"
        self._layers: dict[str, Any] = {}
        self._left_out: dict[str, str] = {}
        self._strides: dict[str, list[int]] = {}
        self._prediction: dict[str, Any] = {}
        self._history: History | None = None
        self._start = self._last = start
        self._next = start + 1
        self.seconds = 0.0
        self.failed = ""
        started = time.perf_counter()
        self._first: tuple[dict[tuple[str, str], Array], dict[int, Moments]] | None = self._look()
        self.seconds = time.perf_counter() - started

    @property
    def meta(self) -> dict[str, Any]:
        """What tells the arrays apart: cadence, layout and pooling of each map, strides of each weight."""
        about = {"cadence": CADENCE, "inputs": self._pinned.count, "mode": "evaluation, eager", "maps": self._layers}
        more = {"prediction": self._prediction, "weights": self._strides, "left_out": self._left_out}
        return {"snapshots": about | more}

    @property
    def seen(self) -> frozenset[str]:
        """Layers inside compiled regions that the eager runs showed."""
        return frozenset(self._again & self._layers.keys())

    def begin(self, history: History) -> None:
        """Record the first run, and the pictures of the inputs where they are pictures."""
        self._history = history
        for index in range(min(_INPUTS, self._pinned.count)):
            picture = self._pinned.picture(index, _PIXELS)
            if picture is not None:
                history.add_snapshot(self._start, "input", str(index), picture)
        first, self._first = self._first, None
        if first is not None:
            self._record(self._start, *first)

    def due(self, step: int, governor: Governor) -> bool:
        """Say whether this step's end is the moment for the next one."""
        if step < self._next or self.failed:
            return False
        allowed = governor.for_snapshots
        if math.isinf(allowed):
            return True
        gap = self.seconds / allowed if allowed else math.inf
        if step >= self._last + gap:
            return True
        self._next = step + _AGAIN if math.isinf(gap) else min(math.ceil(self._last + gap), step + _AGAIN)
        return False

    def take(self, step: int) -> float:
        """Run the pinned inputs and record them; return the seconds it took. A failure ends snapshots, nothing else."""
        started = time.perf_counter()
        try:
            self._record(step, *self._look())
        except Exception as error:  # never break the user's step
            log.warning("nnwidget could not run the pinned inputs and leaves them alone from now on", exc_info=True)
            self.failed = f"{type(error).__name__}: {error}"
        self._last = step
        self._next = step + max(1, (step - self._start) // _GROWTH)
        self.seconds = time.perf_counter() - started
        return self.seconds

    def _look(self) -> tuple[dict[tuple[str, str], Array], dict[int, Moments]]:
        pictures: dict[tuple[str, str], Array] = {}
        moments: dict[int, Moments] = {}

        def seen(name: str, output: Any) -> None:
            try:
                self._seen(name, output, pictures, moments)
            except NNWidgetError as error:
                self._left_out[name] = str(error)

        args, kwargs = self._pinned.all()
        result = self._glance(args, kwargs, [*self._watched], seen)
        self._predict(result, pictures)
        for name, parameter in self._weights:
            pictures["weight", name], self._strides[name] = strided(parameter, self._bytes)
        return pictures, moments

    def _seen(
        self, name: str, output: Any, pictures: dict[tuple[str, str], Array], moments: dict[int, Moments]
    ) -> None:
        tensor = next((tensor for _, tensor in tensors(output)), None)
        reason = "its output holds no tensor" if tensor is None else usable(tensor) if tensor.numel() else "it is empty"
        if tensor is None or reason:
            self._left_out[name] = reason
            return
        module, batch_axis = self._tellers[name]
        pictures["map", name], self._layers[name] = feature_maps(
            module,
            tensor,
            inputs=_INPUTS,
            nbytes=self._bytes,
            batched=self._pinned.batched,
            batch_axis=batch_axis,
        )
        if name in self._again:
            moments[self._watched[name].index] = _measured(tensor)

    def _predict(self, result: Any, pictures: dict[tuple[str, str], Array]) -> None:
        try:
            shown, self._kind, note = scores(result, self._model, kind=self._kind)
        except NNWidgetError as error:
            self._left_out["(the prediction)"] = str(error)
            return
        values: Array = shown.numpy()
        rows = max(1, self._bytes // max(4 * values.shape[1], 1))
        pictures["prediction", ""] = values[:rows]
        self._prediction = {"kind": self._kind, "note": note}

    def _record(self, step: int, pictures: Mapping[tuple[str, str], Array], moments: Mapping[int, Moments]) -> None:
        history = self._history
        if history is None:
            return
        for (kind, name), array in pictures.items():
            history.add_snapshot(step, kind, name, array)
        if moments:
            size = len(self._watched)
            samples = {index: found.samples for index, found in moments.items()}
            values = rows_of("activation", moments, size)
            history.add_sample(step, values, binned(size, {"activation": samples}))


def _measured(tensor: Tensor) -> Moments:
    return on_host(tensor) if tensor.is_cpu else from_device(np.asarray(on_device(tensor).cpu()))


__all__ = ["CADENCE", "Snapshots"]
