"""Full tensors of the last steps are what passed, whatever the loop writes to them afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nnwidget import watch
from nnwidget.errors import InputError
from nnwidget.training.ring import Ring

# Smaller tensors are copied at once.
SIZE = 20_000.0


def ring(memory: int = 10**6, steps: int = 3) -> Ring:
    made = Ring(memory, steps)
    made.begin(1)
    made.keep("activation", "learnt", torch.zeros(int(SIZE)))
    made.stepped()
    made.begin(2)
    return made


def test_a_tensor_that_nobody_writes_to_is_not_copied() -> None:
    kept, given = ring(), torch.arange(SIZE)
    kept.keep("activation", "a", given)
    kept.stepped()
    inside = kept._kept[2]["activation", "a", 0].tensor
    assert inside.data_ptr() == given.data_ptr()
    found = kept.tensor(2, "activation", "a")
    assert torch.equal(found, torch.arange(SIZE)) and found.data_ptr() != given.data_ptr()


def test_what_is_written_to_within_a_step_is_copied_from_the_next_on() -> None:
    kept = Ring(10**6)
    for step in (1, 2):
        kept.begin(step)
        given = torch.full((int(SIZE),), -float(step))
        kept.keep("activation", "a", given)
        given.relu_()
        kept.stepped()
        assert kept.tensor(step, "activation", "a").unique().tolist() == [-step]


def test_a_layer_that_is_written_to_only_later_is_lost_once() -> None:
    kept = ring()
    for step in (2, 3):
        kept.begin(step)
        given = torch.full((int(SIZE),), -float(step))
        kept.keep("activation", "late", given)
        given.relu_()
        kept.stepped()
    with pytest.raises(KeyError):
        kept.tensor(2, "activation", "late")
    assert kept.tensor(3, "activation", "late").unique().tolist() == [-3.0]


@pytest.mark.parametrize("how", ["in place", "data", "numpy"])
def test_what_is_written_to_after_its_step_is_not_shown(how: str) -> None:
    kept, given = ring(), torch.arange(SIZE)
    kept.keep("activation", "a", given)
    kept.stepped()
    if how == "in place":
        given.add_(1)
    elif how == "data":
        given.data.add_(1)
    else:
        given.numpy()[:] = 7
    with pytest.raises(KeyError):
        kept.tensor(2, "activation", "a")


def test_views_of_much_more_are_copied() -> None:
    kept, whole = ring(), torch.zeros(3 * int(SIZE))
    kept.keep("activation", "a", whole[: int(SIZE)])
    assert kept._kept[2]["activation", "a", 0].tensor.untyped_storage().nbytes() == 4 * SIZE


def test_values_that_are_no_numbers_are_no_change() -> None:
    kept = ring()
    kept.keep("activation", "a", torch.tensor([float("nan"), float("inf"), 1.0]))
    kept.stepped()
    assert kept.tensor(2, "activation", "a").isfinite().tolist() == [False, False, True]


def test_in_a_training_with_layers_that_write_to_what_they_get() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 2), nn.Hardtanh(inplace=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before: dict[int, dict[str, Tensor]] = {}
    with watch(model, optimizer, every=1, budget=None) as w:
        for step in range(1, 4):
            x = torch.randn(3, 5)
            with torch.no_grad():
                inner = model[0](x)
                before[step] = {"0": inner, "2": model[2](inner.relu())}
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    for step, values in before.items():
        for layer, value in values.items():
            assert torch.equal(w.tensor(step, layer), value), (step, layer)
        assert torch.equal(w.tensor(step, "1"), before[step]["0"].relu())
    with pytest.raises(InputError, match="Kept are steps"):
        w.tensor(9, "0")


def test_a_view_of_more_counts_with_all_that_it_holds() -> None:
    kept, whole = ring(), torch.zeros(int(1.5 * SIZE))
    before = kept.nbytes
    kept.keep("activation", "a", whole[: int(SIZE)])
    held = kept._kept[2]["activation", "a", 0].tensor.untyped_storage().nbytes()
    assert kept.nbytes - before >= held


def test_after_the_end_nothing_of_the_loops_is_held() -> None:
    model = nn.Sequential(nn.Linear(300, 400), nn.Tanh(), nn.Linear(400, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # Kept alive, so that their memory is not used again.
    theirs: list[Tensor] = []
    model[1].register_forward_hook(lambda module, args, output: theirs.append(output.detach()))
    with watch(model, optimizer, every=1, budget=None) as w:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(64, 300)).square().sum().backward()
            optimizer.step()
        kept = w._engine.flight.ring._kept
        assert any(one.lent for step in kept.values() for one in step.values())
        shown = w.tensor(3, "1")
    held = [one for step in kept.values() for one in step.values()]
    assert held and not any(one.lent for one in held)
    assert not {tensor.data_ptr() for tensor in theirs} & {one.tensor.data_ptr() for one in held}
    assert torch.equal(w.tensor(3, "1"), shown)
