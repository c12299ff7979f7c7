"""When our hooks must not touch anything: while somebody else looks at the model symbolically, or elsewhere."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor

from nnwidget.model.structure import tensors

_jit_state = torch._C._get_tracing_state
_transform = torch._C._functorch.peek_interpreter_stack


def stand_aside(value: Any = None, *, pid: int | None = None) -> str:
    """Say why a hook must do nothing now.

    Parameters
    ----------
    value : object, optional
        What the hook was given; looked through for symbolic values and fake tensors.
    pid : int, optional
        The process that attached the hook; a forked child must leave it alone.

    Returns
    -------
    str
        The reason, empty when nothing stands against observing.

    Examples
    --------
    >>> import torch
    >>> stand_aside(torch.zeros(1))
    ''
    """
    # First, so that a compiler folds everything after it away.
    if torch.compiler.is_compiling():
        return "torch.compile or torch.export is tracing"
    if pid is not None and pid != os.getpid():
        return "this is a forked child process"
    if _jit_state() is not None:
        return "torch.jit is tracing"
    if _transform() is not None:
        return "a torch.func transform (vmap, grad, jvp) is under way"
    if torch.cuda._initialized and torch.cuda.is_current_stream_capturing():
        return "a CUDA graph is being captured"
    # The usual case, quickly: hooks run in every forward.
    return "" if type(value) is Tensor else _symbolic(value)


def _symbolic(value: Any) -> str:
    """Find the reason in values that are not numbers; the first tensor tells for all."""
    if isinstance(value, fx.Proxy) or (isinstance(value, tuple) and any(isinstance(v, fx.Proxy) for v in value)):
        return "torch.fx is tracing symbolically"
    for _, tensor in tensors(value):
        if isinstance(tensor, FakeTensor):
            return "the tensors are fake (FakeTensorMode or torch.export)"
        break
    return ""


__all__ = ["stand_aside"]
