"""What wraps a model: compiled and parallel wrappers, and which of them can be looked through."""

from __future__ import annotations

from torch import nn

from nnwidget.errors import InputError


def unwrap(model: object) -> tuple[nn.Module, str]:
    """Return the module that can be run on its own, and a label where that is not the one given.

    Raises
    ------
    InputError
        Not a module, or one that is sharded over processes: a lone forward of it would hang them all.

    Examples
    --------
    >>> unwrap(nn.DataParallel(nn.Linear(2, 2)))[1]
    'Seen through DataParallel.'
    """
    if not isinstance(model, nn.Module):
        what = "the class, not a model made from it" if isinstance(model, type) else f"a {type(model).__name__}"
        raise InputError(
            f"The model is {what}.", argument="model", remedy="Pass a torch.nn.Module, e.g. explore(model, images)."
        )
    if any(type(parameter).__name__ == "DTensor" for parameter in model.parameters()):
        raise InputError(
            "The model is sharded over several processes, where a lone forward would hang them all.",
            argument="model",
            remedy="Explore an unsharded copy loaded from a checkpoint.",
        )
    notes = []
    while True:
        name = type(model).__name__
        inner = getattr(model, "_orig_mod" if name == "OptimizedModule" else "module", None)
        if name == "FullyShardedDataParallel":
            raise InputError(
                "The model is wrapped by FullyShardedDataParallel, where a lone forward would hang all ranks.",
                argument="model",
                remedy="Explore an unsharded copy loaded from a checkpoint.",
            )
        if name not in ("OptimizedModule", "DataParallel", "DistributedDataParallel") or not isinstance(
            inner, nn.Module
        ):
            break
        notes.append("eager re-run of a compiled model" if name == "OptimizedModule" else f"seen through {name}")
        model = inner
    text = ", ".join(notes)
    return model, text[:1].upper() + text[1:] + "." if text else ""
