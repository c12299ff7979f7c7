"""Snapshots of pinned inputs: true, small, paid for, and without a trace on the training."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from nnwidget.errors import ForwardError, InputError, UnobservableError
from nnwidget.model.inputs import pinned_inputs
from nnwidget.session import Session
from nnwidget.training.governor import Governor
from nnwidget.training.history import History
from nnwidget.training.layer_set import layer_set
from nnwidget.training.shrink import feature_maps, strided
from nnwidget.training.snapshots import Snapshots
from nnwidget.watching import watch
from tests.bits import bits, randomness, seed, state


def convolutions():
    seed()
    return nn.Sequential(
        spectral_norm(nn.Conv2d(3, 6, 3, padding=1)),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(6 * 64, 4),
    )


IMAGES = torch.linspace(-1, 1, 5 * 3 * 16 * 16).reshape(5, 3, 16, 16)


def train(model, steps=10, **how):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss()
    torch.manual_seed(1)
    w = watch(model, optimizer, **how) if how else None
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = criterion(model(torch.randn(4, 3, 16, 16)), torch.randint(0, 4, (4,)))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if w is not None:
        w.close()
        assert w._engine.error == ""
    return [bits(losses), state(model), bits(optimizer.state_dict()), randomness()], w


def test_a_training_with_snapshots_is_the_training_without():
    alone, _ = train(convolutions())
    watched, w = train(convolutions(), inputs=IMAGES, every=1, budget=None)
    assert alone == watched
    assert len(w.history.snapshot_steps("map", "2")) > 5


def test_what_a_snapshot_says_is_what_the_model_does():
    model = convolutions()
    _, w = train(model, steps=8, inputs=IMAGES, every=1, budget=None)
    model.eval()
    with torch.no_grad():
        maps = model[:4](IMAGES)
        logits = model(IMAGES)
    step, found = w.history.snapshot("map", "3")
    assert step == 8 and found.dtype == np.float16
    np.testing.assert_allclose(found, maps[:4], rtol=2e-3, atol=1e-4)
    _, predicted = w.history.snapshot("prediction", "")
    np.testing.assert_allclose(predicted, logits.softmax(1), rtol=1e-5)
    _, weight = w.history.snapshot("weight", "6.weight")
    np.testing.assert_array_equal(weight, model[6].weight.detach())
    about = w.history.meta["snapshots"]
    assert about["prediction"]["kind"] == "softmax of logits" and about["inputs"] == 5
    assert about["maps"]["3"] == {"kind": "maps", "shape": [5, 6, 8, 8], "pool": [1, 1], "channels": 1}
    assert about["weights"]["6.weight"] == [1, 1]
    assert w.history.snapshot("input", "0")[1].shape == (16, 16, 3)


def test_the_first_snapshot_is_of_the_untrained_model():
    before = convolutions()[6].weight.detach().clone()
    _, w = train(convolutions(), inputs=IMAGES, every=1, budget=None, start_step=100)
    step, weight = w.history.snapshot("weight", "6.weight", 100)
    assert step == 100
    np.testing.assert_array_equal(weight, before)


def test_gaps_grow_with_the_steps():
    _, w = train(convolutions(), steps=60, inputs=IMAGES, every=1, budget=None)
    steps = w.history.snapshot_steps("prediction", "").tolist()
    assert steps[:9] == list(range(9))
    gaps = np.diff(steps)
    assert (np.diff(gaps) >= 0).all() and gaps[-1] in (6, 7)
    assert "an eighth" in w.history.meta["snapshots"]["cadence"]


def test_a_loop_without_pinned_inputs_has_no_snapshots():
    _, w = train(convolutions(), every=1, budget=None)
    assert not w.history.snapshots and w.cost.snapshots == 0 and "snapshots" not in w.history.meta


def shots(model, inputs, start=0, memory=1_000_000):
    watched, _ = layer_set(model)
    made = Snapshots(model, pinned_inputs(model, inputs), watched, memory, start)
    history = History([layer.name for layer in watched], memory=memory, meta=made.meta)
    made.begin(history)
    return made, history


def test_dear_runs_wait_until_they_are_paid_for():
    made, _ = shots(nn.Linear(2, 2), torch.ones(1, 2))
    governor = Governor(0.02, "auto")
    governor.reserved = 0.25
    assert not made.due(1, governor), "nothing is known of the steps yet"
    for step in range(1, 4):
        governor.passed(step, 1, 0.010)
    # A run takes 10 ms; a quarter of 2 % of a 10-ms step is 50 µs, so that it is paid for after 200 steps.
    made.seconds = governor.for_snapshots * 200
    due = [step for step in range(30, 400) if made.due(step, governor)]
    assert due == list(range(200, 400))
    assert Governor(None, 1).for_snapshots == float("inf")


def test_their_time_is_in_the_cost_and_out_of_the_recording():
    governor = Governor(0.02, "auto")
    for step in range(1, 101):
        governor.passed(step, 1, 0.010)
    without = governor.cost
    governor.snapped(0.1)
    assert governor.cost.snapshots == pytest.approx(0.1)
    assert governor.cost.total == pytest.approx(without.total + 0.1)
    assert "10.0% for snapshots" in str(governor.cost) and "snapshots" not in str(without)


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        (torch.ones(2, 5), ForwardError),
        ("a cat", InputError),
        (torch.ones(0, 4), InputError),
        ({"nothing": torch.ones(2, 4)}, (InputError, ForwardError)),
    ],
)
def test_inputs_that_do_not_fit_raise_before_anything_is_attached(inputs, error, tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = repr(sorted(map(str, vars(model).items())))
    with pytest.raises(error):
        watch(model, optimizer, inputs=inputs, path=tmp_path / "run")
    assert repr(sorted(map(str, vars(model).items()))) == before
    assert not optimizer._optimizer_step_post_hooks and not (tmp_path / "run").exists()


def test_a_model_that_must_not_be_run_is_refused():
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    with pytest.raises(UnobservableError, match="Run it once"):
        watch(model, inputs=torch.ones(2, 4))


class Moody(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.fails = nn.Linear(4, 2), False

    def forward(self, x):
        if self.fails and not self.training:
            raise ValueError("not today")
        return self.fc(x)


def test_a_run_that_fails_later_ends_snapshots_and_nothing_else(caplog):
    model = Moody()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, inputs=torch.ones(2, 4), every=1, budget=None) as w:
        for step in range(6):
            model.fails = step > 2
            optimizer.zero_grad()
            model(torch.ones(3, 4)).sum().backward()
            optimizer.step()
    assert w.history.snapshot_steps("map", "fc").tolist() == [0, 1, 2, 3]
    assert len(w.history["total_grad_norm"].steps) == 6 and w._engine.error == ""
    assert ["not today" in event.text for event in w.history.events if event.kind == "error"] == [True]
    assert len([record for record in caplog.records if "pinned inputs" in record.message]) == 1


def test_a_closed_watch_holds_neither_inputs_nor_their_runs():
    _, w = train(convolutions(), steps=1, inputs=IMAGES, every=1, budget=None)
    assert w._engine.snapshots is None


def test_a_run_of_pinned_inputs_is_no_forward_of_the_loop():
    def reached(**how):
        model = convolutions()
        kinds = []
        leave = Session.of(model).arm(kinds.append)
        try:
            train(model, steps=6, every=1, budget=None, **how)
        finally:
            leave()
        return kinds

    assert reached(inputs=IMAGES) == reached()


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.rnn, self.out = nn.Embedding(50, 6), nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 50)
        self.never = nn.Linear(3, 3)

    def forward(self, tokens):
        found, _ = self.rnn(self.embed(tokens))
        return {"logits": self.out(found), "tokens": tokens}


def test_tokens_dicts_and_layers_that_are_not_called():
    made, history = shots(Odd(), torch.arange(12).reshape(2, 6))
    assert history.snapshot("map", "rnn")[1].shape == (2, 6, 5)
    assert history.snapshot("prediction", "")[1].shape == (2, 50)
    assert ("map", "never") not in history.snapshots and ("weight", "never.weight") in history.snapshots
    assert made.meta["snapshots"]["maps"]["embed"]["kind"] == "tokens"


def test_outputs_without_numbers_are_said_to_be_left_out():
    class Choice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.top = nn.Linear(4, 3), Top()

        def forward(self, x):
            return self.top(self.fc(x))

    class Top(nn.Module):
        def forward(self, x):
            return x.argmax(1)

    made, history = shots(Choice(), torch.ones(2, 4))
    assert "integers" in made.meta["snapshots"]["left_out"]["top"]
    assert "(the prediction)" in made.meta["snapshots"]["left_out"]
    assert ("prediction", "") not in history.snapshots


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(3, 8, 3), (8, 64, 112, 112)),
        (nn.Conv2d(3, 8, 3), (2, 2048, 7, 7)),
        (nn.Conv2d(3, 8, 3), (1, 100_000, 3, 3)),
        (nn.LayerNorm(768), (6, 197, 768)),
        (nn.Conv1d(1, 1, 1), (3, 16, 20_000)),
        (nn.Linear(2, 2), (4, 300_000)),
        (nn.Linear(2, 2), (1, 1)),
    ],
)
def test_maps_fit_and_average_what_they_stand_for(module, shape):
    torch.manual_seed(0)
    output = torch.rand(shape) + 1
    values, about = feature_maps(module, output, inputs=4, nbytes=65_536)
    assert values.nbytes <= 65_536 and values.dtype == np.float16
    assert 1 <= len(values) <= 4
    if about["channels"] == 1:
        # Blocks at a ragged border hold fewer values, so that the means agree only nearly.
        assert values.astype(np.float64).mean() == pytest.approx(float(output[: len(values)].mean()), rel=2e-2)


def test_maps_of_values_out_of_half_precision_are_kept_in_single():
    for factor in (1e9, 1e-9):
        values, _ = feature_maps(nn.Linear(2, 2), torch.tensor([[1.0, 2.0]]) * factor, inputs=4, nbytes=65_536)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, [[factor, 2 * factor]], rtol=1e-6)
    values, _ = feature_maps(nn.Linear(2, 2), torch.tensor([[torch.nan, torch.inf]]), inputs=4, nbytes=65_536)
    assert np.isnan(values[0, 0]) and np.isinf(values[0, 1])


@pytest.mark.parametrize("shape", [(512, 512, 3, 3), (50_000, 768), (3,), (), (100_000,)])
def test_weights_fit_and_are_exact_where_they_are_kept(shape):
    weight = torch.arange(int(np.prod(shape)), dtype=torch.float32).reshape(shape)
    values, strides = strided(weight, 65_536)
    assert values.nbytes <= 65_536 and values.ndim == len(shape)
    np.testing.assert_array_equal(values, weight.numpy()[tuple(slice(None, None, step) for step in strides)])
    assert values.nbytes > 16_384 or values.size == weight.numel()


def test_a_kept_weight_does_not_change_with_the_model():
    weight = torch.ones(4)
    values, _ = strided(weight, 1_000)
    weight.zero_()
    assert values.tolist() == [1, 1, 1, 1]


def test_sixteen_snapshots_have_room_in_a_small_memory():
    model = nn.Sequential(*[nn.Linear(200, 200) for _ in range(10)])
    made, history = shots(model, torch.ones(4, 200), memory=4_000_000)
    for step in range(1, 16):
        made.take(step)
    assert history.snapshot_steps("weight", "9.weight").tolist() == list(range(16))
    assert not history.problems
