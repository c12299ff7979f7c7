"""Pictures of image-like inputs: scaled to what a screen shows, saying how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nnwidget.errors import InputError
from nnwidget.types import Array

_CHANNELS = (1, 3, 4)


class Pictures:
    """Draw the inputs of a batch, all on one scale.

    Parameters
    ----------
    batch : Tensor or None
        Pictures when it is (N, C, H, W) or (N, H, W, C) with 1, 3 or 4 channels.

    Attributes
    ----------
    note : str
        How the last picture was scaled.

    Examples
    --------
    >>> pictures = Pictures(torch.rand(2, 3, 8, 8))
    >>> pictures.plain(0, 4).shape
    (4, 4, 3)
    """

    def __init__(self, batch: Tensor | None) -> None:
        self.note = ""
        self._batch = batch if batch is not None and batch.dim() == 4 and _channel_axis(batch[0]) is not None else None
        self._scale: tuple[float, float, str] | None = None

    def plain(self, index: int, edge: int) -> Array | None:
        """Draw one input of the batch: uint8 ``(rows, columns, 3)``, None when the batch holds no pictures."""
        if self._batch is None or self._batch.is_complex() or self._batch.is_meta:
            return None
        if self._scale is None:
            self._scale = _scale(self._batch)
        low, high, self.note = self._scale
        return _draw(self._batch[index], edge, low, high)

    def displayed(self, one: Tensor, edge: int, display: Callable[[Tensor], Any]) -> Array | None:
        """Draw what the user's ``display`` makes of one input.

        Raises
        ------
        InputError
            It raised, or returned something that is no picture.
        """
        try:
            with torch.no_grad():
                shown = display(one)
            picture = shown.detach().cpu() if isinstance(shown, Tensor) else torch.from_numpy(np.array(shown))
            if picture.dim() == 4 and picture.shape[0] == 1:
                picture = picture[0]
            if picture.dim() == 2:
                picture = picture[None]
            if picture.dim() != 3 or _channel_axis(picture) is None:
                raise ValueError(f"it returned shape {tuple(picture.shape)}")
        except Exception as error:
            raise InputError(
                f"display failed: {error}",
                argument="display",
                remedy="It gets one input without batch axis and returns a picture, (C, H, W) or (H, W, C).",
            ) from error
        low, high, self.note = _scale(picture)
        return _draw(picture, edge, low, high)


def _channel_axis(picture: Tensor) -> int | None:
    """Find the channel axis of a single picture: first, else last."""
    first, last = picture.shape[0], picture.shape[2]
    if min(picture.shape) == 0:
        return None
    # Four rows of colours are likelier than a picture with transparency that is three columns wide.
    if first in _CHANNELS and not (first == 4 and last == 3):
        return 0
    return 2 if last in _CHANNELS else None


def _scale(values: Tensor) -> tuple[float, float, str]:
    """Guess which values are black and white."""
    if values.dtype == torch.uint8:
        return 0.0, 255.0, "Values 0 to 255."
    finite = values.detach().to("cpu", torch.float32)
    finite = finite[finite.isfinite()]
    if finite.numel() == 0:
        return 0.0, 1.0, "No finite values."
    low, high = (float(value) for value in finite.aminmax())
    if low >= 0 and high <= 1:
        return 0.0, 1.0, "Values 0 to 1."
    if low >= 0 and 127 < high <= 255:
        return 0.0, 255.0, "Values 0 to 255."
    return low, high, f"Stretched: black is {low:.4g}, white is {high:.4g}; pass display= to undo a normalisation."


def _draw(picture: Tensor, edge: int, low: float, high: float) -> Array:
    """Scale, average down and bring into uint8 (rows, columns, 3)."""
    values = picture.detach().to("cpu", torch.float32)
    if _channel_axis(picture) == 2:
        values = values.permute(2, 0, 1)
    values = ((values - low) / (high - low if high > low else 1.0)).nan_to_num(0.0, 1.0, 0.0).clamp(0, 1)
    rows, columns = values.shape[1:]
    longest = max(rows, columns)
    if longest > edge:
        size = (max(1, round(rows * edge / longest)), max(1, round(columns * edge / longest)))
        values = F.adaptive_avg_pool2d(values[None], size)[0]
    if values.shape[0] == 4:
        values = values[:3] * values[3:] + (1 - values[3:])
    colours = values.expand(3, -1, -1).permute(1, 2, 0)
    result: Array = (colours * 255).round().to(torch.uint8).contiguous().numpy()
    return result


__all__ = ["Pictures"]
