"""Write the golden messages that both sides of the wire must agree on: ``python -m tests.wire.make_golden``."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import nnwidget
from nnwidget.model.filters import filters
from nnwidget.session.charts import Strip, curve, events, scalars
from nnwidget.session.distributions import distribution_result
from nnwidget.session.ranking import ranking_result
from nnwidget.session.weights import bank_result
from nnwidget.training.history import History
from nnwidget.types import Event, Tiles, WeightView
from nnwidget.wire.codec import encode
from nnwidget.wire.messages import DistributionOf, Look, RankingOf

FOLDER = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Row:
    """A dataclass with an array in it."""

    name: str
    values: Any


def maps_result() -> dict[str, Any]:
    """What a look at a small layer sends, with every reserved code and a Unicode name."""
    codes = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4) * 11
    codes[1, 2] = [252, 253, 254, 255]
    tiles = Tiles(
        codes=codes,
        lo=np.array([-1.5, 0.0], np.float32),
        hi=np.array([2.5, 1e-30], np.float32),
        activity=np.array([0.1, 3.4028235e38], np.float32),
        index=np.array([7, 191], np.int32),
    )
    return {
        "layer": "блок.слой<b>é</b>",
        "layout": "maps",
        "shape": (192, 3, 4),
        "axes": ("row", "column"),
        "guessed": True,
        "index": tiles.index,
        "codes": tiles.codes,
        "lo": tiles.lo,
        "hi": tiles.hi,
        "activity": tiles.activity,
        "pool": tiles.pool,
        "minimum": -1.5,
        "maximum": float("inf"),
        "mean": float("nan"),
        "nan": np.int64(1),
        "sentence": "Each tile shows one channel – ×2, “quoted”, 𝔘𝔫𝔦𝔠𝔬𝔡𝔢.",
    }


def charts_result() -> dict[str, Any]:
    """What the panel of a training is sent: a curve with a NaN, norms of layers with one missing."""
    history = History(["features.0", "слой"], memory=1_000_000)
    steps = np.arange(1, 21)
    loss = np.where(steps == 7, np.nan, 2.5 / steps)
    history.add_steps(steps, np.zeros(20), {"loss": loss, "lr": np.full(20, 0.125)})
    for step, norms in ((2, [0.5, np.nan]), (10, [0.25, 2.0]), (20, [np.inf, 0.0])):
        history.add_sample(step, {"grad_norm": np.array(norms, np.float32)}, {})
    history.add_event(Event(7, 0.0, "finding", "The loss became NaN.", {"layer": "слой"}))
    strip = Strip("grad_norm")
    strip.update(history)
    found, count = events(history)
    return {
        "scalars": scalars(history),
        "curve": curve(history, "loss"),
        "layers": strip.result(),
        "events": found,
        "event_count": count,
    }


def matrix_result() -> dict[str, Any]:
    """A window of a pooled matrix with a NaN, its rows sorted, its gradient beside it; all numbers are exact."""
    layer = nn.Linear(8, 6)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:, :2] = torch.tensor([[3.0, 4.0]]) * torch.tensor([2, 4, 0, 0, 4, 8]).unsqueeze(1)
        layer.weight[3, 7] = float("nan")
    layer.weight.grad = torch.full((6, 8), -0.5)
    view = WeightView(window=(0, 4, 0, 8), room=(4, 4), sort="norm", gradient=True)
    result = bank_result(filters(layer, view))
    # The last digit of these is the machine's own.
    result["weight"] |= {"mean": 0.5, "std": 2.5}
    return {"layer": "слой", "sort": "norm", "reference": None, "input": None, "tied": ["голова.weight"], **result}


def strips_result() -> dict[str, Any]:
    """A normalisation: scale with its gradient, shift without, running statistics."""
    layer = nn.BatchNorm1d(4)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -0.5, 0.25, float("inf")]))
    layer.weight.grad = torch.tensor([0.0, 1.0, -1.0, 0.125])
    result = bank_result(filters(layer, WeightView(gradient=True)))
    result["strips"][0] |= {"std": 0.5}
    return {"layer": "norm", "sort": "number", "reference": None, "input": None, "tied": [], **result}


def distribution() -> dict[str, Any]:
    """What the distribution panel is told of a layer with NaN and infinities, beside one with nothing to count."""
    model = nn.Sequential(nn.Identity(), nn.Flatten(0))
    values = torch.tensor([[0.0, 0.25, 0.5, -0.5], [0.0, float("nan"), float("inf"), 1.0]])
    with nnwidget.explore(model, values[None, :, None]) as explorer:
        found = distribution_result(explorer._bench, DistributionOf(Look("0"), ("gone",)), 7)
    figure = {"id": "figure", "margin": {"top": 8}, "strokes": ["solid"], "colours": ["#2a78d6"]}
    return found | {"figure": figure, "seconds": 0.25}


def ranking() -> dict[str, Any]:
    """What the feature maps are told of channels ranked by influence, half done, with a NaN among the changes."""
    model = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 2.0, 4.0, 3.0]).reshape(4, 1, 1, 1))
        model[2].weight.copy_(torch.tensor([[1.0, -1.0, 0.5, float("inf")], [2.0, 0.0, 0.25, 1.0]]))
    images = torch.tensor([0.5, 1.5]).reshape(2, 1, 1, 1)
    with nnwidget.explore(model, images, targets=[1, 0], class_names=["кот", "<b>dog</b>"]) as explorer:
        calls = iter([False, True])
        want = RankingOf(Look("0", input=1), target=0)
        return ranking_result(explorer._bench, want, 7, lambda: False, lambda: next(calls))


CASES: dict[str, Any] = {
    "distribution": distribution(),
    "ranking": ranking(),
    "maps": maps_result(),
    "charts": charts_result(),
    "filters_rgb": {
        "kind": "rgb",
        "codes": (np.arange(2 * 2 * 2 * 3) * 10).astype(np.uint8).reshape(2, 2, 2, 3),
        "lo": np.full(2, -0.25, np.float64),
        "hi": np.full(2, 0.25, np.float16),
        "channel": None,
    },
    "filters_matrix": matrix_result(),
    "filters_strips": strips_result(),
    "empty": {
        "codes": np.zeros((0, 28, 28), np.uint8),
        "lo": np.zeros(0, np.float32),
        "index": np.zeros(0, np.int64),
        "tree": {},
        "list": [],
        "text": "",
    },
    "offsets": [
        np.array([1, 2, 3], np.uint8),
        {"a": np.array([-(2**31), 2**31 - 1], np.int64), "b": [np.array([True, False]), None]},
        np.array([[0.1, -0.0], [np.nan, np.inf], [-np.inf, 1e-45]], np.float32),
        np.array(5, np.int32),
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(12, dtype=">i4")[::-2],
        Row("dataclass", np.array([1.5], np.float64)),
    ],
    "plain": {"number": 1, "float": 0.1, "yes": True, "nothing": None, "nested": [[["deep"]]], "clé": "ключ"},
}


def plain(value: Any) -> Any:
    """The decoded tree as JSON can say it."""
    if isinstance(value, np.ndarray):
        dtype = {"b": "u8", "u": "u8", "i": "i32", "f": "f32"}[value.dtype.kind]
        flat = value.astype(np.float32 if dtype == "f32" else np.int64).reshape(-1).tolist()
        words = [v if np.isfinite(v) else str(v) for v in flat]
        return {"dtype": dtype, "shape": list(value.shape), "values": words}
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def golden(name: str) -> tuple[str, bytes]:
    """One case as the texts of its two files."""
    tree, buffers = encode(CASES[name])
    data, places = bytearray(b"\xff"), []
    for buffer in buffers:
        # An odd start is the trap: a view of four-byte numbers cannot lie there.
        data += b"\xff" * (1 - len(data) % 2)
        places.append({"offset": len(data), "length": len(buffer)})
        data += buffer
    content = {"json": tree, "buffers": places, "expected": plain(CASES[name])}
    return dumps(content), bytes(data)


def colours() -> str:
    """Where codes lie in their ranges."""
    codes = [[0, 1, 126, 251, 252, 253, 254, 255], [252, 128, 64, 32, 0, 0, 0, 0], [0, 0, 0, 0, 254, 253, 255, 255]]
    ranges = {
        "ordinary": ([-1.0, 0.25, 0.0], [3.0, 0.75, 0.0]),
        "far from zero": ([1000.0, 1000.5, 1000.25], [1001.0, 1002.0, 1000.25]),
        "negative": ([-8.0, -2.0, -4.0], [-2.0, -1.0, -4.0]),
        "all zero": ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        "wide": ([-3e38, 0.0, 1.0], [3e38, 1e-30, 1.0]),
    }
    cases = []
    for name, (low, high) in ranges.items():
        lo, hi = np.array(low, np.float32).tolist(), np.array(high, np.float32).tolist()
        layer = (min(lo), max(hi))
        reach = max(abs(layer[0]), abs(layer[1]))
        for scaling in ("layer", "channel", "symmetric"):
            owns = list(zip(lo, hi, strict=True))
            shown = [{"layer": layer, "channel": own, "symmetric": (-reach, reach)}[scaling] for own in owns]
            expected = [
                [place(code, *own, *span) for code in tile] for tile, own, span in zip(codes, owns, shown, strict=True)
            ]
            cases.append(
                {
                    "name": f"{name}, {scaling}",
                    "scaling": scaling,
                    "codes": codes,
                    "lo": lo,
                    "hi": hi,
                    "layer": {"lo": layer[0], "hi": layer[1]},
                    "expected": expected,
                }
            )
    return dumps(cases)


def place(code: int, lo: float, hi: float, low: float, high: float) -> float | str:
    """Where one code lies in the shown range, or what it says instead of a number."""
    if code > 252:
        return {253: "-inf", 254: "+inf", 255: "nan"}[code]
    value = lo + code / 252 * (hi - lo)
    return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.0


def dumps(content: Any) -> str:
    """JSON that a person can read in a diff: one line for each innermost list."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=False) + "\n"


def files() -> dict[str, bytes]:
    """Every golden file's name and content."""
    found = {"colours.json": colours().encode()}
    for name in CASES:
        text, data = golden(name)
        found[f"{name}.json"], found[f"{name}.bin"] = text.encode(), data
    return found


if __name__ == "__main__":
    for file, content in files().items():
        (FOLDER / file).write_bytes(content)
