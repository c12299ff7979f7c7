"""The public door to watching a training: what may be asked for, and the watch that comes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn
from torch.optim.optimizer import Optimizer

from nnwidget.errors import InputError
from nnwidget.model.inputs import pinned_inputs
from nnwidget.model.names import Layers
from nnwidget.training.sizes import parse_bytes
from nnwidget.training.wrapping import SHARDED_EVERY, look_through, rank
from nnwidget.watched import Watch
from nnwidget.widgets.cells import shell


def watch(
    model: nn.Module,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    *,
    inputs: Any = None,
    scaler: Any = None,
    layers: Layers = None,
    budget: float | None = 0.02,
    memory: int | str = "256 MB",
    every: int | Literal["auto"] = "auto",
    path: str | Path | None = None,
    controls: Literal["view", "pause", "full"] = "pause",
    display: bool | Literal["auto"] = "auto",
    start_step: int = 0,
    compiled: Literal["outside", "hook"] = "outside",
) -> Watch:
    """Record a training, step by step and layer by layer, without changing it.

    Parameters
    ----------
    model : nn.Module
        What the loop calls, with its wrappers (compiled, DataParallel, DistributedDataParallel), or sharded with
        ``fully_shard``.
    optimizer : Optimizer or sequence of them, optional
        What ends a step. Without it every optimiser that holds parameters of the model does. Of several, the last one
        ends it: where that one does not step in every iteration of the loop, call ``w.step()`` at the end of each.
    inputs : Tensor, tuple, dict or DataLoader, optional
        Pinned inputs, in the forms that :func:`nnwidget.explore` takes. Between steps they are run through the model
        (itself, without wrappers, eagerly, in evaluation mode, without a trace on it), and feature maps, predictions
        and weights are kept as snapshots: before the first step, after the first ones, then at gaps of at least an
        eighth of the steps so far, longer ones where they would take more than a quarter of the budget. Of layers in
        compiled regions these runs are all that is seen. They are written to ``path`` like everything else.
    scaler : GradScaler, optional
        The gradient scaler of the loop: gradients are recorded unscaled, skipped steps are events.
    layers : names, globs or modules, optional
        What to record; default every layer that computes something.
    budget : float or None
        The fraction of step time that recording may cost; None: no limit.
    memory : int or str
        The most that the history may hold, in bytes or as ``"256 MB"``.
    every : int or ``"auto"``
        Record exactly every k-th step, or as the budget allows; of sharded models every tenth.
    path : path, optional
        A folder that the history is written to while it grows; where several processes train, those after the first
        write to ``rank1``, ``rank2`` … in it.
    controls : str
        What the panel offers: ``"view"`` nothing, ``"pause"`` pause, step and stop, ``"full"`` the learning rate too.
    display : bool or ``"auto"``
        Show the panel; ``"auto"``: in a notebook.
    start_step : int
        The last step of an earlier run that this one continues.
    compiled : str
        ``"outside"`` observes nothing inside compiled regions; ``"hook"`` does, and changes what is compiled, so that
        the training is no longer the same bit by bit: the compiler breaks its graph at every layer, and raises with
        ``fullgraph=True``. Nothing is seen of what was compiled before; ``torch._dynamo.reset()`` compiles it again.

    Returns
    -------
    Watch
        Use it as a context manager, or close it.

    Raises
    ------
    InputError
        An argument cannot be used; the message names it and says what to do.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> criterion = nn.MSELoss()
    >>> with watch(model, optimizer, every=1, budget=None) as w:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         criterion(model(torch.ones(2, 4)), torch.zeros(2, 1)).backward()
    ...         optimizer.step()
    >>> w.history["loss"].steps, list(w.history["grad_norm"])
    (array([1, 2, 3]), ['0', '2'])
    """
    given: object = model
    if not isinstance(given, nn.Module):
        what = "the class, not a model made from it" if isinstance(given, type) else f"a {type(given).__name__}"
        raise InputError(f"The model is {what}.", argument="model", remedy="Pass a torch.nn.Module.")
    wrapped = look_through(model)
    optimizers = _optimizers(model, optimizer)
    if inputs is not None and wrapped.sharded:
        raise InputError(
            "Pinned inputs cannot be run through a model that is sharded over processes: it would hang the others.",
            argument="inputs",
            remedy="Leave inputs out.",
        )
    pinned = None if inputs is None else pinned_inputs(wrapped.inner, inputs)
    # Ranks of a sharded model must choose the same steps to record.
    every = SHARDED_EVERY if wrapped.sharded and every == "auto" else every
    if budget is not None and not (isinstance(budget, (int, float)) and 0 < budget < math.inf):
        raise InputError(
            f"The budget {budget!r} is not a fraction of step time.",
            argument="budget",
            remedy="Use 0.02 for two per cent, None for no limit.",
        )
    if every != "auto" and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        raise InputError(f"every={every!r} is no number of steps.", argument="every", remedy='Use 10, say, or "auto".')
    for name, value, allowed in (
        ("controls", controls, ("view", "pause", "full")),
        ("compiled", compiled, ("outside", "hook")),
    ):
        if value not in allowed:
            raise InputError(f"{name}={value!r} is not one of {', '.join(allowed)}.", argument=name)
    w = Watch(
        model,
        wrapped,
        optimizers,
        inputs=pinned,
        layers=layers,
        scaler=scaler,
        budget=budget if every == "auto" else None,
        memory=parse_bytes(memory),
        every=every,
        path=path,
        controls=controls,
        start_step=start_step,
        compiled=compiled,
    )
    if display and _in_notebook() and rank() == 0:
        from IPython.display import display as show

        show(w)
    return w


def _in_notebook() -> bool:
    return getattr(shell(), "kernel", None) is not None


def _optimizers(model: nn.Module, given: Any) -> list[Optimizer]:
    """Check the optimisers: each must hold parameters of the model."""
    if given is None:
        return []
    optimizers = [given] if isinstance(given, Optimizer) else list(given) if isinstance(given, Sequence) else [given]
    mine = {id(p) for p in model.parameters()}
    for optimizer in optimizers:
        if not isinstance(optimizer, Optimizer):
            raise InputError(
                f"The optimizer is a {type(optimizer).__name__}.",
                argument="optimizer",
                remedy="Pass the torch.optim optimiser of the loop, or nothing and call w.step() after each step.",
            )
        if not any(id(p) in mine for group in optimizer.param_groups for p in group["params"]):
            raise InputError(
                f"The {type(optimizer).__name__} holds no parameter of this model.",
                argument="optimizer",
                remedy="Make the optimiser from this model's parameters, after moving the model to its device.",
            )
    return optimizers


__all__ = ["Watch", "watch"]
