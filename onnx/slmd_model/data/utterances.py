"""Intents and slots: NLU-Evaluation-Data (task `intent`) and SNIPS (task `snips`).

An answer is {"intent", "slots": [{"slot", "value"}]}, slots in the order in
which they are said and values copied from the sentence, or a refusal. To have
more than the few thousand sentences, values are exchanged for others of the
same slot, and for made-up names where any words can be one.
"""

import functools
import random
from collections import defaultdict
from collections.abc import Callable

REFUSAL = {"out_of_scope": True}
VALUE_LENGTH = 64
ENOUGH = 5  # values of a slot within an intent, to keep to them
NAMES = {
    "playlist", "entity_name", "artist", "album", "track", "object_name", "movie_name", "restaurant_name", "poi",
    "person", "song_name", "artist_name", "playlist_name", "audiobook_name", "podcast_name", "list_name",
    "event_name", "business_name", "game_name", "definition_word", "radio_name",
}  # fmt: skip
# Which kinds of `written.names` a slot can have.
KINDS = {
    "artist": ("artist",), "artist_name": ("artist",), "track": ("track",), "song_name": ("track",),
    "album": ("album",), "entity_name": ("track", "album"), "playlist": ("playlist",), "playlist_name": ("playlist",),
    "restaurant_name": ("restaurant",), "business_name": ("restaurant", "shop"), "served_dish": ("dish",),
    "food_type": ("dish",), "cuisine": ("cuisine",), "poi": ("landmark",), "geographic_poi": ("park",),
    "city": ("city",), "state": ("state",), "country": ("country",), "place_name": ("city", "country"),
    "object_name": ("book", "show", "film", "album", "game"), "movie_name": ("film",), "audiobook_name": ("book",),
    "podcast_name": ("show",), "game_name": ("game",), "location_name": ("cinema",), "person": ("person",),
}  # fmt: skip
# What SNIPS' seven intents do not cover, by intent of NLU-Evaluation-Data and CLINC.
NOT_SNIPS = (
    "alarm_", "calendar_", "iot_", "email_", "qa_", "transport_", "social_", "datetime_", "audio_volume_", "general_",
)  # fmt: skip
# CLINC's intents that no intent of NLU-Evaluation-Data covers. UNSEEN are kept from training.
NOT_NLU = [
    "accept_reservations", "account_blocked", "application_status", "apr", "balance", "bill_balance", "bill_due",
    "book_hotel", "cancel_reservation", "car_rental", "card_declined", "carry_on", "change_accent", "change_ai_name",
    "change_language", "change_user_name", "confirm_reservation", "credit_limit", "credit_limit_change",
    "damaged_card", "direct_deposit", "expiration_date", "find_phone", "flight_status", "flip_coin", "freeze_account",
    "gas_type", "improve_credit_score", "income", "insurance_change", "interest_rate", "international_fees",
    "international_visa", "last_maintenance", "make_call", "min_payment", "mpg", "new_card", "oil_change_how",
    "oil_change_when", "order_checks", "pay_bill", "payday", "pin_change", "plug_type", "pto_balance", "pto_request",
    "pto_request_status", "redeem_rewards", "replacement_card_duration", "report_fraud", "report_lost_card",
    "reset_settings", "rewards_balance", "roll_dice", "rollover_401k", "routing", "schedule_maintenance",
    "share_location", "spending_history", "sync_device", "taxes", "tire_change", "transactions", "transfer",
    "travel_notification",
]  # fmt: skip
SNIPS_NOT_NLU = ("RateBook",)
UNSEEN = ["vaccines", "jump_start", "credit_score", "pto_used", "w2", "lost_luggage", "insurance", "tire_pressure"]


def answer(row: dict) -> dict:
    return {"intent": row["intent"], "slots": [dict(slot) for slot in row["slots"]]}


def pieces(row: dict) -> list[tuple[str, str | None]] | None:
    """The sentence in parts (text, slot or None), None where the slots do not follow each other in it."""
    at, parts, text = 0, [], row["text"]
    for slot in row["slots"]:
        start = text.find(slot["value"], at)
        if start < 0:
            return None
        parts += [(text[at:start], None), (slot["value"], slot["slot"])]
        at = start + len(slot["value"])
    return [*parts, (text[at:], None)]


def grouped(items: list, key: Callable) -> list[list]:
    """The items with one key together."""
    groups: dict = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


class Sentences:
    """The sentences of one corpus that are for fitting, and variations of them."""

    def __init__(self, rows: list[dict], names: dict[str, list[str]]) -> None:
        """`names` by kind (KINDS): values that the rows need not have."""
        self.rows = rows
        self.names = {slot: [name for kind in kinds for name in names.get(kind, ())] for slot, kinds in KINDS.items()}
        self.values: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in rows:
            for slot in row["slots"]:
                for intent in (row["intent"], ""):
                    self.values[intent, slot["slot"]].append(slot["value"])
        self.words = sorted({word for row in rows for word in row["text"].split() if word.isalpha()})
        self.by_intent = grouped(rows, lambda row: row["intent"])

    def name(self, r: random.Random) -> str:
        """Any words, as a title could have them."""
        text = " ".join(r.choices(self.words, k=r.choice([1, 1, 2, 2, 3, 4])))
        return text.title() if r.random() < 0.4 else text

    def other(self, value: str, slot: str, intent: str, r: random.Random) -> str:
        roll = r.random()
        if roll >= 0.7:
            return value
        if slot in NAMES and roll < 0.1:
            return self.name(r)
        if self.names.get(slot) and roll < 0.35:
            name = r.choice(self.names[slot])
            return name.lower() if value.islower() else name
        of = intent if len(self.values[intent, slot]) >= ENOUGH else ""
        # More often than not each value as often as another: rare ones are to be known too.
        return r.choice(self.kinds(of, slot) if r.random() < 0.6 else self.values[of, slot])

    @functools.cache  # noqa: B019 - as long as the sentences
    def kinds(self, intent: str, slot: str) -> list[str]:
        return sorted(set(self.values[intent, slot]))

    def vary(self, row: dict, r: random.Random) -> tuple[str, dict]:
        """The row with some values exchanged, and now and then in another case."""
        parts = pieces(row)
        if parts is None:
            return row["text"], answer(row)
        if r.random() < 0.6:
            parts = [(self.other(text, slot, row["intent"], r) if slot else text, slot) for text, slot in parts]
        if r.random() < 0.12:
            change = r.choice([str.lower, str.lower, str.title, str.upper])
            parts = [(change(text), slot) for text, slot in parts]
        roll = r.random()
        if roll < 0.15:
            at = r.randrange(len(parts))
            parts[at] = (parts[at][0] if parts[at][1] else drop(parts[at][0], r), parts[at][1])
        elif roll < 0.35:
            parts = [(text if slot else thinned(text, r), slot) for text, slot in parts]
        slots = [{"slot": slot, "value": text[:VALUE_LENGTH]} for text, slot in parts if slot]
        return "".join(text for text, _ in parts), {"intent": row["intent"], "slots": slots}

    def example(self, r: random.Random) -> tuple[str, dict]:
        """A sentence; half of the time of an intent drawn first, so that rare ones are met."""
        row = r.choice(self.rows) if r.random() < 0.5 else r.choice(r.choice(self.by_intent))
        return self.vary(row, r)


def drop(text: str, r: random.Random) -> str:
    """The text without one of its words."""
    words = text.split(" ")
    inner = [i for i, word in enumerate(words) if word]
    if len(inner) < 3:
        return text
    del words[r.choice(inner)]
    return " ".join(words)


def thinned(text: str, r: random.Random) -> str:
    """The text without one word in six: what is left must do, so that no single word is leant on."""
    words = text.split(" ")
    kept = [word for word in words if not word or r.random() > 1 / 6]
    return " ".join(kept) if any(kept) else text


def loosened(text: str, r: random.Random) -> str:
    """The sentence, a third of the time without some of its words."""
    roll = r.random()
    return drop(text, r) if roll < 0.15 else thinned(text, r) if roll < 0.35 else text


def schema(title: str, rows: list[dict]) -> dict:
    """JSON Schema of an answer: the names of `rows`, or a refusal."""
    intents = sorted({row["intent"] for row in rows})
    slots = sorted({slot["slot"] for row in rows for slot in row["slots"]})
    slot = {
        "type": "object",
        "properties": {
            "slot": {"enum": slots},
            "value": {"type": "string", "minLength": 1, "maxLength": VALUE_LENGTH},
        },
        "required": ["slot", "value"],
        "additionalProperties": False,
    }
    found = {
        "type": "object",
        "properties": {"intent": {"enum": intents}, "slots": {"type": "array", "maxItems": 8, "items": slot}},
        "required": ["intent", "slots"],
        "additionalProperties": False,
    }
    return or_refusal(title, found)


def or_refusal(title: str, answer: dict) -> dict:
    """A schema of `answer` or `{"out_of_scope": true}`."""
    refusal = {
        "type": "object",
        "properties": {"out_of_scope": {"const": True}},
        "required": ["out_of_scope"],
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "anyOf": [answer, refusal],
    }
