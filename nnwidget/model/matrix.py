"""A matrix under a window: only what is in sight is pooled and copied, and every pass over the rest is in pieces."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nnwidget.errors import InputError
from nnwidget.model.reduce import pool_mean, quantise
from nnwidget.model.statistics import real, statistics
from nnwidget.types import Array, Statistics, Tiles

# Elements that are brought to float32 at a time: a large layer must not be there twice.
PIECE = 2_000_000


@dataclass(frozen=True, slots=True)
class MatrixPicture:
    """What is seen through the window; see :class:`nnwidget.types.FilterBank` for the fields."""

    tiles: Tiles
    window: tuple[int, int, int, int]
    row_norms: Array
    column_norms: Array
    order: Array | None


def picture(
    matrix: Tensor,
    window: tuple[int, int, int, int] | None,
    room: tuple[int, int],
    order: Tensor | None = None,
    name: str = "",
) -> MatrixPicture:
    """Pool and quantise the part of a matrix that is in sight.

    Parameters
    ----------
    matrix : Tensor
        ``(rows, columns)``, any dtype.
    window : (int, int, int, int), optional
        First row, row after the last, first column, column after the last; all of it without.
    room : (int, int)
        Largest number of rows and columns of the picture.
    order : Tensor, optional
        The rows in the order in which they are shown, int64 ``(rows,)``; the window then counts places of this order.
    name : str
        The layer's name, for the error message.

    Returns
    -------
    MatrixPicture
        One tile; the norms are of whole rows and columns, averaged like the picture.

    Raises
    ------
    InputError
        The window lies outside or is empty.

    Examples
    --------
    >>> seen = picture(torch.eye(4), (0, 2, 0, 4), (2, 2))
    >>> seen.tiles.pool, seen.row_norms.tolist(), seen.column_norms.tolist()
    ((1, 2), [1.0, 1.0], [1.0, 1.0])
    """
    rows, columns = matrix.shape
    top, bottom, left, right = (0, rows, 0, columns) if window is None else window
    if not (0 <= top < bottom <= rows and 0 <= left < right <= columns) and matrix.numel():
        raise InputError(
            f"The window of rows {top} to {bottom} and columns {left} to {right} lies outside {rows}×{columns}.",
            layer=name,
            argument="window",
            remedy="Zoom out.",
        )
    high, wide = bottom - top, right - left
    pool = (max(1, math.ceil(high / room[0])), max(1, math.ceil(wide / room[1])))
    # Whole blocks in each piece, so that pieces join to one picture.
    step = max(1, PIECE // max(1, columns) // pool[0]) * pool[0]
    pooled: list[Tensor] = []
    across: list[Tensor] = []
    for piece in _pieces(matrix, step, range(top, bottom), order):
        pooled.append(pool_mean(piece[:, left:right].unsqueeze(0), room, square=False, pool=pool)[0][0])
        across.append(torch.linalg.vector_norm(piece, dim=1))
    shown = torch.cat(pooled) if pooled else matrix.new_zeros((0, wide), dtype=torch.float32)
    codes, lo, hi, activity = quantise(shown.reshape(1, -1))
    tiles = Tiles(codes.reshape(1, *shown.shape), lo, hi, activity, np.zeros(1, np.int32), pool)
    row_norms = torch.cat(across) if across else shown.new_zeros(0)
    return MatrixPicture(
        tiles,
        (top, bottom, left, right),
        averaged(row_norms, pool[0]),
        averaged(_column_norms(matrix, left, right), pool[1]),
        None if order is None else order[top:bottom].to("cpu", torch.int32).numpy(),
    )


def row_norms(matrix: Tensor) -> Tensor:
    """L2 norm of each row, float32, on the matrix's device."""
    step = max(1, PIECE // max(1, matrix[0].numel() if len(matrix) else 1))
    found = [torch.linalg.vector_norm(piece.flatten(1), dim=1) for piece in _pieces(matrix, step)]
    return torch.cat(found) if found else matrix.new_zeros(0, dtype=torch.float32)


def cosines(matrix: Tensor, reference: int, norms: Tensor) -> Tensor:
    """Cosine of each row with one of them, float32; 0 where either has no length.

    Examples
    --------
    >>> rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    >>> cosines(rows, 0, row_norms(rows)).tolist()
    [1.0, 0.0, -1.0]
    """
    step = max(1, PIECE // max(1, matrix[0].numel()))
    direction = real(matrix[reference]).reshape(-1)
    found = torch.cat([piece.flatten(1) @ direction for piece in _pieces(matrix, step)])
    lengths = norms * norms[reference]
    return torch.where(lengths == 0, 0.0, found / lengths)


def averaged(values: Tensor, block: int) -> Array:
    """Average neighbours; a ragged end averages what is there."""
    if block > 1 and values.numel():
        values = torch.nn.functional.avg_pool1d(
            values.reshape(1, 1, -1), block, ceil_mode=True, count_include_pad=False
        )
    array: Array = values.reshape(-1).cpu().numpy()
    return array


def whole_statistics(tensor: Tensor) -> Statistics:
    """:func:`nnwidget.model.statistics.statistics` in pieces, for tensors of any size."""
    if tensor.numel() <= PIECE or tensor.ndim == 0:
        return statistics(tensor)
    step = max(1, PIECE // max(1, tensor.numel() // len(tensor)))
    return _joined([statistics(piece) for piece in _pieces(tensor, step)])


def _pieces(tensor: Tensor, step: int, rows: range | None = None, order: Tensor | None = None) -> Iterator[Tensor]:
    """Float32 pieces of so many rows: of all or of some, as they lie or in an order."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        # Neither can be cut.
        tensor = real(tensor)
    first, last = (0, len(tensor)) if rows is None else (rows.start, rows.stop)
    for start in range(first, last, step):
        end = min(start + step, last)
        yield real(tensor[start:end] if order is None else tensor.detach().index_select(0, order[start:end]))


def _column_norms(matrix: Tensor, left: int, right: int) -> Tensor:
    """L2 norm of whole columns."""
    step = max(1, PIECE // max(1, right - left))
    total = torch.zeros(right - left, device=matrix.device)
    for piece in _pieces(matrix[:, left:right], step):
        # A norm along this axis takes fifteen times as long.
        total += piece.square().sum(dim=0)
    return total.sqrt_()


def _joined(pieces: list[Statistics]) -> Statistics:
    """Statistics of all pieces together."""
    count = sum(piece.count for piece in pieces)
    nan, posinf, neginf = (sum(getattr(p, key) for p in pieces) for key in ("nan", "posinf", "neginf"))
    zeros = sum(piece.zeros * piece.count for piece in pieces) / count
    low = [piece.minimum for piece in pieces if piece.minimum is not None]
    high = [piece.maximum for piece in pieces if piece.maximum is not None]
    if not low:
        return Statistics(count, None, None, None, None, zeros, nan, posinf, neginf)
    parts = [
        (piece.count - piece.nan - piece.posinf - piece.neginf, piece.mean, piece.std)
        for piece in pieces
        if piece.mean is not None and piece.std is not None
    ]
    finite = sum(number for number, _, _ in parts)
    mean = sum(number * middle for number, middle, _ in parts) / finite
    square = sum(number * (spread**2 + (middle - mean) ** 2) for number, middle, spread in parts) / finite
    return Statistics(count, min(low), max(high), mean, math.sqrt(square), zeros, nan, posinf, neginf)


__all__ = ["PIECE", "MatrixPicture", "averaged", "cosines", "picture", "row_norms", "whole_statistics"]
