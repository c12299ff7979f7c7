"""Models that are compiled, wrapped, copied or saved while an explorer looks at them."""

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

import nnwidget
from nnwidget.errors import InputError
from nnwidget.session.wrappers import unwrap
from nnwidget.wire.messages import Look


class Net(nn.Module):
    # A class of its own, since torch refuses to compile a bare Sequential in place.
    def __init__(self):
        super().__init__()
        self.hidden, self.act, self.out = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.act(self.hidden(x)))


def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def train(model, parameters, looks):
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    torch.manual_seed(1)
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.randn(5, 4)).square().mean().backward()
        optimizer.step()
        looks()


@pytest.mark.parametrize("way", ["before", "after", "in place"])
def test_a_compiled_model_is_shown_by_an_eager_rerun_and_trains_untouched(fresh_dynamo, way):
    def run(watched):
        model = net()
        x = torch.ones(2, 4)
        ex = None
        if way == "before":
            ex = nnwidget.explore(model, x) if watched else None
            if ex is not None:
                ex._repr_mimebundle_()
        compiled = model
        if way == "in place":
            model.compile(backend="eager", fullgraph=True)
        else:
            compiled = torch.compile(model, backend="eager", fullgraph=True)
        if way != "before" and watched:
            ex = nnwidget.explore(compiled, x)
            ex._repr_mimebundle_()
        shapes = []
        train(
            compiled, model.parameters(), lambda: shapes.append(ex.activation("act").shape) if ex is not None else None
        )
        if ex is not None:
            assert shapes == [(8,)] * 6
            if way == "after":
                assert "eager re-run" in ex._service._model_words["note"].lower()
            ex.close()
        return list(model.state_dict().values())

    for free, watched in zip(run(False), run(True), strict=True):
        assert torch.equal(free, watched)


def test_dataparallel_is_seen_through():
    model = nn.DataParallel(net())
    with nnwidget.explore(model, torch.ones(2, 4)) as ex:
        assert ex.activation("hidden").shape == (8,)
    assert unwrap(model) == (model.module, "Seen through DataParallel.")


def test_a_sharded_model_is_refused_with_the_way_out():
    class DTensor(nn.Parameter):
        pass

    model = nn.Linear(2, 2)
    model._parameters["weight"].__class__ = DTensor
    with pytest.raises(InputError, match="several processes"):
        nnwidget.explore(model, torch.ones(1, 2))


def test_copies_pickles_and_state_of_a_model_on_the_screen_are_as_before():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with nnwidget.explore(model, torch.ones(2, 4)) as ex:
        ex._repr_mimebundle_()
        assert model._forward_pre_hooks
        twin = copy.deepcopy(model)
        again = pickle.loads(pickle.dumps(model))
        saved = io.BytesIO()
        torch.save(model, saved)
        assert list(model.state_dict()) == list(twin.state_dict())
        x = torch.randn(3, 4)
        assert torch.equal(twin(x), model(x)) and torch.equal(again(x), model(x))
        code = (
            "import sys, torch, io; sys.modules['nnwidget'] = None\n"
            "model = torch.load(io.BytesIO(sys.stdin.buffer.read()), weights_only=False)\n"
            "print(tuple(model(torch.ones(1, 4)).shape))"
        )
        done = subprocess.run([sys.executable, "-c", code], input=saved.getvalue(), capture_output=True, check=False)
        assert done.stdout.split() == [b"(1,", b"3)"], done.stderr.decode()
    assert twin._forward_pre_hooks.keys() == set() or all(
        type(hook).__module__ != "nnwidget.model.taps" for hook in twin._forward_pre_hooks.values()
    )


def test_export_of_a_model_on_the_screen_works():
    model = net().eval()
    with nnwidget.explore(model, torch.ones(2, 4)) as ex:
        ex._repr_mimebundle_()
        # torch 2.4 exports no model with a hook on its root, whoever's hook it is; there it works again after closing.
        if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 5):
            ex.close()
        program = torch.export.export(model, (torch.ones(2, 4),))
        assert torch.equal(program.module()(torch.ones(2, 4)), model(torch.ones(2, 4)))


def test_looking_while_an_exception_or_interrupt_ends_the_loop_leaves_the_model_alone():
    model = net().train()
    model.act.eval()
    with nnwidget.explore(model, torch.ones(2, 4)) as ex:
        ex._repr_mimebundle_()
        for raised in (ValueError, KeyboardInterrupt):
            with pytest.raises(raised):
                model(torch.ones(1, 4)).sum().backward()
                raise raised
            ex._bench.look(Look("act"))
        assert [m.training for m in model.modules()] == [True, True, False, True]
