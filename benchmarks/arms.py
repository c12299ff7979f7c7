"""What can be put around a training: nothing, bare hooks, nnwidget, and what others use."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import nnwidget
from benchmarks.interleaved import Arm
from benchmarks.trainings import Training

EVERY = 10


def leaves(model: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if not list(module.children())}


@contextmanager
def nothing(training: Training) -> Iterator[None]:
    """The control: whatever differs now is noise."""
    yield


@contextmanager
def post_hook(training: Training) -> Iterator[None]:
    """One hook behind the optimiser's step that counts: the least by which a training can be followed."""
    count = 0

    def after(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        nonlocal count
        count += 1

    handle = training.optimizer.register_step_post_hook(after)
    yield
    handle.remove()


@contextmanager
def empty_hooks(training: Training) -> Iterator[None]:
    """The floor of all that looks at each layer in each step: a forward hook on each that does nothing."""
    handles = [module.register_forward_hook(_nothing) for module in leaves(training.model).values()]
    yield
    for handle in handles:
        handle.remove()


def _nothing(module: nn.Module, args: Any, output: Any) -> None:
    return None


@contextmanager
def watched(training: Training, **how: Any) -> Iterator[nnwidget.Watch]:
    """Ours, as a script has it."""
    with nnwidget.watch(training.model, training.optimizer, display=False, **how) as w:
        yield w
    if not len(w.history.steps) or w._engine.error:
        raise RuntimeError(f"Nothing was recorded: {w._engine.error}")


@contextmanager
def tensorboard(training: Training) -> Iterator[None]:
    """The usual recipe: histograms of activations, weights and gradients at every tenth step."""
    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
        step = 0

        def forward(name: str, module: nn.Module, args: Any, output: Any) -> None:
            if step % EVERY == 0 and isinstance(output, Tensor):
                writer.add_histogram(f"activations/{name}", output, step)

        def after(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            nonlocal step
            if step % EVERY == 0:
                for name, parameter in training.model.named_parameters():
                    writer.add_histogram(f"weights/{name}", parameter, step)
                    writer.add_histogram(f"gradients/{name}", parameter.grad, step)
            step += 1

        handles = [
            module.register_forward_hook(partial(forward, name)) for name, module in leaves(training.model).items()
        ]
        handles.append(training.optimizer.register_step_post_hook(after))
        yield
        for handle in handles:
            handle.remove()


@contextmanager
def wandb(training: Training) -> Iterator[None]:
    """``wandb.watch`` of weights and gradients at every tenth step; its service's own process is not counted."""
    import wandb

    with tempfile.TemporaryDirectory() as folder:
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        with wandb.init(mode="offline", dir=folder, settings=settings) as run:
            run.watch(training.model, log="all", log_freq=EVERY)
            step = 0

            def after(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
                nonlocal step
                step += 1
                run.log({"step": step})

            handle = training.optimizer.register_step_post_hook(after)
            yield
            handle.remove()
            run.unwatch(training.model)


@contextmanager
def torchexplorer(training: Training) -> Iterator[None]:
    """Everything that it logs, at every tenth step, without its page; it has no way to remove its hooks."""
    import torchexplorer

    torchexplorer.watch(training.model, log_freq=EVERY, disable_inplace=True, backend="none")
    yield
    for module in training.model.modules():
        for hooks in (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        ):
            hooks.clear()
    for parameter in training.model.parameters():
        parameter._backward_hooks = None


ARMS: dict[str, Arm] = {
    "nothing": nothing,
    "a post hook": post_hook,
    "empty hooks": empty_hooks,
    "budget=0.02": partial(watched, budget=0.02),
    "every=10": partial(watched, every=10, budget=None),
    "every=1": partial(watched, every=1, budget=None),
}
PEERS: dict[str, tuple[str, Arm]] = {
    "TensorBoard": ("tensorboard", tensorboard),
    "wandb": ("wandb", wandb),
    "torchexplorer": ("torchexplorer", torchexplorer),
}


def installed() -> dict[str, Callable[[Training], Any]]:
    """Return what others use, as far as it is here."""
    return {name: arm for name, (package, arm) in PEERS.items() if importlib.util.find_spec(package) is not None}
