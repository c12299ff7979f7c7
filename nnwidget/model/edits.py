"""Edits of a layer's output: scale, limit, ablate or replace channels, units, heads or whole layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Literal, SupportsIndex, TypeAlias

import torch

from nnwidget.errors import InputError

Indices: TypeAlias = "int | Sequence[int] | None"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Where:
    """Where in a layer's output an edit acts; see :class:`Scale`."""

    unit: Indices = None
    head: Indices = None
    heads: int | None = None
    axis: int | str = "auto"
    output: int | str = 0
    call: int | None = None

    def _check(self, channel: Indices) -> None:
        """Normalise the indices to tuples and refuse what cannot be meant."""
        given = [("channel", channel), ("unit", self.unit), ("head", self.head)]
        for name, value in given:
            object.__setattr__(self, name, _indices(name, value))
        named = [name for name, value in given if value is not None]
        if len(named) > 1:
            raise InputError(
                f"{type(self).__name__} was given {' and '.join(named)}.",
                argument=named[1],
                remedy="Choose channels, units or heads; use several edits for several kinds.",
            )
        if self.heads is not None and (type(self.heads) is not int or self.heads < 1):
            raise InputError(
                f"heads={self.heads!r} is not a number of heads.", argument="heads", remedy="Pass 1 or more."
            )
        if self.call is not None and (type(self.call) is not int or self.call < 0):
            raise InputError(f"call={self.call!r} is not a call number.", argument="call", remedy="Count from 0.")
        if isinstance(self.output, bool) or not isinstance(self.output, (int, str)):
            raise InputError(
                f"output={self.output!r} names no output.",
                argument="output",
                remedy='Pass the number of the tensor, or its path such as "1.0" or "logits".',
            )


@dataclass(frozen=True, slots=True)
class Scale(_Where):
    """Multiply.

    Parameters
    ----------
    factor : float
        What the values are multiplied with.
    channel : int or sequence of int, optional
        Indices on the channel (or feature) axis; without it, and without ``unit`` and ``head``, the whole output.
    unit : int or sequence of int, optional
        The same for layers whose output is a vector or tokens.
    head : int or sequence of int, optional
        Attention heads: equal slices of the features.
    heads : int, optional
        The number of heads, where the layer does not say it.
    axis : int or "auto", default "auto"
        The channel axis of the output, batch axis included.
    output : int or str, default 0
        Which tensor of a structured output: its number, or its path such as ``"1.0"`` or ``"logits"``.
    call : int, optional
        One call of a module that is used several times in a forward; without it every call.

    Examples
    --------
    >>> Scale(0.5, channel=3).channel
    (3,)
    """

    factor: float
    channel: Indices = None

    def __post_init__(self) -> None:
        _number("factor", self.factor)
        self._check(self.channel)


@dataclass(frozen=True, slots=True)
class Clamp(_Where):
    """Limit to ``[min, max]``; the other parameters are those of :class:`Scale`.

    Parameters
    ----------
    min, max : float, optional
        The limits, in the layer's own unit; at least one.
    channel : int or sequence of int, optional
        As in :class:`Scale`.

    Examples
    --------
    >>> Clamp(max=6.0).min is None
    True
    """

    min: float | None = None
    max: float | None = None
    channel: Indices = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise InputError("Clamp has no limit.", argument="min", remedy="Pass min=, max= or both.")
        for name, value in (("min", self.min), ("max", self.max)):
            if value is not None:
                _number(name, value)
        if self.min is not None and self.max is not None and self.min > self.max:
            raise InputError(f"min={self.min} is above max={self.max}.", argument="min", remedy="Swap them.")
        self._check(self.channel)


@dataclass(frozen=True, slots=True)
class Ablate(_Where):
    """Take the information out: replace by the mean, or by a constant.

    The mean is taken per channel over batch and positions: over the pinned inputs where there are some, and over
    the batch that flows through in :func:`edit`. Zero is often no "off": before a normalisation it becomes some
    other value. The other parameters are those of :class:`Scale`.

    Parameters
    ----------
    channel : int or sequence of int, optional
        As in :class:`Scale`.
    value : "mean" or float, default "mean"
        What the values are replaced by.
    others : bool, default False
        Ablate everything except the channels, units or heads named.

    Examples
    --------
    >>> Ablate(channel=[1, 2]).value
    'mean'
    """

    channel: Indices = None
    value: Literal["mean"] | float = "mean"
    others: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.value, str):
            if self.value != "mean":
                raise InputError(
                    f"value={self.value!r} is unknown.", argument="value", remedy='Pass "mean" or a number.'
                )
        else:
            _number("value", self.value)
        self._check(self.channel)
        if self.others and self.channel is None and self.unit is None and self.head is None:
            raise InputError("others=True needs a channel.", argument="others", remedy="Name the channels to keep.")


@dataclass(frozen=True, slots=True, eq=False)
class Replace(_Where):
    """Put other values in; the other parameters are those of :class:`Scale`.

    Parameters
    ----------
    value : torch.Tensor or callable or float
        A tensor that broadcasts to the values replaced, or a function from those values to new ones.
    channel : int or sequence of int, optional
        As in :class:`Scale`.

    Examples
    --------
    >>> Replace(lambda x: x.flip(-1), channel=0).channel
    (0,)
    """

    value: torch.Tensor | Callable[[torch.Tensor], torch.Tensor] | float
    channel: Indices = None

    def __post_init__(self) -> None:
        if not isinstance(self.value, torch.Tensor) and not callable(self.value):
            _number("value", self.value)
        self._check(self.channel)


Edit: TypeAlias = "Scale | Clamp | Ablate | Replace"


def only(channel: int | Sequence[int], **where: int | str | None) -> Ablate:
    """Keep these channels and replace all others by their mean.

    Parameters
    ----------
    channel : int or sequence of int
        The channels to keep.
    **where
        ``axis``, ``output`` and ``call`` as in :class:`Scale`.

    Returns
    -------
    Ablate
        The edit.

    Examples
    --------
    >>> only(3).others
    True
    """
    return Ablate(channel, others=True, **where)  # type: ignore[arg-type]


def _indices(name: str, value: Indices) -> tuple[int, ...] | None:
    """Give indices as a tuple of distinct non-negative ints."""
    if value is None:
        return None
    given: tuple[object, ...] = tuple(value) if isinstance(value, Iterable) else (value,)
    # Also numpy's integers; True is no index.
    items = [index(item) if isinstance(item, SupportsIndex) and not isinstance(item, bool) else -1 for item in given]
    if not items or min(items) < 0:
        raise InputError(
            f"{name}={value!r} is not an index.", argument=name, remedy="Pass 0 or more, or a list of such."
        )
    return tuple(dict.fromkeys(items))


def _number(name: str, value: object) -> None:
    """Refuse what is not a real number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{name}={value!r} is not a number.", argument=name, remedy="Pass a float.")


__all__ = ["Ablate", "Clamp", "Edit", "Replace", "Scale", "only"]
