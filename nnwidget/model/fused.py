"""Where torch has fused paths that observation switches off, and modules that torch itself never calls."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from nnwidget.model.names import Named

_FUSED = (nn.TransformerEncoderLayer, nn.TransformerEncoder, nn.MultiheadAttention)

_NOTE = "In eval mode without gradients, observing it switches the fused path off; values differ in the last digits."
_SILENT = "MultiheadAttention uses its weights directly and never calls it; observe the attention layer"


def fused_notes(named: Sequence[Named]) -> dict[str, str]:
    """Name the layers at or inside modules with a fused path, each with a note.

    Parameters
    ----------
    named : sequence of Named
        The walk over the model.

    Returns
    -------
    dict of str to str
        From first names to notes; layers that the fused path does not concern are left out.

    Examples
    --------
    >>> from nnwidget.model.names import walk
    >>> list(fused_notes(walk(nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(4, 2)))))
    ['1', '1.out_proj']
    """
    notes: dict[str, str] = {}
    for item in named:
        left = [item] if isinstance(item.module, _FUSED) else []
        while left:
            part = left.pop()
            if part.name not in notes:
                notes[part.name] = _NOTE
                left.extend(child for _, child in part.children)
    return notes


def never_called(named: Sequence[Named]) -> dict[str, str]:
    """Name the layers whose weights their parent uses without calling them, each with the reason.

    Examples
    --------
    >>> from nnwidget.model.names import walk
    >>> list(never_called(walk(nn.MultiheadAttention(4, 2))))
    ['out_proj']
    """
    silent: dict[str, str] = {}
    for item in named:
        # A subclass may well call it.
        if type(item.module) is nn.MultiheadAttention:
            silent.update({child.name: _SILENT for key, child in item.children if key == "out_proj"})
    return silent


__all__ = ["fused_notes", "never_called"]
