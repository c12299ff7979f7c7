"""Which layers a training's record is about, and what is said of those it leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from nnwidget.model.fused import never_called
from nnwidget.model.names import Layers, compiled_regions, refusal, select, walk

_PASSING = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
)

COMPILED = "it is inside a compiled region, where a hook would change the computation"

# What counts as saturated: within one per cent of the function's range of one of its ends.
_ENDS: dict[type[nn.Module], tuple[float | None, float | None]] = {
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.Tanh: (-1.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
    nn.ReLU6: (None, 6.0),
}


@dataclass(frozen=True, slots=True)
class Watched:
    """One layer of the record.

    ``observed`` is False for layers whose output cannot be seen; ``parameters`` are its own, not its children's.
    ``low`` and ``high`` are where its outputs count as saturated. ``inside`` says that it is hooked inside a compiled
    region, by :class:`nnwidget.training.inside.Inside`.
    """

    index: int
    name: str
    module: nn.Module
    parameters: tuple[nn.Parameter, ...]
    observed: bool
    reason: str = ""
    low: float | None = None
    high: float | None = None
    inside: bool = False


def layer_set(
    model: nn.Module, layers: Layers = None, *, hook_compiled: bool = False, compiled: bool = False
) -> tuple[list[Watched], dict[str, str]]:
    """Choose what to watch.

    Parameters
    ----------
    model : nn.Module
        The model.
    layers : names, globs or modules, optional
        Without it, every module without children and every module with parameters of its own, but none that only pass
        values on.
    hook_compiled : bool
        Observe layers inside compiled regions too, which changes what the compiler makes of them.
    compiled : bool
        All of the model is inside a compiled region.

    Returns
    -------
    list of Watched, dict of str to str
        The layers in the model's order, and the reason for each module left out.

    Examples
    --------
    >>> watched, left = layer_set(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
    >>> [layer.name for layer in watched], left["1"]
    (['0'], 'it only passes values on')
    """
    named = walk(model)
    chosen = None if layers is None else {item.name for item in select(model, layers, named)}
    silent = never_called(named)
    inside = {item.name for item in named} if compiled else compiled_regions(named).keys()
    watched: list[Watched] = []
    left: dict[str, str] = {}
    for item in named:
        module = item.module
        hidden = item.name in inside and not hook_compiled
        reason = refusal(module) or silent.get(item.name, "") or (COMPILED if hidden else "")
        own = tuple(p for p in module.parameters(recurse=False) if not isinstance(p, nn.UninitializedParameter))
        if chosen is not None and item.name not in chosen:
            left[item.name] = "it was not chosen with layers="
            continue
        # The wrapper of a compiled part is outside of it, and all that can be seen of it.
        if chosen is None and item.children and not own and ("_orig_mod" not in module._modules or hidden):
            left[item.name] = "its parts are watched"
            continue
        if chosen is None and isinstance(module, _PASSING):
            left[item.name] = "it only passes values on"
            continue
        low, high = _saturation(module)
        hooked = hook_compiled and item.name in inside and not reason
        seen = not reason and not hooked
        watched.append(Watched(len(watched), item.name, module, own, seen, reason, low, high, hooked))
    return watched, left


def _saturation(module: nn.Module) -> tuple[float | None, float | None]:
    if isinstance(module, nn.Hardtanh) and not isinstance(module, nn.ReLU6):
        ends: tuple[float | None, float | None] = (float(module.min_val), float(module.max_val))
    else:
        ends = next((ends for kind, ends in _ENDS.items() if isinstance(module, kind)), (None, None))
    low, high = ends
    margin = 0.01 * ((high - low) if low is not None and high is not None else (high or 0.0))
    return (None if low is None else low + margin), (None if high is None else high - margin)
