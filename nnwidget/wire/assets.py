"""The bundles that ship inside the wheel, read as text."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from nnwidget.errors import NNWidgetError

_STATIC = Path(__file__).resolve().parent.parent / "static"


def bundle(name: str) -> str | Path:
    """Return a bundle, e.g. ``explorer.js``.

    As text, because a path would keep every widget alive for ever; as a path only
    under hot reload (``ANYWIDGET_HMR=1``).

    Raises
    ------
    NNWidgetError
        The front end was not built.
    """
    path = _STATIC / name
    if not path.is_file():
        raise NNWidgetError(
            f"The front end is not built: {name} is missing.",
            remedy="Install nnwidget with pip (which builds it), or run `npm --prefix js run build` in a clone.",
        )
    return path if os.environ.get("ANYWIDGET_HMR") == "1" else _text(path)


@lru_cache(maxsize=16)
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
