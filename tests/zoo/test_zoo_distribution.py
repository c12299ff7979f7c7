"""Every layer of every odd model is counted in full, or says why not; and nothing of the model has moved."""

from __future__ import annotations

import pytest

from nnwidget.errors import NNWidgetError
from nnwidget.model.inputs import PinnedInputs
from nnwidget.model.table import layers
from nnwidget.session.bench import Bench
from nnwidget.session.distributions import distribution_result
from nnwidget.wire.messages import DistributionOf, Look
from tests.zoo.models import CASES, Case
from tests.zoo.test_zoo import pytestmark, state

__all__ = ["pytestmark"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_all_layers_are_counted_or_say_why_not(case: Case) -> None:
    model, args, kwargs = case.make()
    pinned = PinnedInputs(model, args, kwargs)
    bench = Bench(model, pinned, layers(model, pinned))
    before = state(model)
    counted = 0
    for info in bench.table:
        for quantity in ("activations", "weights", "gradients"):
            want = DistributionOf(Look(info.name, want=frozenset({"maps"})), quantity=quantity)
            try:
                (series,) = distribution_result(bench, want, None)["series"]
            except NNWidgetError as error:
                assert str(error)
                continue
            found = series["statistics"]
            if found is None:
                assert series["reason"]
                continue
            assert series["counts"].sum() == found.count - found.nan - found.posinf - found.neginf
            counted += 1
    assert counted or not any(info.parameters for info in bench.table)
    after = state(model)
    assert after.keys() == before.keys()
    for key in before:
        assert after[key] == before[key], key
