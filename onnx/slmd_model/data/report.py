"""The sets a model is chosen and reported by; none of their sentences is trained on."""

import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path

from slmd_model.data import alert, dtc, public, utterances, vehicle
from slmd_model.data.corpora import Corpora
from slmd_model.data.splits import share
from slmd_model.errors import UserError

REFUSAL = {"out_of_scope": True}
COMMANDS = {  # hand-written paraphrases: the older ones choose, the newest are reported
    "choose": (
        "vehicle_handwritten.jsonl", "vehicle_handwritten_2.jsonl", "vehicle_handwritten_3.jsonl",
        "vehicle_handwritten_4.jsonl",
    ),
    "report": ("vehicle_handwritten_5.jsonl", "vehicle_handwritten_6.jsonl", "vehicle_handwritten_7.jsonl"),
}  # fmt: skip
HUMAN = {
    "vehicle/handwritten", "vehicle/handwritten_2", "vehicle/handwritten_3", "vehicle/handwritten_4",
    "vehicle/handwritten_5", "vehicle/handwritten_6", "vehicle/handwritten_7",
    "vehicle/outside", "dtc/questions", "dtc/unknown", "dtc/outside", "snips/outside",
    "intent/nlu_eval", "snips/snips", "intent/outside", "alert/ai4i", "alert/series",
}  # fmt: skip
WINDOW, LOW, HIGH = 12, 60.0, 100.0  # of the machine temperature series: an hour, limits in degrees Fahrenheit


def row(task: str, text: str, answer: dict, source: str) -> dict:
    compact = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    return {"task": task, "text": text, "answer": compact, "source": source}


def read(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"{path}: missing; --frozen names the folder of the hand-written sentences", 66)
    return path.read_text(encoding="utf-8").splitlines()


def commands(path: Path) -> list[tuple[str, dict]]:
    """(source, line) of hand-written commands."""
    return [("vehicle/" + path.stem.removeprefix("vehicle_"), json.loads(line)) for line in read(path)]


class Sets:
    def __init__(self, data: Corpora, sources: Path, frozen: Path) -> None:
        self.data, self.sources = data, sources
        self.commands = {
            part: [pair for name in names for pair in commands(frozen / name)] for part, names in COMMANDS.items()
        }
        self.questions = read(frozen / "dtc_questions.txt")
        self.outside = read(frozen / "out_of_scope_handwritten.txt")

    def kept(self) -> list[str]:
        """Sentences of the `vehicle` task that must not be trained on."""
        return [line["text"] for pairs in self.commands.values() for _, line in pairs] + self.outside

    def rows(self, part: str, seed: int) -> Iterator[dict]:
        """The lines of `choose` or `report`."""
        r = random.Random(f"{seed} {part}")
        yield from self.utterances(part)
        yield from self.vehicle(part, r)
        yield from self.codes(part, r)
        yield from self.alerts(part, r)

    def utterances(self, part: str) -> Iterator[dict]:
        for line in self.data.nlu[part]:
            yield row("intent", line["text"], utterances.answer(line), "intent/nlu_eval")
        for line in self.data.outside_nlu(part):
            yield row("intent", line["text"], REFUSAL, "intent/outside")
        for line in self.data.snips[part]:
            yield row("snips", line["text"], utterances.answer(line), "snips/snips")
        for line in self.data.outside_snips(part)[::4]:
            yield row("snips", line["text"], REFUSAL, "snips/outside")

    def vehicle(self, part: str, r: random.Random) -> Iterator[dict]:
        for _ in range(1000):
            yield row("vehicle", *vehicle.command(r), "vehicle/grammar")
        for line in self.data.vehicle(part):
            if answer := public.vehicle_answer(line):
                yield row("vehicle", line["text"], answer, "vehicle/public")
        for source, line in self.commands[part]:
            yield row("vehicle", line["text"], line["answer"], source)
        if part == "report":
            for text in self.outside:
                yield row("vehicle", text, REFUSAL, "vehicle/outside")

    def codes(self, part: str, r: random.Random) -> Iterator[dict]:
        """Questions about known and unknown codes: frozen ones for the report, the grammar's to choose by."""
        table = self.data.codes
        for i in range(600):
            known = i % 3 != 0
            code = r.choice(list(table)) if known else dtc.unknown(table, r)
            if part == "report":
                text = self.questions[i % len(self.questions)].replace("{code}", code)
            else:
                text = dtc.sentence(code, r)
            source = ("dtc/questions" if known else "dtc/unknown") if part == "report" else "dtc/grammar"
            yield row("dtc", text, dtc.answer(code, table), source)
        if part == "report":
            for text in self.outside:
                yield row("dtc", text, REFUSAL, "dtc/outside")

    def alerts(self, part: str, r: random.Random) -> Iterator[dict]:
        for _ in range(500):
            yield row("alert", *alert.example(r), "alert/grammar")
        factory = self.sources / "factory"
        with open_text(factory / "ai4i2020_train.csv") as file:
            for line in csv.DictReader(file):
                chosen = share(line["UDI"]) < 0.3
                # All failures, and one in ten of the rest.
                if chosen == (part == "choose") and (line["Machine failure"] == "1" or share("n" + line["UDI"]) < 0.1):
                    stats = alert.of_row(line)
                    yield row("alert", alert.compact(stats), alert.judge(stats), "alert/ai4i")
        with open_text(factory / "machine_temperature_system_failure.csv") as file:
            values = [float(line["value"]) for line in csv.DictReader(file)]
        windows = [values[at : at + WINDOW] for at in range(0, len(values) - WINDOW, 5 * WINDOW)]
        half = len(windows) // 3
        for window in windows[:half] if part == "choose" else windows[half:]:
            if min(window) > 0:
                stats = alert.of_series(window, "machine_temperature", LOW, HIGH)
                yield row("alert", alert.compact(stats), alert.judge(stats), "alert/series")


def open_text(path: Path):
    if not path.is_file():
        raise UserError(f"{path}: missing; `slmd-model data` needs it (see onnx/README.md)", 66)
    return path.open(encoding="utf-8", newline="")
