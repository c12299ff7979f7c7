"""A model as replays see it: its modules by identity and name, and the switches that make its inside visible."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from nnwidget.errors import ForwardError
from nnwidget.model.axes import sequence_first, teller
from nnwidget.model.names import compiled_regions, unknown, walk

_FUSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)


class View:
    """The model's modules and names as they are now."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.named = walk(model)
        self.known = {id(item.module): item.name for item in self.named}
        self.modules = {id(item.module): item.module for item in self.named}
        self.by_name = {name: id(item.module) for item in self.named for name in (item.name, *item.aliases)}
        self.compiled = bool(compiled_regions(self.named))
        self.note = "eager re-run" if self.compiled else ""

    def ident(self, name: str) -> int:
        """Find a module by any of its names."""
        if name not in self.by_name:
            raise unknown(name, list(self.by_name))
        return self.by_name[name]

    def batch_axis(self, ident: int) -> int:
        """Where the batch lies in the layer's three-axis outputs."""
        return int(sequence_first(self.model, self.known[ident]))

    def teller(self, ident: int) -> nn.Module:
        """Return the module whose type tells the axes of the layer's output."""
        return teller(self.model, self.known[ident])

    def fusable(self, ident: int, counts: Mapping[int, int]) -> bool:
        """Whether a layer lies inside one of torch's fused layers that was called."""
        parts = self.known[ident].split(".")
        above = [self.by_name.get(".".join(parts[:depth])) for depth in range(len(parts))]
        return any(up in counts and isinstance(self.modules[up], _FUSED) for up in above if up is not None)

    def error(self, raised: Exception, failed: tuple[BaseException, int] | None) -> ForwardError:
        """Word the model's exception, naming the innermost layer that raised it."""
        layer = self.known[failed[1]] if failed is not None and failed[0] is raised else None
        where = f"layer {layer!r} ({type(self.modules[failed[1]]).__name__})" if layer and failed else "The model"
        error = ForwardError(
            f"{where[0].upper()}{where[1:]} raised {raised_words(raised)}",
            layer=layer,
            remedy="Check shape, dtype and device of the inputs.",
        )
        error.__cause__ = raised
        return error


def raised_words(raised: BaseException) -> str:
    """Word an exception as the end of a sentence.

    Examples
    --------
    >>> raised_words(ValueError("no such row"))
    'ValueError: no such row.'
    """
    words = f"{type(raised).__name__}: {raised}".rstrip().rstrip(":")
    return words if words.endswith((".", "!", "?")) else f"{words}."


@contextlib.contextmanager
def fastpath(fused: bool) -> Iterator[None]:
    """Switch torch's fused attention path off where its inside must be seen."""
    if fused or not torch.backends.mha.get_fastpath_enabled():
        yield
        return
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Run functions compiled with torch.compile eagerly, where torch has a word for it and was asked to compile."""
    stance = getattr(torch.compiler, "set_stance", None)
    if stance is None or "torch._dynamo" not in sys.modules:
        yield
        return
    with stance("force_eager"):
        yield


__all__ = ["View", "eager", "fastpath", "raised_words"]
