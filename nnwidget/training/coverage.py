"""What a watched training sees of every module, and why not more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from nnwidget.training.engine import Engine
from nnwidget.training.layer_set import COMPILED, Watched
from nnwidget.training.measure import SAMPLE, USUAL
from nnwidget.training.parameters import local

_IN_PART = f"mean, deviation and zeros estimated from {USUAL:,} values of a tensor, extremes from all"
_UPDATES = f"update norm and histograms of parameters estimated from about {SAMPLE:,} values of a tensor"

_LATE = "without norms of parameters that were not there when watch() was called: call the model once before it"


@dataclass(frozen=True, slots=True)
class Covered:
    """How one module is covered: ``state`` is ``observed``, ``sampled``, ``parameters only`` or ``not observed``."""

    layer: str
    state: Literal["observed", "sampled", "parameters only", "not observed"]
    reason: str = ""


class Coverage(tuple[Covered, ...]):
    """The coverage of every module; prints as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        """One line a layer."""
        width = max((len(row.layer or "(the model)") for row in self), default=0)
        return "\n".join(
            f"{row.layer or '(the model)':<{width}}  {row.state}{': ' + row.reason if row.reason else ''}"
            for row in self
        )


def coverage(
    model: nn.Module,
    watched: Sequence[Watched],
    left: Mapping[str, str],
    rerun: Collection[str],
    engine: Engine,
    *,
    sharded: bool,
) -> Coverage:
    """Say how every module is covered now.

    Parameters
    ----------
    model : nn.Module
        The watched model, for the order.
    watched : sequence of Watched
        The layers that are recorded.
    left : mapping of str to str
        Those that are left out, and why.
    rerun : collection of str
        Those that are seen in eager runs of the pinned inputs.
    engine : Engine
        Knows what it saw.
    sharded : bool
        The parameters are spread over processes.
    """
    taps, blind = engine.sampler.taps, engine.sampler.blind
    rows = {name: Covered(name, "not observed", reason) for name, reason in left.items()}
    for layer in watched:
        name, reason = layer.name, layer.reason or taps.left_out.get(layer.name, "") or blind
        if name in taps.given_up:
            reason = "observing it failed"
        if name in rerun:
            rows[name] = Covered(name, "sampled", f"eager re-run of the pinned inputs: {reason}")
        elif reason:
            if reason == COMPILED and not rerun:
                reason += "; give watch() inputs= to see it in an eager re-run of them"
            rows[name] = Covered(name, "parameters only" if layer.parameters else "not observed", reason)
        elif engine.governor.level:
            rows[name] = Covered(name, "sampled", "a strided sample of each tensor, to keep the budget")
        else:
            said = [_norms_of(engine)] if sharded else []
            said += [_IN_PART] if name in taps.in_part else []
            said += [_UPDATES] if any(local(p).numel() > SAMPLE for p in layer.parameters) else []
            missing = len([*layer.module.parameters(recurse=False)]) > len(layer.parameters)
            said += [_LATE] if missing else []
            rows[name] = Covered(name, "observed", "; ".join(said))
    order = {name: index for index, (name, _) in enumerate(model.named_modules())}
    return Coverage(sorted(rows.values(), key=lambda row: order.get(row.layer, len(order))))


def _norms_of(engine: Engine) -> str:
    """Say what the numbers of a sharded model are about."""
    shares, every = engine.sampler.shares, engine.governor.cost.every
    often = f"on one step in {every:.0f}" if every else "on recorded steps"
    whose = "norms of this rank's shards"
    if shares is not None and shares.leads:
        whose = f"norms of all ranks together, {often}"
        if shares.alone:
            whose = "no norms: other ranks do not watch, or not the same steps"
    return f"activations of this rank's batch, {whose}"
