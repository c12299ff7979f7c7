"""The folder of a history that is being recorded: continued where it ended, and appended to."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnwidget.errors import InputError
from nnwidget.training.history_frames import Player, end_frame, logs_frame, segment_frame
from nnwidget.training.segments_reader import SegmentReader
from nnwidget.training.segments_writer import SegmentWriter, prepare

log = logging.getLogger("nnwidget")

# So many logged numbers in so many seconds are written at once; those of a loop that logs more go with its steps.
_LOGS_AT_ONCE = 16
_LOGS_WITHIN = 0.1


class Disk:
    """Writes the records of one process; each is with the system when the call returns.

    Parameters
    ----------
    folder : Path
        Made if it is missing. What a history in it holds is played first.
    player : Player
        Into whose store that goes.
    layers : sequence of str
        What the records are of.
    start_step : int
        What was recorded of later steps is void.
    meta : mapping
        Plain values.
    failed : callable
        ``failed(sentence)`` when writing failed; nothing is written from then on.

    Raises
    ------
    InputError
        The folder cannot be written to, or holds a history and ``start_step`` is 0.
    """

    def __init__(
        self,
        folder: Path,
        player: Player,
        layers: Sequence[str],
        start_step: int,
        meta: Mapping[str, Any],
        failed: Callable[[str], None],
    ) -> None:
        self.folder = folder
        self.failed = False
        self._report = failed
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._logs: list[tuple[int, str, float]] = []
        self._since = 0.0
        self._at_once = 0
        prepare(folder, meta)
        take_in(SegmentReader(folder), player, threading.Lock())
        last = player.store.last_step
        if last is not None and start_step == 0:
            raise InputError(
                f"{folder} holds a history up to step {last:,} already.",
                argument="path",
                remedy=f"Pass start_step={last} to continue it after that step, or another path.",
            )
        player.store.truncate(start_step)
        try:
            head = segment_frame(layers, player.run + 1, start_step, meta)
            self._writer = SegmentWriter(folder, head, self._failed)
        except OSError as error:
            raise InputError(
                f"The history cannot be written to {folder}: {error.strerror or error}.",
                argument="path",
                remedy="Choose a folder that can be written to.",
            ) from error

    def write(self, frame: bytes) -> None:
        """Append a frame."""
        with self._lock:
            self._put_logs()
            self._writer.write(frame)

    def log(self, step: int, name: str, value: float) -> None:
        """Append a number of the user's; one of many in a row with what is written next."""
        self._logs.append((step, name, value))
        now = time.monotonic()
        if now - self._since > _LOGS_WITHIN:
            self._since, self._at_once = now, 0
        if self._at_once < _LOGS_AT_ONCE:
            self._at_once += 1
            self.flush()

    def flush(self) -> None:
        """Write what :meth:`log` held back."""
        if self._logs and os.getpid() == self._pid:
            with self._lock:
                self._put_logs()

    def close(self, last_step: int) -> None:
        """Bring everything to the disk, say that this was all, and close; again it changes nothing."""
        if os.getpid() == self._pid and self._writer.writes:
            self.write(end_frame(last_step, time.time()))
        self._writer.close()

    def _put_logs(self) -> None:
        if self._logs:
            logs, self._logs = self._logs, []
            self._writer.write(logs_frame(logs))

    def _failed(self, sentence: str) -> None:
        self.failed = True
        # A script has no panel to read it in.
        log.warning("%s", sentence)
        self._report(sentence)


def take_in(reader: SegmentReader, player: Player, lock: threading.Lock) -> bool:
    """Play what is new, under a lock; says whether there was anything."""
    found = False
    for frame in reader.frames():
        with lock:
            try:
                player.play(frame)
            except InputError:
                raise
            except (KeyError, ValueError, TypeError, IndexError) as error:
                player.store.note(f"A record ({frame.kind}) of step {frame.step:,} makes no sense: {error!r}.")
        found = True
    for problem in reader.problems:
        player.store.note(problem)
    return found


__all__ = ["Disk", "take_in"]
