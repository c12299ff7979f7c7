"""Composition: one model, its panels, one frame."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nnwidget.errors import InputError, NNWidgetError
from nnwidget.model.edits import Edit
from nnwidget.model.inputs import pinned_inputs
from nnwidget.model.table import layers as layer_table
from nnwidget.session import Session, live
from nnwidget.session.bench import Bench
from nnwidget.session.page_edits import split
from nnwidget.session.service import ExplorerService
from nnwidget.session.still import still
from nnwidget.session.still_keeping import StillKeeper
from nnwidget.session.thumbnails import thumbnails
from nnwidget.session.wrappers import unwrap
from nnwidget.types import Array, Predictions, Status
from nnwidget.watched import Watch
from nnwidget.widgets.cells import CellEvents, replace_earlier
from nnwidget.widgets.panel import (
    DistributionPanel,
    FeatureMapsPanel,
    FiltersPanel,
    InputsPanel,
    LayersPanel,
    Panel,
    PredictionPanel,
    deliver,
)
from nnwidget.widgets.panel_set import PanelSet
from nnwidget.widgets.regime import Regime
from nnwidget.widgets.still_output import StillOutput
from nnwidget.widgets.still_page import placeholder, still_page
from nnwidget.wire.messages import Look, PageEdit, parse_edits

if TYPE_CHECKING:
    from nnwidget.widgets.distribution_figure import DistributionFigure

# What of the durable state the saved picture shows.
_SAVED = ["selected", "input", "call", "output", "edits"]


class Explorer:
    """A model under the microscope; made by :func:`explore`, shown by being the last line of a cell.

    Attributes
    ----------
    widget : ipywidgets.DOMWidget
        The whole frame, for ipywidgets boxes.
    layers, feature_maps, filters, distribution, prediction, inputs : ipywidgets.DOMWidget
        Single panels, to be shown alone in a cell. All follow one selection: ``ex.layers.selected = ["conv1"]``.
    """

    def __init__(
        self,
        model: nn.Module,
        bench: Bench,
        words: dict[str, Any],
        call: str,
        watch: Watch | None,
        save_pixels: bool = False,
    ) -> None:
        self._session = Session.of(model)
        self._words = words
        self._save_pixels = save_pixels
        self._bench = bench
        self._leave: Callable[[], None] | None = None
        self._closed = False
        self._figure: DistributionFigure | None = None
        self._drawing_lock = threading.Lock()
        self._regime = Regime(deliver)
        self._service = ExplorerService(
            self._session,
            bench,
            apply=self._apply,
            durable=lambda: self._panels.durable(),
            regime=self._regime.heard,
            thumbnails=lambda edge: thumbnails(bench, edge),
            model_words=words,
            call_words=call,
            play=None if watch is None else watch.play,
            draw=self._draw,
        )
        if watch is not None:
            watch.listen()
        self._summary = f"{words['name']}: {words['parameters']:,} parameters, {len(bench.table)} modules"
        first = [info.name for info in bench.table if info.name and not info.reason and info.calls][:1]
        self._panels = PanelSet(self._service, self._summary, self._shown, selected=first)
        self._output = StillOutput(self._panels.frame.address)
        self._still = StillKeeper(self._session, self._still_picture, self._output.update)
        self._panels.frame.observe(lambda _: self._still.changed(), names=_SAVED)
        self._cells = CellEvents(self._cell_began, self._cell_ended)
        live.opened(self)

    @property
    def widget(self) -> Panel:
        """The frame as an ipywidgets widget."""
        self._open()
        self._shown()
        return self._panels.frame

    @property
    def layers(self) -> Panel:
        """The layer tree alone."""
        return self._get(LayersPanel)

    @property
    def feature_maps(self) -> Panel:
        """The feature maps alone."""
        return self._get(FeatureMapsPanel)

    @property
    def filters(self) -> Panel:
        """The filters alone."""
        return self._get(FiltersPanel)

    @property
    def distribution(self) -> Panel:
        """The histogram of the chosen layers alone; its ``figure`` is a bqplot figure, to be restyled and linked.

        Several layers are compared: ``ex.layers.selected = ["features.0", "features.3"]``.
        """
        panel = self._get(DistributionPanel)
        panel.figure = self._drawing().figure
        return panel

    @property
    def prediction(self) -> Panel:
        """The prediction alone."""
        return self._get(PredictionPanel)

    @property
    def inputs(self) -> Panel:
        """The pinned inputs alone."""
        return self._get(InputsPanel)

    @property
    def closed(self) -> bool:
        """True after :meth:`close`."""
        return self._closed

    @property
    def status(self) -> Status:
        """The state of play."""
        return self._session.status(self._regime.name)

    def activation(
        self,
        layer: str,
        *,
        input: int | None = None,
        call: int = 0,
        output: int | str = 0,
        edited: bool = True,
        step: int | None = None,
    ) -> Array:
        """Return what the feature-map panel shows, as numbers.

        Parameters
        ----------
        layer : str
            A name of ``model.named_modules()``.
        input : int, optional
            Which pinned input; default the one that is shown.
        call : int
            Which call of a reused module.
        output : int or str
            Which tensor of a nested output: its position or its path.
        edited : bool
            With the edits in force, or without any.
        step : int, optional
            A recorded step; only None (now) is available without a recording.

        Returns
        -------
        ndarray
            Without the batch axis, in the panel's order: (channel, row, column), (token, feature), …; in the
            activation's dtype (bfloat16 as float32).

        Raises
        ------
        UnknownLayerError, InputError, UnobservableError
            The message says what to do.

        Examples
        --------
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
        >>> with explore(model, torch.ones(1, 3)) as ex:
        ...     ex.activation("1").shape
        (2,)
        """
        self._open()
        if step is not None:
            raise InputError("Nothing was recorded.", argument="step", remedy="Leave step out to see the present.")
        look = Look(
            layer=layer,
            input=self._panels.durable()["input"] if input is None else input,
            call=call,
            edits=self._edits() if edited else (),
            want=frozenset({"maps"}),
        )
        bench = self._bench

        def work() -> Array:
            bench.moved(certainly=False)
            return bench.activation(look, output, edited=edited)

        return self._session.do(work)

    def edit(self, edits: Mapping[str, Edit | Sequence[Edit]]) -> None:
        """Put edits in force for the pinned inputs; the page shows them. Training is never touched.

        Parameters
        ----------
        edits : mapping
            Layer name to one edit or several, as in :func:`nnwidget.edit`. They replace the edits in force.

        Examples
        --------
        >>> from nnwidget.model.edits import Scale
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
        >>> with explore(model, torch.ones(1, 3)) as ex:
        ...     ex.edit({"0": Scale(0.0, channel=1)})
        ...     bool(ex.activation("1")[1] == 0)
        True
        """
        self._open()
        for layer in edits:
            self._bench.module(layer)
        page, self._bench.python_edits = split(edits)
        self._apply({"edits": page})
        self._edited()

    def reset(self) -> None:
        """Undo all edits."""
        self._open()
        self._bench.python_edits = {}
        self._apply({"edits": []})
        self._edited()

    def predictions(self) -> Predictions:
        """Return what the model says of every pinned input, before and after the edits."""
        self._open()
        bench = self._bench

        def work() -> Predictions:
            bench.moved(certainly=False)
            return bench.predictions(self._edits())

        return self._session.do(work)

    def code(self) -> str:
        """Return the edits in force as Python, as the page's "copy as code" does."""
        self._open()
        return self._session.do(lambda: self._service.code(self._edits()))

    def close(self) -> None:
        """Remove every hook, listener and reference to the model; calling it again changes nothing."""
        if self._closed:
            return
        self._closed = True
        live.closed(self)
        self._service.tell(Status("closed"))
        if self._leave is not None:
            self._leave()
            self._leave = None
        self._cells.close()
        self._still.close()
        if self._figure is not None:
            self._figure.close()
            self._figure = None
        self._session.owner.clear()
        self._panels.close()
        del self._session, self._bench, self._service, self._panels, self._still

    def __enter__(self) -> Explorer:
        """Return the explorer; leaving the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, whatever happened."""
        self.close()

    def __repr__(self) -> str:
        """Return one line that says what is shown."""
        return f"<Explorer of {self._summary}{', closed' if self._closed else ''}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if self._closed:
            return {"text/plain": repr(self)}
        return self._panels.frame._repr_mimebundle_(**kwargs)

    def _ipython_display_(self) -> None:
        """Display the widget, and the picture that a saved notebook shows in its place."""
        if self._closed:
            raise NotImplementedError
        found = self._panels.frame._repr_mimebundle_()
        widget = found[0] if isinstance(found, tuple) else found
        if widget is None:
            raise NotImplementedError
        self._output.publish(widget, self._still.picture or placeholder(self._summary))
        self._still.shown()

    def _still_picture(self) -> str:
        """Make the picture; as the model's owner."""
        if self._save_pixels:
            self._bench.moved(certainly=False)
        state, steps = self._panels.durable(), self._session.boundary.steps or None
        found = still(self._bench, state, self._edits(), self._words, pixels=self._save_pixels, step=steps)
        return still_page(found)

    def _get(self, kind: type[Panel]) -> Panel:
        self._open()
        return self._panels.get(kind)

    def _shown(self) -> None:
        if self._leave is None:
            self._leave = self._session.arm(self._at_boundary)

    def _at_boundary(self, kind: str) -> None:
        self._regime.poll()
        self._service.at_boundary(kind)
        if kind == "step":
            self._still.stepped()

    def _edits(self) -> tuple[PageEdit, ...]:
        return parse_edits(self._panels.durable()["edits"])

    def _apply(self, state: Mapping[str, Any]) -> None:
        plain = dict(state)
        if "edits" in plain:
            plain["edits"] = [edit.to_json() for edit in plain["edits"]]
        self._panels.write(plain)

    def _draw(self, result: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return None if self._closed else self._drawing().show(result)

    def _drawing(self) -> DistributionFigure:
        """Return the figure of all panels; bqplot is imported when somebody first looks at one."""
        # A loop's thread may draw it while a cell in another asks for it.
        with self._drawing_lock:
            if self._figure is None:
                from nnwidget.widgets.distribution_figure import DistributionFigure

                self._figure = DistributionFigure(log=self._panels.durable()["log_counts"])
                self._panels.frame.observe(self._log_changed, names=["log_counts"])
            return self._figure

    def _log_changed(self, change: Any) -> None:
        if self._figure is not None:
            self._figure.log = change["new"]

    def _edited(self) -> None:
        with self._session.owner.ownership():
            # Edits made in Python are not part of what a page asks, so nothing computed with the old ones may stay.
            self._bench.moved()
        self._service.refresh(always=True)
        self._still.changed()

    def _cell_began(self) -> None:
        self._session.cell_began()
        self._service.tell(self._session.status(self._regime.name))

    def _cell_ended(self) -> None:
        self._session.cell_ended()
        self._service.tell(self._session.status(self._regime.name))
        self._service.weights_may_have_moved()
        self._service.refresh()
        self._still.cell_ended()

    def _open(self) -> None:
        if self._closed:
            raise NNWidgetError("This explorer is closed.", remedy="Call nnwidget.explore() again.")


def explore(
    model: nn.Module,
    inputs: Any = None,
    *,
    targets: Sequence[int | float | None] | torch.Tensor | None = None,
    class_names: Sequence[str] | None = None,
    captions: Sequence[str] | None = None,
    preprocess: Callable[[Any], Any] | None = None,
    display: Callable[[Any], Any] | None = None,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    output: str = "auto",
    watch: Watch | None = None,
    save_pixels: bool = False,
) -> Explorer:
    """Put a live model under the microscope.

    Parameters
    ----------
    model : nn.Module
        The model, on whatever device. It is never changed: looking at the pinned inputs moves no weight, buffer,
        gradient, mode or random state.
    inputs : Tensor, tuple, dict or DataLoader
        The pinned inputs: a batch, positional arguments, keyword arguments, or a loader whose first batch is taken.
        They are moved to the model's device.
    targets : sequence or Tensor, optional
        The right answer for each input: class indices, numbers, or None where unknown.
    class_names : sequence of str, optional
        One name for each output.
    captions : sequence of str, optional
        One caption for each input.
    preprocess : callable, optional
        Applied to ``inputs`` first.
    display : callable, optional
        Turns one input into a picture, e.g. undoes a normalisation: returns (3, rows, columns) or (rows, columns, 3)
        in 0–1 or uint8.
    forward : callable, optional
        ``forward(model, inputs)`` runs the model, for models that are not simply called.
    output : str
        What the prediction is: ``"auto"`` guesses and says so; ``"logits"``, ``"softmax"``, ``"probabilities"``,
        ``"multi-label"``, ``"regression"``, or the path of a tensor in a nested output.
    watch : Watch, optional
        The watched training of this model: its pause, step and stop are in the header. Also without it, clicks are
        answered while a training is paused.
    save_pixels : bool
        A saved notebook shows a picture of the explorer where no kernel runs: layers, numbers and weights. With True
        also feature maps, the inputs and their captions: pixels of your data are then in the notebook file.

    Returns
    -------
    Explorer
        Shown by being the last line of a cell. Running the cell again closes what it made before.

    Raises
    ------
    InputError
        An argument cannot be used; the message names it and says what to do.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    >>> ex = explore(model, torch.rand(2, 1, 8, 8))
    >>> ex.activation("0", input=1).shape
    (4, 6, 6)
    >>> ex.close()
    """
    if not isinstance(save_pixels, bool):
        raise InputError(
            f"save_pixels is {save_pixels!r:.80}, which is neither True nor False.",
            argument="save_pixels",
            remedy="Pass save_pixels=True to have feature maps and inputs in the saved notebook, or leave it out.",
        )
    real, note = unwrap(model)
    if watch is not None and watch.model is not real:
        raise InputError(
            "The watch is of another model.", argument="watch", remedy="Pass what watch(model) returned for this model."
        )
    pinned = pinned_inputs(
        real,
        inputs,
        targets=targets,
        preprocess=preprocess,
        class_names=class_names,
        captions=captions,
        forward=forward,
    )
    session = Session.of(real)
    table = session.do(lambda: layer_table(real, pinned, forward=forward))
    bench = Bench(real, pinned, table, forward=forward, output=output, class_names=class_names, display=display)
    words = {
        "name": type(real).__name__,
        "parameters": sum(p.numel() for p in real.parameters()),
        "trainable": sum(p.numel() for p in real.parameters() if p.requires_grad),
        "buffers": sum(b.numel() for b in real.buffers()),
        "note": " ".join(part for part in (note, pinned.note) if part),
    }
    call = "forward(model, inputs)" if forward is not None else "model(inputs)"
    explorer = Explorer(real, bench, words, call, watch, save_pixels)
    replace_earlier(explorer)
    return explorer
