"""The prediction is found in any output, its kind is guessed and said, and the list is right."""

from __future__ import annotations

import dataclasses
import math
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nnwidget.errors import InputError
from nnwidget.model.predict import check_names, parse_output, scores, top

torch.set_num_threads(1)

LOGITS = torch.tensor([[1.0, -2.0, 3.0], [0.0, 5.0, -1.0]])
Pair = namedtuple("Pair", "loss logits")


@dataclasses.dataclass
class Output:
    loss: torch.Tensor
    logits: torch.Tensor
    hidden: None = None


class Plain:
    """An object that is no container at all."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS,),
        [None, LOGITS],
        {"a": {"b": LOGITS}},
        {"hidden": torch.zeros(2, 9), "logits": LOGITS},
        Pair(torch.tensor(0.3), LOGITS),
        Output(torch.tensor(0.3), LOGITS),
        Plain(LOGITS),
        (torch.tensor([1, 2]), LOGITS, 7, "x"),
    ],
    ids=lambda o: type(o).__name__,
)
def test_logits_are_found_in_any_structure(output: Any) -> None:
    shown, kind, note = scores(output, nn.Linear(2, 3))
    assert kind == "softmax of logits" and "guess" in note
    assert shown.dtype == torch.float32
    torch.testing.assert_close(shown, LOGITS.softmax(1))


def test_the_note_says_which_of_several_outputs_is_shown() -> None:
    assert "'logits', one of 2" in scores({"x": torch.zeros(2, 9), "logits": LOGITS})[2]
    assert "'0', one of 2" in scores((LOGITS, torch.zeros(2, 9)))[2]


@pytest.mark.parametrize(
    ("last", "values", "kind", "word"),
    [
        (nn.Softmax(dim=1), LOGITS.softmax(1), "probabilities", "Softmax"),
        (nn.Linear(1, 1), LOGITS.softmax(1), "probabilities", "sums to 1"),
        (nn.LogSoftmax(dim=1), LOGITS.log_softmax(1), "log-probabilities", "LogSoftmax"),
        (nn.Linear(1, 1), LOGITS.log_softmax(1), "log-probabilities", "sum to 1"),
        (nn.Sigmoid(), LOGITS.sigmoid(), "multi-label", "Sigmoid"),
        (nn.Sigmoid(), LOGITS[:, :1].sigmoid(), "multi-label", "Sigmoid"),
        (nn.Linear(1, 1), LOGITS.repeat(1, 2).sigmoid(), "multi-label", "between 0 and 1"),
        (nn.Linear(1, 1), torch.tensor([[0.3, 0.6]]), "softmax of logits", "guess"),
        (nn.Linear(1, 1), LOGITS[:, :1], "regression", "one output"),
        (nn.Softmax(dim=1), LOGITS, "softmax of logits", "guess"),
        (nn.Linear(1, 1), LOGITS * math.nan, "softmax of logits", "guess"),
        (nn.Linear(1, 1), LOGITS.softmax(1).half(), "probabilities", "sums to 1"),
    ],
)
def test_the_kind_is_guessed_and_the_reason_said(last: nn.Module, values: torch.Tensor, kind: str, word: str) -> None:
    model = nn.Sequential(nn.Linear(2, 3), last, nn.Identity())
    shown, found, note = scores(values, model)
    assert found == kind and word in note
    if kind == "log-probabilities":
        torch.testing.assert_close(shown, LOGITS.softmax(1))
        assert "shown as probabilities" in note
    elif kind != "softmax of logits":
        torch.testing.assert_close(shown, values.float())


def test_what_the_user_says_overrides_the_guess() -> None:
    for told, expected in [
        ("logits", LOGITS),
        ("softmax", LOGITS.softmax(1)),
        ("regression", LOGITS),
        ("values", LOGITS),
        ("multi-label", LOGITS.sigmoid()),
        ("probabilities", LOGITS),
    ]:
        shown, kind, note = scores(LOGITS, nn.Softmax(dim=1), kind=told)
        torch.testing.assert_close(shown, expected)
        assert "guess" not in note
        # What comes back can be passed again, for the edited output.
        torch.testing.assert_close(scores(LOGITS, None, kind=kind)[0], expected)


def test_an_output_can_be_named() -> None:
    output = {"main": LOGITS, "aux": (torch.zeros(2, 9), LOGITS)}
    shown, _, note = scores(output, None, output_path="aux.1", kind="logits")
    torch.testing.assert_close(shown, LOGITS)
    assert note == ""
    assert scores((torch.zeros(2, 4), LOGITS), None, output_path=1)[0].shape == (2, 3)
    with pytest.raises(InputError, match=r"no tensor at 'aux\.2'") as caught:
        scores(output, None, output_path="aux.2")
    assert "'main', 'aux.0', 'aux.1'" in str(caught.value)


def test_parse_output() -> None:
    assert parse_output("auto") == ("auto", "auto")
    assert parse_output("softmax") == ("auto", "softmax of logits")
    assert parse_output(2) == ("2", "auto")
    assert parse_output("aux.0") == ("aux.0", "auto")
    assert parse_output("aux.0:logits") == ("aux.0", "logits")
    assert parse_output("logits:") == ("logits", "auto")
    assert parse_output("logits") == ("auto", "logits")


def test_maps_and_sequences_become_rows() -> None:
    maps = torch.randn(2, 3, 4, 5)
    shown, kind, note = scores(maps)
    torch.testing.assert_close(shown, maps.mean((2, 3)))
    assert kind == "values" and "mean over 4 × 5 positions" in note
    hidden = torch.randn(2, 6, 3)
    shown, kind, note = scores(hidden)
    torch.testing.assert_close(shown, hidden.mean(1))
    assert kind == "values" and "mean over 6" in note
    shown, kind, note = scores({"logits": hidden})
    torch.testing.assert_close(shown, hidden[:, -1].softmax(1))
    assert kind == "softmax of logits" and "last of 6" in note


def test_one_number_an_input_is_a_regression() -> None:
    assert scores(torch.randn(4))[0].shape == (4, 1)
    assert scores(torch.tensor(2.0))[:2] == (torch.tensor([[2.0]]), "regression")


@pytest.mark.parametrize("output", [None, "text", {}, (torch.tensor([1, 2]),)])
def test_an_output_without_a_prediction_is_refused_with_the_remedy(output: Any) -> None:
    with pytest.raises(InputError, match="forward="):
        scores(output)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="'odds'"):
        scores(LOGITS, kind="odds")


def test_top_is_the_union_of_both_sorted_by_before() -> None:
    before, after = np.array([0.1, 0.5, 0.3, 0.1]), np.array([0.1, 0.1, 0.1, 0.7])
    rows = top(before, after, k=1, names=["a", "b", "c", "d"], target=2)
    assert [row["name"] for row in rows] == ["b", "c", "d"]
    assert rows[2] == {"index": 3, "name": "d", "before": pytest.approx(0.1), "after": pytest.approx(0.7)}
    assert [row["index"] for row in top(before, after, k=9)] == [1, 2, 0, 3]
    assert top(before, after, k=1)[0]["name"] == "1"


def test_nan_comes_last_and_a_target_outside_is_left_out() -> None:
    values = np.array([math.nan, 1.0, 2.0])
    assert [row["index"] for row in top(values, values, k=3, target=77)] == [2, 1, 0]
    assert [row["index"] for row in top(values, values, k=1)] == [2]


def test_too_few_class_names_are_refused() -> None:
    with pytest.raises(InputError, match="3 outputs and there are 2") as caught:
        top(np.zeros(3), np.zeros(3), names=["a", "b"])
    assert caught.value.argument == "class_names"
    check_names(None, 3)
    check_names(["a", "b", "c", "d"], 3)
