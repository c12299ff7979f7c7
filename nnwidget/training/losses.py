"""Finding the loss: the loss modules a training calls, or the loss in what the model returns."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss
from torch.nn.modules.module import register_module_forward_hook

from nnwidget.model.probe import probing
from nnwidget.model.standaside import stand_aside
from nnwidget.model.structure import tensors
from nnwidget.model.taps import Taps
from nnwidget.training.bare_hook import BareHook
from nnwidget.training.step_loss import StepLoss

# Steps in which loss modules are looked for; a hook on every module of the process is not for longer.
_LOOKING = 5


class LossFinder:
    """Hears every loss of a training around one model.

    In the first steps loss modules (``torch.nn.*Loss``, or any module whose class is named so) that are called after a
    forward of the root are noticed and get one hook each; a loss in what the root returns is read there. Losses
    computed by functions cannot be found: ``source`` stays empty, and the user logs them.

    Parameters
    ----------
    model : nn.Module
        The root that is watched.
    heard : callable
        ``heard(value, module, args)`` with the loss as a number (a 0-d tensor where it is not on the host), the loss
        module and its arguments (or None, ()).

    Attributes
    ----------
    now : StepLoss
        The losses of the step under way.
    source : str
        Where the loss comes from: names of modules, ``"output"``, ``"log"``; empty when none was found.
    """

    def __init__(
        self, model: nn.Module, heard: Callable[[float | Tensor, nn.Module | None, tuple[Any, ...]], None]
    ) -> None:
        self._heard = heard
        self._everywhere: Any = None
        self._losses: dict[int, weakref.ref[nn.Module]] = {}
        self._hooks: dict[int, Any] = {}
        self._parts: set[int] = set()
        self._returned = self._listening = False
        self._root: Taps | None = None
        self._steps = 0
        self.now = StepLoss()
        self.source = ""
        # Told of an error in a hook, which ends all of it.
        self.gave_up: Callable[[Exception], None] | None = None
        # Told of losses instead of anybody else, in steps that nobody looks at.
        self.aside: Callable[[float | Tensor, object], None] | None = None
        # Told of the gradient that a loss is given, where somebody asks.
        self.begins: Callable[[Tensor], None] | None = None
        if not isinstance(model, torch.jit.ScriptModule):
            self._root = Taps(serial=False)
            self._root.add("", model, before=self._before_root, after=self._after_root)

    def stepped(self) -> None:
        """Note the end of a step; once a loss was found, or after a few steps, the search is over."""
        self._stop_looking()
        self._steps += 1
        if not self.source:
            names = [type(loss).__name__ for ref in self._losses.values() if (loss := ref()) is not None]
            self.source = " + ".join(names) or ("output" if self._returned else "")
        over = self._steps >= _LOOKING or bool(self.source)
        if self._root is not None and over and self.source != "output":
            self._root.close()
            self._root = None

    def listen(self, on: bool) -> None:
        """Hear the loss modules that were found from now on, or no more: a hook that does nothing costs too."""
        self._listening = on
        if not on:
            for hook in self._hooks.values():
                hook.remove()
            self._hooks.clear()
        elif len(self._hooks) < len(self._losses):
            for key, ref in self._losses.items():
                module = ref()
                if module is not None and key not in self._hooks:
                    self._hooks[key] = module.register_forward_hook(BareHook(self, LossFinder._after_loss))

    def log(self, value: float | Tensor) -> None:
        """Take the user's word for the loss of this step."""
        self.source = "log"
        self.now.log(value)

    @property
    def settled(self) -> bool:
        """True when a loss was found, or the search is over."""
        return bool(self.source) or self._root is None

    def close(self) -> None:
        """Remove every hook; calling it again changes nothing."""
        self._stop_looking()
        self.listen(False)
        self._losses.clear()
        if self._root is not None:
            self._root.close()
            self._root = None

    def _before_root(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        # Losses called within the model are parts of what it returns.
        self._stop_looking()

    def _after_root(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not torch.is_grad_enabled() or probing():
            return
        found, sure = loss_in(output)
        if found is not None and not self._losses:
            self._returned = True
            self._hear(found, "output", None, ())
        if not sure and self.source != "output" and self._everywhere is None:
            # Only from here to the end of the step: outside, and while models compile, no hook is on all modules.
            self._everywhere = register_module_forward_hook(BareHook(self, LossFinder._after_any))
            if "_orig_mod" in module._modules:
                # A compiled module warns of such hooks when it is called again: no loss comes after its backward.
                self._until_backward(output)

    def _until_backward(self, output: Any) -> None:
        for _, tensor in tensors(output):
            if tensor.grad_fn is not None:
                tensor.grad_fn.register_prehook(BareHook(self, LossFinder._before_backward))
                return

    def _before_backward(self, gradients: Any) -> None:
        self._stop_looking()

    def _after_any(self, module: nn.Module, args: Any, output: Any) -> None:
        key = id(module)
        if key in self._losses or key in self._parts or not is_loss(module, output) or stand_aside(output):
            return
        parts = {id(part) for part in module.modules()} - {key}
        for part in parts & self._losses.keys():
            # It ran first, within this one.
            del self._losses[part]
            self._hooks.pop(part).remove()
            self.now.drop(part)
        self._parts |= parts
        if self._returned:
            # What the model returned was one number, but not yet the loss.
            self._returned = False
            self.now.drop("output")
        self._losses[key] = weakref.ref(module)
        self.listen(True)
        self._hear(output, key, module, args)

    def _after_loss(self, module: nn.Module, args: Any, output: Any) -> None:
        # Without a graph it is a validation.
        if _number(output) and not probing() and not stand_aside(output):
            self._hear(output, id(module), module, args)

    def _hear(self, loss: Tensor, source: object, module: nn.Module | None, args: tuple[Any, ...]) -> None:
        value = scalar(loss)
        if self.aside is not None:
            self.aside(value, source)
            return
        self.now.hear(value, source)
        self._heard(value, module, args)
        if self.begins is not None and not loss.is_leaf:
            loss.register_hook(BareHook(self, LossFinder._backward_begins))  # type: ignore[no-untyped-call]

    def _backward_begins(self, gradient: Tensor) -> None:
        if self.begins is not None:
            self.begins(gradient.detach())

    def _stop_looking(self) -> None:
        handle, self._everywhere = self._everywhere, None
        if handle is not None:
            handle.remove()


def is_loss(module: nn.Module, output: object) -> bool:
    """Say whether a module is a loss: named or derived so, with one number that a backward can start from."""
    named = isinstance(module, _Loss) or type(module).__name__.endswith("Loss")
    return named and _number(output)


def loss_in(output: Any) -> tuple[Tensor | None, bool]:
    """Find the loss in what a model returned, and say whether it is sure to be one.

    Sure are entries and attributes called ``loss``, and the sum of entries that have it in their name; one 0-d tensor
    by itself, or alone among others, may be anything.

    Examples
    --------
    >>> weight = torch.ones((), requires_grad=True)
    >>> loss_in({"loss_box": weight * 2, "loss_class": weight * 3, "boxes": torch.ones(2)})[1]
    True
    >>> loss_in((torch.ones(2), weight * 2))[1], loss_in(torch.ones(2))
    (False, (None, False))
    """
    if isinstance(output, Mapping):
        if _number(output.get("loss")):
            return output["loss"], True
        parts = [value for name, value in output.items() if "loss" in str(name) and _number(value)]
        return (sum(parts[1:], parts[0]), True) if parts else (None, False)
    if isinstance(output, Tensor):
        return (output, False) if output.dim() == 0 and _number(output) else (None, False)
    named = getattr(output, "loss", None)
    if _number(named):
        return named, True
    if isinstance(output, (tuple, list)):
        numbers = [value for value in output if _number(value) and value.dim() == 0]
        if len(numbers) == 1:
            return numbers[0], False
    return None, False


def scalar(value: Tensor) -> float | Tensor:
    """Read a number; what is on an accelerator stays there until it is delivered."""
    return float(value.item()) if value.is_cpu else value.detach().reshape(()).clone()


def _number(value: object) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1 and value.requires_grad


__all__ = ["LossFinder", "is_loss", "loss_in", "scalar"]
