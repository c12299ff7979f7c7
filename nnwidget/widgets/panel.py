"""The anywidget behind every panel: traits Python alone writes, messages both ways, nothing about tensors."""

from __future__ import annotations

import html
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import anywidget
import traitlets

from nnwidget.types import Status
from nnwidget.widgets.comms import keep_on_subshell
from nnwidget.wire.assets import bundle

_panels: weakref.WeakValueDictionary[str, Panel] = weakref.WeakValueDictionary()


class Panel(anywidget.AnyWidget):
    """A panel shown in a cell; see the subclasses.

    Parameters
    ----------
    handle : callable
        Takes each message of the page, on whatever thread it arrives.
    summary : str
        What is shown where widgets cannot be: plain text.
    writing : RLock
        Held while traits are written; shared by panels that follow each other, or two threads could wait for each
        other.

    Notes
    -----
    The page never writes a trait; it asks by message, and Python writes. So there is one writer for each, and two
    displays, also in two browser tabs, stay in step.
    """

    address = traitlets.Unicode("", help="Comm id, for pages that must use the control channel.").tag(sync=True)
    status = traitlets.Dict(help="The state of play when the panel was made.").tag(sync=True)
    height = traitlets.Int(560, help="Height in CSS pixels.").tag(sync=True)

    bundle_name = ""
    shared: tuple[str, ...] = ()

    def __init__(
        self, handle: Callable[[Panel, object], None], summary: str, writing: threading.RLock, **state: Any
    ) -> None:
        # anywidget reads these two from the instance while it is made.
        self._esm = bundle(f"{self.bundle_name}.js")
        self._css = bundle(f"{self.bundle_name}.css")
        super().__init__(status=asdict(Status("idle")), **state)
        keep_on_subshell(self)
        self.address = self.model_id or ""
        _panels[self.address] = self
        self._handle = handle
        self.summary = summary
        self._writing = writing
        self.on_shown: Callable[[Panel], None] | None = None
        self.on_msg(self._from_page)

    def durable(self) -> dict[str, Any]:
        """Return the state that outlives a page."""
        return {name: getattr(self, name) for name in self.shared}

    def write(self, state: Mapping[str, Any]) -> None:
        """Set traits; one thread at a time, since messages arrive on several."""
        with self._writing:
            for name, value in state.items():
                setattr(self, name, value)

    def say(self, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        """Send one message to the pages; silent once the panel is closed."""
        if self.comm is not None:
            self.send(content, list(buffers))

    def _from_page(self, widget: object, content: object, buffers: object) -> None:
        self._handle(self, content)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        found = super()._repr_mimebundle_(**kwargs)
        data = found[0] if isinstance(found, tuple) else found
        if data is not None:
            data["text/html"] = f"<pre>{html.escape(self.summary)}</pre>"
            data["text/plain"] = self.summary
        if self.on_shown is not None:
            self.on_shown(self)
        return found

    def close(self) -> None:
        """Close the comm and let go of everything behind it."""
        self._handle = _deaf
        self.on_shown = None
        super().close()


class ModelPanel(Panel):
    """A panel of an explorer."""

    selected = traitlets.List(traitlets.Unicode(), help="Names of the chosen layers.").tag(sync=True)
    input = traitlets.Int(0, help="Which pinned input is shown.").tag(sync=True)
    channel = traitlets.Int(-1, help="The chosen channel or unit; -1: none.").tag(sync=True)
    call = traitlets.Int(0, help="Which call of a reused module.").tag(sync=True)
    output = traitlets.Unicode("", help="Path of the tensor in a nested output; empty: the first.").tag(sync=True)
    view = traitlets.Unicode("maps", help="``maps``, ``filters`` or ``distribution``.").tag(sync=True)
    colormap = traitlets.Unicode("auto", help="Colour map of the pictures.").tag(sync=True)
    scaling = traitlets.Unicode("layer", help="Range of the pictures: layer, channel or symmetric.").tag(sync=True)
    quantity = traitlets.Unicode("activations", help="What the distribution counts.").tag(sync=True)
    parameter = traitlets.Unicode("", help="Which weight is counted; empty: the first.").tag(sync=True)
    log_counts = traitlets.Bool(True, help="The distribution's counts are on a logarithmic axis.").tag(sync=True)
    edits = traitlets.List(traitlets.Dict(), help="The edits in force, as the page writes them.").tag(sync=True)

    shared = (
        "selected",
        "input",
        "channel",
        "call",
        "output",
        "view",
        "colormap",
        "scaling",
        "quantity",
        "parameter",
        "log_counts",
        "edits",
    )


class FramePanel(ModelPanel):
    """The whole explorer: header, tree, views, inputs, prediction, channel."""

    bundle_name = "explorer"


# A class each, since anywidget keeps one style sheet for a class.
class LayersPanel(ModelPanel):
    """The layer tree alone."""

    bundle_name = "layers"


class FeatureMapsPanel(ModelPanel):
    """The feature maps alone."""

    bundle_name = "feature_maps"


class FiltersPanel(ModelPanel):
    """The filters alone."""

    bundle_name = "filters"


class DistributionPanel(ModelPanel):
    """The histogram of the chosen layers alone; ``figure`` is its bqplot figure, to be restyled and linked."""

    bundle_name = "distribution"
    figure: Any = None


class PredictionPanel(ModelPanel):
    """The prediction alone."""

    bundle_name = "prediction"


class InputsPanel(ModelPanel):
    """The pinned inputs alone."""

    bundle_name = "inputs"


class TrainingPanel(Panel):
    """A watched training: controls, curve, gradients of the layers, events."""

    bundle_name = "training"


def deliver(address: str, content: object) -> None:
    """Hand a message that came over the control channel to its panel; unknown addresses are ignored."""
    panel = _panels.get(address)
    if panel is not None:
        panel._from_page(panel, content, [])


def _deaf(panel: Panel, content: object) -> None:
    """Take a late message and do nothing."""
