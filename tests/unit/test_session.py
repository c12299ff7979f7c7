"""The boundary is where a loop can be joined; the owner is who may touch the model."""

import asyncio
import gc
import threading
import time
import weakref

import pytest
import torch
from torch import nn

from nnwidget.model.probe import probe
from nnwidget.model.taps import active
from nnwidget.session import Session
from nnwidget.session.boundary import Boundary
from nnwidget.session.owner import Job, Owner


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def boundary(model):
    seen = []
    found = Boundary(model, seen.append)
    found.arm()
    return found, seen


def step(model, optimizer, forwards=1):
    optimizer.zero_grad()
    for _ in range(forwards):
        model(torch.ones(3, 4)).sum().backward()
    optimizer.step()


def test_training_is_joined_after_the_optimisers_step_only(model):
    found, seen = boundary(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        step(model, optimizer)
    found.disarm()
    # The very first forward comes before any optimiser was seen.
    assert seen == ["forward", "step", "step", "step"]
    assert found.steps == 3


def test_gradient_accumulation_is_joined_at_steps(model):
    found, seen = boundary(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step(model, optimizer)
    seen.clear()
    step(model, optimizer, forwards=4)
    found.disarm()
    assert seen == ["step"]


def test_an_evaluation_loop_is_joined_before_each_forward(model):
    found, seen = boundary(model)
    with torch.no_grad():
        for _ in range(3):
            model(torch.ones(1, 4))
    found.disarm()
    assert seen == ["forward"] * 3


def test_no_boundary_lies_between_a_forward_and_its_backward(model):
    found, seen = boundary(model)
    first = model(torch.ones(1, 4))
    second = model(torch.ones(1, 4))
    assert seen == ["forward"], "the graph of the first forward still waits"
    (first.sum() + second.sum()).backward()
    model(torch.ones(1, 4))
    found.disarm()
    assert seen == ["forward", "forward"]


def test_a_loop_without_an_optimiser_that_updates_by_hand_is_joined(model):
    found, seen = boundary(model)
    for _ in range(3):
        model(torch.ones(1, 4)).sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
    found.disarm()
    assert seen == ["forward"] * 3


def test_the_optimiser_of_another_model_is_not_ours(model):
    found, seen = boundary(model)
    other = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    other(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    found.disarm()
    assert seen == [] and found.steps == 0


def test_a_gan_counts_each_model_for_itself(model):
    other = nn.Linear(2, 4)
    mine, theirs = boundary(model), boundary(other)
    for optimizer in (torch.optim.Adam(model.parameters()), torch.optim.Adam(other.parameters())):
        optimizer.zero_grad()
        model(other(torch.ones(1, 2))).sum().backward()
        optimizer.step()
    mine[0].disarm()
    theirs[0].disarm()
    assert (mine[0].steps, theirs[0].steps) == (1, 1)


def test_an_lbfgs_closure_is_not_joined_between_its_forwards(model):
    found, seen = boundary(model)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(1, 4)).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    seen.clear()
    optimizer.step(closure)
    found.disarm()
    assert seen == ["step"]


def test_a_failing_listener_never_breaks_the_step(model, caplog):
    def fail(kind):
        raise ValueError("ours")

    found = Boundary(model, fail)
    found.arm()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step(model, optimizer)
    step(model, optimizer)
    found.disarm()
    assert caplog.text.count("failed at a boundary") == 1


def test_disarming_leaves_nothing(model):
    from torch.optim import optimizer as module

    before = len(module._global_optimizer_post_hooks)
    for _ in range(20):
        found, _ = boundary(model)
        found.arm()
        found.disarm()
        found.disarm()
    assert len(model._forward_pre_hooks) == len(model._forward_hooks) == 0
    assert len(module._global_optimizer_post_hooks) == before
    assert active() == []


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "LBFGS"])
def test_training_with_work_at_every_boundary_is_bitwise_untouched(name):
    def train(joined):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
        optimizer = getattr(torch.optim, name)(net.parameters(), lr=0.05)
        session = Session.of(net)

        def look(kind):
            with probe(net):
                net(torch.rand(5, 4))

        leave = session.arm(lambda kind: session.owner.serve_at_boundary(lambda: look(kind))) if joined else None
        losses = []
        for _ in range(10):

            def closure():
                optimizer.zero_grad()
                loss = net(torch.randn(8, 4)).square().mean()
                loss.backward()
                return loss.detach()

            if name == "LBFGS":
                losses.append(optimizer.step(closure).item())
            else:
                losses.append(closure().item())
                optimizer.step()
            session.owner._rest_until = 0.0
        if leave is not None:
            leave()
        return [*net.state_dict().values(), torch.tensor(losses), torch.get_rng_state()]

    for free, watched in zip(train(False), train(True), strict=True):
        assert torch.equal(free, watched)


def never():
    return None, 0.0


def job(run, dropped=None):
    return Job(run, (lambda: dropped.append(1)) if dropped is not None else (lambda: None))


def test_without_a_loop_work_is_done_at_once():
    done = []
    Owner(never).post("look", job(lambda: done.append(threading.get_ident())))
    assert done == [threading.get_ident()]


def test_the_newest_wins_and_the_older_is_answered():
    async def scene():
        owner, done, dropped = Owner(never), [], []
        owner.post("look", job(lambda: done.append("old"), dropped))
        owner.post("look", job(lambda: done.append("new"), dropped))
        owner.post("filters", job(lambda: done.append("filters"), dropped))
        await asyncio.sleep(0.05)
        return done, dropped

    assert asyncio.run(scene()) == (["new", "filters"], [1])


def test_work_posted_from_another_thread_is_done_on_the_loops_thread():
    async def scene():
        owner, done = Owner(never), []
        thread = threading.Thread(target=owner.post, args=("look", job(lambda: done.append(threading.get_ident()))))
        thread.start()
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0.05)
        return done

    assert asyncio.run(scene()) == [threading.get_ident()]


def test_a_training_thread_is_served_at_its_boundary_and_not_beside_it():
    async def scene():
        trainer = []
        owner = Owner(lambda: (trainer[0], 0.01) if trainer else never())
        done = []

        def train():
            trainer.append(threading.get_ident())
            for _ in range(20):
                time.sleep(0.01)
                owner.serve_at_boundary()

        thread = threading.Thread(target=train)
        thread.start()
        await asyncio.sleep(0.03)
        owner.post("look", job(lambda: done.append(threading.get_ident())))
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0.05)
        return done, thread.ident

    done, trainer = asyncio.run(scene())
    assert done == [trainer]


def test_work_at_a_boundary_keeps_to_its_share():
    owner = Owner(never)
    owner._loop = asyncio.new_event_loop()
    served = []
    started = time.monotonic()
    while time.monotonic() - started < 0.5:
        owner._waiting["look"] = job(lambda: (time.sleep(0.02), served.append(1)))
        owner.serve_at_boundary()
        time.sleep(0.001)
    owner._loop.close()
    assert 2 <= len(served) <= 6, "20 ms each may take a fifth of half a second"


def test_failing_work_is_reported_and_the_next_is_served(caplog):
    owner = Owner(never)
    owner.post("a", job(lambda: 1 / 0))
    done = []
    owner.post("b", job(lambda: done.append(1)))
    assert done == [1] and "could not serve" in caplog.text


def test_one_session_a_model_and_none_kept():
    model = nn.Linear(2, 2)
    session = Session.of(model)
    assert Session.of(model) is session
    session.arm(lambda kind: None)()
    assert not model._forward_pre_hooks
    gone = weakref.ref(model)
    del session, model
    gc.collect()
    assert gone() is None


def test_the_status_says_what_runs(model):
    session = Session.of(model)
    assert session.status().state == "idle"
    session.cell_began()
    assert session.status().state == "busy"
    leave = session.arm(lambda kind: None)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step(model, optimizer)
    step(model, optimizer)
    status = session.status()
    assert (status.state, status.step) == ("training", 2)
    assert status.interval is not None and status.interval < 1
    session.cell_ended()
    assert session.status().state == "idle"
    with torch.no_grad():
        model(torch.ones(1, 4))
    assert session.status().state == "evaluating"
    leave()
