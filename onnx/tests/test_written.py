"""The written sentences: what they answer exists, and none is one that a model is judged by."""

import json
import random
import re
from pathlib import Path

import pytest

from slmd_model.data import again, build, corpora, report, signals, utterances, vehicle, written
from slmd_model.data.splits import Index

BUNDLE = Path(__file__).parent.parent / "default"


def names_of(task: str) -> tuple[set[str], set[str]]:
    """The intents and slots of the bundle's task."""
    schema = json.loads((BUNDLE / f"{task}.schema.json").read_text())
    answer = schema["anyOf"][0]["properties"]
    return set(answer["intent"]["enum"]), set(answer["slots"]["items"]["properties"]["slot"]["enum"])


def test_commands_follow_the_schema():
    pairs = written.vehicle()
    assert len(pairs) > 1500
    for text, answer in pairs:
        assert text == " ".join(text.split()), text
        signals.check(answer)
    assert len({text for text, _ in pairs}) == len(pairs)


@pytest.mark.parametrize("task", ["intent", "snips"])
def test_intents_and_slots_are_those_of_the_task(task):
    rows = written.intents(task + ".txt")
    intents, slots = names_of(task)
    assert {row["intent"] for row in rows} == intents
    for row in rows:
        assert not re.search(r"[\[\]]", row["text"]), row
        assert {slot["slot"] for slot in row["slots"]} <= slots, row
        assert utterances.pieces(row), row


def test_marks_are_slots_in_their_order():
    row = written.marked("alarm_set", "wake me at [time: seven am] on [date: friday] please")
    assert row["text"] == "wake me at seven am on friday please"
    assert row["slots"] == [{"slot": "time", "value": "seven am"}, {"slot": "date", "value": "friday"}]


def test_names_are_of_the_kinds_that_slots_have():
    names = written.names()
    assert set(names) == {kind for kinds in utterances.KINDS.values() for kind in kinds}
    assert all(len(values) == len(set(values)) >= 50 for values in names.values())


def test_a_name_of_its_slot_is_exchanged_in():
    row = {"text": "play Blue", "intent": "play", "slots": [{"slot": "artist", "value": "Blue"}]}
    sentences, r = utterances.Sentences([row], {"artist": ["Joni Mitchell"]}), random.Random(1)
    texts = {sentences.vary(row, r)[0] for _ in range(200)}
    assert "play Joni Mitchell" in texts


def test_nothing_near_a_hand_written_command_is_trained_on(shared_data):
    """`makers` is given one of the written commands as held out: it and its kin do not come."""
    data = corpora.read(shared_data)
    sets = report.Sets(data, shared_data, Path(__file__).parent)
    held = written.vehicle()[100][0]
    make = build.makers(data, [*sets.kept(), held])["vehicle/written"]
    r = random.Random(1)
    assert not [text for text in (make(r)["text"] for _ in range(20_000)) if Index([held]).near(text)]


def test_a_second_place_is_another_one():
    r = random.Random(2)
    for _ in range(500):
        _, (first, second), _ = again.two_places(r)
        signals.check({"actions": [first, second]})
        one, other = (again.PLACE.search(action["signal"])[0] for action in (first, second))
        assert not again.seats(one) & again.seats(other), (first, second)
        assert first["signal"].replace(one, other) == second["signal"]


def test_a_wish_said_twice_is_one_action():
    r = random.Random(2)
    for _ in range(200):
        text, actions, _ = again.said_twice([topic for _, topic in vehicle.TOPICS], vehicle.WEIGHTS, r)
        assert len(actions) == 1 and text
