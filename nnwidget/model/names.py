"""Names of layers: one linear walk over the modules, and from what people write to the layer they mean."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypeAlias

import torch
from torch import nn

from nnwidget.errors import InputError, UnknownLayerError

Layers: TypeAlias = "str | nn.Module | Iterable[str | nn.Module] | None"

# Names that a model with shared modules may have in all before we stop listing them; diamonds grow exponentially.
_MOST_ALIASES = 10_000

# Longer names are not compared or repeated; no module has one.
_LONGEST = 200


@dataclass(slots=True)
class Named:
    """A module under the first of its names, with the others, its place in the tree and its distinct children."""

    name: str
    module: nn.Module
    depth: int
    aliases: list[str] = field(default_factory=list)
    # Children by their local name; a child that is seen again here or elsewhere is the same object.
    children: list[tuple[str, Named]] = field(default_factory=list)
    parents: int = 0


def walk(model: nn.Module) -> list[Named]:
    """List every module once, in the order and with the names of ``model.named_modules()``.

    Parameters
    ----------
    model : torch.nn.Module
        The model; cycles and modules shared under several names are fine. No recursion: depth does not matter.

    Returns
    -------
    list of Named
        The root first. It takes time linear in the number of modules.

    Examples
    --------
    >>> shared = nn.Linear(1, 1)
    >>> [(named.name, named.aliases) for named in walk(nn.ModuleDict({"a": shared, "b": shared}))]
    [('', []), ('a', ['b'])]
    """
    found: dict[int, Named] = {}
    order: list[Named] = []
    again: list[tuple[str, Named]] = []
    stack: list[tuple[str, nn.Module, int, Named | None, str]] = [("", model, 0, None, "")]
    while stack:
        name, module, depth, parent, local = stack.pop()
        named = found.get(id(module))
        if named is None:
            named = found[id(module)] = Named(name, module, depth)
            order.append(named)
            children = [(key, child) for key, child in module._modules.items() if child is not None]
            for key, child in reversed(children):
                stack.append((f"{name}.{key}" if name else key, child, depth + 1, named, key))
        else:
            again.append((name, named))
        if parent is not None:
            parent.children.append((local, named))
            named.parents += 1
    _alias(again)
    return order


def _alias(again: list[tuple[str, Named]]) -> None:
    """Note the further names of shared modules and of what is below them."""
    left = _MOST_ALIASES
    stack: list[tuple[str, Named, frozenset[int]]] = [(name, named, frozenset()) for name, named in reversed(again)]
    while stack and left:
        name, named, above = stack.pop()
        # A module inside itself, or inside what its first name already says, has no end of names.
        if id(named) in above or name.startswith(f"{named.name}.") or not named.name:
            continue
        left -= 1
        named.aliases.append(name)
        stack.extend((f"{name}.{key}", child, above | {id(named)}) for key, child in reversed(named.children))


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Find the name that somebody most likely meant.

    Parameters
    ----------
    name : str
        What was written.
    names : iterable of str
        What exists.

    Returns
    -------
    str or None
        The nearest name, None when nothing is near.

    Examples
    --------
    >>> nearest("layer1.0.conv", ["stem", "layer1.0.conv1"])
    'layer1.0.conv1'
    """
    name = name[:_LONGEST]
    known = [known for known in names if known]
    last = name.rsplit(".", 1)[-1]
    tails = [candidate for candidate in known if candidate.rsplit(".", 1)[-1] == last]
    # Comparing is slow: in a large model first with those that end alike, then with as many as a click may wait for.
    for candidates in (tails[:2_000], known[:5_000]):
        close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
        if close:
            return close[0]
    return tails[0] if tails else None


def unknown(name: str, names: Sequence[str]) -> UnknownLayerError:
    """Word the error for a layer that does not exist, naming the nearest that does."""
    near = nearest(name, names)
    short = name[:_LONGEST]
    return UnknownLayerError(
        f"The model has no layer {short!r}.",
        layer=short,
        remedy=f"Did you mean {near!r}?" if near else "nnwidget.layers(model) lists the names.",
    )


def select(model: nn.Module, layers: Layers, named: Sequence[Named] | None = None) -> list[Named]:
    """Resolve names, globs and modules to layers, in the order of the model.

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    layers : str, module, iterable of these, or None
        Names (also the further names of shared modules), globs such as ``"layer*.conv?"``, or modules; None means all.
    named : sequence of Named, optional
        The result of :func:`walk`, when it is at hand.

    Raises
    ------
    UnknownLayerError
        A name that does not exist or a glob that matches nothing; the message names the nearest.
    InputError
        Something that is neither a name nor a module.

    Examples
    --------
    >>> [named.name for named in select(nn.Sequential(nn.Linear(1, 1), nn.ReLU()), ["1", "?"])]
    ['0', '1']
    """
    named = walk(model) if named is None else named
    if layers is None:
        return list(named)
    by_name = {name: item for item in named for name in (item.name, *item.aliases)}
    by_module = {id(item.module): item for item in named}
    chosen: set[int] = set()
    for wanted in [layers] if isinstance(layers, (str, nn.Module)) else layers:
        if isinstance(wanted, nn.Module):
            if id(wanted) not in by_module:
                raise UnknownLayerError(
                    f"This {type(wanted).__name__} is not part of the model.",
                    argument="layers",
                    remedy="Pass one of the model's own modules or its name.",
                )
            chosen.add(id(wanted))
        elif not isinstance(wanted, str):
            raise InputError(
                f"A layer is named by a string or given as a module, not by {type(wanted).__name__}.", argument="layers"
            )
        elif wanted in by_name:
            chosen.add(id(by_name[wanted].module))
        else:
            matches = [item for name, item in by_name.items() if name and fnmatchcase(name, wanted)]
            if not matches:
                raise unknown(wanted, list(by_name))
            chosen.update(id(item.module) for item in matches)
    return [item for item in named if id(item.module) in chosen]


def compiled_regions(named: Sequence[Named]) -> dict[str, str]:
    """Name the modules inside regions of torch.compile: hooks there would change its fusion, hence bits.

    Returns
    -------
    dict of str to str
        From each module inside to the name of the compiled module; the wrapper of ``torch.compile(model)`` itself is
        outside and can be observed.
    """
    inside: dict[str, str] = {}
    for item in named:
        starts: list[Named] = []
        if getattr(item.module, "_compiled_call_impl", None) is not None:
            starts = [item]
        elif "_orig_mod" in item.module._modules:
            starts = [child for _, child in item.children]
        while starts:
            part = starts.pop()
            if part.name not in inside:
                inside[part.name] = item.name
                starts.extend(child for _, child in part.children)
    return inside


def refusal(module: nn.Module) -> str:
    """Say why a module cannot be observed at all; empty when it can."""
    if isinstance(module, torch.jit.ScriptModule):
        return "it is a ScriptModule, which refuses hooks; observe the layers around it or use the original module"
    return ""


__all__ = ["Layers", "Named", "compiled_regions", "nearest", "refusal", "select", "unknown", "walk"]
