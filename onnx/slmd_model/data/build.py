"""`slmd-model data`: the training and held-out files, JSON lines of {"task", "text", "answer", "source"}."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from slmd_model.data import alert, outside, public, signals, vehicle

# Lines of the training file by source; the held-out file has one line in HELD_OUT_SHARE.
COUNTS = {
    "vehicle/grammar": 240_000,
    "vehicle/refusal": 30_000,
    "vehicle/public": 45_000,
    "alert": 40_000,
    "intent": 40_000,
}
HELD_OUT = {"vehicle/grammar": 2_000, "vehicle/refusal": 300, "alert": 1_000}
REFUSAL = {"out_of_scope": True}


def compact(answer: dict) -> str:
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def row(task: str, text: str, answer: dict, source: str) -> dict:
    return {"task": task, "text": text, "answer": compact(answer), "source": source}


def grammar(r: random.Random, count: int, source: str) -> Iterator[dict]:
    for _ in range(count):
        if source == "vehicle/grammar":
            yield row("vehicle", *vehicle.command(r), source)
        elif source == "alert":
            yield row("alert", *alert.example(r), source)
        elif r.random() < 0.15:
            text, _, imperative = vehicle.clause(r)
            text = outside.about_a_command(text, r) if imperative else outside.refusal(r)
            yield row("vehicle", text, REFUSAL, source)
        else:
            yield row("vehicle", outside.refusal(r), REFUSAL, source)


def human(folder: Path, names: tuple[str, ...]) -> tuple[list[dict], list[dict]]:
    """(`vehicle` rows, `intent` rows) of public sentences."""
    cars, intents = [], []
    for name in names:
        for line in public.load(folder, name):
            answer = public.vehicle_answer(line)
            if answer:
                cars.append(row("vehicle", line["text"], answer, "vehicle/public"))
            if name.startswith(("nlu", "snips")):
                intents.append(row("intent", line["text"], {"intent": line["intent"]}, "intent"))
    return cars, intents


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in rows), encoding="utf-8")


def build(commands: Path, out: Path, seed: int, report=print) -> None:
    """Write OUT/train.jsonl, OUT/heldout.jsonl and the schemas of the tasks."""
    out.mkdir(parents=True, exist_ok=True)
    r = random.Random(seed)
    cars, intents = human(commands, public.FILES)
    dev_cars, dev_intents = human(commands, (public.DEV,))
    # Media commands of public sources are rarer than refusals: draw both alike often.
    refusals = [line for line in cars if "out_of_scope" in line["answer"]]
    media = [line for line in cars if "out_of_scope" not in line["answer"]]
    known = {line["text"] for line in cars + intents}
    train = [
        line
        for source in ("vehicle/grammar", "vehicle/refusal", "alert")
        for line in grammar(r, COUNTS[source], source)
    ]
    train += r.choices(refusals, k=COUNTS["vehicle/public"] * 4 // 5) + r.choices(
        media, k=COUNTS["vehicle/public"] // 5
    )
    train += r.choices(intents, k=COUNTS["intent"])
    r.shuffle(train)
    write(out / "train.jsonl", train)
    seen = {line["text"] for line in train}
    other = random.Random(seed + 1)
    held_out = [
        line
        for source, count in HELD_OUT.items()
        for line in grammar(other, 3 * count, source)
        if line["text"] not in seen
    ]
    quota = dict(HELD_OUT)
    kept = []
    for line in held_out:
        if quota[line["source"]]:
            quota[line["source"]] -= 1
            kept.append(line)
    kept += [line for line in dev_cars + dev_intents if line["text"] not in known]
    write(out / "heldout.jsonl", kept)
    names = sorted({json.loads(line["answer"])["intent"] for line in intents})
    for name, schema in (
        ("vehicle", signals.schema()), ("alert", alert.schema()), ("intent", public.intent_schema(names)),
    ):  # fmt: skip
        (out / f"{name}.schema.json").write_text(
            json.dumps(schema, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
    report(f"{len(train)} training lines ({len(seen)} different texts), {len(kept)} held out, in {out}")
