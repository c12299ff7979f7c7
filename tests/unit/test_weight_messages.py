"""What a page may ask of weights: each field is read, and a bad one is refused by name."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnwidget.errors import MessageError
from nnwidget.types import WeightView
from nnwidget.wire.messages import FiltersOf, Look, Watch, WeightAt, parse

HEAD = {"k": "request", "v": 1, "client": "a", "id": 1}
ALL = {
    "layer": "conv",
    "part": "weight_ih_l0",
    "section": -1,
    "mode": 3,
    "slice": 1,
    "window": [0, 10, 5, 20],
    "room": [100, 200],
    "edge": 64,
    "sort": "activity",
    "reference": 7,
    "gradient": True,
    "look": {"layer": "conv", "input": 2},
}
PLACE = {"tile": 4, "row": 2, "column": 1, "rows": 3, "columns": 5, "of_gradient": True}


def asked(method, params):
    return parse(HEAD | {"method": method, "params": params}).params


def test_every_field_is_read():
    view = WeightView("weight_ih_l0", -1, 3, 1, (0, 10, 5, 20), (100, 200), 64, "activity", 7, True)
    wanted = FiltersOf("conv", view, Look("conv", 2))
    assert asked("filters", ALL) == wanted
    assert asked("weight", ALL | PLACE) == WeightAt(wanted, 4, 2, 1, 3, 5, True)
    assert parse({"k": "watch", "client": "a", "params": None, "filters": ALL}) == Watch("a", None, wanted)
    assert parse({"k": "watch", "client": "a", "params": None}) == Watch("a", None, None)


def test_what_is_left_out_is_the_usual():
    assert asked("filters", {"layer": "conv"}) == FiltersOf("conv", WeightView(edge=96))
    nothing = dict.fromkeys(("part", "section", "slice", "window", "reference", "look"))
    assert asked("filters", {"layer": "conv", **nothing}) == FiltersOf("conv", WeightView(edge=96))
    assert asked("weight", {"layer": "conv", "row": 1, "column": 2}) == WeightAt(
        asked("filters", {"layer": "conv"}), 0, 1, 2
    )


@pytest.mark.parametrize(
    ("method", "change", "field"),
    [
        ("filters", {"layer": None}, "layer"),
        ("filters", {"part": 3}, "part"),
        ("filters", {"section": -2}, "section"),
        ("filters", {"mode": -1}, "mode"),
        ("filters", {"mode": "colour"}, "mode"),
        ("filters", {"slice": True}, "slice"),
        ("filters", {"window": [0, 1, 2]}, "window"),
        ("filters", {"window": [0, 1, 2, -3]}, "window"),
        ("filters", {"window": "0123"}, "window"),
        ("filters", {"room": [10**9, 4]}, "room"),
        ("filters", {"room": None}, "room"),
        ("filters", {"edge": 1}, "edge"),
        ("filters", {"reference": 1.5}, "reference"),
        ("filters", {"gradient": 1}, "gradient"),
        ("filters", {"look": {"layer": 3}}, "layer"),
        ("weight", {"row": None}, "row"),
        ("weight", {"rows": 0}, "rows"),
        ("weight", {"tile": -1}, "tile"),
        ("weight", {"of_gradient": "yes"}, "of_gradient"),
    ],
)
def test_a_bad_field_is_refused_by_name(method, change, field):
    with pytest.raises(MessageError) as error:
        asked(method, {"layer": "conv", "row": 0, "column": 0} | change)
    assert error.value.argument == field


def test_an_unknown_order_is_refused():
    with pytest.raises(MessageError, match="number, norm, activity, similarity"):
        asked("filters", {"layer": "conv", "sort": "beauty"})


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from([*ALL, *PLACE]), inner, max_size=5),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["filters", "weight"]), st.fixed_dictionaries({}, optional=dict.fromkeys([*ALL, *PLACE], junk)))
def test_junk_is_an_error_of_ours_or_a_question(method, change):
    try:
        found = asked(method, {"layer": "conv", "row": 0, "column": 0} | change)
    except MessageError as error:
        assert error.message
    else:
        assert isinstance(found, FiltersOf | WeightAt)
