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
    assert scores.macro_f1(["a", "b"])(ANSWERS) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert scores.macro_f1(["a", "b", "not wanted"])(ANSWERS) == pytest.approx((2 / 3 + 2 / 3) / 2)


@pytest.mark.parametrize("odd", ["text", "slots", [1], ["intent"], [], {"slots": "x"}, {"slots": [1, {"value": [2]}]}])
def test_answers_of_any_shape_have_labels_and_slots(odd):
    assert scores.label(odd) == ""
    assert scores.slot_f1([Answer(odd, odd, True)]) == 1.0
    assert not Answer(odd, said("a"), True).label_right


def test_what_a_text_says():
    assert scores.said(' {"a": 1}\n') == {"a": 1}
    assert scores.said("[1]") == [1]
    assert [scores.said(text) for text in (" on\n", "12", "true", '"on"', "{", "[" * 100_000)] == [
        "on", "12", "true", '"on"', "{", "[" * 100_000,
    ]  # fmt: skip


def test_intervals_hold_the_figure():
    value, low, high = scores.interval(scores.mean(lambda a: a.exact), ANSWERS * 50)
    assert value == 0.25
    assert low < value < high


@pytest.mark.parametrize("figure", [scores.slot_f1, scores.macro_f1(["a", "b"])])
def test_intervals_are_those_of_answers_drawn_again(figure):
    some = ANSWERS * 10
    picks = np.random.default_rng(1).integers(0, len(some), (scores.RESAMPLES, len(some)))
    drawn = [figure([some[i] for i in pick]) for pick in picks]
    assert scores.interval(figure, some)[1:] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=1e-4)


def test_labels_that_a_resample_does_not_have_are_left_out():
    names = [str(i) for i in range(50)]
    answers = [Answer({"code": name}, {"code": name}, True) for name in names]
    assert scores.interval(scores.macro_f1(names), answers) == [1.0, 1.0, 1.0]


def test_differences_are_of_the_same_lines():
    exact = scores.mean(lambda a: a.exact)
    right, wrong = Answer("on", "on", True), Answer("on", "off", True)
    first, second = [right] * 50 + [wrong] * 50, [right] * 45 + [wrong] * 55
    value, low, high = scores.difference(exact, first, second)
    assert value == -0.05
    assert -0.11 < low < value < high < -0.005  # of two samples that have nothing in common it were -0.19 to 0.09
    assert scores.difference(exact, first, first) == [0.0, 0.0, 0.0]


def test_mcnemar():
    assert scores.mcnemar([True] * 10, [True] * 10)["p"] == 1.0
    found = scores.mcnemar([True] * 10, [False] * 10)
    assert found == {"only_first": 10, "only_second": 0, "p": round(2 / 2**10, 4)}


def test_calibration_error():
    sure = np.repeat([0.9, 0.5], 100)
    right = np.array([1] * 80 + [0] * 20 + [1] * 50 + [0] * 50, float)
    answers = [Answer("on", "on" if r else "off", True, s) for s, r in zip(sure, right, strict=True)]
    assert scores.calibration_error(answers) == pytest.approx(0.05)
    value, low, high = scores.interval(scores.calibration_error, answers)
    assert value == 0.05
    assert 0 < low < value < high < 0.12


def test_the_interval_of_a_small_calibration_error_holds_it():
    answers = [Answer("on", "on" if i % 10 < 9 else "off", True, 0.9) for i in range(100)]
    value, low, high = scores.interval(scores.calibration_error, answers)
    assert (value, low) == (0.0, 0.0)
    assert 0 < high < 0.06


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
