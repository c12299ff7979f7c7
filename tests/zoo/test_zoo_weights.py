"""The weights of every layer of every odd model: a picture with torch's numbers or a reason, and nothing is moved."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from nnwidget.errors import UnobservableError
from nnwidget.model.filters import filters
from nnwidget.model.names import walk
from nnwidget.model.probe import probe
from nnwidget.types import WeightView
from tests.bits import bits
from tests.zoo.models import CASES, Case
from tests.zoo.test_zoo import pytestmark as pytestmark
from tests.zoo.test_zoo import state


def check(module: nn.Module, name: str) -> None:
    """Draw every part of a layer and compare its range with the parameter's own."""
    first = filters(module, name=name)
    assert (first.kind == "none") == bool(first.reason), name
    own = dict(module.named_parameters(recurse=False))
    for part in first.parts:
        bank = filters(module, WeightView(part=part, section=-1, gradient=True), name=name)
        if bank.kind == "none":
            assert bank.reason, name
            continue
        found = bank.statistics
        assert found is not None and (bank.tiles is not None or bank.strips), name
        if part in own and own[part].is_floating_point():
            values = own[part].detach().float()
            finite = values[values.isfinite()]
            assert found.count == values.numel(), name
            if finite.numel():
                ends = [float(finite.min()), float(finite.max())]
                np.testing.assert_allclose([found.minimum, found.maximum], ends, rtol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_layer_has_a_picture_or_a_reason(case: Case) -> None:
    model, _, _ = case.make()
    before = bits(state(model))
    try:
        with probe(model):
            for named in walk(model):
                check(named.module, named.name)
    except UnobservableError as error:
        # Lazy, meta and sharded models have nothing to read, and say what to do.
        assert error.remedy
    assert bits(state(model)) == before
