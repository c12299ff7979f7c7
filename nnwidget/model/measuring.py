"""One run of the model on given inputs, as a probe: shapes, calls, seconds, and where it failed."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn

from nnwidget.errors import ForwardError, UnobservableError
from nnwidget.model.inputs import PinnedInputs, given
from nnwidget.model.names import Named, compiled_regions, refusal
from nnwidget.model.probe import probe
from nnwidget.model.structure import specs
from nnwidget.model.taps import Taps
from nnwidget.types import TensorSpec


class Seen:
    """What one layer did in the run."""

    __slots__ = ("calls", "inputs", "outputs", "seconds")

    def __init__(self) -> None:
        self.calls = 0
        self.seconds = 0.0
        self.inputs: tuple[TensorSpec, ...] = ()
        self.outputs: tuple[TensorSpec, ...] = ()


class Measurement:
    """What :func:`measure` found.

    Attributes
    ----------
    layers : dict of str to Seen
        By first name; empty when the model was not run.
    order : list of str
        One name per call, in the order in which the calls began.
    timed : bool
        False on the meta device, where nothing is computed.
    error : ForwardError or None
        The model's own forward raised; what is listed was seen up to there.
    refused : str
        Why the model was not run; empty when it was.
    """

    def __init__(self) -> None:
        self.layers: dict[str, Seen] = {}
        self.order: list[str] = []
        self.timed = True
        self.error: ForwardError | None = None
        self.refused = ""
        self._starts: dict[tuple[int, str], list[float]] = {}
        self._clock = time.perf_counter

    def before(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the arguments of the first call and start the clock."""
        seen = self.layers[name]
        if not seen.inputs:
            alone = len(args) == 1 and not kwargs
            seen.inputs = specs(args[0] if alone else {**{str(i): arg for i, arg in enumerate(args)}, **kwargs})
        self.order.append(name)
        self._starts.setdefault((threading.get_ident(), name), []).append(self._clock())

    def after(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Stop the clock and note the output of the first call."""
        now = self._clock()
        seen = self.layers[name]
        starts = self._starts.get((threading.get_ident(), name))
        if starts:
            seen.seconds += now - starts.pop()
        if not seen.calls:
            seen.outputs = specs(output)
        seen.calls += 1

    def run(self, model: nn.Module, named: Sequence[Named], pinned: PinnedInputs, forward: Forward) -> None:
        """Run the model under taps; its exception becomes ``error``."""
        device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
        self.timed = device.type != "meta"
        if device.type in ("cuda", "mps", "xpu"):
            wait = getattr(torch, device.type).synchronize

            def clock() -> float:
                wait()
                return time.perf_counter()

            self._clock = clock
        self.layers = {item.name: Seen() for item in named}
        with contextlib.ExitStack() as stack:
            # What the model warns of belongs to the user's own runs.
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            stack.enter_context(_meta_scope(model) if device.type == "meta" else probe(model))
            taps = stack.enter_context(Taps(model))
            for item in named:
                if not refusal(item.module):
                    taps.add(item.name, item.module, before=self.before, after=self.after)
            args, kwargs = pinned.all()
            stack.enter_context(_eager(named))
            try:
                if forward is None:
                    model(*args, **kwargs)
                else:
                    forward(model, given(args, kwargs))
            except Exception as error:
                self.error = failure(error, named)


Forward = Callable[..., Any] | None


def measure(model: nn.Module, named: Sequence[Named], pinned: PinnedInputs, forward: Forward = None) -> Measurement:
    """Run the model once on the pinned inputs, as a probe, and see what each layer does.

    Parameters
    ----------
    model : torch.nn.Module
        Left as it was: buffers, random state, modes, gradients.
    named : sequence of Named
        The walk over it.
    pinned : PinnedInputs
        What it is run on.
    forward : callable, optional
        ``forward(model, inputs)`` runs it instead of a plain call; ``inputs`` are as :func:`given` packs them.

    Returns
    -------
    Measurement
        Also when the model refuses to be run or raises.
    """
    found = Measurement()
    try:
        found.run(model, named, pinned, forward)
    except UnobservableError as error:
        found.layers, found.refused = {}, str(error)
    return found


def failure(error: Exception, named: Sequence[Named]) -> ForwardError:
    """Word the error of a forward that raised and say in which layer.

    Parameters
    ----------
    error : Exception
        It becomes the cause. Its traceback, whose frames would keep the model and its activations alive, is replaced by
        its text, which is shown with the error (``__notes__``).
    named : sequence of Named
        The walk over the model.
    """
    names = {id(item.module): item for item in named}
    layer = ""
    kind = type(named[0].module).__name__
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        item = names.get(id(trace.tb_frame.f_locals.get("self")))
        if item is not None:
            layer, kind = item.name, type(item.module).__name__
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    chained: BaseException | None = error
    while chained is not None:
        chained.__traceback__ = None
        chained = chained.__cause__ or chained.__context__
    where = f"layer {layer!r} ({kind})" if layer else f"the model ({kind})"
    wrapped = ForwardError(
        f"The forward raised in {where}: {type(error).__name__}: {error}",
        layer=layer,
        remedy="Run model(inputs) on these inputs by itself to see it in full.",
    )
    wrapped.__cause__ = error
    wrapped.__notes__ = [text]
    return wrapped


def _eager(named: Sequence[Named]) -> contextlib.AbstractContextManager[Any]:
    """Keep compiled regions from compiling or running compiled code with our hooks in them."""
    if not compiled_regions(named):
        return contextlib.nullcontext()
    if not hasattr(torch.compiler, "set_stance"):
        raise UnobservableError(
            "The model is compiled, and this torch cannot run it eagerly.",
            remedy="Use torch 2.6, or the original model.",
        )
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextlib.contextmanager
def _meta_scope(model: nn.Module) -> Iterator[None]:
    """Do what matters of a probe where tensors have no values: modes and random state."""
    modes = [(module, module.training) for module in model.modules()]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            for module, _ in modes:
                module.__dict__["training"] = False
            yield
        finally:
            for module, mode in modes:
                module.__dict__["training"] = mode


__all__ = ["Measurement", "Seen", "failure", "measure"]
