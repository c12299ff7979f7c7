"""What filters and rows are sorted by: their norm, how strongly they answer, how alike they are."""

from __future__ import annotations

from torch import Tensor

from nnwidget.errors import InputError
from nnwidget.model.matrix import cosines, row_norms
from nnwidget.model.statistics import real
from nnwidget.types import LayoutKind, WeightView


def scores(values: Tensor, view: WeightView, name: str, activity: Tensor | None) -> Tensor | None:
    """Return what filters or rows are sorted by, float32 ``(n,)``; None when they keep their numbers.

    Parameters
    ----------
    values : Tensor
        ``(n, ...)``: a filter or a row each.
    view : WeightView
        ``sort`` and ``reference``; without a reference, similarity is to the one with the largest norm.
    name : str
        The layer's name, for the error message.
    activity : Tensor, optional
        ``(n,)``: how strongly each output channel answers.

    Raises
    ------
    InputError
        There is no such reference, or no activity for these rows.

    Examples
    --------
    >>> import torch
    >>> rows = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> scores(rows, WeightView(sort="similarity"), "", None).tolist()
    [0.0, 1.0]
    """
    if view.sort == "number":
        return None
    count = len(values)
    norms = row_norms(values)
    if view.sort == "norm" or not count:
        return norms
    if view.sort == "similarity":
        reference = int(norms.nan_to_num(-1.0).argmax()) if view.reference is None else view.reference
        if not 0 <= reference < count:
            raise InputError(
                f"There is no filter {reference} to compare with.",
                layer=name,
                argument="reference",
                remedy=f"Use a number from 0 to {count - 1}.",
            )
        return cosines(values, reference, norms)
    if activity is None or len(activity) != count:
        has = "no channels that can be told apart" if activity is None else f"{len(activity):,} channels"
        raise InputError(
            f"The output of {name or 'this layer'} has {has}, and there are {count:,} rows to sort.",
            layer=name,
            argument="sort",
            remedy="Sort by number, norm or similarity.",
        )
    return activity.to(norms)


def channel_activity(activation: Tensor, kind: LayoutKind) -> Tensor | None:
    """Mean absolute value of each channel of one input's activation, float32 ``(n,)``; None of a scalar.

    Examples
    --------
    >>> import torch
    >>> channel_activity(torch.tensor([[[1.0, -3.0]], [[0.0, 0.5]]]), "maps").tolist()
    [2.0, 0.25]
    """
    values = real(activation).abs()
    if kind == "scalar":
        return None
    if kind == "tokens":
        return values.mean(dim=0)
    return values.flatten(1).mean(dim=1) if values.ndim > 1 else values


__all__ = ["channel_activity", "scores"]
