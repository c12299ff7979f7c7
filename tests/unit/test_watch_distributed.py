"""Trainings on two processes, watched: the same bits on both, norms of all of it, and neither waits for the other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nnwidget.training.layer_set import Watched
from nnwidget.training.shares import Shares
from nnwidget.watching import watch

ROOT = Path(__file__).parents[2]
TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])
SHARDS = TORCH >= (2, 7)

needs_shards = pytest.mark.needs_torch("2.7")  # fully_shard on the CPU


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv_backend=c10d"]
    command += ["--rdzv_endpoint=127.0.0.1:0", str(ROOT / "tests/unit/two_ranks.py"), str(folder)]
    # With a hang on either rank this ends by the timeout.
    done = subprocess.run(
        [*command, "shards" if SHARDS else "replicas"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def close(said, true):
    return said.keys() == true.keys() and np.allclose([said[key] for key in true], list(true.values()), rtol=1e-5)


@pytest.mark.parametrize("loop", ["plain", "accumulated"])
def test_replicas_train_as_if_nobody_watched_and_record_averaged_gradients(ranks, loop):
    for said in ranks:
        found = said["replicas"][loop]
        assert found["same"] and not found["error"]
        assert close(found["norms"][1], found["norms"][0])
        assert found["seen"] == ["0", "1", "2", "4"], "names without the wrapper's"
    assert ranks[0]["replicas"][loop]["norms"] == ranks[1]["replicas"][loop]["norms"]


def test_each_replica_records_its_own_losses_in_its_own_folder(ranks):
    first, second = (said["replicas"]["plain"] for said in ranks)
    for found in (first, second):
        assert found["losses"][0] == found["losses"][1]
    assert first["losses"] != second["losses"]
    assert (first["path"], second["path"]) == ("plain", "plain/rank1")
    assert first["loaded"] >= 12 and second["loaded"] == 12


def test_only_the_first_replica_keeps_what_it_makes_of_pinned_inputs(ranks):
    assert [said["replicas"]["plain"]["snapshots"] > 0 for said in ranks] == [True, False]


def test_one_rank_is_not_paused_or_stopped_alone(ranks):
    for said in ranks:
        assert all("time out" in sentence and "broadcast" in sentence for sentence in said["replicas"]["refused"])
        # By name and by the page's buttons.
        assert len(said["replicas"]["refused"]) == 6 and not said["replicas"]["should_stop"]


def test_the_first_rank_shows(ranks):
    assert [said["replicas"]["shown"] for said in ranks] == [True, False]


def test_clicks_on_the_first_rank_run_nothing_through_the_wrapper(ranks):
    first, second = (said["replicas"]["clicks"] for said in ranks)
    for found in (first, second):
        assert found["same"] and not found["error"] and found["wrapper"] == 12, "the loop's own forwards alone"
    assert first["seen"] == [[16]] * 12 and second["seen"] == []
    # Nor does running a bad step again.
    assert [said["replicas"]["wrapper"] for said in ranks] == [12, 12]


def test_a_bad_batch_of_one_replica_is_named_there_and_its_gradients_everywhere(ranks):
    first, second = (said["replicas"]["findings"] for said in ranks)
    assert second == [[5, None, "input"]]
    assert [(step, direction) for step, _, direction in first] == [(5, "backward")]


def test_watching_on_one_replica_changes_and_blocks_nothing(ranks):
    assert all(said["replicas"]["watched by the first alone"] for said in ranks)


@needs_shards
def test_a_sharded_model_trains_as_if_nobody_watched(ranks):
    for said in ranks:
        found = said["shards"]
        assert found["same"] and not found["error"]
        assert found["seen"] == ["0", "1", "2"]
        assert found["each"] == 12, "every step's shards are looked at"


@needs_shards
def test_norms_of_shards_are_put_together_on_the_first_rank(ranks):
    first, second = (said["shards"] for said in ranks)
    assert close(first["norms"][1], first["norms"][0])
    assert close(first["total"][1], first["total"][0])
    assert "norms of all ranks together" in first["coverage"]
    assert not close(second["norms"][1], second["norms"][0])
    assert "norms of this rank's shards" in second["coverage"]


@needs_shards
def test_what_would_hang_a_sharded_training_is_refused_with_the_way_out(ranks):
    for said in ranks:
        assert "hang the others" in said["shards"]["inputs"] and "Leave inputs out" in said["shards"]["inputs"]
        assert len(said["shards"]["refused"]) == 6
        assert all("time out" in sentence and "broadcast" in sentence for sentence in said["shards"]["refused"])
        assert "lone forward would hang them all" in said["shards"]["clicks"]
        assert "Explore an unsharded copy" in said["shards"]["clicks"]
        assert said["shards"]["every"] == 10, "by number, so that all ranks choose the same steps"


@needs_shards
def test_a_bad_step_of_a_sharded_model_is_not_run_again(ranks):
    assert all(said["shards"]["findings"] == [[5, False]] for said in ranks)


@needs_shards
def test_a_sharded_model_watched_on_one_rank_says_that_norms_are_missing(ranks):
    (same, quick, coverage, has_norms), (same_there, _, _) = (said["shards"]["alone"] for said in ranks)
    assert same and same_there and quick
    assert "other ranks do not watch" in coverage and not has_norms


@needs_shards
def test_steps_of_a_sharded_model_are_found_without_its_optimiser(ranks):
    assert all(said["shards"]["without an optimiser"] == [True, 12] for said in ranks)


def test_shares_of_other_steps_or_layers_are_not_added():
    layers = [Watched(index, name, nn.Linear(1, 1), (), True) for index, name in enumerate("ab")]

    def ranks(store, sizes=(2, 2)):
        return [Shares(store, layers[:size], [0, 1], rank, [1.0] * size) for rank, size in enumerate(sizes)]

    def norm(*values):
        return {"grad_norm": np.array(values, np.float32)}

    store = torch.distributed.HashStore()
    first, second = ranks(store)
    second.together(16, norm(1, 1), 1.0)
    # Step 0 shares its place in the store with step 16.
    assert first.together(0, norm(1, 1), 1.0) is None
    values = norm(1, 1)
    assert first.together(0, values, 1.0, impatient=True) == {} and np.isnan(values["grad_norm"]).all() and first.alone
    first, second = ranks(torch.distributed.HashStore(), (2, 1))
    second.together(4, norm(1), 1.0)
    assert first.together(4, norm(1, 1), 1.0) is None


def test_a_store_that_is_gone_costs_the_norms_and_nothing_else():
    class Gone:
        def set(self, key, value):
            raise RuntimeError("Broken pipe")

    layer = Watched(0, "a", nn.Linear(1, 1), (), True)
    for rank in (0, 1):
        shares, values = Shares(Gone(), [layer], [0, 1], rank, [1.0]), {"grad_norm": np.array([3.0], np.float32)}
        assert shares.together(1, values, 3.0, closing=True) == {}
        assert np.isnan(values["grad_norm"][0]) == (rank == 0) == shares.alone


def test_replicated_parameters_of_a_sharded_model_count_once():
    store, layer = torch.distributed.HashStore(), Watched(0, "a", nn.Linear(1, 1), (), True)
    ranks = [Shares(store, [layer], [0, 1], rank, [2.0]) for rank in (0, 1)]
    values = [{"grad_norm": np.array([3.0], np.float32)} for _ in ranks]
    ranks[1].together(1, values[1], 3.0)
    assert ranks[0].together(1, values[0], 3.0) == {"total_grad_norm": 3.0}
    assert values[0]["grad_norm"].tolist() == [3.0]


def test_dataparallel_is_watched_by_the_names_of_the_model_inside():
    def run(watched):
        torch.manual_seed(0)
        model = nn.DataParallel(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        w = watch(model, optimizer, inputs=torch.ones(2, 4), every=1, budget=None) if watched else None
        criterion = nn.MSELoss()
        for _ in range(4):
            optimizer.zero_grad()
            criterion(model(torch.randn(3, 4)), torch.zeros(3, 2)).backward()
            optimizer.step()
        if w is not None:
            w.close()
        return [value.clone() for value in model.state_dict().values()], w

    (alone, _), (watched, w) = run(False), run(True)
    assert all(torch.equal(*pair) for pair in zip(alone, watched, strict=True))
    assert sorted(w.history["activation_mean"]) == ["0", "1", "2"]
    assert w.history["loss"].steps.tolist() == [1, 2, 3, 4]
    assert w.history.snapshot("map", "1")[1].shape == (2, 8)
