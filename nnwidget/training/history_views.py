"""What people read of a history: series, the layers of a quantity, one long table."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnwidget.errors import MissingPackageError, UnknownRecordError
from nnwidget.training.thinning import decimate
from nnwidget.types import Array


class Series(NamedTuple):
    """Values over steps: int64 and float ``(n,)``, steps strictly rising.

    Examples
    --------
    >>> series = Series(np.arange(4), np.array([1.0, 9.0, 2.0, 3.0]))
    >>> series.thinned(3)
    Series(steps=array([0, 1]), values=array([1., 9.]))
    """

    steps: Array
    values: Array

    def thinned(self, points: int) -> Series:
        """Return at most so many points (3 or more), for drawing; the extremes stay at their true steps."""
        return Series(*decimate(self.steps, self.values, points))


class LayerSeries(Mapping[str, Series]):
    """One quantity of every layer that has it: a mapping from the layer's name to its :class:`Series`.

    Parameters
    ----------
    quantity : str
        Its name.
    layers : sequence of str
        The layers that have it, in the model's order.
    read : callable
        ``read(layer)`` puts the series together.
    """

    def __init__(self, quantity: str, layers: Sequence[str], read: Callable[[str], Series]) -> None:
        self.quantity = quantity
        self._layers = dict.fromkeys(layers)
        self._read = read

    def __getitem__(self, layer: str) -> Series:
        if layer not in self._layers:
            raise unknown(f"No {self.quantity} is recorded of a layer", layer, self._layers)
        return self._read(layer)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        return f"<{self.quantity} of {len(self):,} layers>"


def unknown(what: str, name: object, names: Iterable[str]) -> UnknownRecordError:
    """Word the error for a name of which there is no record.

    Examples
    --------
    >>> print(unknown("There is no quantity", "los", ["loss"]))
    There is no quantity 'los'. Did you mean 'loss'?
    """
    # Only here: who reads a history in a process of its own needs no torch.
    from nnwidget.model.names import nearest

    known = list(names)
    near = nearest(str(name), known)
    short = repr(name)[:200]
    if near:
        remedy = f"Did you mean {near!r}?"
    else:
        remedy = f"There are: {', '.join(map(repr, known[:20]))}." if known else "Nothing of that kind is recorded yet."
    return UnknownRecordError(f"{what} {short}.", remedy=remedy)


def long_table(columns: Iterable[tuple[str, str | None, Series]]) -> dict[str, Any]:
    """Put series under each other.

    Parameters
    ----------
    columns : iterable of (quantity, layer or None, Series)
        In the order of the rows.

    Returns
    -------
    dict
        ``step`` int64, ``value`` float64 ``(n,)``; ``quantity`` and ``layer`` as ``(codes, names)``, code -1 for none.
    """
    quantities: dict[str, int] = {}
    layers: dict[str, int] = {}
    steps, values, of, at = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for quantity, layer, series in columns:
        size = len(series.steps)
        steps.append(series.steps)
        values.append(series.values)
        of.append(np.full(size, quantities.setdefault(quantity, len(quantities)), np.int32))
        at.append(np.full(size, -1 if layer is None else layers.setdefault(layer, len(layers)), np.int32))
    return {
        "step": np.concatenate(steps),
        "quantity": (np.concatenate(of), list(quantities)),
        "layer": (np.concatenate(at), list(layers)),
        "value": np.concatenate(values),
    }


def to_frame(table: Mapping[str, Any]) -> Any:
    """Make a pandas DataFrame of :func:`long_table`.

    Raises
    ------
    MissingPackageError
        Pandas cannot be imported.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise MissingPackageError(
            "A DataFrame needs pandas, which cannot be imported.",
            remedy="pip install pandas, or read history[name], which gives arrays.",
        ) from error
    columns = {
        name: pandas.Categorical.from_codes(part[0], part[1]) if isinstance(part, tuple) else part
        for name, part in table.items()
    }
    return pandas.DataFrame(columns)


__all__ = ["LayerSeries", "Series", "long_table", "to_frame", "unknown"]
