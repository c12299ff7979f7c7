"""Composition: one training loop, its engine, its history, its panel."""

from __future__ import annotations

import functools
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn
from torch.nn import UninitializedParameter
from torch.optim.optimizer import Optimizer

from nnwidget.errors import InputError, NNWidgetError
from nnwidget.model.inputs import PinnedInputs
from nnwidget.model.names import Layers
from nnwidget.notebook import Ties, place, warn_of_run
from nnwidget.session import Session, live
from nnwidget.session.play import Moment, Play
from nnwidget.training.coverage import Coverage, coverage
from nnwidget.training.engine import Engine
from nnwidget.training.gate import StopTraining
from nnwidget.training.governor import Cost
from nnwidget.training.history import History
from nnwidget.training.history_store import LEAST_MEMORY
from nnwidget.training.inside import Inside
from nnwidget.training.layer_set import layer_set
from nnwidget.training.shares import shares_of
from nnwidget.training.snapshots import Snapshots
from nnwidget.training.worker import Run, running_on
from nnwidget.training.wrapping import Wrapped, folder, rank, refuse_alone, world
from nnwidget.types import Finding

if TYPE_CHECKING:
    from nnwidget.watch_panel import WatchPanel

log = logging.getLogger("nnwidget")


class Watch:
    """A training that is being recorded; made by :func:`watch`.

    Use it as a context manager around the loop, or close it afterwards.

    Attributes
    ----------
    keep_alive : bool
        In a notebook, send a small message once a minute while the training goes on, so that a hub does not take the
        kernel for idle and end it. On unless set to False.
    last_run : Run or None
        What :meth:`run` started last.
    """

    def __init__(
        self,
        model: nn.Module,
        wrapped: Wrapped,
        optimizers: Sequence[Optimizer],
        *,
        inputs: PinnedInputs | None,
        layers: Layers,
        scaler: Any,
        budget: float | None,
        memory: int,
        every: int | Literal["auto"],
        path: str | Path | None,
        controls: Literal["view", "pause", "full"],
        start_step: int,
        compiled: Literal["outside", "hook"],
    ) -> None:
        inner, self._sharded = wrapped.inner, wrapped.sharded
        self._inner, self._name = weakref.ref(inner), type(inner).__name__
        self._ended: Coverage | None = None
        hook = compiled == "hook"
        self._watched, self._left = layer_set(inner, layers, hook_compiled=hook, compiled=wrapped.compiled)
        meta: dict[str, Any] = {
            "model": self._name,
            "parameters": sum(p.numel() for p in inner.parameters() if not isinstance(p, UninitializedParameter)),
        }
        if world() > 1:
            meta |= {"rank": rank(), "ranks": world()}
        # Of a small memory the history gets all that it needs, and full tensors the rest.
        room = max(memory - memory // 4, min(memory, LEAST_MEMORY))
        snapshots = None
        if inputs is not None:
            # On every rank, so that inputs which do not fit end all of them; the first one keeps what it sees.
            snapshots = Snapshots(inner, inputs, self._watched, room, start_step)
            snapshots = None if rank() else snapshots
            meta |= snapshots.meta if snapshots is not None else {}
        self._rerun = frozenset[str]() if snapshots is None else snapshots.seen
        self._history = History(
            [layer.name for layer in self._watched],
            memory=room,
            path=folder(path),
            start_step=start_step,
            meta=meta,
        )
        self._engine = Engine(
            model,
            optimizers,
            self._history,
            self._watched,
            scaler=scaler,
            budget=budget,
            every=every,
            start_step=start_step,
            tensors=memory - room,
        )
        if wrapped.sharded:
            self._engine.norm_name = "shard_grad_norm"
            self._engine.sampler.shares = shares_of(self._watched, every) if every != "auto" else None
        if snapshots is not None:
            snapshots.begin(self._history)
            self._engine.take_snapshots(snapshots)
        self._inside = Inside(self._engine.sampler.taps, self._watched) if hook else None
        self.controls = controls
        self.play = Play(self._engine, controls)
        self._panel: WatchPanel | None = None
        # Told of each moment on the loop's thread: what shows this training, and explorers of the model.
        self._followers: list[Callable[[Moment], None]] = [self.play.follow, self._serve_explorers]
        self._engine.loop.meanwhile = lambda: self._tell("waiting")
        self.keep_alive = True
        self.last_run: Run | None = None
        live.opened(self)
        self._ties = Ties(self, self._engine)

    @property
    def history(self) -> History:
        """Everything that was recorded; read by the loop's own thread, up to its last step."""
        if not self.closed and self._engine.loop.thread in (None, threading.get_ident()):
            self._engine.flush(wait=True)
        return self._history

    @property
    def closed(self) -> bool:
        """True after :meth:`close`."""
        return self._engine.closed

    @property
    def steps(self) -> int:
        """The number of the last step."""
        return self._engine.step

    @property
    def paused(self) -> bool:
        """True from a pause to the next resume."""
        return self._engine.loop.gate.paused

    @property
    def should_stop(self) -> bool:
        """True once somebody asked to stop, for loops that look themselves: one that asks in each step ends by itself.

        A loop that makes another step although it asked is ended at the forward after it.
        """
        return self._engine.loop.should_stop()

    @property
    def findings(self) -> list[Finding]:
        """What went wrong so far: values that are not finite, where they began, and what to do."""
        return list(self._engine.findings)

    def tensor(self, step: int, layer: str, kind: Literal["activation", "output_grad"] = "activation") -> Tensor:
        """Return a full tensor of one of the last recorded steps, while it is kept (see ``w.kept_steps``).

        Raises
        ------
        InputError
            It is not kept.
        """
        try:
            return self._engine.flight.ring.tensor(step, kind, layer)
        except KeyError:
            kept = self.kept_steps
            raise InputError(
                f"No {kind} of {layer!r} at step {step} is kept.",
                argument="step",
                remedy=f"Kept are steps {kept}." if kept else "Give watch() more memory, or fewer layers.",
            ) from None

    @property
    def kept_steps(self) -> list[int]:
        """The steps whose activations and gradients are kept in full."""
        return self._engine.flight.ring.steps

    @property
    def cost(self) -> Cost:
        """What watching costs, itemised."""
        return self._engine.governor.cost

    @property
    def overhead(self) -> float:
        """What watching adds, as a fraction of the time the loop would take alone."""
        return self.cost.total

    @property
    def coverage(self) -> Coverage:
        """What is observed of every module, what is sampled, what is not, and why."""
        if self._ended is not None:
            return self._ended
        return coverage(self.model, self._watched, self._left, self._rerun, self._engine, sharded=self._sharded)

    def step(self) -> None:
        """End a step here, in loops whose steps cannot be found; from now on nothing else ends one."""
        self._open()
        self._engine.steps.manual()

    def log(self, step: int | None = None, **values: Any) -> None:
        """Record numbers of your own, and images.

        Parameters
        ----------
        step : int, optional
            The step they belong to; default the one under way.
        **values
            Numbers or 0-d tensors; ``loss`` is the training's loss, for losses computed by functions. Arrays
            ``(rows, columns)`` or ``(rows, columns, 3)`` are images.

        Examples
        --------
        >>> from nnwidget import watch
        >>> model = nn.Linear(2, 1)
        >>> with watch(model) as w:
        ...     w.log(step=3, accuracy=0.5)
        >>> w.history["accuracy"].values
        array([0.5])
        """
        self._open()
        self._engine.log(step, values)

    def run(self, train_fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Run:
        """Run a training in a thread of its own and return at once; the prompt comes back, and a reload does no harm.

        What it prints, displays and raises appears at the cell that called this; a script waits for it before it ends.
        Ctrl-C does not reach threads: end it with :meth:`stop`, the panel, or the handle's ``stop()``. The watch stays
        open. The calling thread's gradient mode, autocast, inference mode, default device and current CUDA device hold
        in the new one, as do context variables; OpenMP keeps one pool of threads for each, so that torch computing in
        two of them at once is slower in both. Matplotlib's figures must be displayed explicitly.

        Parameters
        ----------
        train_fn : callable
            The training.
        *args, **kwargs
            Passed to it.

        Returns
        -------
        Run
            ``.join(timeout)``, ``.result(timeout)``, ``.done``, ``.error``, ``.stopped`` and ``.stop()``.

        Raises
        ------
        NNWidgetError
            The watch is closed, or a run trains this model already.

        Examples
        --------
        >>> import torch
        >>> from nnwidget import watch
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def train(steps):
        ...     for _ in range(steps):
        ...         optimizer.zero_grad()
        ...         model(torch.ones(4, 2)).mean().backward()
        ...         optimizer.step()
        >>> w = watch(model, optimizer)
        >>> run = w.run(train, steps=3)
        >>> run.join(), w.steps, run.error
        (True, 3, None)
        >>> w.close()
        """
        name = getattr(train_fn, "__name__", type(train_fn).__name__)
        return self.start(functools.partial(train_fn, *args, **kwargs), name)

    def start(self, work: Callable[[], Any], name: str, *, close: bool = False) -> Run:
        """Do what :meth:`run` does; ``close`` closes the watch with the run."""
        self._open()
        other = running_on(self.model)
        if other is not None:
            raise NNWidgetError(
                f"{other.name} is training this model already.",
                remedy="End it with w.stop(), or wait for it with .join().",
            )
        engine = self._engine
        engine.loop.forget_stop()

        def ended(run: Run) -> None:
            run.stopped = run.stopped or engine.loop.gate.should_stop
            if run.error is not None:
                engine.event("error", f"{name} ended by {type(run.error).__name__}: {run.error}")
            elif run.stopped:
                engine.event("stop", f"{name} was stopped.")
            engine.loop.ended()
            if close:
                if run.error is not None:
                    self.play.failed(run.error)
                elif run.stopped:
                    self.play.end("stopped")
                self.close()
            else:
                # No further step will show what came last.
                self._tell("end")

        run = Run(work, self.model, name, place(), stop=self.stop, began=engine.loop.began, ended=ended)
        run.watch, self.last_run = self, run
        return run

    def pause(self) -> None:
        """Hold the training at its next boundary.

        Raises
        ------
        NNWidgetError
            Several processes train together: the others would wait in a collective until they time out.
        """
        self._open()
        refuse_alone("paused")
        self._engine.loop.gate.pause()

    def resume(self) -> None:
        """Let the training go on; a stop that no forward has met yet is taken back."""
        self._engine.loop.forget_stop()
        self._engine.loop.gate.resume()

    def advance(self, steps: int = 1) -> None:
        """Let a paused training make some steps."""
        self._open()
        refuse_alone("paused")
        self._engine.loop.gate.advance(steps)

    def stop(self) -> None:
        """End the training at its next forward; the ``with`` block is left, what follows it runs."""
        refuse_alone("stopped")
        self._engine.loop.gate.stop()

    def close(self) -> None:
        """Remove every hook, release a pause and finish the history; calling it again changes nothing."""
        if self.closed:
            return
        self._ties.close()
        self.play.end("stopped" if self._engine.loop.gate.should_stop else "finished")
        if self._inside is not None:
            self._inside.close()
        self._engine.close()
        # The last that was recorded has been measured, which has a price.
        self.play.measure()
        self._history.close()
        # From here on the model is the user's alone.
        self._ended, self._watched = self.coverage, []
        self._engine.let_go()
        live.closed(self)
        self._tell("end")
        self._followers.clear()

    def __enter__(self) -> Watch:
        """Return the watch; leaving the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Close, whatever happened; a stop that somebody asked for ends here."""
        if self.last_run is not None and not self.last_run.done and error is None:
            warn_of_run(self.last_run)
        stopped = isinstance(error, StopTraining) and self._engine.loop.gate.should_stop
        if error is not None and not stopped:
            self.play.failed(error)
        self.close()
        return stopped

    def __repr__(self) -> str:
        """Return one line."""
        state = "closed" if self.closed else "paused" if self.paused else "open"
        fits = "" if self._engine.flight.ring.fits else " Its tensors are too large to keep steps in full."
        return f"<Watch of {self._name}, step {self.steps}, {state}. {self.cost}{fits}>"

    @property
    def model(self) -> nn.Module:
        """The model, without its wrappers."""
        model = self._inner()
        if model is None:
            raise NNWidgetError("The model of this watch is gone.", remedy="Keep it, or look at the history.")
        return model

    @property
    def widget(self) -> Any:
        """The live panel as an ipywidgets widget, for boxes; ``w`` as the last line of a cell shows it too."""
        return self._shown().widget

    def figure(self, scalar: str = "loss", *, log: bool = False) -> Any:
        """Return a bqplot figure of one number of each step, to restyle and link; it follows the training.

        Parameters
        ----------
        scalar : str
            A name of ``w.history.scalars``; it may appear later.
        log : bool
            Give it a logarithmic axis.

        Returns
        -------
        bqplot.Figure
            With one mark, a line of at most 2,000 points that keeps the extremes.

        Examples
        --------
        >>> from nnwidget import watch
        >>> with watch(nn.Linear(2, 1)) as w:
        ...     w.log(step=1, loss=0.5)
        >>> w.figure().marks[0].y
        array([0.5])
        """
        from nnwidget.watch_panel import curve_figure

        made = curve_figure(self.history, scalar, log=log)
        self._follow(made.follow)
        return made.figure

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._shown()._repr_mimebundle_(**kwargs)

    def _shown(self) -> WatchPanel:
        """Return the panel, made when it is shown for the first time: a script needs no Jupyter."""
        if self._panel is None or self._panel.closed:
            from nnwidget.watch_panel import WatchPanel

            self._panel = WatchPanel(self._engine, self.play, repr(self))
            self._follow(self._panel.follow)
        return self._panel

    def _follow(self, follower: Callable[[Moment], None]) -> None:
        if not self.closed:
            self._followers.append(follower)
            self.listen()

    def listen(self) -> None:
        """Keep the state of play from the next boundary on: somebody shows it."""
        if not self.closed:
            self._engine.listener = lambda step, recorded: self._tell("step")

    def _tell(self, moment: Moment) -> None:
        for follower in list(self._followers):
            try:
                follower(moment)
            except Exception:  # never break the user's step
                self._followers = [other for other in self._followers if other is not follower]
                log.exception("nnwidget could not show this training and no longer tries")

    def _serve_explorers(self, moment: Moment) -> None:
        model = self._inner()
        session = Session.find(model) if moment == "waiting" and model is not None else None
        if session is not None:
            session.wait_at_boundary(self.steps)

    def _open(self) -> None:
        if self.closed:
            raise NNWidgetError("This watch is closed.", remedy="Call nnwidget.watch() again.")
