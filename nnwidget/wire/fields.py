"""Single fields of what a page sends, each checked: what is wrong is said with the name of the field."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnwidget.errors import MessageError

_MAX_INT = 2**31 - 1
_MAX_TEXT = 4096


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """Return an object with text keys; ``what`` names it in the error.

    Examples
    --------
    >>> mapping({"layer": "conv"}, "params")
    {'layer': 'conv'}
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise MessageError(f"{what} is not an object.", argument=what)
    return value


def text(source: Mapping[str, Any], key: str) -> str:
    """Return a text of bounded length.

    Examples
    --------
    >>> text({"layer": "conv"}, "layer")
    'conv'
    """
    value = source.get(key)
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise MessageError(f"'{key}' is not a text of at most {_MAX_TEXT} characters.", argument=key)
    return value


def integer(source: Mapping[str, Any], key: str, low: int = 0, high: int = _MAX_INT, default: int | None = None) -> int:
    """Return a whole number within bounds; ``default`` where the field is missing.

    Examples
    --------
    >>> integer({}, "input", default=0)
    0
    """
    value = source.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise MessageError(f"'{key}' is not a whole number from {low} to {high}.", argument=key)
    return value


def flag(source: Mapping[str, Any], key: str) -> bool:
    """Return true or false; a number is neither.

    Examples
    --------
    >>> flag({"gradient": True}, "gradient")
    True
    """
    value = source.get(key)
    if not isinstance(value, bool):
        raise MessageError(f"'{key}' is neither true nor false.", argument=key)
    return value


def number(source: Mapping[str, Any], key: str) -> float:
    """Return a finite number of ordinary size.

    Examples
    --------
    >>> number({"factor": 1}, "factor")
    1.0
    """
    value = source.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e30 or math.isnan(value):
        raise MessageError(f"'{key}' is not a finite number.", argument=key)
    return float(value)


def optional(read: Callable[..., Any], source: Mapping[str, Any], key: str) -> Any:
    """Return what ``read`` makes of a field, or None where it is missing or null.

    Examples
    --------
    >>> optional(text, {"output": None}, "output") is None
    True
    """
    return None if source.get(key) is None else read(source, key)


def numbers(source: Mapping[str, Any], key: str, count: int, low: int = 0, high: int = _MAX_INT) -> tuple[int, ...]:
    """Return so many whole numbers within bounds.

    Examples
    --------
    >>> numbers({"room": [384, 512]}, "room", 2)
    (384, 512)
    """
    value = source.get(key)
    if isinstance(value, str | bytes) or not isinstance(value, Sequence) or len(value) != count:
        raise MessageError(f"'{key}' is not a list of {count} whole numbers.", argument=key)
    return tuple(integer({key: item}, key, low, high) for item in value)


def choice(*allowed: str) -> Callable[[object], str]:
    """Return a reader that allows these words alone.

    Examples
    --------
    >>> choice("maps", "filters")("maps")
    'maps'
    """

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise MessageError(f"{value!r:.40} is none of {', '.join(allowed)}.")
        return value

    return read


def whole(low: int) -> Callable[[object], int]:
    """Return a reader of whole numbers from ``low`` on.

    Examples
    --------
    >>> whole(-1)(-1)
    -1
    """
    return lambda value: integer({"value": value}, "value", low)


__all__ = ["choice", "flag", "integer", "mapping", "number", "numbers", "optional", "text", "whole"]
