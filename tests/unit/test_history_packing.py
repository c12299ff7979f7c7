from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nnwidget.errors import InputError, NNWidgetError
from nnwidget.training.history import History
from nnwidget.training.history_packing import pack
from nnwidget.types import Event, HistogramBlock
from tests.unit.histories import ROOT, add, recorded, same

LAYERS = ["a", "b", "c", *(f"layer{index}" for index in range(40))]


def full(memory: int = 2_000_000) -> History:
    """Fill a history in memory until everything in it was thinned."""
    rng = np.random.default_rng(0)
    history = History(LAYERS, memory=memory, meta={"model": "net"})
    for step in range(1, 3_001):
        if step == 1_500:
            # Columns that come later make older parts narrower.
            history.log(step, "late", 0.5)
        add(history, step * 10, step * 10 + 9)
        names = ["x", "y"] if step > 700 else ["x"]
        values = {name: rng.standard_normal(len(LAYERS)).astype(np.float32) for name in names}
        # A layer of which something was measured only at the beginning.
        values["x"][2] = 0.5 if step < 5 else np.nan
        block = HistogramBlock(
            rng.integers(0, 70_000 if step % 2 else 9, (len(LAYERS), 8)).astype(np.uint32),
            np.zeros(len(LAYERS), np.float32),
            np.ones(len(LAYERS), np.float32),
        )
        history.add_sample(step * 10, values, {"weight": block})
        history.add_snapshot(step * 10, "map", "a", rng.standard_normal((16, 16)))
        history.log(step, "accuracy", step)
        history.add_event(Event(step * 10, 0.0, "note", f"at {step}", {"step": step}))
    assert len(history["loss"].steps) < 30_000 and len(history["x"]["c"].steps) < 3_000
    return history


def test_a_file_holds_what_memory_holds(tmp_path: Path) -> None:
    history, path = full(), tmp_path / "packed.nnw"
    history.save(path)
    loaded = History.load(path, memory=2_000_000)
    same(history, loaded)
    assert not loaded.refresh() and not loaded.problems and loaded.nbytes <= 2_000_000
    # And once more, from what was loaded.
    loaded.save(path)
    same(history, History.load(path, memory=2_000_000))
    small = History.load(path, memory="1 MB")
    assert small.nbytes <= 1_000_000
    assert small["loss"].values.max() == 30_009 and small["x"]["b"].values.max() == history["x"]["b"].values.max()
    assert list(tmp_path.iterdir()) == [path]


def test_a_history_with_a_folder_is_packed_whole(tmp_path: Path) -> None:
    history = recorded(tmp_path / "run")
    history.log(10, "burst", 1.0)
    history.save(tmp_path / "one.nnw")
    same(history, History.load(tmp_path / "one.nnw"))
    history.close()
    second = History(["a", "d"], memory=2_000_000, path=tmp_path / "run", start_step=4, meta={"try": 2})
    add(second, 5, 6)
    second.close()
    History.load(tmp_path / "run").save(tmp_path / "two.nnw")
    same(second, History.load(tmp_path / "two.nnw"))
    # What was cut off by a kill is not packed.
    segment = tmp_path / "run" / "segment-000001.nnw"
    segment.write_bytes(segment.read_bytes()[:-3])
    History.load(tmp_path / "run").save(tmp_path / "three.nnw")
    assert not History.load(tmp_path / "three.nnw").problems


def test_a_kill_while_saving_leaves_what_was_there(tmp_path: Path) -> None:
    code = """
import sys
import numpy as np
from nnwidget.training.history import History
history = History([], memory=100_000_000)
history.log(1, "accuracy", 0.5)
history.save(sys.argv[1])
for step in range(60):
    history.add_snapshot(step, "map", "a", np.zeros((64, 1024), np.float32))
print("begun", flush=True)
while True:
    history.save(sys.argv[1])
    history.log(2, "accuracy", 0.75)
"""
    path = tmp_path / "packed.nnw"
    for delay in (0.0, 0.013):
        command = [sys.executable, "-c", code, str(path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "begun\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        loaded = History.load(path)
        assert loaded["accuracy"].values[0] == 0.5 and not loaded.problems
        assert len(loaded.snapshots) in (0, 1) and set(map(len, loaded.snapshots)) <= {2}
        if loaded.snapshots:
            assert len(loaded.snapshot_steps("map", "a")) == 60
        others = [other.name for other in tmp_path.iterdir() if other != path]
        assert all(name.startswith(".packed.nnw.") and name.endswith(".part") for name in others)
        for other in tmp_path.glob(".*"):
            # An unfinished file is not mistaken for a whole one, and does not stand in the way.
            other.unlink()


@pytest.mark.parametrize("where", ["first frame", "last frame", "before it is on disk", "before the name", "after"])
def test_a_kill_at_each_moment_of_a_save_leaves_a_whole_file(tmp_path: Path, where: str) -> None:
    code = """
import os, signal, sys
import numpy as np
from pathlib import Path
from nnwidget.training import history, history_packing
from nnwidget.training.history import History

def die(*given):
    os.kill(os.getpid(), signal.SIGKILL)

def dying(path, frames):
    frames = list(frames)
    at = {"first frame": 1, "last frame": len(frames) - 1}.get(where)
    def some():
        for number, frame in enumerate(frames):
            if number == at:
                die()
            yield frame
    pack(path, some())
    die()

path, where, value = sys.argv[1], sys.argv[2], float(sys.argv[3])
made = History(["a"], memory=100_000_000)
made.log(1, "accuracy", value)
for step in range(20):
    made.add_snapshot(step, "map", "a", np.zeros((64, 1024), np.float32))
if where:
    pack, history.pack = history_packing.pack, dying
    if where == "before it is on disk":
        os.fsync = die
    if where == "before the name":
        Path.replace = die
made.save(path)
"""
    path = tmp_path / "packed.nnw"

    def save(where: str, value: float) -> int:
        command = [sys.executable, "-c", code, str(path), where, str(value)]
        return subprocess.run(command, cwd=ROOT, check=False, timeout=120).returncode

    for _ in range(2):
        assert save(where, 0.25) == -signal.SIGKILL
        # Nothing, or the new one.
        assert path.exists() == (where == "after")
        assert len(list(tmp_path.iterdir())) == 1, "what earlier ones left has been cleared away"
    assert save("", 0.5) == 0 and list(tmp_path.iterdir()) == [path]
    assert save(where, 0.75) == -signal.SIGKILL
    loaded = History.load(path)
    assert loaded["accuracy"].values.tolist() == [0.75 if where == "after" else 0.5]
    assert not loaded.problems and len(loaded.snapshot_steps("map", "a")) == 20


def test_a_save_that_is_interrupted_or_goes_on_elsewhere_leaves_its_own_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "packed.nnw"

    def interrupted() -> Iterator[bytes]:
        yield b"begun"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(path, interrupted())
    assert list(tmp_path.iterdir()) == []
    # Saved by a process that lives, by one of another machine, and by somebody else.
    others = [f".packed.nnw.{platform.node()}.{os.getppid()}.1.part", ".packed.nnw.elsewhere.1.1.part", ".packed.part"]
    for name in others:
        (tmp_path / name).write_bytes(b"begun")
    recorded(tmp_path / "run").save(path)
    assert sorted(other.name for other in tmp_path.iterdir()) == sorted([*others, path.name, "run"])


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    history = History([], memory=2_000_000)
    with pytest.raises(NNWidgetError, match="could not be saved") as caught:
        history.save(tmp_path / "missing" / "packed.nnw")
    assert caught.value.argument == "path" and caught.value.remedy
    (tmp_path / "folder").mkdir()
    with pytest.raises(NNWidgetError, match="could not be saved"):
        history.save(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_other_files_and_pickles_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\x80\x04cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InputError, match="no history"):
        History.load(tmp_path / "file")
