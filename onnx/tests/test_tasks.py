"""The tasks beside `vehicle`: sentences with slots, trouble codes, machines."""

import csv
import json
import random

import pytest

from slmd_model.data import alert, dtc, utterances
from slmd_model.errors import UserError

ROWS = [
    {
        "text": "play Blue by Joni in the kitchen",
        "intent": "play",
        "slots": [{"slot": "track", "value": "Blue"}, {"slot": "artist", "value": "Joni"}],
    },
    {"text": "stop", "intent": "stop", "slots": []},
]
TABLE = {"P0300": "Random Misfire", "P0301": "Cylinder 1 Misfire"}


def test_values_are_always_copied_from_the_sentence():
    sentences, r = utterances.Sentences(ROWS), random.Random(1)
    for _ in range(300):
        text, answer = sentences.example(r)
        assert all(slot["value"] in text for slot in answer["slots"])


def test_codes_in_sentences():
    r, codes = random.Random(1), list(TABLE)
    for _ in range(500):
        text, answer = dtc.example(TABLE, codes, r)
        if "code" in answer:
            assert answer["code"] in text.upper() or (text.upper() != text and len(text) > 5)
            assert answer["meaning"] == TABLE[answer["code"]]
        else:
            assert not any(code in text for code in codes)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match="trouble codes"):
        dtc.read(tmp_path / "none.csv")


def test_machine_rules_are_those_of_the_data(shared_data):
    failures = {"power": "PWF", "overstrain": "OSF", "heat_dissipation": "HDF"}
    with (shared_data / "factory" / "ai4i2020_train.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        cause = alert.judge(alert.of_row(line))["cause"]
        told = [name for name, column in failures.items() if line[column] == "1"]
        assert (cause in told) if told else (cause not in failures), line


def test_a_series_is_told_in_percent():
    stats = alert.of_series([50.0, 75.0, 100.0], "temperature", 40.0, 80.0)
    assert stats == {"sensor": "temperature", "last": 125, "peak": 125, "floor": 250, "trend": 100, "spread": 67}
    assert alert.judge(stats)["cause"] == "far_above_limit"


def test_examples_are_judged_by_what_is_shown():
    r = random.Random(1)
    for _ in range(500):
        text, verdict = alert.example(r)
        assert verdict["cause"] in alert.CAUSES
        if text.startswith("{"):
            assert alert.judge(json.loads(text)) == verdict
