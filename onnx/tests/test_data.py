"""The grammars: answers that follow the schema, paths that exist in VSS, rules that hold."""

import json
import random
import re
from pathlib import Path

import pytest

from slmd_model.data import alert, dtc, grounds, idioms, loose, outside, phrases, public, signals, utterances, vehicle

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
    for schema in (
        signals.schema(),
        alert.schema(),
        dtc.schema({"P0300": "Random Misfire"}),
        utterances.schema("Intent", rows),
    ):
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


def test_a_reason_is_no_command_of_its_own():
    r, told = random.Random(2), 0
    for _ in range(2000):
        _, (action, *_), _ = vehicle.clause(r)
        why = grounds.remark(action, r)
        if why:
            told += 1
            assert grounds.states(why), why
            assert not re.search(r"\b(want|need|turn|open|close|enough|please)", why), why
    assert told > 200


def test_every_line_of_reasons_reads_and_goes_with_something():
    values = (*range(-100, 101, 10), True, False, *(v for group in signals.GROUPS for v in names(group)))
    r = random.Random(2)
    for pattern, when, reasons in grounds.COMPILED:
        met = [s for group in signals.GROUPS for s in group.signals if pattern.search(s)]
        assert met, pattern
        assert any(when(op, value) for op in ("set", "increase", "decrease") for value in values), pattern
        for reason in reasons * 20:
            text = phrases.expand(reason.replace("{w}", grounds.WHO).replace("{t}", grounds.THEY), r)
            assert text.strip() and not re.search(r"[{}()\[\]|]| '", text), text


def names(group) -> tuple:
    return group.set_to if isinstance(group.set_to, tuple) and isinstance(group.set_to[0], str) else ()


def test_people_in_a_reason_are_where_the_command_acts():
    r = random.Random(2)
    seat = {"signal": "Vehicle.Cabin.Seat.Row1.{}.HeatingCooling", "op": "set", "value": 50}
    for side, wife in (("DriverSide", False), ("PassengerSide", True)):
        told = " ".join(grounds.ground(seat | {"signal": seat["signal"].format(side)}, r) for _ in range(600))
        assert ("my wife" in told) == wife


@pytest.mark.parametrize(
    ("action", "reason", "not_a_reason"),
    [
        ({"signal": "Vehicle.Cabin.Seat.Row1.DriverSide.HeatingCooling", "op": "set", "value": 0}, "burning", "icy"),
        ({"signal": "Vehicle.Cabin.Door.*.*.Window.Position", "op": "set", "value": 100}, "fresh air", "windy"),
        ({"signal": "Vehicle.Body.Trunk.Rear.IsOpen", "op": "set", "value": False}, "loaded", "hands full"),
        ({"signal": "Vehicle.Cabin.HVAC.Station.*.*.Temperature", "op": "set", "value": 20}, "how i like it", "brr"),
    ],
)
def test_reasons_go_with_what_is_wanted(action, reason, not_a_reason):
    r = random.Random(2)
    told = " ".join(grounds.ground(action, r) for _ in range(400))
    assert reason in told and not_a_reason not in told


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("it's freezing in here", True),
        ("the music is too loud", True),
        ("grandma in the back is cold", True),
        ("this display blinds me", True),
        ("open the window", False),
        ("my window down", False),
        ("she wants 21 degrees", False),
        ("the ac is not needed", False),
        ("that's enough music", False),
        ("make sure the wipers are off", False),
    ],
)
def test_what_is_a_statement(text, states):
    assert grounds.states(text) == states


def test_a_statement_and_a_command_are_no_two_commands():
    r = random.Random(2)
    for _ in range(1000):
        states = [grounds.states(text) for text, _, _ in vehicle.several(2, r)]
        assert states[0] == states[1]


def test_intents_of_other_corpora_are_those_of_the_task(shared_data):
    def intents(name):
        return {row["intent"] for row in public.load(shared_data / "commands" / name)}

    nlu, snips, clinc = (intents(f"{name}_train.jsonl") for name in ("nlu_eval", "snips", "clinc"))
    meant = set(public.NLU_INTENT.values()) | {to for rules in public.NLU_INTENTS.values() for _, to in rules if to}
    named = set(public.NLU_INTENT) | set(public.NLU_INTENTS)
    assert meant <= nlu and named <= clinc | snips
    assert set(public.SNIPS_INTENT.values()) <= snips and set(public.SNIPS_INTENT) <= nlu | clinc
    assert not named & {*utterances.NOT_NLU, *utterances.UNSEEN, *utterances.SNIPS_NOT_NLU}


@pytest.mark.parametrize(
    ("intent", "text", "meant"),
    [
        ("todo_list_update", "take milk off my list", "lists_remove"),
        ("todo_list_update", "put milk on my list", "lists_createoradd"),
        ("todo_list_update", "remove milk and add beer", None),
        ("calendar_update", "i no longer want this event", "calendar_remove"),
        ("directions", "where is the nearest bank", "recommendation_locations"),
        ("directions", "the best route to the nearest bank", "transport_query"),
        ("schedule_meeting", "is a meeting room available at ten", None),
        ("change_volume", "make it louder", "audio_volume_up"),
        ("change_volume", "change the volume to 4", None),
        ("apr", "what is my apr", None),
    ],
)
def test_an_intent_of_another_corpus(intent, text, meant):
    assert public.nlu_intent({"intent": intent, "text": text}) == meant
