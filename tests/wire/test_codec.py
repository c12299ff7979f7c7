"""What goes in comes out on the other side, and hostile headers are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnwidget.errors import InputError, MessageError
from nnwidget.types import Tiles
from nnwidget.wire.codec import decode, encode
from tests.wire import make_golden

GOLDEN = Path(__file__).parent / "golden"
ARRAYS = st.sampled_from([np.uint8, np.int32, np.float32, np.bool_]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | ARRAYS
)
KEYS = st.text().filter(lambda key: key != "$array")
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))


def same(a: Any, b: Any) -> None:
    """Equal trees, arrays included; booleans come back as uint8."""
    if isinstance(a, np.ndarray):
        assert b.shape == a.shape and b.dtype in (a.dtype, np.uint8)
        np.testing.assert_array_equal(np.asarray(a), b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one, other)
    else:
        assert a == b and type(a) is type(b)


@given(TREES)
def test_any_tree_survives_the_round_trip_through_json(tree: Any) -> None:
    json_tree, buffers = encode(tree)
    text = json.dumps(json_tree, allow_nan=False, ensure_ascii=False).encode()
    same(tree, decode(json.loads(text), [bytes(b) for b in buffers]))


@pytest.mark.parametrize("name", sorted(make_golden.files()))
def test_the_committed_files_are_what_the_script_makes(name: str) -> None:
    assert (GOLDEN / name).read_bytes() == make_golden.files()[name]


@pytest.mark.parametrize("name", sorted(make_golden.CASES))
def test_golden_messages_are_decoded_as_expected(name: str) -> None:
    content = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    data = memoryview((GOLDEN / f"{name}.bin").read_bytes())
    buffers = [data[b["offset"] : b["offset"] + b["length"]] for b in content["buffers"]]
    assert all(b["offset"] % 2 for b in content["buffers"])
    assert make_golden.plain(decode(content["json"], buffers)) == content["expected"]


def test_buffers_are_flat_little_endian_bytes_without_a_copy_where_possible() -> None:
    values = np.array([1, -2], np.int32)
    _, (buffer,) = encode(values)
    assert isinstance(buffer, memoryview) and buffer.format == "B" and bytes(buffer) == values.astype("<i4").tobytes()
    assert np.shares_memory(np.frombuffer(buffer, np.int32), values)
    assert encode(np.arange(3, dtype=">f4"))[1][0].tobytes() == np.arange(3, dtype="<f4").tobytes()  # type: ignore[union-attr]


def test_dataclasses_tuples_and_numpy_scalars_become_plain() -> None:
    zero = np.zeros(1, np.float32)
    tiles = Tiles(codes=zero, lo=zero, hi=zero, activity=zero, index=zero, pool=(2, 2))
    tree, buffers = encode({"tiles": tiles, "n": np.int64(3), "x": np.float32(0.5), "b": np.bool_(True)})
    assert tree["tiles"]["pool"] == [2, 2] and tree["tiles"]["lo"]["$array"] == 1 and len(buffers) == 5
    assert (tree["n"], tree["x"], tree["b"]) == (3, 0.5, True)


def test_numbers_that_json_lacks_become_null() -> None:
    assert encode([math.nan, math.inf, -math.inf, np.float32("nan")])[0] == [None] * 4


def test_lone_surrogates_do_not_break_the_message() -> None:
    tree, _ = encode({"name\ud800": "x\udfff", "é": "é"})
    json.dumps(tree, ensure_ascii=False).encode("utf-8")
    assert tree == {"name?": "x?", "é": "é"}


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1: 2},
        {"$array": 0},
        np.array(["a"]),
        np.array([1j]),
        np.array([2**31]),
        np.array([2**32], np.uint64),
        {1, 2},
        b"bytes",
    ],
    ids=repr,
)
def test_what_cannot_travel_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(InputError) as caught:
        encode({"result": [value]})
    assert "result" in str(caught.value)


def test_a_tree_that_contains_itself_is_refused() -> None:
    tree: list[Any] = []
    tree.append(tree)
    with pytest.raises(InputError, match="too deeply"):
        encode(tree)


HEADERS = st.fixed_dictionaries(
    {"$array": st.integers() | st.none() | st.text() | st.booleans()},
    optional={
        "dtype": st.sampled_from(["u8", "i32", "f32", "f64", 3, None]) | st.text(),
        "shape": st.lists(st.integers(-2, 5)) | st.none() | st.lists(st.text()) | st.lists(st.integers()),
    },
)


@given(HEADERS, st.lists(st.binary(max_size=40), max_size=2))
def test_any_header_gives_an_array_or_a_message_error(header: Any, buffers: list[bytes]) -> None:
    try:
        found = decode({"x": [header]}, buffers)["x"][0]
    except MessageError:
        return
    assert isinstance(found, np.ndarray) and list(found.shape) == header["shape"]


def test_a_deep_message_is_refused_and_not_a_recursion_error() -> None:
    tree: Any = 0
    for _ in range(5000):
        tree = [tree]
    with pytest.raises(MessageError, match="too deeply"):
        decode(tree, [])


def test_decoded_arrays_are_read_only() -> None:
    found = decode(*encode({"a": np.zeros(3, np.float32)}))["a"]
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
