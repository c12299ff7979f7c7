"""What two processes do under torchrun; each writes what it saw to ``<folder>/<rank>.json`` for the tests to judge."""

import json
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from nnwidget import watching
from nnwidget.errors import InputError, NNWidgetError
from nnwidget.explorer import explore
from nnwidget.training.history import History
from nnwidget.watching import watch
from nnwidget.wire.messages import Control
from tests.bits import bits

STEPS = 12


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def replicated():
    return nn.parallel.DistributedDataParallel(net())


def sharded():
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    # An odd size, so that the ranks' shards differ.
    model = nn.Sequential(nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 3))
    mesh = init_device_mesh("cpu", (2,))
    fully_shard(model[0], mesh=mesh)
    return fully_shard(model, mesh=mesh)


def whole(tensor):
    """All of a tensor; a collective, so both ranks must ask."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def norms(model):
    squares = {}
    for name, p in model.named_parameters():
        layer = name.rpartition(".")[0].removeprefix("module.")
        squares[layer] = squares.get(layer, 0.0) + float(whole(p.grad.detach()).square().sum())
    return {layer: value**0.5 for layer, value in squares.items()}


def train(model, watcher=None, *, micro=1, spoil=None, count=STEPS, after=lambda step: None):
    """Train on this rank's own batches; return losses and the bits of everything at the end."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    criterion = nn.CrossEntropyLoss()
    torch.manual_seed(100 + dist.get_rank())
    made = watcher(model, optimizer) if watcher else None
    losses = []
    for step in range(1, count + 1):
        optimizer.zero_grad()
        for part in range(micro):
            x, y = torch.randn(6, 8), torch.randint(0, 3, (6,))
            if (step, dist.get_rank()) == spoil:
                x[0, 0] = torch.nan
            if part + 1 < micro:
                with model.no_sync():
                    criterion(model(x), y).backward()
            else:
                loss = criterion(model(x), y)
                loss.backward()
        after(step)
        optimizer.step()
        losses.append(loss.item())
    if made is not None:
        made.close()
    own = [getattr(value, "_local_tensor", value) for value in model.state_dict().values()]
    return {"losses": losses, "state": repr(bits([losses, *own, torch.get_rng_state()]))}, made


def by_the_page(watch):
    """What a page that asks for it is told."""
    return [error_of(lambda action=action: watch.play.serve(Control(action))) for action in ("pause", "step", "stop")]


def shown():
    """Whether a watch made in a notebook shows its panel on this rank."""
    from IPython import display

    model, seen = replicated(), []
    before = watching._in_notebook, display.display
    watching._in_notebook, display.display = lambda: True, seen.append
    try:
        with watch(model, torch.optim.SGD(model.parameters(), lr=0.1)) as w:
            return seen == [w] if seen else False
    finally:
        watching._in_notebook, display.display = before


def clicked(model, optimizer, seen):
    """Watch a replica; its first rank has an explorer whose clicks are served between steps."""
    w = watch(model, optimizer, inputs=torch.ones(2, 8), every=1, budget=None)
    if dist.get_rank() == 0:
        ex = explore(model, torch.ones(2, 8), watch=w)
        optimizer.register_step_post_hook(lambda *_: seen.append(ex.activation("2").shape))
    return w


def series(watch, name, layer=None):
    found = watch.history.series(name, layer)
    return dict(zip(map(str, found.steps.tolist()), found.values.tolist(), strict=True))


def error_of(what):
    try:
        what()
    except (InputError, NNWidgetError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def replicas(folder):
    said = {}
    for name, micro in (("plain", 1), ("accumulated", 2)):
        alone, _ = train(replicated(), micro=micro)
        model, path = replicated(), folder / name
        seen = {}

        def watcher(model, optimizer, path=path):
            return watch(model, optimizer, inputs=torch.ones(2, 8), every=1, budget=None, path=path)

        def after(step, model=model, seen=seen):
            seen[step] = norms(model)

        watched, w = train(model, watcher, micro=micro, after=after)
        true = {str(step): found["4"] for step, found in seen.items()}
        said[name] = {
            "same": alone == watched,
            "losses": [watched["losses"], list(series(w, "loss").values())],
            "norms": [true, series(w, "grad_norm", "4")],
            "seen": sorted(w.history["activation_mean"]),
            "snapshots": len(w.history.snapshots),
            "error": w._engine.error,
            "loaded": len(History.load(w.history.path).steps),
            "path": str(w.history.path.relative_to(folder)),
        }
    model = replicated()
    with watch(model, torch.optim.SGD(model.parameters(), lr=0.1)) as w:
        said["refused"] = [error_of(w.pause), error_of(w.advance), error_of(w.stop), *by_the_page(w)]
        said["should_stop"] = w.should_stop or w.paused
    said["shown"] = shown()
    alone, _ = train(replicated())
    through, forward, seen = [], nn.parallel.DistributedDataParallel.forward, []
    nn.parallel.DistributedDataParallel.forward = lambda *given: through.append(1) or forward(*given)
    watched, w = train(replicated(), lambda m, o: clicked(m, o, seen))
    said["clicks"] = {"same": alone == watched, "seen": seen, "error": w._engine.error, "wrapper": len(through)}
    through.clear()
    _, w = train(replicated(), lambda m, o: watch(m, o, every=1, budget=None), spoil=(5, 1))
    said["findings"] = [[f.step, f.layer, f.evidence.get("direction")] for f in w.findings]
    said["wrapper"] = len(through)
    nn.parallel.DistributedDataParallel.forward = forward
    alone, _ = train(replicated())
    watched, _ = train(replicated(), (lambda m, o: watch(m, o)) if dist.get_rank() == 0 else None)
    said["watched by the first alone"] = alone == watched
    return said


def shards(folder):
    alone, _ = train(sharded())
    model, seen = sharded(), {}

    def after(step):
        seen[step] = norms(model)

    watched, w = train(model, lambda m, o: watch(m, o, every=2, path=folder / "shards"), after=after)
    said = {
        "same": alone == watched,
        "norms": [
            {str(step): found["0"] for step, found in seen.items() if step % 2 == 0},
            series(w, "grad_norm", "0"),
        ],
        "total": [
            {str(step): sum(v**2 for v in found.values()) ** 0.5 for step, found in seen.items() if step % 2 == 0},
            series(w, "total_grad_norm") if dist.get_rank() == 0 else None,
        ],
        "each": len(series(w, "shard_grad_norm")),
        "seen": sorted(w.history["activation_mean"]),
        "coverage": str(w.coverage),
        "error": w._engine.error,
    }
    model = sharded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    said["inputs"] = error_of(lambda: watch(model, optimizer, inputs=torch.ones(2, 8)))
    with watch(model, optimizer) as w:
        said["refused"] = [error_of(w.pause), error_of(w.advance), error_of(w.stop), *by_the_page(w)]
        said["clicks"] = error_of(lambda: explore(model, torch.ones(2, 8), watch=w))
        said["every"] = w._engine.governor._every
    _, w = train(sharded(), lambda m, o: watch(m, o), spoil=(5, 1))
    said["findings"] = [[f.step, f.evidence.get("exact")] for f in w.findings]
    began = time.monotonic()
    watched, w = train(sharded(), (lambda m, o: watch(m, o, every=1)) if dist.get_rank() == 0 else None)
    said["alone"] = [alone == watched, time.monotonic() - began < 20, str(w.coverage) if w else ""]
    if w is not None:
        said["alone"].append("grad_norm" in w.history)

    def by_hand(model, optimizer):
        return watch(model, every=1)

    watched, w = train(sharded(), by_hand)
    said["without an optimiser"] = [alone == watched, w.steps]
    return said


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    folder = Path(sys.argv[1])
    said = {"replicas": replicas(folder)}
    if sys.argv[2] == "shards":
        said["shards"] = shards(folder)
    (folder / f"{dist.get_rank()}.json").write_text(json.dumps(said))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
