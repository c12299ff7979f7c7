"""What a loop calls and the model inside it: compiled, replicated or sharded, and what cannot be done then."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from nnwidget.errors import InputError, NNWidgetError

# With sharding, steps to record are chosen by number, so that all ranks choose the same ones.
SHARDED_EVERY = 10

_INSIDE = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A model as its loop has it.

    ``inner`` is the model without its wrappers; ``compiled`` says that one of these is ``torch.compile``; ``sharded``
    that parameters are spread over processes (``fully_shard``, tensor parallelism).
    """

    inner: nn.Module
    compiled: bool = False
    sharded: bool = False

    @property
    def again(self) -> bool:
        """Say whether a step may be run a second time, on this process alone and without compiling anything."""
        if self.sharded or (world() > 1 and any(isinstance(part, nn.SyncBatchNorm) for part in self.inner.modules())):
            return False
        compiled = self.compiled or any(part._compiled_call_impl is not None for part in self.inner.modules())
        return not compiled or hasattr(torch.compiler, "set_stance")


def look_through(model: nn.Module) -> Wrapped:
    """Look through the wrappers of a model, so that layers have the names the user knows.

    Raises
    ------
    InputError
        It is wrapped by ``FullyShardedDataParallel``, which flattens parameters beyond recognition.

    Examples
    --------
    >>> inner = nn.Linear(2, 2)
    >>> look_through(nn.DataParallel(inner)).inner is inner
    True
    """
    compiled = False
    while True:
        name = type(model).__name__
        if name == "FullyShardedDataParallel":
            raise InputError(
                "The model is wrapped by FullyShardedDataParallel, which hides its parameters.",
                argument="model",
                remedy="Shard it with torch.distributed.fsdp.fully_shard, which keeps them.",
            )
        inner = getattr(model, _INSIDE[name], None) if name in _INSIDE else None
        if not isinstance(inner, nn.Module):
            break
        compiled = compiled or name == "OptimizedModule"
        model = inner
    sharded = any(type(parameter).__name__ == "DTensor" for parameter in model.parameters())
    return Wrapped(model, compiled, sharded)


def compiled_graphs() -> int:
    """Return how many graphs ``torch.compile`` has made in this process so far, as far as it tells.

    Examples
    --------
    >>> compiled_graphs() >= 0
    True
    """
    counters = getattr(sys.modules.get("torch._dynamo.utils"), "counters", {})
    return int(counters.get("stats", {}).get("unique_graphs", 0))


def world() -> int:
    """Return how many processes train together.

    Examples
    --------
    >>> world()
    1
    """
    joined = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if joined else 1


def rank() -> int:
    """Return which of them this is; the first one shows.

    Examples
    --------
    >>> rank()
    0
    """
    return torch.distributed.get_rank() if world() > 1 else 0


def folder(path: str | Path | None) -> Path | None:
    """Return where this process writes: the first to the folder itself, others to ``rank1``, ``rank2`` … in it.

    Examples
    --------
    >>> folder("run").name
    'run'
    """
    if path is None:
        return None
    return Path(path) / f"rank{rank()}" if rank() else Path(path)


def refuse_alone(what: str) -> None:
    """Refuse what one process must not do alone, since the others would wait for it in a collective.

    Raises
    ------
    NNWidgetError
        Several processes train together.
    """
    if world() > 1:
        raise NNWidgetError(
            f"One of {world()} processes cannot be {what} alone: the others would wait for it until they time out.",
            remedy="Let all of them decide in the loop: share a flag with torch.distributed.broadcast and break, or "
            "train in one process.",
        )


__all__ = ["SHARDED_EVERY", "Wrapped", "compiled_graphs", "folder", "look_through", "rank", "refuse_alone", "world"]
