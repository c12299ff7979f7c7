"""How much more a channel answers to one class than to the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnwidget.errors import InputError


def classes_of(targets: Sequence[int | float | None]) -> list[int | None]:
    """Return the class of each input.

    Raises
    ------
    InputError
        There are no targets, they are no classes, or all of one class.

    Examples
    --------
    >>> classes_of([3, None, 1])
    [3, None, 1]
    """
    if all(target is None for target in targets):
        raise InputError(
            "Class selectivity compares classes, and the pinned inputs have no targets.",
            argument="targets",
            remedy="Pass targets= to explore: the class of each input.",
        )
    found = [target if target is None or float(target).is_integer() else -1 for target in targets]
    classes = [None if target is None else int(target) for target in found]
    if any(target is not None and target < 0 for target in classes):
        raise InputError(
            "Class selectivity compares classes, and the targets of the pinned inputs are not class numbers.",
            argument="targets",
            remedy="Pass whole numbers from 0, one for each input, or None where the class is unknown.",
        )
    if len({target for target in classes if target is not None}) < 2:
        raise InputError(
            "Class selectivity needs inputs of at least two classes, and all pinned ones are of one.",
            argument="targets",
            remedy="Pin inputs of several classes.",
        )
    return classes


def class_selectivity(means: Tensor, classes: Sequence[int | None]) -> tuple[Tensor, Tensor]:
    """Return the class selectivity index of each channel (Morcos et al., 2018).

    It is ``(mu_max - mu_rest) / (mu_max + mu_rest)``: ``mu_max`` is the largest of the classes' mean outputs and
    ``mu_rest`` the mean over the other classes. 0: the same for all classes; 1: one class only.

    Parameters
    ----------
    means : Tensor
        ``(inputs, channels)``: the mean of each channel over its positions.
    classes : sequence of int or None
        The class of each input; inputs without one are left out. At least two classes.

    Returns
    -------
    index : Tensor
        float32 ``(channels,)``. NaN where the mean of some class is negative, since the index is meant for outputs that
        are not; 0 for a channel that is zero for all classes.
    preferred : Tensor
        int64 ``(channels,)``: the class with the largest mean.

    Examples
    --------
    >>> index, preferred = class_selectivity(torch.tensor([[3.0, 1.0], [1.0, 1.0]]), [7, 9])
    >>> index.tolist(), preferred.tolist()
    ([0.5, 0.0], [7, 7])
    """
    names = sorted({known for known in classes if known is not None})
    by_class = torch.stack(
        [means[[at for at, own in enumerate(classes) if own == name]].double().mean(0) for name in names]
    )
    largest, at = by_class.max(0)
    rest = (by_class.sum(0) - largest) / (len(names) - 1)
    total = largest + rest
    index = torch.where(total == 0, torch.zeros_like(total), (largest - rest) / total)
    index[(by_class < 0).any(0) | by_class.isnan().any(0)] = float("nan")
    return index.float(), torch.tensor(names, device=at.device)[at]


__all__ = ["class_selectivity", "classes_of"]
