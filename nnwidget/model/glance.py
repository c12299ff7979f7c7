"""One look at every layer on pinned inputs, each tensor handed on as it passes and nothing kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from nnwidget.model.runner import Question, Runner
from nnwidget.model.tracer import Given, Look, Tracer

Seen = Callable[[str, Any], None]


class Glance:
    """Runs a model as :class:`nnwidget.model.replay.Replayer` does, without copying what it does not need.

    Parameters
    ----------
    model : nn.Module
        The model; compiled ones run eagerly. It is run in evaluation mode.

    Examples
    --------
    >>> import torch
    >>> shapes = {}
    >>> glance = Glance(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    >>> result = glance((torch.ones(1, 2),), {}, ["1"], lambda name, output: shapes.update({name: output.shape}))
    >>> shapes, result.shape
    ({'1': torch.Size([1, 3])}, torch.Size([1, 3]))
    """

    def __init__(self, model: nn.Module) -> None:
        self._runner = Runner(model, None, False)

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], names: list[str], seen: Seen) -> Any:
        """Run once.

        Parameters
        ----------
        args, kwargs : tuple and mapping
            The inputs.
        names : list of str
            The layers to look at.
        seen : callable
            ``seen(name, output)`` with what each returned, at its first call. It must not keep the tensors, and
            may be called twice for a layer: then the second counts.

        Returns
        -------
        object
            What the model returned.

        Raises
        ------
        UnobservableError
            The model must not be run.
        ForwardError
            The model raised; its own exception is the cause.
        """
        runner = self._runner
        runner.refresh()
        idents = {runner.ident(name): name for name in names}
        while True:
            tracer = Tracer(runner.view.known, looks={ident: [_once(name, seen)] for ident, name in idents.items()})
            question, needed = Question(args, kwargs, {}), frozenset(idents)
            outcome = runner.attempt(needed, tracer, question, off=runner.path_off(needed))
            if outcome is not None:
                if outcome.error is not None:
                    raise outcome.error
                return outcome.result


def _once(name: str, seen: Seen) -> Look:
    """Look at the first call only."""
    calls = 0

    def look(given: Given, output: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            seen(name, output)

    return look


__all__ = ["Glance"]
