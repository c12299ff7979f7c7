"""Hooks inside compiled regions, for those who asked for them: attached once, before anything is compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from nnwidget.model.taps import After, Taps
from nnwidget.training.layer_set import Watched
from nnwidget.training.layer_taps import LayerTaps


class Inside:
    """Lets layer taps see layers inside compiled regions.

    The compiler breaks its graph at every such layer, so that what it fuses, and with that the training's last bits,
    change; with ``fullgraph=True`` it raises. Hooks attached after the first compiled run never fire: compile after
    ``watch()``, or call ``torch._dynamo.reset()`` in between, which throws all compiled code of the process away.

    Parameters
    ----------
    taps : LayerTaps
        What sees them, on recorded steps.
    watched : sequence of Watched
        The layers; those that are not ``inside`` are left alone.
    """

    def __init__(self, taps: LayerTaps, watched: Sequence[Watched]) -> None:
        self._hooks = Taps(compiled=True)
        for layer in watched:
            if layer.inside:
                self._hooks.add(layer.name, layer.module, after=_seer(taps, layer.index))

    def close(self) -> None:
        """Remove the hooks; calling it again changes nothing."""
        self._hooks.close()


def _seer(taps: LayerTaps, index: int) -> After:
    def after(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        taps.flowed(index, output)

    return after


__all__ = ["Inside"]
