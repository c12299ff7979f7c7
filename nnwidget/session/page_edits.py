"""Edits as the page writes them, as the model floor applies them, and as Python to copy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from nnwidget.model.edits import Ablate, Clamp, Edit, Scale
from nnwidget.wire.messages import PageEdit


def to_edits(edits: Iterable[PageEdit]) -> dict[str, list[Edit]]:
    """Return the edits by layer, in the order they were made."""
    found: dict[str, list[Edit]] = {}
    for edit in edits:
        found.setdefault(edit.layer, []).append(_to_edit(edit))
    return found


def _to_edit(edit: PageEdit) -> Edit:
    if edit.op == "scale":
        return Scale(edit.factor, channel=edit.channel)
    if edit.op == "mean":
        return Ablate(edit.channel, value="mean")
    if edit.op == "zero":
        return Ablate(edit.channel, value=0.0)
    if edit.op == "only":
        return Ablate(edit.channel, value="mean", others=True)
    return Clamp(edit.min, edit.max, channel=edit.channel)


def split(edits: Mapping[str, Edit | Sequence[Edit]]) -> tuple[list[PageEdit], dict[str, list[Edit]]]:
    """Tell edits that the page has a word for from those that only Python can say."""
    page: list[PageEdit] = []
    own: dict[str, list[Edit]] = {}
    for layer, given in edits.items():
        made = list(given) if isinstance(given, Sequence) else [given]
        words = [word for word in (to_page(layer, edit) for edit in made) if word is not None]
        # Edits of one layer act in their order, so they stay together.
        if len(words) == len(made):
            page += words
        else:
            own[layer] = made
    return page, own


def to_page(layer: str, edit: Edit) -> PageEdit | None:
    """Return the edit in the page's words, or None where the page has no word for it."""
    plain = edit.unit is None and edit.head is None and edit.axis == "auto" and edit.output == 0 and edit.call is None
    channels = [edit.channel] if isinstance(edit.channel, int) else edit.channel
    if not plain or (channels is not None and len(channels) != 1):
        return None
    channel = None if channels is None else channels[0]
    if isinstance(edit, Scale):
        return PageEdit(layer, "scale", channel, factor=float(edit.factor))
    if isinstance(edit, Clamp):
        return PageEdit(layer, "clamp", channel, min=edit.min, max=edit.max)
    if isinstance(edit, Ablate):
        if edit.others:
            return PageEdit(layer, "only", channel) if edit.value == "mean" else None
        if edit.value == "mean":
            return PageEdit(layer, "mean", channel)
        return PageEdit(layer, "zero", channel) if edit.value == 0.0 else None
    return None


def as_code(
    edits: Sequence[PageEdit], means: Mapping[PageEdit, float], own: Mapping[str, Sequence[Edit]], call: str
) -> str:
    """Return Python that makes the same edits on any forward of the model.

    Parameters
    ----------
    edits : sequence of PageEdit
    means : mapping
        For edits that put one channel's mean in its place: that mean over the pinned inputs, so that the code
        gives the same numbers on any batch.
    own : mapping
        Edits made in Python that the page has no word for, by layer.
    call : str
        The forward, e.g. ``"model(inputs)"``.
    """
    if not edits and not own:
        return f"output = {call}\n"
    lines = ["import nnwidget", "", "with nnwidget.edit(model, {"]
    by_layer = {layer: [f"{_written(edit)}," for edit in made] for layer, made in own.items()}
    for edit in edits:
        by_layer.setdefault(edit.layer, []).append(_expression(edit, means.get(edit)))
    for layer, made in by_layer.items():
        lines += [f"    {layer!r}: [", *(f"        {text}" for text in made), "    ],"]
    return "\n".join([*lines, "}):", f"    output = {call}", ""])


def _expression(edit: PageEdit, mean: float | None) -> str:
    channel = "" if edit.channel is None else f"channel={edit.channel}"
    if edit.op == "scale":
        return f"nnwidget.Scale({_join(f'{edit.factor!r}', channel)}),"
    if edit.op == "zero":
        return f"nnwidget.Ablate({_join(channel, 'value=0.0')}),"
    if edit.op == "clamp":
        limits = [f"{name}={value!r}" for name, value in (("min", edit.min), ("max", edit.max)) if value is not None]
        return f"nnwidget.Clamp({_join(*limits, channel)}),"
    if edit.op == "only":
        return f"nnwidget.Ablate({_join(channel, 'others=True')}),  # the others: their mean over this batch"
    if mean is None:
        return f"nnwidget.Ablate({channel}),  # its mean over this batch"
    return f"nnwidget.Ablate({_join(channel, f'value={mean!r}')}),  # its mean over the pinned inputs"


def _written(edit: Edit) -> str:
    """Write an edit made in Python, without what is left at its default; callables and tensors need a name there."""
    parts = []
    for item in fields(edit):
        value = getattr(edit, item.name)
        default = item.default if item.default is not MISSING else None
        if value is default or (isinstance(value, int | float | str) and value == default):
            continue
        plain = isinstance(value, int | float | str | tuple | list)
        parts.append(f"{item.name}={value!r}" if plain else f"{item.name}=...")
    return f"nnwidget.{type(edit).__name__}({', '.join(parts)})"


def _join(*parts: Any) -> str:
    return ", ".join(part for part in parts if part)
