"""Sizes as people write them."""

from __future__ import annotations

import contextlib
import operator
import re

from nnwidget.errors import InputError

_FORM = re.compile(r"\s*(\d{1,15}(?:\.\d*)?|\.\d+)\s*([kMGT]?)(i?)B?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_bytes(size: int | str, *, argument: str = "memory") -> int:
    """Read a number of bytes.

    Parameters
    ----------
    size : int or str
        Bytes, or text such as ``"256 MB"`` (1 MB = 1,000,000 bytes) or ``"1.5 GiB"`` (1 GiB = 1,073,741,824 bytes).
    argument : str
        The argument that an error names.

    Returns
    -------
    int
        Bytes, at least 1.

    Raises
    ------
    InputError
        It is no size, or not positive.

    Examples
    --------
    >>> parse_bytes("256 MB"), parse_bytes("1.5 KiB"), parse_bytes(4096)
    (256000000, 1536, 4096)
    """
    found = 0
    if isinstance(size, str):
        match = _FORM.fullmatch(size)
        if match and (match[2] or not match[3]):
            found = int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].lower()])
    elif not isinstance(size, bool):
        # Any kind of integer, also numpy's; of others nothing.
        with contextlib.suppress(TypeError):
            found = operator.index(size)
    if found < 1:
        raise InputError(
            f"{argument}={size!r} is no size in bytes.",
            argument=argument,
            remedy='Pass a positive number of bytes or text such as "256 MB".',
        )
    return found


__all__ = ["parse_bytes"]
