"""The tasks beside `vehicle`: sentences with slots, trouble codes, machines."""

import csv
import json
import random
from pathlib import Path

import jinja2
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
    sentences, r = utterances.Sentences(ROWS, {}), random.Random(1)
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


def test_misplaced_meanings_are_put_right():
    rows = [["P0100", "air;"], ["P0126", "extra"], ["P0301", "closed loop"], ["P0382", "one"], ["P0420", "another's"],
            ["P0750", "catalyst"], ["P0751", "shift  solenoid/"], ["P1100", "a maker's"]]  # fmt: skip
    assert dtc.generic(rows) == {
        "P0100": "air", "P0126": "closed loop", "P0301": "one", "P0420": "catalyst", "P0750": "shift solenoid",
    }  # fmt: skip


def test_the_table_says_what_the_standard_does(shared_data):
    table = dtc.read(shared_data / "vehicle" / "obd-trouble-codes.csv")
    assert len(table) == 437 and all(code <= dtc.LAST for code in table)
    for code, meaning in {
        "P0115": "Engine Coolant Temperature Circuit", "P0128": "Coolant Thermostat", "P0135": "(Bank 1 Sensor 1)",
        "P0141": "Heater Circuit Malfunction (Bank 1 Sensor 2)", "P0174": "Lean (Bank 2)", "P0204": "Cylinder 4",
        "P0300": "Random", "P0304": "Cylinder 4", "P0325": "Knock Sensor 1", "P0335": "Crankshaft", "P0340": "Camshaft",
        "P0401": "Insufficient", "P0430": "(Bank 2)", "P0442": "small leak", "P0455": "gross leak",
        "P0500": "Vehicle Speed", "P0506": "Lower", "P0563": "High", "P0606": "Processor", "P0740": "Torque Converter",
    }.items():  # fmt: skip
        assert meaning in table[code], code


def test_another_edition_of_the_table_is_refused(tmp_path):
    path = tmp_path / "codes.csv"
    path.write_text('"P0101","x"\n"P0126","y"\n"P0750","z"\n"P0751","z"\n')
    with pytest.raises(UserError, match="P0101"):
        dtc.read(path)


def test_machine_rules_are_those_of_the_data(shared_data):
    failures = {"power": "PWF", "overstrain": "OSF", "heat_dissipation": "HDF"}
    with (shared_data / "factory" / "ai4i2020_train.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        cause = alert.judge(alert.of_row(line))["cause"]
        told = [name for name, column in failures.items() if line[column] == "1"]
        assert (cause in told) if told else (cause not in failures), line


def templates() -> list[str]:
    """Those of the README, each on one line."""
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    block = readme.split("```jinja\n")[1].split("```")[0]
    return ["".join(part.splitlines()) for part in block.split("\n\n")]


def test_the_templates_of_the_readme_tell_what_the_model_was_trained_on(shared_data):
    series, machine = (jinja2.Environment().from_string(text) for text in templates())
    with (shared_data / "factory" / "ai4i2020_train.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))[::7]
    for line in lines:
        said = machine.render(
            type=line["Type"], air=float(line["Air temperature [K]"]), process=float(line["Process temperature [K]"]),
            rpm=int(line["Rotational speed [rpm]"]), torque=float(line["Torque [Nm]"]),
            wear=int(line["Tool wear [min]"]),
        )  # fmt: skip
        assert alert.judge(json.loads(said)) == alert.judge(alert.of_row(line)), line
    values = [4.0, 5.0, 6.2]
    said = json.loads(series.render(last=6.2, max=6.2, min=4.0, first=4.0, limit=5.0, mean=sum(values) / 3))
    wanted = alert.of_series(values, "vibration", 1.0, 5.0)
    assert said == {key: value for key, value in wanted.items() if key != "floor"}


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
