"""Figures and tests, on answers whose figures are known."""

import numpy as np
import pytest

from slmd_model import scores
from slmd_model.scores import REFUSAL, Answer


def said(intent, *pairs):
    return {"intent": intent, "slots": [{"slot": a, "value": b} for a, b in pairs]}


ANSWERS = [
    Answer(said("a", ("x", "1"), ("y", "2")), said("a", ("x", "1"), ("y", "3")), True),
    Answer(said("b"), said("b"), True),
    Answer(REFUSAL, said("a", ("x", "1")), True),
    Answer(said("b", ("x", "1")), None, False),
]


def test_labels_and_slots():
    assert [scores.label(a.want) for a in ANSWERS] == ["a", "b", "out_of_scope", "b"]
    assert scores.label(None) == "invalid"
    assert scores.slot_f1(ANSWERS) == pytest.approx(2 * 1 / (3 + 3))
    assert scores.macro_f1(ANSWERS, ["a", "b"]) == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_intervals_hold_the_figure():
    value, low, high = scores.interval(scores.mean(lambda a: a.exact), ANSWERS * 50)
    assert value == 0.25
    assert low < value < high


def test_mcnemar():
    assert scores.mcnemar([True] * 10, [True] * 10)["p"] == 1.0
    found = scores.mcnemar([True] * 10, [False] * 10)
    assert found == {"only_first": 10, "only_second": 0, "p": round(2 / 2**10, 4)}


def test_calibration_error():
    sure = np.repeat([0.9, 0.5], 100)
    right = np.array([1] * 80 + [0] * 20 + [1] * 50 + [0] * 50, float)
    assert scores.calibration_error(sure, right) == pytest.approx(0.05)


def test_what_a_confidence_is_of():
    want = {"intent": "a", "actions": [{"signal": "x", "value": 1}]}
    got = {"intent": "a", "actions": [{"signal": "x", "value": 2}]}
    assert Answer(want, got, True, fields=("/intent", "/actions/*/signal")).sure_right
    assert not Answer(want, got, True, fields=("/actions/0/value",)).sure_right
    assert not Answer(want, got, True).sure_right
    assert not Answer(want, REFUSAL, True, fields=("/intent",)).sure_right
    assert not Answer(REFUSAL, want, True, fields=("/intent",)).sure_right
    assert not Answer(REFUSAL, None, False, fields=("/intent",)).sure_right
    assert Answer(REFUSAL, REFUSAL, True, fields=("/intent",)).sure_right
