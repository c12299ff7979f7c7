"""The pinned inputs: whatever a person hands over, as arguments that the model can be run on again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nnwidget.errors import InputError
from nnwidget.model.arguments import arguments, batch_axis_of, device_of, first_batch, to_tensors
from nnwidget.model.pictures import Pictures
from nnwidget.model.structure import map_tensors, tensors
from nnwidget.types import Array


def pinned_inputs(
    model: nn.Module,
    inputs: Any,
    *,
    targets: Any = None,
    preprocess: Callable[[Any], Any] | None = None,
    class_names: Sequence[str] | None = None,
    captions: Sequence[str] | None = None,
    forward: Callable[..., Any] | None = None,
) -> PinnedInputs:
    """Make pinned inputs of what :func:`nnwidget.explore` is given.

    Parameters
    ----------
    model : torch.nn.Module
        The model they are for: it says the device, the dtype of arrays and how many arguments there may be.
    inputs : Tensor, array, tuple, mapping, DataLoader or list
        A tensor or array is a batch, a tuple positional arguments, a mapping keywords, a DataLoader its first batch
        (drawn in this process, the random state stays untouched); tensors of one shape in a list are stacked.
    targets : sequence, tensor or array, optional
        One integer, float or None per input.
    preprocess : callable, optional
        Applied to ``inputs`` first.
    class_names, captions : sequence of str, optional
        Names of the outputs; one caption per input.
    forward : callable, optional
        What runs the model, where it is not simply called: then its forward's signature is not asked.

    Returns
    -------
    PinnedInputs
        Detached copies on the model's device.

    Raises
    ------
    InputError
        Naming the argument and the remedy.

    Examples
    --------
    >>> pinned = pinned_inputs(nn.Linear(4, 2), np.zeros((3, 4)), targets=[0, 1, None])
    >>> pinned.count, pinned.args[0].dtype, pinned.note
    (3, torch.float32, 'Converted from float64 to float32.')
    """
    check_model(model)
    if inputs is None:
        raise InputError("There are no inputs.", argument="inputs", remedy="Pass a batch: explore(model, images).")
    if preprocess is not None:
        inputs = _preprocessed(preprocess, inputs)
    loader = isinstance(inputs, DataLoader)
    batch = first_batch(inputs) if loader else inputs
    args, kwargs, notes = arguments(model, batch, from_loader=loader, checked=forward is None)
    pinned = PinnedInputs(model, args, kwargs, notes)
    pinned.targets = _targets(targets, pinned.count)
    pinned.class_names = _texts(class_names, "class_names")
    pinned.captions = _texts(captions, "captions")
    if pinned.captions and len(pinned.captions) != pinned.count:
        raise InputError(
            f"There are {len(pinned.captions)} captions for {pinned.count} inputs.",
            argument="captions",
            remedy="Pass one caption per input.",
        )
    return pinned


def check_model(model: Any) -> None:
    """Refuse what is not a module.

    Raises
    ------
    InputError
        Saying what it is instead.
    """
    if isinstance(model, nn.Module):
        return
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise InputError(
            f"{model.__name__} is a class, not a model.",
            argument="model",
            remedy=f"Pass an instance: {model.__name__}().",
        )
    raise InputError(
        f"The model is a {type(model).__name__}, not a torch.nn.Module.",
        argument="model",
        remedy="Pass the torch.nn.Module itself.",
    )


class PinnedInputs:
    """Arguments of a model, ready to run it again and again; see :func:`pinned_inputs`.

    Attributes
    ----------
    args, kwargs : tuple, dict
        Positional and keyword arguments; treat them as read-only and run on :meth:`all` or :meth:`select`.
    count : int
        Number of inputs in the batch.
    batched : bool
        False when the arguments have no common batch axis: then they count as one input.
    batch_axis : int
        1 for a root LSTM, GRU, RNN or Transformer without ``batch_first``, else 0.
    note : str
        What was converted or moved, in sentences; empty when nothing was.
    targets : tuple of int, float or None
        One per input, or empty.
    class_names, captions : tuple of str
        As given, or empty.
    """

    def __init__(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], notes: Sequence[str] = ()
    ) -> None:
        notes = list(notes)
        args, kwargs = to_tensors((args, kwargs), model, notes)
        found = [tensor for _, tensor in tensors((args, kwargs))]
        if not found:
            raise InputError(
                "The inputs hold no tensors.",
                argument="inputs",
                remedy="Pass a tensor or array; for texts or images pass preprocess= that makes one.",
            )
        device = device_of(model)
        moved = sorted({str(tensor.device) for tensor in found if tensor.device != device})
        if moved:
            notes.append(f"Moved from {', '.join(moved)} to {device}, where the model is.")
        self.args: tuple[Any, ...]
        self.kwargs: dict[str, Any]
        self.args, self.kwargs = _copied((args, kwargs), device)
        self.batch_axis = batch_axis_of(model)
        self.count, self.batched = self._measure()
        self.note = " ".join(notes)
        self.targets: tuple[int | float | None, ...] = ()
        self.class_names: tuple[str, ...] = ()
        self.captions: tuple[str, ...] = ()
        self._pictures = Pictures(self._main())

    def all(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the whole batch as ``(args, kwargs)``: copies, so that in-place operations do not reach the inputs."""
        args, kwargs = map_tensors((self.args, self.kwargs), Tensor.clone)
        return args, kwargs

    def select(self, index: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return one input as ``(args, kwargs)`` with a batch of one.

        Parameters
        ----------
        index : int
            0 to ``count - 1``. Only tensors as long as the batch along ``batch_axis`` are cut; others go along whole.

        Raises
        ------
        InputError
            There is no such input.

        Examples
        --------
        >>> pinned = pinned_inputs(nn.Linear(4, 2), torch.arange(8.0).reshape(2, 4))
        >>> pinned.select(1)[0]
        (tensor([[4., 5., 6., 7.]]),)
        """
        self._check(index)
        if not self.batched:
            return self.all()

        def cut(tensor: Tensor) -> Tensor:
            if self.batch_axis < tensor.dim() and tensor.shape[self.batch_axis] == self.count:
                tensor = tensor.narrow(self.batch_axis, index, 1)
            return tensor.clone()

        args, kwargs = map_tensors((self.args, self.kwargs), cut)
        return args, kwargs

    def picture(self, index: int, edge: int, display: Callable[[Tensor], Any] | None = None) -> Array | None:
        """Draw one input, if it is a picture.

        Parameters
        ----------
        index : int
            Which input.
        edge : int
            Largest number of rows or columns; larger pictures are averaged down.
        display : callable, optional
            Gets the input without its batch axis and gives the picture back, (C, H, W) or (H, W, C).

        Returns
        -------
        ndarray or None
            uint8 ``(rows, columns, 3)``; None when the input is no picture. ``picture_note`` says how it was scaled.

        Raises
        ------
        InputError
            There is no such input, or ``display`` failed.
        """
        self._check(index)
        if display is not None:
            one = self._main()
            if (
                one is not None
                and self.batched
                and self.batch_axis < one.dim()
                and one.shape[self.batch_axis] == self.count
            ):
                one = one.select(self.batch_axis, index)
            return None if one is None else self._pictures.displayed(one.clone(), edge, display)
        return self._pictures.plain(index, edge) if self.batched else None

    @property
    def picture_note(self) -> str:
        """How the pictures were scaled, in one sentence; empty before the first one."""
        return self._pictures.note

    def _check(self, index: int) -> None:
        """Refuse an index outside the batch."""
        if not 0 <= index < self.count:
            raise InputError(f"There is no input {index}: the batch has {self.count}.", argument="input")

    def _main(self) -> Tensor | None:
        """Return the first tensor, positional arguments first."""
        return next((tensor for _, tensor in tensors((self.args, self.kwargs))), None)

    def _measure(self) -> tuple[int, bool]:
        """Find the batch size: the one that the arguments share."""
        main = [tensor for _, tensor in tensors(self.args)]
        main = main or [tensor for path, tensor in tensors(self.kwargs) if "mask" not in path] or [self._required()]
        if any(tensor.numel() == 0 and 0 in tensor.shape[: self.batch_axis + 1] for tensor in main):
            raise InputError("The batch is empty.", argument="inputs", remedy="Pass at least one input.")
        lone_vector = len(main) == 1 and main[0].dim() <= 1 and main[0].is_floating_point()
        if lone_vector or any(tensor.is_nested or tensor.layout != torch.strided for tensor in main):
            return 1, False
        if any(tensor.dim() <= self.batch_axis + (self.batch_axis > 0) for tensor in main if self.batch_axis):
            return 1, False
        sizes = {tensor.shape[self.batch_axis] for tensor in main if tensor.dim() > self.batch_axis}
        sizes = {size for size in sizes if size != 1} or sizes
        return (sizes.pop(), True) if len(sizes) == 1 else (1, False)

    def _required(self) -> Tensor:
        """Return the first tensor, which is known to exist."""
        main = self._main()
        assert main is not None
        return main


def given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Pack arguments the way they were handed over, for a ``forward=`` callable.

    Returns
    -------
    object
        The mapping for keywords, the only argument by itself, else the tuple.

    Examples
    --------
    >>> given((1,), {}), given((1, 2), {}), given((), {"a": 1})
    (1, (1, 2), {'a': 1})
    """
    if kwargs:
        return kwargs
    return args[0] if len(args) == 1 else args


def _copied(value: tuple[tuple[Any, ...], dict[str, Any]], device: torch.device) -> Any:
    """Detach, copy and move."""

    def copy(tensor: Tensor) -> Tensor:
        moved = tensor.detach().to(device)
        return moved if moved.device != tensor.device else moved.clone()

    with torch.no_grad():
        return map_tensors(value, copy)


def _preprocessed(preprocess: Callable[[Any], Any], inputs: Any) -> Any:
    """Apply the user's callable, and say whose error it was."""
    try:
        return preprocess(inputs)
    except Exception as error:
        raise InputError(f"preprocess failed: {error}", argument="preprocess") from error


def _targets(targets: Any, count: int) -> tuple[int | float | None, ...]:
    """Check that there is one number or None per input."""
    if targets is None:
        return ()
    if isinstance(targets, (Tensor, np.ndarray)):
        array = targets.detach().cpu() if isinstance(targets, Tensor) else targets
        targets = array.reshape(count).tolist() if array.shape == (count, 1) else array.tolist()
    if not isinstance(targets, Sequence) or isinstance(targets, (str, bytes, Mapping)):
        raise InputError(f"The targets are a {type(targets).__name__}.", argument="targets", remedy="Pass a sequence.")
    if len(targets) != count:
        raise InputError(
            f"There are {len(targets)} targets for {count} inputs.",
            argument="targets",
            remedy="Pass one integer, float or None per input.",
        )
    scalar = (Tensor, np.generic, np.ndarray)
    plain = [value.reshape(()).item() if isinstance(value, scalar) and _single(value) else value for value in targets]
    for value in plain:
        if value is not None and not isinstance(value, (bool, int, float)):
            raise InputError(
                f"A target is a {type(value).__name__}.",
                argument="targets",
                remedy="Pass one integer, float or None per input, such as class numbers.",
            )
    return tuple(plain)


def _single(value: Any) -> bool:
    """Tell whether a tensor or array holds exactly one number."""
    return all(size == 1 for size in value.shape)


def _texts(texts: Sequence[str] | None, argument: str) -> tuple[str, ...]:
    """Check a sequence of texts; other objects are written out."""
    if texts is None:
        return ()
    if isinstance(texts, (str, bytes)) or not hasattr(texts, "__iter__"):
        raise InputError(f"{argument} is a {type(texts).__name__}.", argument=argument, remedy="Pass a list of texts.")
    return tuple(str(text) for text in texts)


__all__ = ["PinnedInputs", "check_model", "given", "pinned_inputs"]
