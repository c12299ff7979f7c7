from __future__ import annotations

import gc
import random
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nnwidget.errors import ForwardError, InputError, UnknownLayerError
from nnwidget.model.inputs import PinnedInputs
from nnwidget.model.table import LayerTable, layers, nearest
from nnwidget.types import TensorSpec
from tests.zoo.models import case


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seen(name: str) -> LayerTable:
    model, args, kwargs = case(name).make()
    return layers(model, PinnedInputs(model, args, kwargs))


def test_structure_without_inputs() -> None:
    table = layers(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()))
    assert [row.name for row in table] == ["", "0", "1", "2"]
    assert [row.type for row in table] == ["Sequential", "Conv2d", "BatchNorm2d", "ReLU"]
    assert [row.depth for row in table] == [0, 1, 1, 1]
    assert table[""].parameters == 24
    assert table[""].own_parameters == 0
    assert table["1"].buffers == 5
    assert [row.calls for row in table] == [None] * 4
    assert table["2"].trainable is None


def test_what_a_run_shows() -> None:
    table = seen("keywords")
    assert table["lin"].outputs == (TensorSpec("", (2, 4), "float32"),)
    table = layers(case("keywords").make()[0], {"x": torch.ones(3, 4), "bias": torch.ones(4)})
    assert table[""].inputs == (TensorSpec("x", (3, 4), "float32"), TensorSpec("bias", (4,), "float32"))
    assert table["lin"].inputs == (TensorSpec("input", (3, 4), "float32"),)
    assert table["lin"].seconds is not None
    assert table[""].seconds is not None
    assert table[""].seconds >= table["lin"].seconds > 0
    assert table.order == ("", "lin")


def test_nested_outputs_have_paths() -> None:
    assert [spec.path for spec in seen("dict output")[""].outputs] == ["logits", "aux.a.b"]
    assert [spec.path for spec in seen("lstm")[""].outputs] == ["0", "1.0", "1.1"]


def test_reused_shared_and_never_called() -> None:
    assert seen("reused module")["lin"].calls == 3
    shared = seen("shared under two names")
    assert shared["lin"].aliases == ("again", "block.0")
    assert shared["block.0"] is shared["lin"]
    assert shared["lin"].calls == 3
    assert shared[""].parameters == 20
    never = seen("never called")
    assert never["spare.0"].calls == 0
    assert never["spare.0"].seconds is None
    assert "Not called" in never["spare.0"].note


def test_tied_weights_count_once() -> None:
    table = seen("tied weights")
    assert table[""].parameters == 28
    assert table["embed"].parameters == table["head"].parameters == 28


def test_trainable_frozen_and_mixed() -> None:
    table = seen("frozen backbone")
    assert table["0"].trainable is False
    assert table["4"].trainable is True
    assert table[""].trainable is None


def test_layers_that_cannot_be_observed_say_why() -> None:
    assert "ScriptModule" in seen("script child")["1"].reason
    assert seen("script child")["1"].type == "Sequential"
    attention = seen("attention")
    assert "never calls it" in attention["attention.out_proj"].reason
    assert "fused path" in attention["attention"].note
    assert "only holds" in seen("module containers")["by_name"].reason


def test_lazy_models_are_not_run() -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    state = torch.get_rng_state()
    table = layers(model, torch.ones(2, 4))
    assert "'0'" in table.note
    assert "Run it once" in table.note
    assert table["0"].reason
    assert table["0"].parameters == 0
    assert table["1"].calls is None
    assert isinstance(model[0].weight, nn.UninitializedParameter)
    assert torch.equal(torch.get_rng_state(), state)
    assert "not run" in repr(table)


def test_meta_models_have_shapes_and_no_times() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(), nn.BatchNorm1d(3))
    table = layers(model, torch.ones(2, 4))
    assert table["2"].outputs[0].shape == (2, 3)
    assert table["0"].calls == 1
    assert table["0"].seconds is None
    assert model[1].training


def test_a_model_that_raises_shows_what_was_seen() -> None:
    class Breaks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ torch.ones(99, 1)

    model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), Breaks()), nn.Linear(3, 3))
    table = layers(model, torch.ones(2, 4))
    assert isinstance(table.error, ForwardError)
    assert table.error.layer == "1.1"
    assert isinstance(table.error.__cause__, RuntimeError)
    assert table["0"].outputs[0].shape == (2, 3)
    assert table["1.0"].calls == 1
    assert table["1.1"].calls == 0
    assert table["1.1"].inputs[0].shape == (2, 3)
    assert "raised in layer '1.1'" in repr(table)
    wrong = layers(nn.Sequential(nn.Linear(4, 3)), torch.ones(2, 5))
    assert wrong.error is not None
    assert wrong.error.layer == "0"


def test_the_error_keeps_no_tensor_alive() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 3))
    table = layers(model, torch.ones(2, 4))
    ref = weakref.ref(model)
    del model
    gc.collect()
    assert table.error is not None
    assert ref() is None


def test_an_error_that_was_caught_is_not_blamed() -> None:
    class Tries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(7, 7)
            self.last = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.inner(x)
            except RuntimeError:
                pass
            return self.last(x)

    table = layers(Tries(), torch.ones(2, 4))
    assert table.error is not None
    assert table.error.layer == "last"


def test_a_run_leaves_random_state_modes_and_buffers() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    model[0].eval()
    before = (torch.get_rng_state(), random.getstate(), str(np.random.get_state()))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.ones(3, 4)
    layers(model, x)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), str(np.random.get_state())) == before[1:]
    assert [module.training for module in model] == [False, True, True]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_input_is_not_changed_by_in_place_layers() -> None:
    x = torch.full((2, 4), -1.0)
    layers(nn.Sequential(nn.ReLU(inplace=True)), x)
    assert (x == -1).all()


def test_no_parameters() -> None:
    table = layers(nn.Sequential(nn.ReLU()), torch.ones(1, 2))
    assert table[""].parameters == 0
    assert table["0"].calls == 1


def test_forward_callable() -> None:
    class Generates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin = nn.Linear(2, 2)

        def generate(self, x: Tensor) -> Tensor:
            return self.lin(self.lin(x))

    table = layers(Generates(), torch.ones(1, 2), forward=lambda model, inputs: model.generate(inputs))
    assert table["lin"].calls == 2
    assert table[""].calls == 0


def test_compiled_models_are_seen_eagerly() -> None:
    model = torch.compile(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), backend="eager")
    expected = model(torch.ones(1, 2))
    table = layers(model, torch.ones(1, 2))
    if hasattr(torch.compiler, "set_stance"):
        assert table["_orig_mod.0"].calls == 1
        assert "eager re-run" in table["_orig_mod.0"].note
    else:
        assert "Use torch 2.6" in table.note
    assert torch.equal(model(torch.ones(1, 2)), expected)


def test_signatures_are_equal_for_equal_structures() -> None:
    def block(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, width), nn.ReLU())

    table = layers(nn.Sequential(block(3), block(3), block(4), nn.Sequential(nn.Linear(3, 3), nn.Tanh())))
    assert table["0"].signature == table["1"].signature
    assert table["0"].signature != table["2"].signature
    assert table["0"].signature != table["3"].signature
    assert layers(block(3))[""].signature == table["0"].signature


def test_unknown_names_name_the_nearest() -> None:
    table = seen("resnet")
    with pytest.raises(UnknownLayerError, match=r"Did you mean 'layer1\.0\.bn1'") as caught:
        table["layer1.0.bn11"]
    assert isinstance(caught.value, KeyError)
    assert nearest("zzz", ["abc"]) is None
    assert nearest("blocks.7.conv", ["stem", "features.conv"]) == "features.conv"


def test_it_is_a_sequence() -> None:
    table = seen("resnet")
    assert table[0].name == ""
    assert table[-1].name == "fc"
    assert [row.name for row in table[1:3]] == ["stem", "stem.0"]
    assert "fc" in table
    assert table[0] in table
    assert "nothing" not in table


def test_dataframe_and_text() -> None:
    table = seen("resnet")
    frame = table.to_dataframe()
    assert len(frame) == len(table)
    assert frame.loc["fc", "parameters"] == 15
    assert frame.loc["fc", "outputs"] == "2×3"
    lines = repr(table).splitlines()
    assert len(lines) == len(table) + 1
    assert "2×4×12×12" in lines[3]


def test_html_is_escaped() -> None:
    page = seen("html names")._repr_html_()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page


def test_unprintable_and_cyclic_models() -> None:
    assert seen("unprintable")["lin"].calls == 1
    cyclic = seen("holds its parent")
    assert [row.name for row in cyclic] == ["", "lin", "child"]
    assert cyclic[""].parameters == 20


def test_shared_subtrees_list_all_their_names() -> None:
    inner = nn.Sequential(nn.Linear(2, 2))
    table = layers(nn.ModuleDict({"a": inner, "b": inner, "c": nn.Sequential(inner)}))
    assert table["a.0"].aliases == ("b.0", "c.0.0")
    assert table["c.0.0"].parameters == 6
    assert table[""].parameters == 6
    assert table["c"].parameters == 6


def test_diamonds_do_not_explode() -> None:
    model: nn.Module = nn.Linear(1, 1)
    for _ in range(40):
        model = nn.ModuleList([model, model])
    table = layers(model)
    assert len(table) == 41
    assert table[""].parameters == 2


def test_bad_models() -> None:
    with pytest.raises(InputError, match=r"Linear\(\)"):
        layers(nn.Linear)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="list"):
        layers([])  # type: ignore[arg-type]


def test_fifty_thousand_modules_take_linear_time() -> None:
    def build(blocks: int) -> nn.Module:
        blocks_of_ten: list[Any] = []
        for _ in range(blocks):
            part = nn.Sequential()
            part._modules.update({str(i): nn.Identity() for i in range(9)})
            blocks_of_ten.append(part)
        return nn.Sequential(*blocks_of_ten)

    small, large = build(500), build(5000)

    def seconds(model: nn.Module) -> float:
        start = time.process_time()
        assert len(layers(model)) == sum(1 for _ in model.modules())
        return time.process_time() - start

    # Ten times the modules, with room for noise; a quadratic walk would take a hundred times.
    assert seconds(large) < 40 * min(seconds(small) for _ in range(3))


def test_a_thousand_levels_deep() -> None:
    model: nn.Module = nn.Linear(1, 1)
    for _ in range(3000):
        outer = nn.Module()
        outer._modules["0"] = model
        model = outer
    table = layers(model)
    assert len(table) == 3001
    assert table[""].parameters == 2
