"""A microscope on a living PyTorch model, inside JupyterLab.

Every public name is loaded on first use, so that a script which only captures or edits imports no ipywidgets.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from nnwidget.training import showing

if TYPE_CHECKING:
    from nnwidget.errors import NNWidgetError as NNWidgetError
    from nnwidget.explorer import Explorer as Explorer
    from nnwidget.explorer import explore as explore
    from nnwidget.model.capture import Capture as Capture
    from nnwidget.model.capture import capture as capture
    from nnwidget.model.edit_hooks import edit as edit
    from nnwidget.model.edits import Ablate as Ablate
    from nnwidget.model.edits import Clamp as Clamp
    from nnwidget.model.edits import Replace as Replace
    from nnwidget.model.edits import Scale as Scale
    from nnwidget.model.table import LayerTable as LayerTable
    from nnwidget.model.table import layers as layers
    from nnwidget.session.live import running as running
    from nnwidget.training.history import History as History
    from nnwidget.watched import Watch as Watch
    from nnwidget.watching import watch as watch

__version__ = "0.1.0.dev0"

_HOMES = {
    "NNWidgetError": "errors",
    "Explorer": "explorer",
    "explore": "explorer",
    "Capture": "model.capture",
    "capture": "model.capture",
    "Ablate": "model.edits",
    "Clamp": "model.edits",
    "Replace": "model.edits",
    "Scale": "model.edits",
    "edit": "model.edit_hooks",
    "LayerTable": "model.table",
    "layers": "model.table",
    "running": "session.live",
    "History": "training.history",
    "Watch": "watched",
    "watch": "watching",
}

__all__ = ["__version__", *_HOMES]


def load_ipython_extension(ipython: Any) -> None:
    """Serve ``%load_ext nnwidget``: register the cell magic ``%%watch``."""
    importlib.import_module("nnwidget.notebook").register(ipython)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'nnwidget' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"nnwidget.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def _panel_of(history: Any) -> Any:
    return importlib.import_module("nnwidget.history_panel").HistoryPanel(history)


def _offer_magic() -> None:
    """Have IPython, if it runs this code, load ``%%watch`` when somebody first uses it."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    manager = getattr(shell, "magics_manager", None)
    if manager is not None and hasattr(manager, "register_lazy"):
        manager.register_lazy("watch", __name__)


_offer_magic()
showing.shown_by(_panel_of)
