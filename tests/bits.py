"""Everything of a model and the process that observation must not move, as values that differ when one bit does."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def bits(value: Any) -> Any:
    """Make something comparable that differs when a single bit does; containers keep their structure."""
    if isinstance(value, Mapping):
        return {key: bits(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(part) for part in value]
    if isinstance(value, float):
        # Equal to itself also when it is not a number, and different for the two zeros.
        return value.hex()
    if not isinstance(value, Tensor):
        return value
    if value.is_nested:
        return [bits(part) for part in value.unbind()]
    if value.layout != torch.strided:
        return bits(value.to_dense())
    if value.is_quantized:
        value = value.int_repr()
    raw = value.detach().resolve_conj().resolve_neg().contiguous().flatten()
    data = raw.view(torch.uint8).numpy().tobytes() if raw.numel() else b""
    return str(value.dtype), tuple(value.shape), hashlib.sha256(data).hexdigest()


def randomness() -> dict[str, Any]:
    """Return the state of all three generators."""
    return {"torch": bits(torch.get_rng_state()), "python": random.getstate(), "numpy": str(np.random.get_state())}


def seed() -> None:
    """Set all three generators."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def plain_modules(model: nn.Module) -> list[nn.Module]:
    """Return the modules whose dictionaries can be read."""
    return [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]


def state(model: nn.Module) -> dict[str, Any]:
    """Return the values, the modes and the attributes of a model."""
    return {
        "parameters": {name: bits(value) for name, value in model.named_parameters()},
        "gradients": {name: bits(value.grad) for name, value in model.named_parameters() if value.grad is not None},
        "buffers": {name: bits(value) for name, value in model.named_buffers()},
        "modes": [module.training for module in model.modules()],
        "attributes": [sorted(vars(part)) for part in (*plain_modules(model), *model.parameters())],
    }
