"""Norms of sharded parameters put together over ranks: through the store of the process group, never by a collective.

A collective would hang the training when one rank does not watch, watches another number of steps, or has given up.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnwidget.training.layer_set import Watched
from nnwidget.training.thinning import ABSENT
from nnwidget.types import Array

log = logging.getLogger("nnwidget")

NORMS = ("param_norm", "grad_norm", "update_norm")

_SLOTS = 16  # recorded steps whose shares are in the store at a time
_PATIENCE = 5.0  # seconds that the last step's shares are waited for when all is over
_numbers = itertools.count()


class Shares:
    """One rank's part in the norms of a sharded model.

    On recorded steps every rank puts the squares of its shards into the store; the first rank adds them up once all
    are there, without waiting for them. Where they do not come, combined norms are left out and ``alone`` says so.

    Parameters
    ----------
    store : torch.distributed.Store
        The process group's.
    watched : sequence of Watched
        The layers.
    members : sequence of int
        The ranks that hold parts of this model, the one that adds up first.
    rank : int
        This one.
    copies : sequence of float
        For each layer, how many ranks hold the same values; NaN where its parameters differ in that.
    number : int
        Tells several watches of one process apart.
    every : int
        Steps from one recorded step to the next.

    Examples
    --------
    >>> store, layer = torch.distributed.HashStore(), Watched(0, "fc", torch.nn.Linear(1, 1), (), True)
    >>> ranks = [Shares(store, [layer], [0, 1], rank, [1.0]) for rank in (0, 1)]
    >>> steps = [{"grad_norm": np.array([value], np.float32)} for value in (3.0, 4.0)]
    >>> [ranks[rank].together(10, steps[rank], steps[rank]["grad_norm"][0]) for rank in (0, 1, 0)]
    [None, {}, {'total_grad_norm': 5.0}]
    >>> steps[0]["grad_norm"]
    array([5.], dtype=float32)
    """

    def __init__(
        self,
        store: Any,
        watched: Sequence[Watched],
        members: Sequence[int],
        rank: int,
        copies: Sequence[float],
        number: int = 0,
        every: int = 1,
    ) -> None:
        self._store = store
        self._size = len(watched)
        self._members = list(members)
        self._rank = rank
        self._copies = np.array(copies, np.float64)
        self._number = number
        self._every = every
        self._put = -1
        self.leads = rank == self._members[0]
        self.alone = False

    def together(
        self, step: int, values: dict[str, Array], total: float, *, impatient: bool = False, closing: bool = False
    ) -> dict[str, float] | None:
        """Exchange the norms of one step.

        Parameters
        ----------
        step : int
            The step.
        values : dict
            Its quantities; on the first rank the norms in it are replaced by those of all ranks together.
        total : float
            The norm of all gradients of this rank.
        impatient : bool
            Do without the others' shares if they are not there now.
        closing : bool
            Wait for them for a moment.

        Returns
        -------
        dict or None
            Further numbers of the step; None when shares are missing and may still come.
        """
        try:
            if self._put != step:
                self._put = step
                self._store.set(self._key(step, self._rank), self._share(step, values, total).tobytes())
            if not self.leads:
                return {}
            found = self._collected(step, _PATIENCE if closing and not self.alone else 0.0)
        except Exception:  # the store may be gone before the watch is closed
            log.debug("shares of step %s could not be exchanged", step, exc_info=True)
            found, impatient = None, True
        if found is None:
            if not impatient and not closing:
                return None
            if not self.leads:
                return {}
            self.alone = True
            for name in (*NORMS, "update_ratio"):
                if name in values:
                    values[name] = np.full(self._size, ABSENT, np.float32)
            return {}
        self.alone = False
        rows = np.sqrt(found[2:].reshape(len(NORMS), self._size)).astype(np.float32)
        for name, row in zip(NORMS, rows, strict=True):
            if name in values:
                values[name] = np.where(np.isnan(row), np.float32(ABSENT), row)
        if "update_ratio" in values:
            with np.errstate(divide="ignore", invalid="ignore"):
                values["update_ratio"] = values["update_norm"] / values["param_norm"]
        return {"total_grad_norm": math.sqrt(found[1])} if not math.isnan(found[1]) else {}

    def _share(self, step: int, values: Mapping[str, Array], total: float) -> Array:
        none = np.full(self._size, np.nan)
        rows = [np.square(values.get(name, none), dtype=np.float64) / self._copies for name in NORMS]
        different = len(set(self._copies[np.isfinite(self._copies)].tolist())) != 1
        copies = math.nan if different else float(np.nanmax(self._copies))
        return np.concatenate([[step, total**2 / copies], *rows])

    def _collected(self, step: int, patience: float) -> Array | None:
        keys = [self._key(step, rank) for rank in self._members]
        until = time.monotonic() + patience
        while True:
            if self._store.check(keys):
                shares = [np.frombuffer(self._store.get(key), np.float64) for key in keys]
                if all(len(share) == len(shares[0]) and share[0] == step for share in shares):
                    summed: Array = np.sum(shares, axis=0)
                    return summed
            if time.monotonic() >= until:
                return None
            time.sleep(0.02)

    def _key(self, step: int, rank: int) -> str:
        # Few keys, written again and again: the store keeps what nobody deletes.
        return f"nnwidget/{self._number}/{step // self._every % _SLOTS}/{rank}"


def shares_of(watched: Sequence[Watched], every: int) -> Shares | None:
    """Make this rank's part for layers of a sharded model; None where there is nothing to exchange with.

    Examples
    --------
    >>> shares_of([], 10) is None
    True
    """
    distributed = torch.distributed
    sharded = [p for layer in watched for p in layer.parameters if is_sharded(p)]
    if not sharded or not distributed.is_initialized():
        return None
    try:
        store = distributed.distributed_c10d._get_default_store()
        mesh: Any = sharded[0].device_mesh  # type: ignore[attr-defined]
        members = [int(member) for member in mesh.mesh.flatten().tolist()]
    except Exception:  # not public, so it may be gone one day: then norms are those of the shards
        return None
    copies = [_copies(layer, len(members)) for layer in watched]
    return Shares(store, watched, members, distributed.get_rank(), copies, next(_numbers), every)


def is_sharded(tensor: Tensor) -> bool:
    """Say whether a tensor is spread over processes.

    Examples
    --------
    >>> is_sharded(torch.zeros(1))
    False
    """
    return type(tensor).__name__ == "DTensor"


def _copies(layer: Watched, members: int) -> float:
    found = {_held_by(parameter, members) for parameter in layer.parameters}
    return found.pop() if len(found) == 1 else math.nan if found else 1.0


def _held_by(parameter: Any, members: int) -> float:
    """Count the ranks that hold the same values of a parameter."""
    if not is_sharded(parameter):
        return float(members)
    mesh = parameter.device_mesh
    sizes = [mesh.size(axis) for axis, how in enumerate(parameter.placements) if how.is_replicate()]
    return float(math.prod(sizes))


__all__ = ["NORMS", "Shares", "is_sharded", "shares_of"]
