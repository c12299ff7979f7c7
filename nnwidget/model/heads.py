"""Attention heads: where they lie side by side, and what one adds to the output of torch's attention layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnwidget.errors import InputError

_COUNTS = ("num_heads", "n_heads", "num_attention_heads", "n_head", "nhead", "heads")


def head_count(told: int | None, module: nn.Module, name: str) -> int:
    """Return how many heads a layer has: told, or its own word.

    Raises
    ------
    InputError
        Neither says it.

    Examples
    --------
    >>> head_count(None, nn.MultiheadAttention(8, 2), "attention")
    2
    """
    if told is not None:
        return told
    for word in _COUNTS:
        count = getattr(module, word, None)
        if isinstance(count, int) and not isinstance(count, bool) and count > 0:
            return count
    raise InputError(
        f"Layer {name!r} ({type(module).__name__}) does not say how many heads it has.",
        layer=name,
        argument="heads",
        remedy="Pass heads=.",
    )


def mixes_heads(module: nn.Module) -> bool:
    """Whether a layer's output has its heads already mixed by an output projection that is no call of its own."""
    return isinstance(module, nn.MultiheadAttention)


def side_by_side(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Compute what the heads of a ``MultiheadAttention`` gave, before its output projection mixes them.

    Attention dropout is left out, so that no random numbers are drawn. The module itself is not touched.

    Parameters
    ----------
    module : torch.nn.MultiheadAttention
        The layer.
    args, kwargs : tuple and mapping
        What it was called with.

    Returns
    -------
    Tensor
        Shaped like the layer's output; head ``h`` of ``H`` is the ``h``-th of ``H`` equal slices of the last axis.

    Examples
    --------
    >>> attention, x = nn.MultiheadAttention(8, 2).eval(), torch.randn(5, 1, 8)
    >>> mixed = attention.out_proj(side_by_side(attention, (x, x, x), {}))
    >>> torch.allclose(mixed, attention(x, x, x)[0], atol=1e-6)
    True
    """
    assert isinstance(module, nn.MultiheadAttention)
    weight = module.out_proj.weight
    plain = nn.Linear(1, 1, device="meta")
    plain._parameters["weight"] = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)  # type: ignore[assignment]
    plain._parameters["bias"] = torch.zeros(len(weight), dtype=weight.dtype, device=weight.device)  # type: ignore[assignment]
    twin = copy.copy(module)
    twin.__dict__["_modules"] = {**module._modules, "out_proj": plain}
    twin.__dict__["dropout"] = 0.0
    result: Tensor = twin.forward(*args, **kwargs)[0]
    return result


def mixed(module: nn.Module, output: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Return the layer's output with the change of its heads added; no change leaves every bit."""
    assert isinstance(module, nn.MultiheadAttention)
    return output + functional.linear(after - before, module.out_proj.weight)


__all__ = ["head_count", "mixed", "mixes_heads", "side_by_side"]
