from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest
import torch
from torch import nn

from nnwidget.model import taps as module_under_test
from nnwidget.model.taps import EDIT, Hook, Taps, active


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_taps_see_calls_in_order_and_leave_nothing() -> None:
    model, seen = net(), []
    with Taps() as taps:
        for name, module in model.named_modules():
            taps.add(
                name,
                module,
                before=lambda name, *_: seen.append(f">{name}"),
                after=lambda name, *_: seen.append(f"<{name}"),
            )
        assert active() == ["", "0", "1", "2"]
        model(torch.ones(1, 3))
    assert seen == [">", ">0", "<0", ">1", "<1", ">2", "<2", "<"]
    assert hooks(model) == 0
    assert active() == []
    taps.close()


def test_no_attribute_is_written_on_modules() -> None:
    model = net()
    before = {name: set(module.__dict__) for name, module in model.named_modules()}
    with Taps(model) as taps:
        taps.add("0", model[0], after=lambda *_: None)
        model(torch.ones(1, 3))
        assert {name: set(module.__dict__) for name, module in model.named_modules()} == before


def test_a_failing_tap_goes_once_and_the_step_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    model, failed = net(), []
    expected = model(torch.ones(1, 3))

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("on purpose")

    with Taps(on_error=lambda name, error: failed.append((name, type(error)))) as taps:
        taps.add("0", model[0], after=fail)
        taps.add("2", model[2], before=fail)
        for _ in range(3):
            assert torch.equal(model(torch.ones(1, 3)), expected)
        assert taps.names == []
        assert hooks(model) == 0
    assert failed == [("0", ZeroDivisionError), ("2", ZeroDivisionError)]
    assert len(caplog.records) == 2


def test_interrupts_pass_through() -> None:
    model = net()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Taps() as taps:
        taps.add("0", model[0], after=interrupt)
        model(torch.ones(1, 3))
    assert hooks(model) == 0


def test_ours_come_last_also_after_hooks_registered_later() -> None:
    model, seen = net(), []
    with Taps(model) as taps:
        taps.add(
            "0",
            model[0],
            before=lambda name, module, args, kwargs: seen.append(args[0].sum().item()),
            after=lambda name, module, args, kwargs, output: seen.append(output.sum().item()),
        )
        model[0].register_forward_pre_hook(lambda module, args: (torch.zeros(1, 3),))
        model[0].register_forward_hook(lambda module, args, output: torch.full((1, 4), 5.0))
        model(torch.ones(1, 3))
    assert seen == [0, 20]


def test_edits_run_before_observers_whatever_the_order() -> None:
    model, seen = net(), []
    observe, edit = Taps(model), Taps(model, rank=EDIT)
    with observe, edit:
        observe.add("1", model[1], after=lambda *given: seen.append(given[-1].sum().item()))
        edit.add("1", model[1], after=lambda *given: torch.full_like(given[-1], 2.0))
        model[1].register_forward_hook(lambda *_: torch.full((1, 4), 9.0))
        model(torch.ones(1, 3))
        model(torch.ones(1, 3))
    assert seen == [8, 8]


def test_observers_cannot_change_values() -> None:
    model = net()
    expected = model(torch.ones(1, 3))
    with Taps() as taps:
        taps.add("0", model[0], before=lambda *_: (torch.zeros(1, 3), {}), after=lambda *_: torch.zeros(1, 4))
        assert torch.equal(model(torch.ones(1, 3)), expected)


def test_a_forgotten_owner_takes_its_hooks_along() -> None:
    model = net()
    taps = Taps(model)
    taps.add("0", model[0], after=lambda *_: None)
    del taps
    gc.collect()
    assert hooks(model) == 0


def test_closed_taps_go_without_a_word() -> None:
    """Python ignores what is raised while something goes, also a Ctrl-C."""
    net, ran = nn.Linear(2, 2), []
    taps = Taps(serial=False)
    for _ in range(2):
        taps.add("", net, after=lambda *_: ran.append("seen"))
        net(torch.ones(1, 2))
        assert active() == [""]
        taps.close()
        taps.close()
    net(torch.ones(1, 2))
    assert ran == ["seen", "seen"] and active() == []
    sys.setprofile(lambda frame, event, _: ran.append(frame.f_code.co_name) if event == "call" else None)
    del taps
    sys.setprofile(None)
    assert ran == ["seen", "seen"]


def test_the_model_is_freed_while_tapped() -> None:
    model = net()
    with Taps(model) as taps:
        taps.add("0", model[0], after=lambda *_: None)
        ref = weakref.ref(model)
        del model
        gc.collect()
        assert ref() is None


def test_copies_and_pickles_carry_no_taps() -> None:
    model, seen = net(), []
    x = torch.ones(1, 3)
    with Taps(model) as taps:
        taps.add("0", model[0], after=lambda *_: seen.append(1))
        state = model.state_dict()
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        twins = [
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
            torch.load(buffer, weights_only=False),
        ]
        expected = model(x)
        assert len(seen) == 1
        for twin in twins:
            assert torch.equal(twin(x), expected)
            assert not any(isinstance(hook, Hook) for m in twin.modules() for hook in m._forward_hooks.values())
        assert len(seen) == 1
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_a_saved_tapped_model_loads_where_nnwidget_is_absent(tmp_path: Any) -> None:
    model = net()
    with Taps(model) as taps:
        taps.add("0", model[0], after=lambda *_: None)
        torch.save(model, tmp_path / "model.pt")
    assert b"nnwidget" not in (tmp_path / "model.pt").read_bytes()
    code = (
        "import sys, torch; sys.modules['nnwidget'] = None; "
        f"print(tuple(torch.load({str(tmp_path / 'model.pt')!r}, weights_only=False)(torch.ones(1, 3)).shape))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(1, 2)", done.stderr


def test_scripting_a_tapped_model_says_what_to_do() -> None:
    model = net()
    with Taps(model) as taps:
        taps.add("0", model[0], after=lambda *_: None)
        hook = next(iter(model[0]._forward_hooks.values()))
        with pytest.raises(AttributeError, match=r"before torch\.jit\.script"):
            _ = hook.__name__


def test_replicas_in_threads_share_taps() -> None:
    model, seen = net(), []
    with Taps(model) as taps:
        taps.add("0", model[0], after=lambda name, module, *_: seen.append((name, module is model[0])))
        replicas = []
        for _ in range(4):
            replica = model._replicate_for_data_parallel()
            replica._modules = {
                key: child._replicate_for_data_parallel() if key == "0" else child
                for key, child in replica._modules.items()
            }
            for key, value in model[0]._parameters.items():
                replica._modules["0"].__dict__.pop(key, None)
                replica._modules["0"]._parameters[key] = value
            replicas.append(replica)
        threads = [
            threading.Thread(target=lambda one=one: [one(torch.ones(1, 3)) for _ in range(20)]) for one in replicas
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [("0", False)] * 80


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_left_alone() -> None:
    model, asides = net(), []
    with Taps(on_aside=lambda name, reason: asides.append(reason)) as taps:
        taps.add("0", model[0], after=lambda *_: 1 / 0)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                model[0](torch.ones(1, 3))
                os.write(write, asides[0].encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert b"forked" in os.read(read, 200)


def test_hooks_on_cycles_of_taps_do_not_pile_up() -> None:
    model, before = net(), len(module_under_test._live)
    for _ in range(20):
        with Taps(model) as taps:
            taps.add("0", model[0], before=lambda *_: None, after=lambda *_: None)
            model(torch.ones(1, 3))
    assert hooks(model) == 0
    assert len(module_under_test._live) == before
