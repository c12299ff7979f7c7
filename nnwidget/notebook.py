"""Composition: what ties a watch to the notebook it is made in: cells, output, a hub that looks for signs of life."""

from __future__ import annotations

import logging
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nnwidget.errors import InputError, NNWidgetError
from nnwidget.training.engine import Engine
from nnwidget.training.forecast import Forecast
from nnwidget.training.worker import Console, Place, Run
from nnwidget.widgets.cell_magic import register_magic
from nnwidget.widgets.cell_place import cell_place, in_cell, say_alive
from nnwidget.widgets.cells import CellEvents, replace_earlier, shell

if TYPE_CHECKING:
    from nnwidget.watched import Watch

log = logging.getLogger("nnwidget")

_ALIVE = 60.0  # seconds between two signs of life
_LOOK = 5.0  # seconds between two looks at a loop's end
_LONG = 600.0  # seconds after which a page is likely to be reloaded
_LEAVE = 10.0  # seconds for the run of an earlier cell to stop


class Ties:
    """Joins a watch to the notebook that made it, until :meth:`close`; outside of one it does nothing.

    A cell that ends ends its loop; a cell that is run again stops and closes what it made before; a training that goes
    on sends a sign of life once a minute, and one that keeps its cell busy for long says once what to do instead.
    """

    def __init__(self, watch: Watch, engine: Engine) -> None:
        self._watch = weakref.ref(watch)
        self._engine = engine
        self._forecast: Forecast | None = None
        self._warned = False
        self._cells: CellEvents | None = None
        found = shell()
        if found is None:
            return
        register(found)
        self._cells = CellEvents(self._cell_began, self._cell_ended)
        engine.loop.pulse.every(_ALIVE, self._say_alive)
        engine.loop.pulse.every(_LOOK, self._look_ahead)
        self._earlier = _Earlier(watch)
        replace_earlier(self._earlier)

    def close(self) -> None:
        """Stop listening; calling it again changes nothing."""
        cells, self._cells = self._cells, None
        if cells is not None:
            cells.close()

    def _cell_began(self) -> None:
        self._forecast = None

    def _cell_ended(self) -> None:
        if self._engine.loop.thread == threading.get_ident():
            self._engine.loop.ended()

    def _say_alive(self) -> None:
        watch = self._watch()
        if watch is not None and watch.keep_alive:
            say_alive()

    def _look_ahead(self) -> None:
        if self._warned or not in_cell():
            return
        if self._forecast is None:
            self._forecast = Forecast()
        left = self._forecast.remaining()
        if left > _LONG:
            self._warned = True
            log.warning(
                "This cell is expected to train for another %d min. If the page is reloaded meanwhile, it stays dead "
                "until the cell ends. w.run(train) with the loop in a function, or %%%%watch model optimizer as the "
                "first line of the cell, gives the prompt back and survives a reload.",
                left / 60,
            )


class _Earlier:
    """What an earlier run of a cell made: stopped, waited for and closed when the cell is run again."""

    def __init__(self, watch: Watch) -> None:
        self._watch = weakref.ref(watch)

    def close(self) -> None:
        """Stop the training, if one runs in a thread, and close the watch."""
        watch = self._watch()
        if watch is None or watch.closed:
            return
        run = watch.last_run
        if run is not None and not run.done:
            watch.stop()
            if not run.join(_LEAVE):
                raise NNWidgetError(
                    f"{run.name}, which this cell started before, has not stopped yet.",
                    remedy="Run the cell again once it has.",
                )
        watch.close()


def place() -> Place:
    """Return where a run that is started now shows its output."""
    return cell_place() or Console()


def begin(
    given: list[Any], options: dict[str, Any], body: Callable[[], Any], name: str, bind: Callable[[Any], None]
) -> Run:
    """Start the body of a ``%%watch`` cell; a watch that is made for it is closed with it."""
    from nnwidget.watched import Watch
    from nnwidget.watching import watch

    if isinstance(given[0], Watch):
        if len(given) > 1 or options:
            raise InputError("%%watch with a watch takes nothing else.", remedy="Give its options to nnwidget.watch().")
        bind(given[0])
        return given[0].start(body, name)
    made = watch(given[0], given[1:] or None, **options)
    bind(made)
    try:
        return made.start(body, name, close=True)
    except BaseException:
        made.close()
        raise


def warn_of_run(run: Run) -> None:
    """Say that a training goes on without its watch."""
    warnings.warn(
        f"The block ended while {run.name} goes on in its thread, unwatched from here. Call w.run() outside of `with`, "
        "or wait in the block: w.run(...).join().",
        stacklevel=3,
    )


def register(ipython: Any) -> None:
    """Give an IPython the cell magic ``%%watch``."""
    register_magic(ipython, begin)
