"""How much each channel of a layer moves the model's output: replaced by its mean, one cut each, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnwidget.errors import CancelledError, InputError, NNWidgetError
from nnwidget.model.edits import Ablate, Replace
from nnwidget.model.replay import Replayer
from nnwidget.model.runner import Stop

# Channels that share one run, each as a row of its own: what a run costs beside the layers is paid once.
TOGETHER = 8
# Of the largest output: rows of a batch and lone runs use other kernels, which round otherwise.
_ROUNDING = 1e-4


@dataclass(frozen=True, slots=True)
class Place:
    """The channels that are replaced in turn.

    ``call`` None means every call of the layer; ``axis`` and ``batch`` are axes of its full output, ``batch`` None
    where the inputs have no batch axis.
    """

    layer: str
    axis: int
    batch: int | None = None
    call: int | None = None
    output: int | str = 0


class Influence:
    """Replaces the channels of one layer by their means, one after the other, and notes what the model then says.

    What comes before the layer is served from a cut. Several channels share a run, each in a row of the batch, if the
    model proves to keep rows apart; else each has its own.

    Parameters
    ----------
    replayer : Replayer
        Runs the model.
    args, kwargs : tuple and mapping
        One input, with a batch of one.
    key : hashable
        Names that input, see :meth:`nnwidget.model.replay.Replayer.run`.
    place : Place
        Whose channels.
    means : Tensor
        ``(channels,)``: what takes their place.
    order : sequence of int
        The channels, in the order in which to try them.
    read : callable
        From what the model returned to ``(N, K)``: the numbers of interest for each row of the batch.
    before : Tensor
        ``(K,)``: those numbers without any edit.

    Attributes
    ----------
    changes : dict
        From channel to ``(K,)`` float32: how much each number changes; in the order in which they were found.

    Examples
    --------
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(2, 1, bias=False))
    >>> with torch.no_grad():
    ...     _ = model[0].weight.fill_(1.0), model[2].weight.copy_(torch.tensor([[1.0, 3.0]]))
    >>> x, means = torch.ones(1, 1, 1, 1), torch.tensor([0.5, 0.5])
    >>> found = Influence(
    ...     Replayer(model), (x,), {}, 0, Place("0", 1), means, [0, 1], lambda out: out, torch.tensor([4.0])
    ... )
    >>> found.advance(lambda: False)
    >>> found.changes[0].tolist(), found.changes[1].tolist(), found.finished
    ([-0.5], [-1.5], True)
    """

    def __init__(
        self,
        replayer: Replayer,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        key: Any,
        place: Place,
        means: Tensor,
        order: Sequence[int],
        read: Callable[[Any], Tensor],
        before: Tensor,
    ) -> None:
        self.place, self.order, self.changes = place, tuple(order), dict[int, Tensor]()
        self._replayer, self._inputs, self._key = replayer, (args, kwargs), key
        self._means, self._read, self._before = means, read, before
        # A model may want its memory in the usual order (``view``): then it gets it so.
        self._last = True
        self.together = place.batch == 0 and len(order) > TOGETHER

    @property
    def finished(self) -> bool:
        """Whether every channel has had its turn."""
        return len(self.changes) == len(self.order)

    def advance(self, enough: Callable[[], bool], should_stop: Stop | None = None) -> None:
        """Try further channels until all are done or ``enough()`` after a run; what was found stays in any case.

        Raises
        ------
        CancelledError
            ``should_stop`` said so.
        ForwardError, InputError
            The model raises with a channel replaced, or the channels cannot be.
        """
        while not self.finished:
            first = len(self.changes)
            group = self.order[first : first + TOGETHER]
            # The first goes alone: its run leaves the cut, and is what a row is compared with.
            rows = self._shared(group, should_stop) if first and self.together else None
            if rows is None:
                group = group[:1]
                rows = self._alone(group[0], should_stop)
            if first == 0 and self.together:
                self.together = self._apart(group[0], rows[0], should_stop)
                if not self.together:
                    self._last = False
                    self.together = self._apart(group[0], rows[0], should_stop)
            for channel, row in zip(group, rows, strict=False):
                self.changes[channel] = row - self._before
            if enough():
                return

    def _alone(self, channel: int, should_stop: Stop | None) -> Tensor:
        """Run with one channel replaced; ``(1, K)``."""
        place = self.place
        edit = Ablate(channel, call=place.call, output=place.output, axis=place.axis)
        args, kwargs = self._inputs
        replay = self._replayer.run(
            args,
            kwargs,
            edits={place.layer: edit},
            means={place.layer: self._means},
            key=self._key,
            should_stop=should_stop,
        )
        if replay.error is not None:
            raise replay.error
        return self._read(replay.result)

    def _shared(self, group: Sequence[int], should_stop: Stop | None) -> Tensor | None:
        """Run with another channel replaced in each row, ``(TOGETHER, K)``; None where that cannot be done."""
        # The last run has as many rows as all others.
        full = [*group, *[group[-1]] * (TOGETHER - len(group))]
        place = self.place
        edit = Replace(
            lambda part: self._replaced(part, full),
            sorted(set(full)),
            call=place.call,
            output=place.output,
            axis=place.axis,
        )
        args, kwargs = self._inputs
        try:
            replay = self._replayer.rows(
                args,
                kwargs,
                {place.layer: edit},
                TOGETHER,
                key=self._key,
                channels_last=self._last,
                should_stop=should_stop,
            )
            if replay is not None and replay.error is None:
                rows = self._read(replay.result)
                if len(rows) == TOGETHER:
                    return rows
        except CancelledError:
            raise
        except NNWidgetError:
            # A model may take batches of one only; what is truly wrong shows in a lone run.
            pass
        return None

    def _apart(self, channel: int, lone: Tensor, should_stop: Stop | None) -> bool:
        """Whether a row among others says what a run by itself says, so that rows do not mix."""
        others = [other for other in self.order if other != channel][: TOGETHER - 1]
        rows = self._shared([*others, channel], should_stop)
        near = _ROUNDING * float(torch.cat([lone, self._before]).nan_to_num(0, 0, 0).abs().max())
        return rows is not None and torch.allclose(rows[-1], lone, rtol=0, atol=near, equal_nan=True)

    def _replaced(self, part: Tensor, channels: Sequence[int]) -> Tensor:
        """Put a mean into each row; ``part`` has these channels alone, by number, and all rows."""
        new, batch, numbers = part.clone(), self.place.batch, sorted(set(channels))
        if batch is None or part.shape[batch] != len(channels):
            raise InputError("The layer's output has another batch.", layer=self.place.layer, argument="inputs")
        for row, channel in enumerate(channels):
            place: list[Any] = [slice(None)] * part.ndim
            place[batch], place[self.place.axis] = row, numbers.index(channel)
            new[tuple(place)] = self._means[channel].to(new.dtype)
        return new


__all__ = ["Influence", "Place"]
