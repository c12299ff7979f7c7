"""What a model's output says: where the prediction is, what its numbers are, and the top of the list."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnwidget.errors import InputError
from nnwidget.model.statistics import real
from nnwidget.types import Array, PredictionKind

_KINDS: dict[str, PredictionKind] = {
    "logits": "logits",
    "softmax": "softmax of logits",
    "softmax of logits": "softmax of logits",
    "probabilities": "probabilities",
    "log-probabilities": "log-probabilities",
    "multi-label": "multi-label",
    "regression": "regression",
    "values": "values",
}
_LOGITS = ("logits", "prediction_logits", "scores")


def parse_output(output: str | int) -> tuple[str, str]:
    """Split the ``output=`` argument of ``explore`` into a path and a kind.

    Parameters
    ----------
    output : str or int
        ``"auto"``; a kind (``"logits"``, ``"softmax"``, ``"probabilities"``, ``"log-probabilities"``,
        ``"multi-label"``, ``"regression"``, ``"values"``); a path into the output (``1``, ``"aux"``, ``"0.logits"``);
        or both, as in ``"aux:regression"``. ``":"`` also tells a path from a kind of the same name (``"logits:"``).

    Returns
    -------
    path, kind : str
        ``"auto"`` for what was not said.

    Examples
    --------
    >>> parse_output("softmax"), parse_output(1), parse_output("aux:logits")
    (('auto', 'softmax of logits'), ('1', 'auto'), ('aux', 'logits'))
    """
    text = str(output)
    path, colon, kind = text.rpartition(":")
    if colon and kind in _KINDS:
        return path or "auto", _KINDS[kind]
    if colon and not kind:
        return path or "auto", "auto"
    if text in _KINDS:
        return "auto", _KINDS[text]
    return text, "auto"


def scores(
    output: Any, model: nn.Module | None = None, *, output_path: str | int = "auto", kind: str = "auto"
) -> tuple[Tensor, PredictionKind, str]:
    """Find the prediction in a model's output and bring it to one row of numbers for each input.

    Parameters
    ----------
    output : object
        What the model returned: a tensor or any nesting of tuples, mappings, dataclasses and objects with ``logits``.
    model : nn.Module, optional
        Its last Softmax, LogSoftmax or Sigmoid tells the kind.
    output_path : str or int
        Where the prediction is (``"0"``, ``"logits"``, ``"aux.0"``), or ``"auto"``: what is called logits, else the
        first floating-point tensor.
    kind : str
        A kind instead of a guess. Logits are shown as they are, ``"softmax"`` applies a softmax, log-probabilities are
        shown as probabilities, ``"multi-label"`` applies a sigmoid where values leave [0, 1].

    Returns
    -------
    shown : Tensor
        float32 ``(N, K)`` on the host. Maps are averaged over their positions; of sequences of logits the last
        position is taken.
    kind : str
        What the numbers are. Pass it on as ``kind=`` for the same model's edited output, so that both are alike.
    note : str
        What was guessed or reduced and why; empty when the user said so.

    Raises
    ------
    InputError
        No floating-point tensor, no tensor at ``output_path``, or an unknown kind.

    Examples
    --------
    >>> scores({"loss": torch.tensor(0.5), "logits": torch.tensor([[3.0, 3.0]])})[:2]
    (tensor([[0.5000, 0.5000]]), 'softmax of logits')
    """
    if kind != "auto" and kind not in _KINDS:
        raise InputError(f"{kind!r} is not a kind of output.", argument="output", remedy=f"Use one of {list(_KINDS)}.")
    path, tensor, note = _find(output, str(output_path))
    notes = [note]
    values, positions, note = _rows(real(tensor), path)
    notes.append(note)
    if kind != "auto":
        shown, note = _shown(values, _KINDS[kind])
        return shown, _KINDS[kind], _join([*notes, note])
    if positions:
        return values, "values", _join(notes)
    found, why = _guess(values, model, 1e-4 if tensor.dtype in (torch.float32, torch.float64) else 5e-3)
    shown, note = _shown(values, found)
    return shown, found, _join([*notes, why, note])


def top(
    before: Array,
    after: Array,
    k: int = 5,
    names: Sequence[str] | None = None,
    target: int | None = None,
) -> list[dict[str, Any]]:
    """Rows of the prediction panel for one input.

    Parameters
    ----------
    before, after : ndarray
        ``(K,)``, the shown quantity without and with the edits.
    k : int
        How many of each to list; the union of both tops, so up to ``2 k`` rows and the target's.
    names : sequence of str, optional
        Class names, at least one for each output.
    target : int, optional
        The right class, always listed.

    Returns
    -------
    list of dict
        ``index``, ``name``, ``before`` and ``after``, sorted by ``before``, highest first; NaN comes last.

    Raises
    ------
    InputError
        Fewer names than outputs, or arrays of different length.

    Examples
    --------
    >>> [row["name"] for row in top(np.array([0.1, 0.7, 0.2]), np.array([0.8, 0.1, 0.1]), k=1, names=["a", "b", "c"])]
    ['b', 'a']
    """
    before, after = np.asarray(before, np.float32), np.asarray(after, np.float32)
    if before.ndim != 1 or before.shape != after.shape:
        raise InputError("The predictions before and after differ in shape.", argument="after")
    check_names(names, len(before))
    chosen = set(_best(before, k)) | set(_best(after, k))
    if target is not None and 0 <= target < len(before):
        chosen.add(int(target))
    order = sorted(chosen, key=lambda i: (bool(np.isnan(before[i])), -float(before[i]), i))
    return [
        {
            "index": i,
            "name": str(i) if names is None else str(names[i]),
            "before": float(before[i]),
            "after": float(after[i]),
        }
        for i in order
    ]


def check_names(names: Sequence[str] | None, outputs: int) -> None:
    """Refuse fewer class names than there are outputs.

    Raises
    ------
    InputError
        Naming both numbers.
    """
    if names is not None and len(names) < outputs:
        raise InputError(
            f"The model has {outputs} outputs and there are {len(names)} class names.",
            argument="class_names",
            remedy="Pass one name for each output.",
        )


def tensors(output: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in a nested output with its path, in order.

    Examples
    --------
    >>> [path for path, _ in tensors({"a": (torch.zeros(1), None), "b": torch.zeros(1)})]
    ['a.0', 'b']
    """
    if isinstance(output, Tensor):
        yield path, output
        return
    items: list[tuple[str, Any]] = []
    if isinstance(output, Mapping):
        items = [(str(key), value) for key, value in output.items()]
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        items = list(zip(output._fields, output, strict=True))
    elif isinstance(output, (list, tuple)):
        items = [(str(i), value) for i, value in enumerate(output)]
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        items = [(f.name, getattr(output, f.name)) for f in dataclasses.fields(output)]
    elif isinstance(getattr(output, "logits", None), Tensor):
        items = [("logits", output.logits)]
    for key, value in items:
        yield from tensors(value, f"{path}.{key}" if path else key)


def _find(output: Any, wanted: str) -> tuple[str, Tensor, str]:
    """Find the prediction's path and tensor, with a note when it was chosen among several."""
    found = list(tensors(output))
    if wanted != "auto":
        for path, tensor in found:
            if path == wanted:
                return path, tensor, ""
        have = ", ".join(repr(path) for path, _ in found) or "no tensors"
        raise InputError(f"The output has no tensor at {wanted!r}.", argument="output", remedy=f"It has {have}.")
    floats = [(path, t) for path, t in found if t.is_floating_point() or t.is_complex()]
    if not floats:
        raise InputError(
            f"The output ({type(output).__name__}) has no floating-point tensor to show as a prediction.",
            argument="output",
            remedy="Name one with output=, or return one from forward=.",
        )
    named = [(path, t) for path, t in floats if path.rsplit(".", 1)[-1] in _LOGITS]
    path, tensor = (named or floats)[0]
    if len(floats) == 1:
        return path, tensor, ""
    return path, tensor, f"shows output {path!r}, one of {len(floats)}"


def _rows(values: Tensor, path: str) -> tuple[Tensor, bool, str]:
    """(N, K), whether positions were averaged, and the note on it."""
    values = values.detach().to("cpu", torch.float32)
    if values.ndim <= 1:
        return values.reshape(-1, 1), False, ""
    if values.ndim == 2:
        return values, False, ""
    if values.ndim == 3 and path.rsplit(".", 1)[-1] in _LOGITS and values.shape[1] > 0:
        return values[:, -1], False, f"at the last of {values.shape[1]} positions"
    if values.ndim == 3:
        return values.mean(dim=1), True, f"mean over {values.shape[1]} positions"
    positions = " × ".join(str(n) for n in values.shape[2:])
    return values.flatten(2).mean(dim=2), True, f"mean over {positions} positions"


def _last_activation(model: nn.Module | None) -> nn.Module | None:
    """Find the last registered leaf that computes something."""
    leaves = [] if model is None else [m for m in model.modules() if not any(True for _ in m.children())]
    leaves = [m for m in leaves if not isinstance(m, (nn.Identity, nn.Dropout, nn.Flatten))]
    return leaves[-1] if leaves else None


def _guess(values: Tensor, model: nn.Module | None, tolerance: float) -> tuple[PredictionKind, str]:
    """Tell the kind by the last layer where the values agree with it, else by the values alone."""
    last = _last_activation(model)
    within = bool(((values >= 0) & (values <= 1)).all()) and values.numel() > 0
    if isinstance(last, nn.Sigmoid) and within:
        return "multi-label", "the last layer is a Sigmoid"
    if values.shape[1] == 1:
        return "regression", "a guess: there is one output"
    if within and _sums_to_one(values, tolerance):
        told = isinstance(last, (nn.Softmax, nn.Softmax2d))
        return "probabilities", "the last layer is a Softmax" if told else "a guess: each row sums to 1"
    if values.numel() and bool((values <= 1e-6).all()) and _sums_to_one(values.exp(), tolerance):
        told = isinstance(last, nn.LogSoftmax)
        return "log-probabilities", "the last layer is a LogSoftmax" if told else "a guess: the exponentials sum to 1"
    # A few logits may lie there by chance; a Linear as last layer makes logits likely.
    if within and (values.numel() >= 8 or not isinstance(last, nn.Linear)):
        return "multi-label", "a guess: all values lie between 0 and 1"
    return "softmax of logits", "a guess"


def _sums_to_one(values: Tensor, tolerance: float) -> bool:
    """Each row does, within what its precision leaves."""
    return bool(((values.sum(dim=1) - 1).abs() < tolerance).all())


def _shown(values: Tensor, kind: PredictionKind) -> tuple[Tensor, str]:
    """Compute the displayed quantity and say how."""
    if kind == "softmax of logits":
        return values.softmax(dim=1), ""
    if kind == "log-probabilities":
        return values.exp(), "shown as probabilities"
    if kind == "multi-label" and not bool(((values >= 0) & (values <= 1) | values.isnan()).all()):
        return values.sigmoid(), "sigmoid of the outputs"
    return values, ""


def _best(values: Array, k: int) -> list[int]:
    """Rank the k largest, NaN last, ties by index."""
    keys = np.where(np.isnan(values), np.inf, -values)
    return [int(i) for i in np.argsort(keys, kind="stable")[: max(k, 0)]]


def _join(notes: Sequence[str]) -> str:
    """One line of what was said."""
    return "; ".join(note for note in notes if note)


__all__ = ["check_names", "parse_output", "scores", "tensors", "top"]
