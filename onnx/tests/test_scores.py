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


def test_calibration_finds_the_scale():
    r = np.random.default_rng(1)
    true = r.uniform(0.3, 1.0, 4000)
    right = (r.uniform(size=4000) < true).astype(float)
    sure = scores.calibrated(true, 2.0, 0.5)  # too sure of itself
    scale, shift = scores.fit_calibration(sure, right)
    assert scores.calibration_error(sure, right) > 0.08
    assert scores.calibration_error(scores.calibrated(sure, scale, shift), right) < 0.03
