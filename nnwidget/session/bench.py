"""The bench: one model, its pinned inputs, and what has been computed of them until something moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nnwidget.errors import ForwardError, InputError, NNWidgetError, UnobservableError
from nnwidget.model.axes import layout, sequence_first, teller, view
from nnwidget.model.edits import Edit
from nnwidget.model.fingerprint import Fingerprint
from nnwidget.model.inputs import PinnedInputs
from nnwidget.model.names import unknown, walk
from nnwidget.model.predict import parse_output, scores
from nnwidget.model.probe import probe
from nnwidget.model.replay import Replay, Replayer
from nnwidget.model.structure import tensors
from nnwidget.model.table import LayerTable
from nnwidget.session.page_edits import to_edits
from nnwidget.types import Array, Layout, PredictionKind, Predictions, TensorSpec
from nnwidget.wire.messages import Look, PageEdit

if TYPE_CHECKING:
    from nnwidget.session.ranking import Ranked

Edits = tuple[PageEdit, ...]
# Seconds. Steps and cells are noticed at once; this is for weights that a thread moves while a slider is dragged.
TRUST = 0.25


@dataclass(frozen=True, slots=True)
class Seen:
    """One activation of one input, in its kind's order, as it was captured."""

    tensor: Tensor
    layout: Layout
    spec: TensorSpec
    outputs: tuple[str, ...]
    calls: int
    note: str
    served: str
    seconds: float
    error: ForwardError | None


@dataclass(frozen=True, slots=True)
class Scored:
    """The prediction for one input: ``values`` is float32 ``(outputs,)``."""

    values: Tensor
    kind: PredictionKind
    note: str


class Bench:
    """Runs the model on its pinned inputs and remembers the results until :meth:`moved`.

    Only the owner of the model may call what runs it; the caller sees to that.
    """

    def __init__(
        self,
        model: nn.Module,
        pinned: PinnedInputs,
        table: LayerTable,
        *,
        forward: Callable[..., Any] | None = None,
        output: str | int = "auto",
        class_names: Sequence[str] | None = None,
        display: Callable[[Any], Any] | None = None,
    ) -> None:
        self.model = model
        self.pinned = pinned
        self.table = table
        self._path, self._kind = parse_output(output)
        self.class_names = class_names
        self.display = display
        self.replayer = Replayer(model, forward=forward, trust=TRUST)
        self.python_edits: dict[str, list[Edit]] = {}
        named = walk(model)
        self._modules = {name: item.module for item in named for name in (item.name, *item.aliases)}
        self._seen: dict[Any, Seen] = {}
        self._scored: dict[Any, Scored] = {}
        self._means: dict[Any, Tensor] = {}
        self._mark: Fingerprint | None = None
        # The newest ranking by influence, which takes several questions.
        self.ranked: Ranked | None = None

    def moved(self, *, certainly: bool = True) -> bool:
        """Forget everything computed; where the weights only may have moved, look at them first.

        Returns
        -------
        bool
            False when nothing had moved and everything is still true.
        """
        if not certainly and self._mark is not None and self._mark.holds(()):
            return False
        self._mark = self.ranked = None
        self._seen.clear()
        self._scored.clear()
        self._means.clear()
        self.replayer.invalidate()
        return True

    def module(self, name: str) -> nn.Module:
        """Return the module of that name.

        Raises
        ------
        UnknownLayerError
            No such layer; the message names the nearest.
        """
        found = self._modules.get(name)
        if found is None:
            raise unknown(name, list(self._modules))
        return found

    def look(
        self, want: Look, *, cut: bool = True, edited: bool = True, should_stop: Callable[[], bool] | None = None
    ) -> tuple[Seen | None, Scored | None, Scored | None]:
        """Return the activation and the prediction before and after the edits, from as few runs as possible."""
        self._check(want)
        maps = bool(want.want & {"maps", "channel"})
        predict = "prediction" in want.want
        edited = edited and bool(want.edits or self.python_edits)
        before = self._before(want, should_stop) if predict and edited else None
        key = (self._key(want), edited)
        seen = self._seen.get(key) if maps else None
        scored = (want.input, want.edits if edited else None)
        after = self._scored.get(scored) if predict else None
        if (maps and seen is None) or (predict and after is None):
            observe = (want.layer,) if maps else ()
            replay = self._run(want, observe=observe, edited=edited, cut=cut, should_stop=should_stop)
            if replay.error is not None and not maps:
                raise replay.error
            if maps:
                # One activation at a time: what is shown is what is kept.
                seen = self._activation(want, replay)
                self._seen = {key: seen}
            if replay.error is None and predict:
                after = self._score(replay.result, before)
                # The unedited ones of all inputs, and the newest of the edited: a dragged slider must not pile up.
                self._scored = {key: kept for key, kept in self._scored.items() if key[1] is None} | {scored: after}
        if cut and self._mark is None:
            modules = list(self.model.modules())
            self._mark = Fingerprint(modules, {id(module) for module in modules}, ())
        return seen, before or after, after

    def _before(self, want: Look, should_stop: Callable[[], bool] | None) -> Scored:
        """Return the prediction without any edit."""
        found = self._scored.get((want.input, None))
        if found is None:
            plain = self._run(want, observe=(), edited=False, should_stop=should_stop)
            if plain.error is not None:
                raise plain.error
            found = self._scored[want.input, None] = self._score(plain.result)
        return found

    def others(
        self, want: Look, layers: Sequence[str], should_stop: Callable[[], bool] | None = None
    ) -> dict[str, Seen | NNWidgetError]:
        """Return the first outputs of further layers for the same input, from one run; what cannot be seen says why."""
        wants = {layer: replace(want, layer=layer, call=0, output=None, channel=None) for layer in layers}
        found: dict[str, Seen | NNWidgetError] = {}
        for layer, each in wants.items():
            try:
                self._check(each)
            except NNWidgetError as error:
                found[layer] = error
        seen = tuple(layer for layer in wants if layer not in found)
        if seen:
            replay = self._run(want, observe=seen, cut=False, should_stop=should_stop)
            for layer in seen:
                try:
                    found[layer] = self._activation(wants[layer], replay)
                except NNWidgetError as error:
                    found[layer] = error
        return {layer: found[layer] for layer in layers}

    def unedited(
        self, want: Look, should_stop: Callable[[], bool] | None = None
    ) -> tuple[Seen, Tensor, PredictionKind]:
        """Return an activation without edits, the model's own numbers ``(outputs,)`` for that input, and their kind."""
        self._check(want)
        replay = self._run(want, observe=(want.layer,), edited=False, should_stop=should_stop)
        if replay.error is not None:
            raise replay.error
        return self._activation(want, replay), self.numbers(replay.result)[0], self._score(replay.result).kind

    def numbers(self, output: Any) -> Tensor:
        """Return what the model itself gives for each input, ``(N, outputs)``: no softmax is applied."""
        return scores(output, self.model, output_path=self._path, kind="logits")[0]

    def everywhere(self, want: Look, should_stop: Callable[[], bool] | None = None) -> list[Seen]:
        """Return one layer's activation for each pinned input, without edits, from one run."""
        self._check(want)
        args, kwargs = self.pinned.all()
        replay = self.replayer.run(args, kwargs, observe=(want.layer,), should_stop=should_stop)
        if replay.error is not None:
            raise replay.error
        return [self._activation(want, replay, index) for index in range(self.pinned.count)]

    def class_name(self, number: int) -> str:
        """Return the name of an output, its number where it has none."""
        names = self.class_names
        return str(names[number]) if names is not None and 0 <= number < len(names) else str(number)

    def activation(self, want: Look, output: int | str, *, edited: bool) -> Array:
        """Return an activation as numbers; ``output`` is the position or the path of a tensor in a nested output."""
        seen, _, _ = self.look(replace(want, output=output if isinstance(output, str) else None), edited=edited)
        assert seen is not None
        if isinstance(output, int) and output:
            if not -len(seen.outputs) <= output < len(seen.outputs):
                raise InputError(
                    f"'{want.layer}' has {len(seen.outputs)} output tensors, not an output {output}.",
                    layer=want.layer,
                    argument="output",
                    remedy="Count from 0, or give a path.",
                )
            seen, _, _ = self.look(replace(want, output=seen.outputs[output]), edited=edited)
            assert seen is not None
        tensor = seen.tensor.detach().cpu()
        # NumPy has no bfloat16. A copy, since what is kept here must not be changed there.
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()

    def retained(self, want: Look) -> Seen | None:
        """Return what is on the screen, if it is still true; safe from any thread."""
        return self._seen.get((self._key(want), bool(want.edits or self.python_edits)))

    def predictions(self, edits: Edits) -> Predictions:
        """Return the predictions for all pinned inputs, before and after the edits."""
        args, kwargs = self.pinned.all()
        before = self._all(args, kwargs, {}, None)
        made = self._edits(edits)
        after = self._all(args, kwargs, made, before) if made else before
        outputs = before.values.shape[-1]
        return Predictions(
            before=before.values.numpy(),
            after=after.values.numpy(),
            kind=before.kind,
            names=self.names(outputs),
            targets=tuple(self.pinned.targets or ()),
            note=before.note,
        )

    def mean(self, layer: str, channel: int, call: int = 0) -> float:
        """Return the mean of one channel over all pinned inputs: what "use mean" puts in its place."""
        means = self._means.get((layer, call))
        if means is None:
            args, kwargs = self.pinned.all()
            means = self.replayer.channel_means(args, kwargs, layer, output=0, call=call)
            self._means[layer, call] = means
        if not 0 <= channel < len(means):
            raise InputError(
                f"'{layer}' has no channel {channel}.",
                layer=layer,
                argument="channel",
                remedy=f"It has {len(means)}." if len(means) else "Its output is empty.",
            )
        return float(means[channel])

    def names(self, outputs: int) -> tuple[str, ...]:
        """Return a name for every output."""
        if self.class_names is None:
            return tuple(str(i) for i in range(outputs))
        if len(self.class_names) < outputs:
            raise InputError(
                f"There are {len(self.class_names)} class names for {outputs} outputs.",
                argument="class_names",
                remedy=f"Pass {outputs} names, in the order of the outputs.",
            )
        return tuple(str(name) for name in self.class_names[:outputs])

    def _check(self, want: Look) -> None:
        self.module(want.layer)
        if want.input >= self.pinned.count:
            raise InputError(
                f"There is no input {want.input}.",
                argument="input",
                remedy=f"Choose 0 to {self.pinned.count - 1}.",
            )
        for edit in want.edits:
            self.module(edit.layer)
        info = self.table[want.layer]
        if info.reason:
            raise UnobservableError(
                f"'{want.layer}' cannot be observed: {info.reason}.".replace("..", "."),
                layer=want.layer,
                remedy="Choose a layer inside it or around it.",
            )

    def _key(self, want: Look) -> Any:
        return (want.layer, want.input, want.call, want.output, want.edits)

    def _edits(self, edits: Edits) -> dict[str, list[Edit]]:
        made = {layer: list(given) for layer, given in self.python_edits.items()}
        for layer, given in to_edits(edits).items():
            made.setdefault(layer, []).extend(given)
        return made

    def _run(
        self,
        want: Look,
        *,
        observe: tuple[str, ...],
        edited: bool = True,
        cut: bool = True,
        should_stop: Callable[[], bool] | None = None,
    ) -> Replay:
        args, kwargs = self.pinned.select(want.input)
        return self.replayer.run(
            args,
            kwargs,
            observe=observe,
            edits=self._edits(want.edits) if edited else {},
            all_inputs=self.pinned.all(),
            key=want.input,
            cut=cut,
            should_stop=should_stop,
        )

    def _activation(self, want: Look, replay: Replay, index: int = 0) -> Seen:
        calls = replay.outputs.get(want.layer, [])
        if not calls:
            if replay.error is not None:
                raise replay.error
            raise UnobservableError(
                f"'{want.layer}' was not called for this input.",
                layer=want.layer,
                remedy="Choose a layer that takes part, or another input.",
            )
        if want.call >= len(calls):
            raise InputError(
                f"'{want.layer}' was called {len(calls)} times.",
                layer=want.layer,
                argument="call",
                remedy="Count from 0.",
            )
        found = dict(tensors(calls[want.call]))
        if not found:
            raise UnobservableError(
                f"'{want.layer}' returned no tensor.", layer=want.layer, remedy="Choose a layer inside it or after it."
            )
        path = next(iter(found)) if want.output is None else want.output
        if path not in found:
            raise InputError(
                f"'{want.layer}' has no output '{path:.80}'.",
                layer=want.layer,
                argument="output",
                remedy=f"It has {', '.join(repr(p) for p in found)}.",
            )
        tensor = found[path]
        axes = layout(
            teller(self.model, want.layer),
            tensor,
            batched=self.pinned.batched,
            batch_axis=int(self._tokens_first(want.layer)),
        )
        shown = view(tensor, axes, index)
        return Seen(
            tensor=shown,
            layout=axes,
            spec=TensorSpec(path, tuple(shown.shape), str(tensor.dtype).removeprefix("torch.")),
            outputs=tuple(found),
            calls=len(calls),
            note=replay.note,
            served=replay.served,
            seconds=replay.seconds,
            error=replay.error,
        )

    def _score(self, output: Any, before: Scored | None = None) -> Scored:
        """Read the prediction of one input; ``before`` fixes its kind, so that both sides are alike."""
        path, kind = self._path, before.kind if before is not None else self._kind
        values, found, note = scores(output, self.model, output_path=path, kind=kind)
        return Scored(values[0], found, note)

    def _all(self, args: Any, kwargs: Any, edits: dict[str, list[Edit]], before: Scored | None) -> Scored:
        replay = self.replayer.run(args, kwargs, edits=edits, all_inputs=(args, kwargs), key="all", cut=False)
        if replay.error is not None:
            raise replay.error
        kind = before.kind if before is not None else self._kind
        values, found, note = scores(replay.result, self.model, output_path=self._path, kind=kind)
        return Scored(values, found, note)

    def _tokens_first(self, layer: str) -> bool:
        return self.pinned.batch_axis == 1 or sequence_first(self.model, layer)

    def weights(self, name: str, read: Callable[[nn.Module], Any]) -> Any:
        """Read something of a module inside a probe: parametrised weights move buffers when read in training mode."""
        module = self.module(name)
        with probe(self.model), torch.no_grad():
            return read(module)
