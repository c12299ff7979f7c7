"""Brings numbers from an accelerator to the host without making it wait: one copy a device, read when it is there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nnwidget.types import Array


class Courier:
    """Collects tensors, sends them in one copy a device, and hands each out as an array once it has arrived.

    What is on the host is handed out at once.

    Examples
    --------
    >>> courier, got = Courier(), []
    >>> courier.add(torch.ones(2), got.append)
    >>> got
    [array([1., 1.], dtype=float32)]
    >>> courier.send()
    >>> courier.arrived()
    True
    """

    def __init__(self) -> None:
        self._waiting: dict[torch.device, list[tuple[Tensor, Callable[[Array], None]]]] = {}
        self._later: list[Callable[[], None]] = []
        self._under_way: list[tuple[list[tuple[Tensor, Callable[[Array], None]]], Tensor, Callable[[], bool]]] = []

    def add(self, tensor: Tensor, deliver: Callable[[Array], None]) -> None:
        """Take a tensor along; it arrives flat, as float32."""
        if tensor.is_cpu:
            deliver(tensor.detach().reshape(-1).float().numpy())
        else:
            self._waiting.setdefault(tensor.device, []).append((tensor.detach().reshape(-1).float(), deliver))

    def later(self, call: Callable[[], None]) -> None:
        """Have something done once all has arrived: amid a step it would cost more than in a row with others."""
        self._later.append(call)

    def send(self) -> None:
        """Start the copies of what was added since the last time."""
        for parts in self._waiting.values():
            self._under_way.append((parts, *_copy(torch.cat([tensor for tensor, _ in parts]))))
        self._waiting.clear()

    def arrived(self, *, wait: bool = False) -> bool:
        """Hand out what was sent, if all of it is there; says so.

        Parameters
        ----------
        wait : bool
            Wait for the accelerator instead of asking whether it is done.
        """
        if wait:
            for _, host, done in self._under_way:
                if not done() and host.is_pinned():
                    torch.cuda.synchronize()
        if not all(done() for _, _, done in self._under_way):
            return False
        under_way, self._under_way = self._under_way, []
        for parts, host, _ in under_way:
            values, start = host.numpy(), 0
            for tensor, deliver in parts:
                deliver(values[start : start + tensor.numel()])
                start += tensor.numel()
        later, self._later = self._later, []
        for call in later:
            call()
        return True


def _copy(values: Tensor) -> tuple[Tensor, Callable[[], bool]]:
    if values.device.type != "cuda":
        return values.cpu(), lambda: True
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return host, event.query
