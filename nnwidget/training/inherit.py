"""What torch keeps for each thread apart, carried from one thread to another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch

_KINDS = ("cpu", "cuda", "xpu", "mps")


def torch_state() -> Callable[[], AbstractContextManager[None]]:
    """Note how torch is set in this thread and return a scope that sets another thread so.

    Gradient and inference mode, autocast, the default device and the current CUDA device belong to a thread; a new one
    begins with none of them. The number of threads, the default dtype, the random state and determinism hold for the
    whole process. Streams are left out: the new thread computes on the default one.

    Returns
    -------
    callable
        Makes a context manager, to be entered in the other thread.

    Examples
    --------
    >>> with torch.no_grad():
    ...     scope = torch_state()
    >>> with scope():
    ...     torch.is_grad_enabled()
    False
    """
    grad, inference, device = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), _default_device()
    kinds = [kind for kind in _KINDS if torch.amp.is_autocast_available(kind)]
    autocast = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds]
    cached = torch.is_autocast_cache_enabled()
    cuda = torch.cuda.current_device() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def scope() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if _default_device() != device:
                stack.enter_context(device)
            if cuda is not None:
                stack.enter_context(torch.cuda.device(cuda))
            if inference:
                stack.enter_context(torch.inference_mode())
            stack.enter_context(torch.set_grad_enabled(grad))
            for kind, enabled, dtype in autocast:
                if enabled:
                    stack.enter_context(torch.autocast(kind, dtype=dtype, cache_enabled=cached))
                elif torch.get_autocast_dtype(kind) != dtype:
                    torch.set_autocast_dtype(kind, dtype)
            yield

    return scope


def _default_device() -> torch.device:
    """Return where tensors are made; older torch does not tell of ``with torch.device(...)``."""
    return torch.empty(0).device
