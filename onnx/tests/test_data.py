"""The grammars: answers that follow the schema, paths that exist in VSS, rules that hold."""

import json
import random
import re
from pathlib import Path

import pytest

from slmd_model.data import alert, dtc, idioms, loose, outside, signals, utterances, vehicle

HANDWRITTEN = sorted(Path(__file__).parent.glob("vehicle_handwritten*.jsonl"))
COMPILES = {
    "$schema", "title", "type", "enum", "const", "properties", "required", "additionalProperties", "anyOf", "items",
    "minItems", "maxItems", "minimum", "maximum", "minLength", "maxLength", "pattern",
}  # fmt: skip
INSTANCES = re.compile(r"Row\d|DriverSide|PassengerSide|Driver|Passenger|Front|Rear|Left|Right|Low|High|\*")


def test_commands_follow_the_schema():
    r = random.Random(7)
    for _ in range(3000):
        text, answer = vehicle.command(r)  # checks its answer itself
        assert text.strip() and not re.search(r"[{}()\[\]|]|  ", text), text
        assert list(answer["actions"][0]) == ["signal", "op", "value"]


def test_same_seed_same_sentences():
    first, second = (vehicle.command(random.Random(3)) for _ in range(2))
    assert first == second


def test_refusals_are_sentences():
    r = random.Random(7)
    for _ in range(2000):
        text = outside.refusal(r)
        assert text.strip() and not re.search(r"[{}()\[\]|]", text), text


def test_handwritten_answers_follow_the_schema():
    lines = [json.loads(line) for path in HANDWRITTEN for line in path.read_text().splitlines()]
    assert len(lines) >= 100
    for line in lines:
        signals.check(line["answer"])


def test_schemas_use_only_what_llguidance_compiles():
    def keywords(node):
        for key, value in node.items():
            assert key in COMPILES, key
            children = (
                value.values() if key == "properties" else value if key == "anyOf" else [value] * (key == "items")
            )
            for child in children:
                keywords(child)

    rows = [{"text": "on", "intent": "on", "slots": [{"slot": "what", "value": "on"}]}]
    for schema in (signals.schema(), alert.schema(), dtc.schema(), utterances.schema("Intent", rows)):
        keywords(schema)


def vss_paths(root: Path) -> set[str]:
    """Every path of the VSS tree, without instances."""
    found = set()

    def read(file: Path, prefix: str) -> None:
        for line in file.read_text(encoding="utf-8").splitlines():
            include = re.match(r"#include\s+(\S+)(?:\s+(\S+))?", line)
            name = re.match(r"([A-Z][\w.]*):\s*$", line)
            if include:
                target = next(p for p in (file.parent / include[1], root / include[1]) if p.is_file())
                read(target, prefix + (include[2] + "." if include[2] else ""))
            elif name:
                found.add(prefix + name[1])

    read(root / "VehicleSignalSpecification.vspec", "")
    return found


def test_signals_exist_in_vss(shared_data):
    known = vss_paths(shared_data / "vehicle" / "vss")
    for group in signals.GROUPS:
        for signal in group.signals:
            plain = ".".join(part for part in signal.split(".") if not INSTANCES.fullmatch(part))
            assert plain in known, signal


@pytest.mark.parametrize(
    ("changes", "cause", "severity"),
    [
        ({}, "normal", "info"),
        ({"last": 101}, "above_limit", "warning"),
        ({"last": 125}, "far_above_limit", "critical"),
        ({"peak": 101}, "spike", "warning"),
        ({"floor": 99}, "below_limit", "warning"),
        ({"trend": 50}, "rising", "info"),
        ({"trend": -50}, "falling", "info"),
        ({"spread": 0, "last": 130}, "flat", "warning"),
    ],
)
def test_alert_rules(changes, cause, severity):
    verdict = alert.judge({"last": 80, "peak": 95, "floor": 120, "trend": 49, "spread": 12} | changes)
    assert (verdict["cause"], verdict["severity"]) == (cause, severity)


def test_a_correction_and_noise_leave_the_figure_last():
    r = random.Random(3)
    for _ in range(200):
        text = loose.corrected_number("set it to 21 degrees", r)
        assert text.endswith("21 degrees")
        assert loose.spoken(text, r) == loose.spoken(text, r).lower()
    assert loose.corrected_number("open it", r) is None


def test_idioms_follow_the_schema():
    r = random.Random(5)
    for _ in range(5000):
        text, actions, _ = idioms.idiom(r)
        signals.check({"actions": actions})
        assert text.strip() and not re.search(r"[{}()\[\]|#@]|  ", text), text
