"""Zero is not "off" before a normalisation: say what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Sigmoid,
    nn.Tanh,
    nn.Hardtanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Softplus,
    nn.Softsign,
    nn.LogSigmoid,
    nn.Threshold,
)
_SILENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_MIXING = (nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm, nn.CrossMapLRN2d)


def what_zero_becomes(model: nn.Module, layer_name: str, channel: int, order: Sequence[str]) -> str:
    """Say what a channel that is set to zero becomes after the normalisation that follows.

    The arithmetic is that of evaluation mode. Only what certainly follows is counted: the next layer called, if its
    channels fit, and activations behind it in the same ``nn.Sequential`` (elsewhere something may be added in between).

    Parameters
    ----------
    model : nn.Module
        The model; only buffers and parameters of the normalisation are read.
    layer_name : str
        The layer whose channel is set to zero.
    channel : int
        Which channel or unit.
    order : sequence of str
        Names of the layers in the order of their calls, with or without containers.

    Returns
    -------
    str
        One sentence, or ``""`` where no normalisation follows.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.ReLU())
    >>> model[1].running_mean.fill_(-2.0)
    tensor([-2.])
    >>> what_zero_becomes(model, "0", 0, ["0", "1", "2"])
    '0 here becomes 2 after BatchNorm2d and ReLU.'
    """
    modules = dict(model.named_modules())
    following = [(n, modules[n]) for n in _following(layer_name, order, modules)]
    if layer_name not in modules or not following or channel < 0:
        return ""
    (name, norm), rest = following[0], following[1:]
    kind = type(norm).__name__
    if not _certain(modules, layer_name, name):
        return ""
    if isinstance(norm, _MIXING) or "RMSNorm" in kind or kind.endswith("LayerNorm"):
        return f"What 0 here becomes after {kind} depends on the other channels."
    value = _normalised(norm, channel)
    if value is None:
        return f"What 0 here becomes after {kind} depends on the batch." if _keeps_nothing(norm) else ""
    words = [kind]
    for behind, module in rest:
        if not isinstance(module, _ACTIVATIONS) or not _neighbours(modules, name, behind):
            break
        value = _activated(module, value, channel)
        words.append(type(module).__name__)
        name = behind
    after = " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    return f"0 here becomes {number(value)} after {after}."


def number(value: float) -> str:
    """Write a number with three significant digits and a true minus sign.

    Examples
    --------
    >>> number(-0.65813), number(1234.5), number(2.5e-7)
    ('−0.658', '1230', '2.5e−7')
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    rounded = float(f"{value:.2e}")
    if rounded == 0 or 1e-4 <= abs(rounded) < 1e6:
        decimals = 0 if rounded == 0 else max(2 - math.floor(math.log10(abs(rounded))), 0)
        text = f"{rounded:.{decimals}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return "0" if text == "-0" else text.replace("-", "−")
    mantissa, exponent = f"{rounded:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}".replace("-", "−")


def _following(layer: str, order: Sequence[str], modules: dict[str, nn.Module]) -> list[str]:
    """Leaves called after the layer's first call, those that pass values on left out."""
    inside = [n == layer or n.startswith(f"{layer}.") for n in order]
    if True not in inside:
        return []
    end = inside.index(True)
    while end < len(order) and inside[end]:
        end += 1
    leaves = [n for n in order[end:] if n in modules and not any(True for _ in modules[n].children())]
    return [n for n in leaves if not isinstance(modules[n], _SILENT)]


def _certain(modules: dict[str, nn.Module], before: str, after: str) -> bool:
    """Tell whether the second takes what the first gives: neighbours, or a weighted layer and as many channels."""
    if _neighbours(modules, before, after):
        return True
    module, norm = modules[before], modules[after]
    gives = getattr(module, "out_channels", getattr(module, "out_features", None))
    takes = getattr(norm, "num_features", getattr(norm, "num_channels", None))
    if takes is None:
        shape = getattr(norm, "normalized_shape", None)
        takes = shape[-1] if shape else None
    return isinstance(gives, int) and gives == takes


def _neighbours(modules: dict[str, nn.Module], before: str, after: str) -> bool:
    """Both lie in one Sequential with nothing that computes between them; ``before`` may end an inner one."""
    parent = modules.get(after.rpartition(".")[0])
    if not isinstance(parent, nn.Sequential):
        return False
    previous: nn.Module | None = None
    for child in parent:
        if child is modules[after]:
            break
        previous = previous if isinstance(child, _SILENT) else child
    while isinstance(previous, nn.Sequential) and previous is not modules[before] and len(previous):
        previous = previous[-1]
    return previous is modules[before]


def _keeps_nothing(norm: nn.Module) -> bool:
    """Batch normalisation without running statistics."""
    return isinstance(norm, _BatchNorm) and norm.running_mean is None


def _normalised(norm: nn.Module, channel: int) -> float | None:
    """Zero after this layer, None where it cannot be said."""
    forward = type(norm).forward
    frozen = type(norm).__name__ == "FrozenBatchNorm2d"
    known = frozen or forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward, _InstanceNorm.forward)
    if not known:
        return None
    mean, variance = getattr(norm, "running_mean", None), getattr(norm, "running_var", None)
    if mean is None and not isinstance(norm, _InstanceNorm):
        return None
    size = getattr(norm, "num_features", None) or (len(mean) if mean is not None else 0)
    if channel >= size:
        return None
    # An instance norm without running statistics takes away the channel's own mean, which is zero here.
    scaled = 0.0
    if mean is not None and variance is not None:
        scaled = -_at(mean, channel, 0.0) / math.sqrt(_at(variance, channel, 1.0) + float(getattr(norm, "eps", 1e-5)))
    return scaled * _at(getattr(norm, "weight", None), channel, 1.0) + _at(getattr(norm, "bias", None), channel, 0.0)


def _at(values: object, channel: int, default: float) -> float:
    """One number of a buffer or parameter that may be missing."""
    return float(values.detach()[channel]) if isinstance(values, Tensor) else default


def _activated(module: nn.Module, value: float, channel: int) -> float:
    """Apply an activation to one number, past its hooks, which would take it for the model's run."""
    if isinstance(module, nn.PReLU):
        slope = _at(module.weight, channel if module.num_parameters > 1 else 0, 0.25)
        return value if value >= 0 else slope * value
    with torch.no_grad():
        return float(module.forward(torch.tensor([value], dtype=torch.float64)))


__all__ = ["number", "what_zero_becomes"]
