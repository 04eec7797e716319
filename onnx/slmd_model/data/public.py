"""Human sentences from public corpora: reading them, and what the `vehicle` task must answer to them.

NLU-Evaluation-Data (Liu et al. 2019, CC-BY-4.0), SNIPS nlu-benchmark (CC0),
CLINC oos-eval (Larson et al. 2019, CC-BY-3.0).
"""

import json
import re
from pathlib import Path

from slmd_model.data.signals import MEDIA
from slmd_model.errors import UserError

# Neither a command for the car nor clearly none: not used for `vehicle`.
UNCLEAR = {
    "play_podcasts", "play_audiobook", "play_game", "music_settings", "general_commandstop", "smart_home",
    "change_speed", "whisper_mode", "iot_hue_lightoff", "iot_hue_lighton", "iot_hue_lightup", "iot_hue_lightdim",
    "iot_hue_lightchange", "change_volume", "audio_volume_up", "audio_volume_down", "audio_volume_mute",
    "PlayMusic", "play_music", "play_radio", "next_song", "sync_device", "reset_settings", "cancel", "music_likeness",
    "general_repeat", "repeat",
}  # fmt: skip
ROOM = {"house_place"}


def load(path: Path) -> list[dict]:
    if not path.is_file():
        raise UserError(f"{path}: missing; `slmd-model data` needs the public sentences (see onnx/README.md)", 66)
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            if not isinstance(row["text"], str) or not isinstance(row["intent"], str):
                raise TypeError
        except (ValueError, TypeError, KeyError):
            raise UserError(f'{path}:{number}: not a JSON object with "text" and "intent"') from None
        rows.append({**row, "slots": row.get("slots") or []})
    return rows


def _media(action: str) -> dict:
    return {"actions": [{"signal": MEDIA + ".Action", "op": "set", "value": action}]}


def _volume(op: str, value: int) -> dict:
    return {"actions": [{"signal": MEDIA + ".Volume", "op": op, "value": value}]}


def vehicle_answer(row: dict) -> dict | None:
    """The `vehicle` answer of a public sentence, None where it is unclear."""
    text, intent = row["text"].lower(), row["intent"]
    plain = not re.search(
        r"\d|percent|half|min|max|full|two|five|ten|little|bit|lot|one|phone|tv|alarm|speaker|laptop", text
    )
    if intent.startswith("iot_hue") and ROOM & {slot["slot"] for slot in row["slots"]}:
        return {"out_of_scope": True}
    if intent == "next_song":
        return _media("SKIP_FORWARD")
    if intent in ("play_music", "PlayMusic", "play_radio") and "play" in text:
        return _media("PLAY")
    if intent == "audio_volume_up" and plain and re.search(r"up|louder|raise|increase|higher", text):
        return _volume("increase", 10)
    if intent == "audio_volume_down" and plain and re.search(r"down|lower|quiet|decrease|reduce|soft", text):
        return _volume("decrease", 10)
    if intent == "audio_volume_mute" and plain and "mute" in text and "unmute" not in text:
        return _volume("set", 0)
    if intent in UNCLEAR:
        return None
    return {"out_of_scope": True}


# Intents of CLINC and SNIPS that mean what one of NLU-Evaluation-Data does, whose slots they do not name.
NLU_INTENT = {
    "alarm": "alarm_set", "time": "datetime_query", "date": "datetime_query", "weather": "weather_query",
    "play_music": "play_music", "what_song": "music_query", "todo_list": "lists_query", "shopping_list": "lists_query",
    "calendar": "calendar_query", "meeting_schedule": "calendar_query",
    "reminder_update": "calendar_set", "restaurant_suggestion": "recommendation_locations", "recipe": "cooking_recipe",
    "cook_time": "cooking_recipe", "ingredients_list": "cooking_recipe", "definition": "qa_definition",
    "calculator": "qa_maths", "exchange_rate": "qa_currency", "tell_joke": "general_joke",
    "traffic": "transport_traffic",
    "uber": "transport_taxi", "book_flight": "transport_ticket", "thank_you": "general_praise",
    "yes": "general_affirm", "no": "general_negate", "cancel": "general_commandstop", "repeat": "general_repeat",
    "meaning_of_life": "general_quirky", "are_you_a_bot": "general_quirky", "how_old_are_you": "general_quirky",
    "do_you_have_pets": "general_quirky", "what_are_your_hobbies": "general_quirky",
    "where_are_you_from": "general_quirky", "who_made_you": "general_quirky", "what_is_your_name": "general_quirky",
    "GetWeather": "weather_query", "PlayMusic": "play_music", "SearchScreeningEvent": "recommendation_movies",
}  # fmt: skip
SNIPS_INTENT = {"weather_query": "GetWeather", "weather": "GetWeather", "update_playlist": "AddToPlaylist"}
# The same where one intent of CLINC is several: the first expression found in the sentence tells.
REMOVES = r"\b(remove|delete|(?<!drop )off|of my|scratch|erase|clear(ed)?|strike|cancel|blank|nuke|nix|take (away|out)|get rid|no longer|wipe|undo|edit .* out)\b"
ADDS = r"\b(add|put|include|insert|place|write|throw|mark|append|schedule|set|make a|create|remind|book|enter|note)\b"
BOTH = rf"(?=.*{REMOVES})(?=.*{ADDS})"
LISTS = ((BOTH, None), (REMOVES, "lists_remove"), (ADDS, "lists_createoradd"))
NLU_INTENTS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "todo_list_update": LISTS,
    "shopping_list_update": LISTS,
    "calendar_update": ((BOTH, None), (REMOVES, "calendar_remove"), (ADDS, "calendar_set")),
    "schedule_meeting": ((r"\b(rooms?|available|availability|how (can|do))\b", None), (r"", "calendar_set")),
    "directions": (
        (r"\b(direct(ions?)?|route|way|get to|path)\b", "transport_query"),
        (r"\b(closest|nearest)\b", "recommendation_locations"),
    ),
    "change_volume": (
        (r"\b(up|louder|raised?|increased?|higher|crank)\b", "audio_volume_up"),
        (r"\b(down|lower|quiet|quieter|decreased?|reduced?|softer)\b", "audio_volume_down"),
    ),
}


def nlu_intent(row: dict) -> str | None:
    """The intent of NLU-Evaluation-Data that a sentence of another corpus has, None where it is unclear."""
    for pattern, intent in NLU_INTENTS.get(row["intent"], ()):
        if re.search(pattern, row["text"].lower()):
            return intent
    return NLU_INTENT.get(row["intent"])
