"""Training sentences that language-model agents wrote for this project, from conventions and training examples.

They widen the words and turns of phrase that the grammar and the few thousand public sentences have. In `written/`:

- `vehicle.txt`: `sentence => Signal op value; Signal op value`, signals without the leading `Vehicle.`;
- `intent.txt`, `snips.txt`: `# intent` and its sentences below, slots marked `[slot: value]`;
- `vehicle_outside.txt`, `intent_outside.txt`: what the task refuses;
- `names.txt`: `# kind` and values below, of things that have names.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent / "written"
MARK = re.compile(r"\[(\w+) ?: ([^\[\]]+)\]")


def read(name: str) -> list[str]:
    return [line for line in (FOLDER / name).read_text(encoding="utf-8").splitlines() if line.strip()]


def sections(name: str) -> Iterator[tuple[str, str]]:
    """(heading, line) of a file with headings."""
    heading = ""
    for line in read(name):
        if line.startswith("# "):
            heading = line[2:]
        else:
            yield heading, line


def action(text: str) -> dict:
    signal, op, value = text.split()
    try:
        found = json.loads(value)
    except ValueError:
        found = value
    return {"signal": "Vehicle." + signal, "op": op, "value": found}


def vehicle() -> list[tuple[str, dict]]:
    """Sentences and their answers."""
    pairs = (line.split(" => ") for line in read("vehicle.txt"))
    return [(text, {"actions": [action(part) for part in actions.split(";")]}) for text, actions in pairs]


def outside(task: str) -> list[dict]:
    """What the task refuses."""
    return [{"text": text} for text in read(task + "_outside.txt")]


def marked(intent: str, line: str) -> dict:
    """A row as the public corpora have it, of a sentence with marked slots."""
    slots = [{"slot": slot, "value": value} for slot, value in MARK.findall(line)]
    return {"text": MARK.sub(r"\2", line), "intent": intent, "slots": slots}


def intents(name: str) -> list[dict]:
    """The rows of `intent.txt` or `snips.txt`."""
    return [marked(intent, line) for intent, line in sections(name)]


def names() -> dict[str, list[str]]:
    """Values by kind."""
    found: dict[str, list[str]] = {}
    for kind, line in sections("names.txt"):
        found.setdefault(kind, []).append(line)
    return found
