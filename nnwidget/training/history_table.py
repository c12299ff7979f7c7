"""Columns of numbers over steps within a bound of bytes: the recent half whole, what is older thinned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nnwidget.training.thinning import ABSENT, Run, is_absent, thin_block, thin_runs
from nnwidget.types import Array

# A block is thinned at once: larger ones make longer pauses, smaller ones make more parts to put together.
_BLOCK_BYTES = 2**18
_MOST_ROWS = 4096
# Of the Python objects around a block or a run.
_OBJECTS = 600


@dataclass(slots=True)
class Block:
    """Rows of which every value is kept; ``used`` of those there is room for are filled."""

    steps: Array
    values: Array
    used: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, filled or not."""
        return self.steps.nbytes + self.values.nbytes

    @property
    def last(self) -> int:
        """The last step; there must be one."""
        return int(self.steps[self.used - 1])


# What a reader on another thread looks at: nothing in it is written again.
Part = Run | tuple[Array, Array]


class Table:
    """Rows of steps, each with a value or nothing in each column.

    Parameters
    ----------
    dtype : dtype
        float32 or float64.
    limit : int
        The most bytes, all in all. When a new block does not fit, the oldest whole blocks are thinned until they take
        half of it, then the least thinned older stretches two by two: what is old has one resolution.
    explicit : bool
        A plain NaN is always a value. Otherwise it is nothing in a column that has had no number yet.

    Examples
    --------
    >>> table = Table(np.float64, 100_000)
    >>> table.widen(1)
    >>> table.append(np.array([1, 2]), np.array([[0.5], [np.inf]]))
    >>> table.column(0)
    (array([1, 2]), array([0.5, inf]))
    """

    def __init__(self, dtype: npt.DTypeLike, limit: int, *, explicit: bool = False) -> None:
        self.dtype = np.dtype(dtype)
        self.limit = limit
        self._explicit = explicit
        self._rising = True
        self.columns = 0
        self.last: int | None = None
        self._runs: list[Run] = []
        self._blocks: list[Block] = []
        # Columns that have had no number yet.
        self._silent = np.zeros(0, np.int64)
        self._height = 0

    @property
    def nbytes(self) -> int:
        """Bytes held, with an estimate of the Python objects."""
        parts = sum(run.nbytes for run in self._runs) + sum(block.nbytes for block in self._blocks)
        return parts + _OBJECTS * (len(self._runs) + len(self._blocks) + 1) + self._silent.nbytes

    def fits(self, columns: int) -> bool:
        """Say whether a table of so many columns can hold at least eight blocks of four rows."""
        return 8 * 4 * (columns * self.dtype.itemsize + 8) <= self.limit

    def widen(self, more: int) -> None:
        """Add columns on the right; nothing is in them yet."""
        if not self._explicit:
            self._silent = np.concatenate([self._silent, np.arange(self.columns, self.columns + more)])
        self.columns += more
        row = self.columns * self.dtype.itemsize + 8
        height = min(_MOST_ROWS, _BLOCK_BYTES // row, self.limit // (16 * row))
        self._height = max(4, height // 4 * 4)
        if self._blocks and self._blocks[-1].used < len(self._blocks[-1].steps):
            # The block that is being filled ends early: it keeps its width.
            block = self._blocks.pop()
            if block.used:
                self._blocks.append(_cut(block, np.ones(block.used, np.bool_)))
        self._shrink(0)

    def append(self, steps: Array, values: Array) -> None:
        """Add rows after the last.

        Parameters
        ----------
        steps : ndarray
            int64 ``(n,)``.
        values : ndarray
            ``(n, columns)`` of this table's dtype, :data:`~nnwidget.training.thinning.ABSENT` where there is nothing.
            Unless the table is explicit, NaN before the first number of a column is overwritten with that.
        """
        if self._silent.size:
            self._silence(values)
        done = 0
        while done < len(steps):
            block = self._blocks[-1] if self._blocks else None
            if block is None or block.used == len(block.steps):
                block = self._new_block()
            count = min(len(steps) - done, len(block.steps) - block.used)
            block.steps[block.used : block.used + count] = steps[done : done + count]
            block.values[block.used : block.used + count] = values[done : done + count]
            block.used += count
            done += count
        self._went_on(steps)

    def put(self, step: int, column: int, value: float) -> None:
        """Write one value into the last row if that has this step and nothing there yet, else into a new row."""
        block = self._blocks[-1] if self._blocks else None
        if (
            block is not None
            and block.used
            and self.last == step
            and column < block.values.shape[1]
            and bool(is_absent(block.values[block.used - 1, column : column + 1])[0])
        ):
            block.values[block.used - 1, column] = value
            return
        row = np.full((1, self.columns), ABSENT, self.dtype)
        row[0, column] = value
        self.append(np.array([step], np.int64), row)

    @property
    def spoken(self) -> Array:
        """Which columns have had a number, bool ``(columns,)``."""
        spoken = np.ones(self.columns, np.bool_)
        spoken[self._silent] = False
        return spoken

    def parts(self, since: int | None = None) -> list[Part]:
        """Return what there is, oldest first, for reading without the lock under which this was called.

        With ``since``, what lies before that step is left out where this saves work.
        """
        blocks, place = self._blocks, len(self._blocks)
        while place and (since is None or not self._rising or blocks[place - 1].last >= since):
            place -= 1
        whole: list[Part] = [(block.steps[: block.used], block.values[: block.used]) for block in blocks[place:]]
        return whole if place else [*self._runs, *whole]

    def column(self, index: int) -> tuple[Array, Array]:
        """Return the steps and values of one column; see :func:`read`."""
        return read(self.parts(), index)

    def truncate(self, after: int) -> None:
        """Forget every row with a larger step."""
        self._runs = [kept for run in self._runs if len((kept := _until(run, after)).values)]
        blocks = [_cut(block, block.steps[: block.used] <= after) for block in self._blocks]
        self._blocks = [block for block in blocks if block.used]
        self.last = max((int(steps_of(part).max()) for part in self.parts()), default=None)

    def restore(self, part: Part) -> None:
        """Take over, after what is here, a part of another table that has the same first columns or fewer."""
        width = len(part.starts) - 1 if isinstance(part, Run) else part[1].shape[1]
        if width > self.columns or not len(steps_of(part)):
            return
        if not isinstance(part, Run):
            rows = np.full((len(part[0]), self.columns), ABSENT, self.dtype)
            rows[:, :width] = part[1]
            self.append(part[0], rows)
            return
        self._runs.append(part)
        speaks = np.zeros(self.columns, np.bool_)
        speaks[:width] = np.diff(part.starts) > 0
        self._silent = self._silent[~speaks[self._silent]]
        self._went_on(part.steps)
        self._shrink(0)

    def _went_on(self, steps: Array) -> None:
        if len(steps):
            follows = self.last is None or self.last <= int(steps[0])
            self._rising = self._rising and follows and bool((steps[1:] >= steps[:-1]).all())
            self.last = int(steps[-1])

    def _silence(self, values: Array) -> None:
        found = values[:, self._silent]
        nothing = np.isnan(found)
        if len(values) > 1:
            # NaN after the first number of the batch is a value.
            nothing = np.logical_and.accumulate(nothing, axis=0)
        found[nothing] = ABSENT
        values[:, self._silent] = found
        self._silent = self._silent[nothing.all(axis=0)]

    def _new_block(self) -> Block:
        if not self._height:
            self.widen(0)
        self._shrink(self._height * (self.columns * self.dtype.itemsize + 8) + _OBJECTS)
        block = Block(np.empty(self._height, np.int64), np.empty((self._height, self.columns), self.dtype))
        self._blocks.append(block)
        return block

    def _shrink(self, more: int) -> None:
        """Thin until so many more bytes fit."""
        while self.nbytes + more > self.limit and self._thin():
            pass

    def _thin(self) -> bool:
        """Thin the part that is best thinned now; False when there is none."""
        whole = sum(block.nbytes for block in self._blocks)
        if self._blocks and 2 * whole > self.limit:
            return self._thin_oldest()
        levels = [run.level for run in self._runs]
        pairs = [level for level, count in Counter(levels).items() if count > 1]
        if pairs:
            first = levels.index(min(pairs))
            second = levels.index(min(pairs), first + 1)
            self._runs[first : second + 1] = [thin_runs(self._runs[first : second + 1])]
            return True
        if len(self._blocks) > 1:
            return self._thin_oldest()
        before = sum(run.nbytes for run in self._runs)
        if self._runs:
            self._runs = [thin_runs(self._runs)]
        return sum(run.nbytes for run in self._runs) < before

    def _thin_oldest(self) -> bool:
        block = self._blocks.pop(0)
        run = thin_block(block.steps[: block.used], block.values[: block.used])
        if len(run.values):
            self._runs.append(run)
        return True


def steps_of(part: Part) -> Array:
    """Return the steps at which any column of a part has a point, int64 ``(n,)``."""
    return part.steps if isinstance(part, Run) else part[0]


def read(parts: Sequence[Part], index: int, since: int | None = None) -> tuple[Array, Array]:
    """Put one column together.

    Parameters
    ----------
    parts : sequence
        Of :meth:`Table.parts`.
    index : int
        The column.
    since : int, optional
        Leave out smaller steps.

    Returns
    -------
    steps, values : ndarray
        int64 and the table's dtype, ``(n,)``: strictly rising; of what was recorded twice the later.
    """
    found = list(_pieces(parts, index, since))
    steps = np.concatenate([piece[0] for piece in found] or [np.zeros(0, np.int64)])
    values = np.concatenate([piece[1] for piece in found] or [np.zeros(0)])
    return in_order(steps, values)


def in_order(steps: Array, values: Array) -> tuple[Array, Array]:
    """Sort by step; of several values of one step the last stays."""
    rises = np.diff(steps)
    if (rises > 0).all():
        return steps, values
    order = np.argsort(steps, kind="stable")
    last = np.append(np.diff(steps[order]) > 0, np.ones(min(1, len(steps)), np.bool_))
    return steps[order][last], values[order][last]


def _pieces(parts: Sequence[Part], index: int, since: int | None) -> Iterator[tuple[Array, Array]]:
    for part in parts:
        if since is not None and steps_of(part).max(initial=-1) < since:
            continue
        if isinstance(part, Run):
            steps, values = part.column(index)
        elif index < part[1].shape[1]:
            steps, values = part[0], part[1][:, index]
            present = ~is_absent(np.ascontiguousarray(values))
            if not present.all():
                steps, values = steps[present], values[present]
        else:
            continue
        if since is not None:
            recent = steps >= since
            steps, values = steps[recent], values[recent]
        if len(steps):
            yield steps, values


def _cut(block: Block, keep: Array) -> Block:
    steps, values = block.steps[: block.used][keep], block.values[: block.used][keep]
    return Block(steps, values, len(steps))


def _until(run: Run, after: int) -> Run:
    keep = run.steps[run.rows] <= after
    if keep.all():
        return run
    places = np.flatnonzero(keep)
    used = run.steps <= after
    rows = (np.cumsum(used) - 1)[run.rows[places]].astype(run.rows.dtype)
    starts = np.searchsorted(places, run.starts)
    return Run(run.steps[used], starts, rows, run.values[places], run.level)


__all__ = ["Block", "Part", "Table", "in_order", "read", "steps_of"]
