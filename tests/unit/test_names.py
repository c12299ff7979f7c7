from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from nnwidget.errors import UnknownLayerError
from nnwidget.model.names import compiled_regions, nearest, select, walk


def test_every_name_of_shared_modules_is_known() -> None:
    inner = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    model = nn.ModuleDict({"a": inner, "b": nn.ModuleDict({"c": inner})})
    names = {name for item in walk(model) for name in (item.name, *item.aliases)}
    assert names == {name for name, _ in model.named_modules(remove_duplicate=False)}


def test_near_names() -> None:
    names = ["", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "head.fc"]
    assert nearest("layer2.0.conv1 ", names) == "layer2.0.conv1"
    assert nearest("layer2.0.conv", names) == "layer2.0.conv1"
    assert nearest("fc", names) == "head.fc"
    assert nearest("", names) is None
    assert nearest("something else", names) is None


def test_hostile_names_are_answered_quickly_and_shortly() -> None:
    model = nn.Sequential(*(nn.Identity() for _ in range(20_000)))
    named = walk(model)
    start = time.process_time()
    with pytest.raises(UnknownLayerError) as caught:
        select(model, "x" * 1_000_000, named)
    assert time.process_time() - start < 5
    assert len(str(caught.value)) < 400


def test_names_with_glob_characters_are_taken_literally_first() -> None:
    model = nn.Module()
    model.add_module("a[0]", nn.Identity())
    model.add_module("a0", nn.Identity())
    assert [item.name for item in select(model, "a[0]")] == ["a[0]"]
    assert [item.name for item in select(model, "a*")] == ["a[0]", "a0"]


def test_compiled_regions() -> None:
    inner = nn.Sequential(nn.Linear(1, 1))
    wrapped = torch.compile(inner, backend="eager")
    assert compiled_regions(walk(wrapped)) == {"_orig_mod": "", "_orig_mod.0": ""}
    own = nn.Sequential(nn.Sequential(nn.ReLU()), nn.ReLU())
    own[0].compile(backend="eager")
    assert compiled_regions(walk(own)) == {"0": "0", "0.0": "0"}
