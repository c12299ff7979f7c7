from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnwidget.errors import InputError
from nnwidget.model.structure import get_at, map_tensors, opaque, replace_at, specs, tensors

Pair = namedtuple("Pair", ["a", "b"])


@dataclass(frozen=True)
class Frozen:
    logits: torch.Tensor
    extra: Any = None


leaves = st.one_of(
    st.none(), st.integers(), st.text(max_size=3), st.integers(1, 3).map(lambda n: torch.arange(float(n)))
)
nested = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.lists(part, max_size=3),
        st.lists(part, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), part, max_size=3),
        st.tuples(part, part).map(lambda two: Pair(*two)),
        part.map(lambda one: Frozen(torch.ones(1), one)),
    ),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(nested)
def test_mapping_keeps_the_structure_and_shares_no_container(value: Any) -> None:
    doubled = map_tensors(value, lambda tensor: tensor * 2)
    assert type(doubled) is type(value)
    before, after = list(tensors(value)), list(tensors(doubled))
    assert [path for path, _ in before] == [path for path, _ in after]
    assert all(torch.equal(new, old * 2) for (_, old), (_, new) in zip(before, after, strict=True))


def test_paths_are_readable() -> None:
    value = {"logits": torch.ones(1), "states": [(torch.ones(1), None)], "result": Frozen(torch.ones(1))}
    assert [path for path, _ in tensors(value)] == ["logits", "states.0.0", "result.logits"]
    assert [path for path, _ in tensors(torch.ones(1))] == [""]


def test_replacing_one_tensor_keeps_the_others() -> None:
    value = Pair(torch.zeros(1), Frozen(torch.zeros(2), "x"))
    changed = replace_at(value, "1.logits", torch.ones(2))
    assert get_at(changed, "1.logits").tolist() == [1, 1]
    assert changed.a is value.a
    assert value.b.logits.tolist() == [0, 0]
    assert isinstance(changed, Pair)


def test_a_wrong_path_lists_the_right_ones() -> None:
    with pytest.raises(InputError, match=r"'0', '1\.a'"):
        get_at((torch.ones(1), {"a": torch.ones(1)}), "2")


def test_copies_of_mappings_do_not_share_their_items() -> None:
    class Batch(UserDict):  # type: ignore[type-arg]
        pass

    for value in (Batch(x=torch.ones(1)), OrderedDict(x=torch.ones(1))):
        changed = map_tensors(value, lambda tensor: tensor + 1)
        assert type(changed) is type(value)
        assert value["x"].item() == 1
        assert changed["x"].item() == 2
    assert type(map_tensors(MappingProxyType({"x": torch.ones(1)}), torch.neg)) is dict


def test_torch_return_types_and_packed_sequences_survive() -> None:
    largest = torch.max(torch.eye(2), 1)
    assert type(map_tensors(largest, torch.clone)) is type(largest)
    packed = torch.nn.utils.rnn.pack_sequence([torch.ones(2), torch.ones(1)])
    assert type(map_tensors(packed, torch.clone)) is type(packed)


def test_a_container_inside_itself_ends() -> None:
    loop: list[Any] = [torch.ones(1)]
    loop.append(loop)
    assert next(iter(tensors(loop)))[0] == "0"
    assert len(list(tensors(loop))) < 100


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype.*")
def test_specs_of_nested_and_empty_tensors() -> None:
    ragged = torch.nested.as_nested_tensor([torch.ones(2, 3), torch.ones(1, 3)])
    assert specs(ragged)[0].shape == (2, -1, 3)
    assert specs((torch.empty(0, 2), 3))[0].shape == (0, 2)
    assert specs(torch.ones((), dtype=torch.bfloat16))[0].dtype == "bfloat16"


def test_opaque_objects_are_named() -> None:
    class Cache:
        pass

    assert list(opaque((Cache(), torch.ones(1), None, 3, "x"))) == ["Cache"]
