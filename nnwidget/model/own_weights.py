"""A layer's own weights by name, and the gradients that the last backward left in them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nnwidget.errors import UnobservableError


def parameter_names(module: nn.Module) -> list[str]:
    """Return the names of a layer's own weights, the parametrised ones too, ``weight`` first.

    Examples
    --------
    >>> parameter_names(nn.LSTM(3, 4))
    ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0']
    """
    own = [name for name, _ in module.named_parameters(recurse=False)]
    computed = list(getattr(module, "parametrizations", {}))
    names = list(dict.fromkeys([*computed, *own]))
    if not names and callable(getattr(module, "weight", None)):
        # Quantised layers have a method of this name.
        names = ["weight"]
    return sorted(names, key=lambda name: name != "weight")


def parameter(module: nn.Module, name: str, *, gradient: bool = False) -> Tensor:
    """Return one of a layer's own weights, or the gradient that the last backward left in it.

    Raises
    ------
    UnobservableError
        There is none, or none yet; the message says what to do.

    Examples
    --------
    >>> parameter(nn.Linear(3, 2), "bias").shape
    torch.Size([2])
    """
    if gradient:
        kept = dict(module.named_parameters(recurse=False)).get(name)
        if kept is None:
            raise UnobservableError(
                f"'{name}' is computed from other tensors (a parametrisation) and has no gradient of its own.",
                remedy=f"Read layer.parametrizations.{name}.original.grad.",
            )
        if not kept.requires_grad:
            raise UnobservableError(
                f"'{name}' is frozen, so no gradient arrives.", remedy=f"Call layer.{name}.requires_grad_()."
            )
        if kept.grad is None:
            raise NoGradientError()
        return kept.grad
    found = getattr(module, name)
    found = found() if callable(found) and not isinstance(found, Tensor) else found
    if is_lazy(found):
        raise UnobservableError("The weights are not initialised yet.", remedy="Run the model once.")
    if not isinstance(found, Tensor):
        raise UnobservableError(f"'{name}' is a {type(found).__name__} and not a tensor.")
    return found


class NoGradientError(UnobservableError):
    """No backward has left a gradient."""

    def __init__(self) -> None:
        super().__init__(
            "There are no gradients yet.",
            remedy="Call loss.backward() in a cell; what it leaves in the parameters' .grad is shown here.",
        )


__all__ = ["NoGradientError", "parameter", "parameter_names"]
