"""The written sentences: what they answer exists, and none is one that a model is judged by."""

import json
import random
import re
from pathlib import Path

import pytest

from slmd_model.data import again, build, corpora, outside, report, signals, utterances, vehicle, written

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


def test_no_sentence_has_two_meanings():
    def said(rows):
        return [row["text"].lower().strip(" .?!") for row in rows]

    for task in ("intent", "snips"):
        texts = said(written.intents(task + ".txt"))
        assert len(texts) == len(set(texts)), task
    assert not set(said(written.intents("intent.txt"))) & set(said(written.outside("intent")))
    commands = [{"text": text} for text, _ in written.vehicle()]
    assert not set(said(commands)) & set(said(written.outside("vehicle")))


@pytest.mark.parametrize("source", ["vehicle/written", "vehicle/refusal", "intent/outside", "intent", "snips"])
def test_nothing_near_a_held_out_sentence_is_trained_on(source, shared_data, monkeypatch):
    """Some written sentences are held out: neither they nor their kin come any more."""
    data = corpora.read(shared_data)
    sets = report.Sets(data, shared_data, Path(__file__).parent)
    pools = {
        "vehicle/written": [text for text, _ in written.vehicle()],
        "vehicle/refusal": [row["text"] for row in written.outside("vehicle")],
        "intent/outside": [row["text"] for row in written.outside("intent")],
        "intent": [row["text"] for row in written.intents("intent.txt")],
        "snips": [row["text"] for row in written.intents("snips.txt")],
    }
    human = {row["text"] for row in data.nlu["fit"] + data.snips["fit"]}
    held = [text for text in pools[source][::7] if len(text.split()) > 4 and text not in human]
    kept = sets.kept()
    if source.startswith("vehicle"):
        kept = [*kept, *held]
    else:
        part = data.snips if source == "snips" else data.nlu
        part["report"].extend({"text": text, "intent": "", "slots": []} for text in held)
    # Values are not exchanged and no words left out: what is drawn is what was written.
    monkeypatch.setattr(utterances.Sentences, "vary", lambda self, row, r: (row["text"], utterances.answer(row)))
    monkeypatch.setattr(utterances, "loosened", lambda text, r: text)
    monkeypatch.setattr(vehicle, "around", lambda text, r: text)
    monkeypatch.setattr(outside, "refusal", lambda r: "")  # the grammar may say the same; `lines` sees to that
    make, r = build.makers(data, kept)[source], random.Random(1)
    drawn = {make(r)["text"] for _ in range(20_000)}
    assert drawn & set(pools[source])
    assert not drawn & set(held)


PLACE = {
    "right": r"right|passenger|hers|his|wife|husband", "left": r"left|driver|mine|my |behind me",
    "front": "front", "rear": "back|rear|behind",
}  # fmt: skip


def test_a_second_place_is_another_one_and_said():
    r = random.Random(2)
    for _ in range(2000):
        text, (first, second), _ = again.two_places(r)
        signals.check({"actions": [first, second]})
        one, other = (again.seats(again.PLACE.search(action["signal"])[0]) for action in (first, second))
        assert not one & other, (text, first, second)
        sides, rows = {side for _, side in other}, {row for row, _ in other}
        for places in (sides, rows):
            if len(places) == 1 and (len(other) < 4 and not (places == rows and rows == {"front"} and len(other) == 1)):
                assert re.search(PLACE[next(iter(places))], text.lower()), (text, second)
        if again.COOLING.search(text) and first["signal"].endswith("HeatingCooling"):
            assert first["value"] == second["value"], text


def test_beside_one_seat_no_whole_side_is_named():
    r = random.Random(3)
    for _ in range(2000):
        text, (first, second), _ = again.two_places(r)
        one, other = (again.PLACE.search(action["signal"])[0] for action in (first, second))
        assert one.startswith("*") or not other.startswith("*"), (text, first, second)


def test_a_wish_said_twice_is_one_action():
    r = random.Random(2)
    said = [again.said_twice([topic for _, topic in vehicle.TOPICS], vehicle.WEIGHTS, r) for _ in range(300)]
    assert all(len(actions) == 1 for _, actions, _ in said)
    twice = [text for text, _, _ in said if any(between in text for between in (", ", " - ", " so "))]
    assert len(twice) > 150


def test_commands_of_one_sentence_are_of_different_signals():
    r = random.Random(4)
    for _ in range(2000):
        parts = vehicle.several(3, r)
        found = [action["signal"] for _, actions, _ in parts for action in actions]
        assert len(set(found)) == len(found), parts
