"""Run a model on pinned inputs: observe, edit, and answer a moved slider from the cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from nnwidget.errors import InputError, NNWidgetError
from nnwidget.model.cut_store import CutStore
from nnwidget.model.edit_apply import apply_edit, as_sequence, channel_axis, channel_mean, edited_tensor
from nnwidget.model.edits import Ablate, Edit
from nnwidget.model.fingerprint import Fingerprint
from nnwidget.model.runner import Question, Replay, Runner, Stop
from nnwidget.model.tracer import Apply, Given, Tracer, edits_of
from nnwidget.model.view import raised_words

Inputs = tuple[Any, Mapping[str, Any]]


class Replayer:
    """Runs a model on pinned inputs without hooks and without leaving a trace on it.

    Each run happens inside :func:`nnwidget.model.probe.probe`, on a copy of the inputs and with the same random seed,
    so that two runs see the same noise. Compiled models run eagerly. Taps registered on the model see these runs too;
    they can tell with :func:`nnwidget.model.intercept.intercepting`.

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    forward : callable, optional
        ``forward(model, inputs)`` instead of ``model(*args, **kwargs)``, for ``.generate`` and the like.
    train : bool or None, default False
        The mode during the runs; None leaves each module in its own.
    trust : float, default 0.0
        Seconds for which a look at the weights is believed: a slider asks many times a second, and looking at all
        weights each time would take longer than some cuts. Call :meth:`invalidate` when they are known to have moved.
    max_bytes : int
        Limit for the copies that cuts keep, on the model's device.

    Examples
    --------
    >>> import torch
    >>> replayer = Replayer(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    >>> replay = replayer.run((torch.ones(1, 2),), observe=["0"], edits={"0": Ablate(value=0.0)})
    >>> replay.outputs["0"][0].tolist(), replay.served
    ([[0.0, 0.0]], 'full')
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        forward: Callable[[nn.Module, Any], Any] | None = None,
        train: bool | None = False,
        max_bytes: int = 512 * 2**20,
        trust: float = 0.0,
    ) -> None:
        self._runner = Runner(model, forward, train)
        self._cuts = CutStore(self._runner, max_bytes, trust)
        self._known_means: dict[Hashable, tuple[Fingerprint, list[Tensor]]] = {}

    def run(
        self,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        observe: Collection[str] = (),
        edits: Mapping[str, Edit | Sequence[Edit]] | None = None,
        means: Mapping[str, Tensor] | None = None,
        all_inputs: Inputs | None = None,
        key: Hashable | None = None,
        cut: bool = True,
        should_stop: Stop | None = None,
    ) -> Replay:
        """Run once.

        Parameters
        ----------
        args, kwargs : tuple and mapping
            The inputs; ``forward`` gets them as they were handed over: one argument by itself, several as a tuple,
            keywords as a mapping.
        observe : collection of str
            Names of layers whose outputs to copy, after edits; ``""`` is the model itself.
        edits : mapping, optional
            From layer name to an edit or a sequence of edits.
        means : mapping, optional
            From layer name to the ``(channels,)`` that ``Ablate(value="mean")`` puts in.
        all_inputs : (args, kwargs), optional
            All pinned inputs; means that are not given are taken over them, else over the inputs of this run.
        key : hashable, optional
            Names the inputs; runs with the same key may be served from a cut, runs without one never are.
        cut : bool, default True
            Whether a cut may serve.
        should_stop : callable, optional
            Asked at each module call.

        Returns
        -------
        Replay
            The outcome; the model's own exceptions are in ``.error``.

        Raises
        ------
        UnknownLayerError, InputError, UnobservableError
            The question is wrong: see the message.
        CancelledError
            ``should_stop`` said so.
        """
        started = time.perf_counter()
        self._look_again()
        question = Question(
            args, kwargs or {}, {name: self._runner.ident(name) for name in observe}, should_stop=should_stop
        )
        plan: dict[int, tuple[str, tuple[Edit, ...]]] = {}
        for name, what in (edits or {}).items():
            ident = self._runner.ident(name)
            # A shared module may be named by several of its names.
            plan[ident] = (name, (*plan.get(ident, (name, ()))[1], *as_sequence(what)))
        applies = {
            ident: self._apply(ident, name, sequence, means, question if all_inputs is None else all_inputs)
            for ident, (name, sequence) in plan.items()
            if sequence
        }
        if applies and cut and key is not None:
            targets = {ident: _calls(sequence) for ident, (_, sequence) in plan.items() if sequence}
            outcome = self._cuts.run(question, applies, targets, key)
        else:
            outcome, _ = self._runner.full(question, applies)
        if outcome.error is None:
            self._check_reached(outcome, plan)
        return replace(outcome, seconds=time.perf_counter() - started)

    def rows(
        self,
        args: Any,
        kwargs: Mapping[str, Any],
        edits: Mapping[str, Edit],
        times: int,
        *,
        key: Hashable,
        channels_last: bool = False,
        should_stop: Stop | None = None,
    ) -> Replay | None:
        """Run a batch of equal rows from the cut that an edited run of the one input has left.

        What the layers cost beside arithmetic is paid once for all rows, each of which an edit may change in its own
        way. Whether the model keeps rows apart is for the caller to find out.

        Parameters
        ----------
        args, kwargs : tuple and mapping
            One input: its tensors have a first axis of length 1.
        edits : mapping
            From layer name to an edit of all rows; no ``Ablate`` by means.
        times : int
            How many rows.
        channels_last : bool
            Lay four-dimensional tensors of the cut out so: faster on the CPU, with other rounding.
        key, should_stop
            As in :meth:`run`.

        Returns
        -------
        Replay or None
            None where no cut is at hand: run the input with this key and an edit of the same calls first.
        """
        self._look_again()
        question = Question(args, kwargs, {}, should_stop)
        named = {self._runner.ident(name): (name, (edit,)) for name, edit in edits.items()}
        applies = {ident: self._apply(ident, name, what, None, question) for ident, (name, what) in named.items()}
        targets = {ident: _calls(what) for ident, (_, what) in named.items()}
        return self._cuts.rows(question, applies, targets, key, (times, channels_last))

    def channel_means(
        self,
        args: Any,
        kwargs: Mapping[str, Any] | None,
        layer: str,
        *,
        output: int | str = 0,
        call: int = 0,
        axis: int | str = "auto",
        should_stop: Stop | None = None,
    ) -> Tensor:
        """Mean of each channel over batch and positions of these inputs, without edits; cached.

        Returns
        -------
        Tensor
            Float32 ``(channels,)`` (float64 for float64 layers).

        Raises
        ------
        InputError
            The layer has no such output, is not called so often, or returns what is not dense and real.
        """
        self._look_again()
        question = Question(args, kwargs or {}, {}, should_stop)
        found = self._means(self._runner.ident(layer), layer, Ablate(output=output, axis=axis), question)
        if not 0 <= call < len(found):
            raise _unreached(layer, call if found else None)
        return found[call]

    def invalidate(self) -> None:
        """Drop everything that was computed from the parameters as they were, such as after an optimiser step."""
        self._cuts.clear()
        self._known_means.clear()

    def _look_again(self) -> None:
        """Forget everything when the model has other modules than before."""
        if self._runner.refresh():
            self.invalidate()
            self._cuts.clear(forget=True)

    def _apply(
        self,
        ident: int,
        name: str,
        sequence: tuple[Edit, ...],
        means: Mapping[str, Tensor] | None,
        inputs: Question | Inputs,
    ) -> Apply:
        """Turn the edits of one layer into what the tracer calls, with the means that they need."""
        if not isinstance(inputs, Question):
            inputs = Question(inputs[0], inputs[1] or {}, {})
        known: dict[int, list[Tensor]] = {}
        for number, edit in enumerate(sequence):
            if isinstance(edit, Ablate) and edit.value == "mean":
                given = means is not None and name in means
                known[number] = [means[name]] if given and means else self._means(ident, name, edit, inputs)
        return edits_of(
            sequence, _Do(name, self._runner.view.teller(ident), self._runner.view.batch_axis(ident), known)
        )

    def _means(self, ident: int, name: str, edit: Ablate, question: Question) -> list[Tensor]:
        """Means of each call of a layer over the inputs of a question."""
        slot = (ident, edit.output, edit.axis, edit.head is None)
        kept = self._known_means.get(slot)
        if kept is not None and kept[0].holds(question.inputs):
            return kept[1]
        found: list[Tensor] = []
        view = self._runner.view
        module, batch_axis = view.modules[ident], view.batch_axis(ident)

        ended = 0

        def look(given: Given, output: Any) -> None:
            nonlocal ended
            ended = len(tracer.order)
            tensor = edited_tensor(edit, output, module=module, name=name, given=given)
            axis = channel_axis(edit, tensor, module=view.teller(ident), batch_axis=batch_axis)
            found.append(channel_mean(tensor, axis))

        while True:
            off = self._runner.path_off(frozenset({ident}))
            tracer = Tracer(view.known, looks={ident: [look]})
            outcome = self._runner.attempt(frozenset({ident}), tracer, question, off=off)
            if outcome is not None and outcome.error is not None:
                raise outcome.error
            if outcome is not None:
                break
            found.clear()
        # What is first called after the layer's last call has no say in its output.
        later = {other for other, _ in tracer.order[ended:]} - {other for other, _ in tracer.order[:ended]}
        self._known_means[slot] = (self._runner.fingerprint(view.known.keys() - later, question), found)
        return found

    def _check_reached(self, outcome: Replay, plan: Mapping[int, tuple[str, tuple[Edit, ...]]]) -> None:
        """Raise for an edit of a call that did not happen."""
        for ident, (name, sequence) in plan.items():
            known = self._runner.view.known[ident]
            for call in {edit.call for edit in sequence}:
                if (known, call or 0) not in outcome.order:
                    raise _unreached(name, call if (known, 0) in outcome.order else None)


class _Do:
    """Does one edit to one output, with the mean of that call."""

    def __init__(self, name: str, teller: nn.Module, batch_axis: int, means: Mapping[int, list[Tensor]]) -> None:
        self.name, self.teller, self.batch_axis, self.means = name, teller, batch_axis, means

    def __call__(self, number: int, edit: Edit, module: nn.Module, call: int, given: Given, output: Any) -> Any:
        """Apply the edit."""
        known = self.means.get(number)
        mean = known[min(call, len(known) - 1)] if known else None
        try:
            return apply_edit(
                edit,
                output,
                module=module,
                teller=self.teller,
                name=self.name,
                given=given,
                batch_axis=self.batch_axis,
                mean=mean,
            )
        except NNWidgetError:
            raise
        except Exception as raised:
            raise InputError(
                f"The {type(edit).__name__} edit of layer {self.name!r} raised {raised_words(raised)}",
                layer=self.name,
                argument="edits",
                remedy="Check the values it puts in, or the function that makes them.",
            ) from raised


def _calls(sequence: tuple[Edit, ...]) -> frozenset[int] | None:
    """List the calls that a layer's edits act on, None for all."""
    calls = [edit.call for edit in sequence]
    return None if None in calls else frozenset(call for call in calls if call is not None)


def _unreached(layer: str, call: int | None) -> InputError:
    """Word the error for an edit that has nothing to act on."""
    if call is None:
        return InputError(
            f"Layer {layer!r} is not called in this forward.",
            layer=layer,
            remedy="Choose a layer that is; some are only read for their weights.",
        )
    return InputError(
        f"Layer {layer!r} has no call {call} in this forward.", layer=layer, argument="call", remedy="Count from 0."
    )


__all__ = ["Replay", "Replayer"]
