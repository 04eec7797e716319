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
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


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
