from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from nnwidget.errors import InputError
from nnwidget.training import history_disk, segments_reader
from nnwidget.training.history import History
from nnwidget.training.segments import decode, encode
from nnwidget.types import Event
from tests.unit.histories import LAYERS, MEMORY, add, recorded, same, script, until


def test_a_folder_holds_what_memory_holds(tmp_path: Path) -> None:
    history = recorded(tmp_path / "new" / "run")
    same(history, History.load(tmp_path / "new" / "run", memory=MEMORY))
    history.close()
    history.close()
    loaded = History.load(tmp_path / "new" / "run")
    same(history, loaded)
    assert not loaded.problems and not loaded.refresh() and loaded.path == tmp_path / "new" / "run"
    meta = json.loads((tmp_path / "new" / "run" / "meta.json").read_text())
    assert meta["meta"] == {"model": "net"} and meta["format"] == "nnwidget history"


def test_another_process_reads_while_it_is_written(tmp_path: Path) -> None:
    code = """
history = History(["a"], memory=2_000_000, path=sys.argv[1])
add(history, 1, 50)
print("begun", flush=True)
for first in range(51, 2_001, 50):
    add(history, first, first + 49)
    history.add_sample(first, {"grad_norm": np.array([first], np.float32)}, {})
    history.log(first, "accuracy", first / 10)
    time.sleep(0.002)
print("written", flush=True)
sys.stdin.readline()
"""
    with script(code, tmp_path) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "begun\n"
        history = History.load(tmp_path)
        first = len(history["loss"].steps)
        assert first >= 50
        news = []
        until(lambda: news.append(history.refresh()) or history.last_step == 2_000)
        assert first < 2_000 and any(news)
        assert writer.poll() is None, "the other process still has it open"
        assert writer.stdout.readline() == "written\n" and not history.refresh()
        steps, values = history["loss"]
        assert steps.tolist() == list(range(1, 2_001)) and values.tolist() == list(range(1, 2_001))
        assert history["grad_norm"]["a"].steps.tolist() == list(range(51, 2_001, 50))
        assert not history.problems


def test_after_a_kill_at_any_moment_the_folder_opens_and_is_continued(tmp_path: Path) -> None:
    code = """
first = int(sys.argv[2])
history = History(["a"], memory=2_000_000, path=sys.argv[1], start_step=first)
picture = np.zeros((300, 1000), np.float32)
print("begun", flush=True)
for step in range(first + 1, 1_000_000):
    add(history, step, step, offset=first)
    history.add_snapshot(step, "map", "a", picture)
"""

    def size() -> int:
        return sum(path.stat().st_size for path in tmp_path.iterdir())

    start = 0
    for _ in range(3):
        with script(code, tmp_path, start) as writer:
            assert writer.stdout is not None and writer.stdout.readline() == "begun\n"
            enough = size() + 9_000_000
            until(lambda enough=enough: size() > enough)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        history = History.load(tmp_path)
        steps, values = history["loss"]
        assert not history.problems
        assert steps.tolist() == list(range(1, len(steps) + 1)) and len(steps) > start
        assert (values[start:] == steps[start:] + start).all()
        # Go back a little: what was recorded after this is void.
        start = len(steps) - 2
    history = History(["a", "c"], memory=2_000_000, path=tmp_path, start_step=start)
    assert history.last_step == start
    add(history, start + 1, start + 4, offset=0.25)
    history.close()
    steps, values = History.load(tmp_path)["loss"]
    assert steps.tolist() == list(range(1, start + 5)) and values[-4:].tolist() == (steps[-4:] + 0.25).tolist()


@pytest.mark.parametrize("window", [64, 16 * 2**20])
def test_a_truncated_end_costs_the_last_record_only(
    tmp_path: Path, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments_reader, "_WINDOW", window)
    killed = recorded(tmp_path)
    segment = tmp_path / "segment-000001.nnw"
    whole = segment.read_bytes()
    killed.close()
    places = frames(whole)
    for size in range(places[-1], len(whole)):
        segment.write_bytes(whole[:size])
        history = History.load(tmp_path)
        assert history["loss"].steps.tolist() == [1, 2, 3, 4, 5] and not history.problems
    # What is missing arrives.
    segment.write_bytes(whole)
    assert history.refresh() and history["loss"].steps.tolist() == list(range(1, 11))
    # The process that left it was killed, and another went on.
    segment.write_bytes(whole[:-5])
    later = History(LAYERS, memory=MEMORY, path=tmp_path, start_step=5)
    add(later, 6, 8)
    later.close()
    history = History.load(tmp_path)
    assert history["loss"].steps.tolist() == list(range(1, 9)) and not history.problems


@pytest.mark.parametrize("window", [64, 16 * 2**20])
def test_a_flipped_byte_costs_its_record_and_is_reported(
    tmp_path: Path, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments_reader, "_WINDOW", window)
    recorded(tmp_path).close()
    segment = tmp_path / "segment-000001.nnw"
    whole = segment.read_bytes()
    places = frames(whole)
    for place in range(places[1], places[2]):
        segment.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        history = History.load(tmp_path)
        assert history["loss"].steps.tolist() == list(range(6, 11))
        assert history["grad_norm"]["a"].values.tolist() == [1.5] and len(history.events) == 1
        assert len(history.problems) == 1 and "segment-000001.nnw" in history.problems[0]
        assert not history.refresh() and len(history.problems) == 1
    # In the last record nothing tells a damaged from an unfinished one, until somebody goes on.
    segment.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert History.load(tmp_path).problems == ()
    History(LAYERS, memory=MEMORY, path=tmp_path, start_step=5).close()
    assert len(History.load(tmp_path).problems) == 1


def frames(data: bytes) -> list[int]:
    """Return where the frames begin."""
    places = [0]
    while (found := decode(data, places[-1])) is not None:
        places.append(found[1])
    assert places[-1] == len(data)
    return places[:-1]


def test_a_full_disk_costs_the_folder_and_not_the_training(tmp_path: Path) -> None:
    code = """
import json, resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
# A frame that fits in part only: the write is short, the next one fails.
resource.setrlimit(resource.RLIMIT_FSIZE, (50_001, 50_001))
history = History(["a"], memory=2_000_000, path=sys.argv[1])
for step in range(1, 1_001):
    add(history, step, step)
    history.log(step, "accuracy", 0.5)
print(json.dumps([history.problems, [(e.kind, e.text) for e in history.events], len(history["loss"].steps)]))
history.add_snapshot(step, "map", "a", np.zeros(60_000, np.uint8))
try:
    history.save(sys.argv[2])
except Exception as error:
    print(type(error).__name__, error)
history.close()
"""
    folder, packed = tmp_path / "run", tmp_path / "packed.nnw"
    packed.write_text("what was there before")
    with script(code, folder, packed) as writer:
        assert writer.stdout is not None
        problems, events, count = json.loads(writer.stdout.readline())
        saved = writer.stdout.readline()
        assert writer.wait() == 0
    assert len(problems) == 1 and "File too large" in problems[0] and str(folder) in problems[0]
    assert events == [["disk", problems[0]]]
    assert count == 1_000
    history = History.load(folder)
    steps = history["loss"].steps
    assert steps.tolist() == list(range(1, len(steps) + 1)) and 100 < len(steps) < 1_000 and not history.problems
    data = (folder / "segment-000001.nnw").read_bytes()
    frames(data)
    assert len(data) > 49_000, "half a record was taken back"
    assert saved.startswith("NNWidgetError") and "File too large" in saved
    assert packed.read_text() == "what was there before" and len(list(tmp_path.iterdir())) == 2


def test_a_forked_child_writes_nothing_and_closes_nothing(tmp_path: Path) -> None:
    code = """
history = History(["a"], memory=2_000_000, path=sys.argv[1])
add(history, 1, 5)
history.log(1, "accuracy", 0.5)
history.log(2, "accuracy", 0.75)
# A reader on another thread holds the lock at this moment; in the child nobody will release it.
history._lock.acquire()
child = os.fork()
if child == 0:
    signal.alarm(20)
    add(history, 6, 10, offset=99)
    history.add_sample(6, {"grad_norm": np.ones(1, np.float32)}, {})
    history.add_snapshot(6, "map", "a", np.zeros(3))
    history.add_event(Event(6, 0.0, "child", "should not be"))
    history.log(6, "accuracy", 99.0)
    history.flush()
    history.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
history._lock.release()
add(history, 6, 8)
history.close()
"""
    with script(code, tmp_path) as writer:
        assert writer.wait() == 0
    history = History.load(tmp_path)
    assert history["loss"].values.tolist() == list(range(1, 9)) and not history.problems
    assert history["accuracy"].values.tolist() == [0.5, 0.75]
    assert history.quantities == ("wall_time", "loss", "accuracy") and history.events == () and history.snapshots == ()


def test_one_timeline_over_several_runs_and_changing_layers(tmp_path: Path) -> None:
    first = recorded(tmp_path)
    first.close()
    live = History.load(tmp_path)
    with pytest.raises(InputError, match="start_step=10"):
        History(LAYERS, memory=MEMORY, path=tmp_path)
    second = History(["c", "b"], memory=MEMORY, path=tmp_path, start_step=7, meta={"try": 2})
    assert second["loss"].steps.tolist() == [1, 2, 3, 4, 5, 6, 7]
    add(second, 8, 9, offset=0.5)
    second.add_sample(9, {"grad_norm": np.array([3.0, 4.0], np.float32)}, {})
    second.add_event(Event(9, 2.0, "lr", "again"))
    second.close()
    assert live.refresh() and not live.refresh()
    for history in (live, History.load(tmp_path)):
        same(history, second)
        assert history["loss"].values.tolist() == [1, 2, 3, 4, 5, 6, 7, 8.5, 9.5]
        assert history.layers == ("a", "b", "c") and history.meta == {"model": "net", "try": 2}
        assert history["grad_norm"]["a"].steps.tolist() == [5] and history["grad_norm"]["c"].values.tolist() == [3.0]
        assert history.histogram("weight", "a", 9)[0] == 5 and len(history.events) == 2
    third = History(LAYERS, memory=MEMORY, path=tmp_path, start_step=3)
    assert third.steps.tolist() == [1, 2, 3] and third.events == () and third.snapshots == ()
    third.close()
    assert first.last_step == 10
    loaded = History.load(tmp_path)
    assert loaded.steps.tolist() == [1, 2, 3] and loaded.quantities == third.quantities


def test_large_histories_are_cut_into_segments_and_thinned_on_loading(tmp_path: Path) -> None:
    history = History(["a"], memory=2_000_000, path=tmp_path)
    picture = np.zeros((512, 1024), np.float32)
    for step in range(1, 21):
        history.add_snapshot(step, "map", "a", picture)
        add(history, step * 2_000, step * 2_000 + 1_999)
    history.close()
    assert len(list(tmp_path.glob("segment-*.nnw"))) == 3
    loaded = History.load(tmp_path, memory="1 MB")
    assert loaded.nbytes <= 1_000_000 and loaded.snapshots == () and len(loaded.problems) == 1
    assert loaded["loss"].values.min() == 2_000 and loaded["loss"].values.max() == 41_999
    whole = History.load(tmp_path, memory="256 MB")
    assert len(whole["loss"].steps) == 40_000 and len(whole.snapshot_steps("map", "a")) == 20


def test_logged_numbers_are_written_at_once_and_those_of_a_flood_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_disk, "_LOGS_WITHIN", 1e9)
    history = History([], memory=MEMORY, path=tmp_path)
    for step in range(100):
        history.log(step, "accuracy", step)
    assert History.load(tmp_path)["accuracy"].values.tolist() == list(range(16))
    history.flush()
    assert History.load(tmp_path)["accuracy"].values.tolist() == list(range(100))
    history.log(100, "accuracy", 100)
    add(history, 1, 1)
    assert History.load(tmp_path)["accuracy"].values.tolist() == list(range(101))
    history.close()


def test_a_run_that_was_closed_is_told_from_one_that_was_killed(tmp_path: Path) -> None:
    history = recorded(tmp_path)
    follower = History.load(tmp_path)
    assert follower.ended is None
    before, at = follower.taken, time.time()
    history.close()
    history.close()
    assert follower.refresh() and not follower.refresh()
    assert follower.ended is not None and abs(follower.ended - at) < 60 and follower.taken > before
    same(history, follower)
    # Another run goes on.
    second = History(LAYERS, memory=MEMORY, path=tmp_path, start_step=10)
    assert follower.refresh() and follower.ended is None
    add(second, 11, 12)
    second.save(tmp_path / "packed.nnw")
    assert History.load(tmp_path / "packed.nnw").ended is None
    second.close()
    assert History.load(tmp_path).ended is not None and History.load(tmp_path).last_step == 12


def test_places_that_hold_no_history(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "meta.json").write_text('{"name": "something else"}')
    for name in ("file", "empty", "other", "missing"):
        with pytest.raises(InputError, match="no history"):
            History.load(tmp_path / name)
    for name in ("file", "other", "file/below"):
        with pytest.raises(InputError) as caught:
            History([], memory=MEMORY, path=tmp_path / name)
        assert caught.value.argument == "path" and caught.value.remedy
    assert json.loads((tmp_path / "other" / "meta.json").read_text()) == {"name": "something else"}
    more = (("version", 99), ("run", 1), ("start_step", 0), ("layers", ()))
    (tmp_path / "newer").write_bytes(encode("segment", 0, {}, more))
    with pytest.raises(InputError, match="Install a newer"):
        History.load(tmp_path / "newer")
