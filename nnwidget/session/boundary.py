"""Where a user's loop can be joined: after an optimiser's step, or before the root's next forward."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from nnwidget.model.probe import probing
from nnwidget.model.structure import tensors
from nnwidget.model.taps import Taps
from nnwidget.session.owner import Owner

log = logging.getLogger("nnwidget")

_FRESH = 1.0  # seconds after a boundary in which a loop counts as running, unless its steps are slower
_ELSEWHERE = 10.0  # the same for a loop in another thread, whose random numbers we would disturb between its steps


class Boundary:
    """Finds the boundaries of a loop around one model and calls ``reached(kind)`` there.

    ``kind`` is ``"step"`` after an optimiser that holds parameters of the model has stepped and ``"forward"`` before
    a forward of the root. A forward is a boundary only where no graph waits for its backward: without gradients, or,
    in loops without an optimiser, once the backward of the previous output has begun. A forward waits
    until no other thread is at work on the model for ``owner``, whose own forwards are none of the loop's.
    """

    def __init__(self, model: nn.Module, reached: Callable[[str], None], owner: Owner | None = None) -> None:
        self._model = weakref.ref(model)
        self._reached = reached
        self._owner = owner
        self._taps: Taps | None = None
        self._optimizers: Any = None
        self._ours: weakref.WeakKeyDictionary[Optimizer, bool] = weakref.WeakKeyDictionary()
        self._last_step = 0.0
        self._last = 0.0
        self._heard = 0.0
        self._interval = 0.0
        self._thread: int | None = None
        self._graph_open = False
        self.steps = 0
        self.kind: str | None = None

    @property
    def armed(self) -> bool:
        """Say whether the hooks are in place."""
        return self._taps is not None

    def arm(self) -> None:
        """Attach the hooks; calling it again changes nothing."""
        model = self._model()
        if self._taps is not None or model is None:
            return
        self._taps = Taps(serial=False)
        if not isinstance(model, torch.jit.ScriptModule):
            self._taps.add("", model, before=self._before_forward, after=self._after_forward)
        self._optimizers = register_optimizer_step_post_hook(self._after_step)

    def disarm(self) -> None:
        """Remove the hooks; calling it again changes nothing.

        A loop in another thread may be walking over them: there they fall silent now and go a little later.
        """
        taps, handle = self._taps, self._optimizers
        self._taps = self._optimizers = None
        if taps is None:
            return

        def remove() -> None:
            taps.close()
            handle.remove()

        thread, interval = self.alive()
        if (
            thread is None
            or thread == threading.get_ident()
            or self._owner is None
            or not self._owner.later(interval + 0.2, remove)
        ):
            remove()

    def alive(self) -> tuple[int | None, float]:
        """Return the thread of a loop that still reaches boundaries (else None) and the seconds between them."""
        thread, age = self._thread, time.monotonic() - self._heard
        limit = max(_FRESH, 3 * self._interval)
        if thread is not None and thread != threading.main_thread().ident:
            limit = max(_ELSEWHERE, 5 * self._interval)
            if all(other.ident != thread for other in threading.enumerate()):
                return None, self._interval
        return (thread if age < limit else None), self._interval

    def keep_alive(self, *, stepped: bool) -> None:
        """Take in that the calling thread's loop waits at a boundary, after a step that was not reported yet."""
        self._last = self._heard = time.monotonic()
        self._thread = threading.get_ident()
        if stepped:
            self.kind = "step"

    def forget(self) -> None:
        """Forget the loop: its cell ended."""
        if self._thread not in (None, threading.main_thread().ident):
            # A cell that ended says nothing of a loop in another thread.
            return
        self._last = self._last_step = self._heard = self._interval = 0.0
        self._thread = self.kind = None
        self._graph_open = False

    def _at(self, kind: str) -> None:
        if self._taps is None:
            return
        now, thread = time.monotonic(), threading.get_ident()
        if thread == self._thread and self._last:
            gap = now - self._last
            self._interval = gap if not self._interval else 0.8 * self._interval + 0.2 * gap
        self._last, self._thread, self.kind = now, thread, kind
        try:
            self._reached(kind)
        except Exception:  # never break the user's step
            log.exception("nnwidget failed at a boundary and leaves this loop alone")
            self._reached = _leave_alone
        finally:
            # Our own time is not part of the user's interval.
            self._last = self._heard = time.monotonic()

    def _before_forward(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        if module is not self._model() or probing():
            return
        if self._owner is not None:
            if self._owner.serving:
                return
            self._owner.wait()
        if threading.get_ident() != threading.main_thread().ident:
            # From here on, only this thread may run the model.
            self._heard, self._thread = time.monotonic(), threading.get_ident()
        if torch.is_grad_enabled() and (self._graph_open or self._stepping()):
            return
        self._at("forward")

    def _after_forward(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if module is not self._model() or self._stepping() or not torch.is_grad_enabled() or probing():
            return
        for _, tensor in tensors(output):
            if tensor.grad_fn is not None:
                self._graph_open = True
                # On the node, not on the tensor: nothing is left on what the user holds.
                tensor.grad_fn.register_prehook(self._backward_began)
                return

    def _backward_began(self, gradients: Any) -> None:
        self._graph_open = False

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self._holds(optimizer):
            return
        self._graph_open = False
        self._last_step = time.monotonic()
        self.steps += 1
        self._at("step")

    def _stepping(self) -> bool:
        """Say whether an optimiser marks the boundaries, so that forwards need not."""
        return time.monotonic() - self._last_step < max(_FRESH, 3 * self._interval)

    def _holds(self, optimizer: Optimizer) -> bool:
        found = self._ours.get(optimizer)
        if found is None:
            model = self._model()
            mine = {id(p) for p in model.parameters()} if model is not None else set()
            found = any(id(p) in mine for group in optimizer.param_groups for p in group["params"])
            self._ours[optimizer] = found
        return found


def _leave_alone(kind: str) -> None:
    """Take the place of a listener that failed; hooks must not be removed while torch walks over them."""
