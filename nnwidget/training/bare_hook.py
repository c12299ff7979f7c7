"""A hook for every step, where the care that :class:`nnwidget.model.taps.Taps` takes would cost too much."""

from __future__ import annotations

import contextlib
import logging
import weakref
from collections.abc import Callable
from os import getpid
from typing import Any

import torch

from nnwidget.model.taps import noop_reduction

log = logging.getLogger("nnwidget")


class BareHook:
    """Calls ``call(owner, *given)`` for as long as its owner lives; a copy or a pickle of it is a no-op.

    It changes nothing of what torch passes on, does nothing in forked children and while a model is compiled or
    exported, and an error in it is logged, told to the owner's ``gave_up(error)`` if it has one, and goes no further.

    Parameters
    ----------
    owner : object
        Known weakly.
    call : callable
        A plain function or an unbound method of the owner.
    """

    __slots__ = ("__weakref__", "_call", "_owner", "_pid")

    __torch_unserializable__ = True

    def __init__(self, owner: Any, call: Callable[..., None]) -> None:
        self._owner = weakref.ref(owner)
        self._call = call
        self._pid = getpid()

    def __call__(self, *given: Any) -> None:
        """Pass the call on; dynamo sees nothing but the first return."""
        if torch.compiler.is_compiling():
            return
        owner = self._owner()
        if owner is None or getpid() != self._pid:
            return
        try:
            self._call(owner, *given)
        except Exception as error:  # never break the user's step
            self._call = _nothing
            log.exception("nnwidget gave up listening to a %s", type(given[0]).__name__)
            with contextlib.suppress(Exception):
                getattr(owner, "gave_up", _nothing)(error)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave a no-op behind."""
        return noop_reduction()


def _nothing(*given: Any) -> None:
    """Take the place of a call that failed; hooks must not be removed while torch walks over them."""
