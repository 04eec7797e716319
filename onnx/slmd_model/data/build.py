"""`slmd-model data`: the default model's files, JSON lines of {"task", "text", "answer", "source"}.

`train.jsonl` is fitted, `choose.jsonl` is what a run is compared by,
`report.jsonl` gives the figures of the model card.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from slmd_model.data import alert, corpora, dtc, outside, public, report, signals, utterances, vehicle, written
from slmd_model.data.corpora import Corpora
from slmd_model.data.report import row
from slmd_model.data.splits import without, words_of

# Lines of the training file by source.
COUNTS = {
    "vehicle/grammar": 200_000,
    "vehicle/written": 60_000,
    "vehicle/refusal": 50_000,
    "vehicle/public": 30_000,
    "intent": 280_000,
    "intent/outside": 60_000,
    "intent/like": 20_000,
    "snips": 190_000,
    "snips/like": 4_000,
    "snips/outside": 12_000,
    "alert": 30_000,
    "alert/outside": 2_000,
    "dtc": 45_000,
    "dtc/outside": 5_000,
    # Not a task of the bundle: 150 intents more teach what words mean.
    "clinc": 35_000,
}
REFUSAL = {"out_of_scope": True}
Maker = Callable[[random.Random], dict]


def refused(task: str, source: str, texts: list[str]) -> Maker:
    """Refusals: half of them of `texts`, half of the grammar."""

    def make(r: random.Random) -> dict:
        text = r.choice(texts) if texts and r.random() < 0.5 else outside.refusal(r)
        return row(task, text, REFUSAL, source)

    return make


def vehicle_written(kept: list[str]) -> Maker:
    """Written commands as they are spoken, apart from `kept`."""
    rows = without([{"text": text, "answer": answer} for text, answer in written.vehicle()], kept)

    def make(r: random.Random) -> dict:
        line = r.choice(rows)
        return row("vehicle", vehicle.around(line["text"], r), line["answer"], "vehicle/written")

    return make


def vehicle_refusal(kept: list[str]) -> Maker:
    """Written refusals, those of the grammar, and sentences that mention a command without giving it."""
    texts = [line["text"] for line in without(written.outside("vehicle"), kept)]

    def text(r: random.Random) -> str:
        roll = r.random()
        if roll < 0.45:
            return vehicle.around(r.choice(texts), r)
        command = vehicle.clause(r)[0]
        told = roll < 0.85 and outside.BARE_VERB.match(command)
        return outside.about_a_command(command, r) if told else outside.refusal(r)

    return lambda r: row("vehicle", text(r), REFUSAL, "vehicle/refusal")


def intent_refusal(data: Corpora) -> Maker:
    """What no intent of a home covers: mostly human sentences, some commands for a car's body and trouble codes.

    Not the grammar's refusals: alarms and the weather are intents here.
    """
    human = [line["text"] for line in data.outside_nlu("fit")]
    held = {part: data.outside_nlu(part) + data.nlu[part] for part in ("choose", "report")}
    wrote = [line["text"] for line in apart(written.outside("intent"), held)]
    snips = [line["text"] for line in data.snips["fit"] if line["intent"] in utterances.SNIPS_NOT_NLU]
    codes = list(data.codes)

    def text(r: random.Random) -> str:
        roll = r.random()
        if roll < 0.75:
            return utterances.loosened(r.choice(human if roll < 0.4 else wrote), r)
        if roll < 0.85:
            return r.choice(snips)
        return vehicle.of_the_body(r) if roll < 0.95 else dtc.sentence(r.choice(codes), r)

    return lambda r: row("intent", text(r), REFUSAL, "intent/outside")


def apart(rows: list[dict], task: corpora.Parts) -> list[dict]:
    """The rows that nearly repeat no sentence by which the task is chosen or reported."""
    return without(rows, [row["text"] for part in ("choose", "report") for row in task[part]])


def like(task: str, rows: list[dict], intent_of: Callable[[dict], str | None]) -> Maker:
    """Sentences of other corpora whose intent is known, and nothing about their slots: open answers."""
    known = [(row["text"], intent) for row in rows if (intent := intent_of(row))]
    by_intent = utterances.grouped(known, lambda pair: pair[1])

    def make(r: random.Random) -> dict:
        text, intent = r.choice(r.choice(by_intent))
        answer = f'{{"intent":"{intent}'
        return {
            "task": task,
            "text": utterances.loosened(text, r),
            "answer": answer,
            "source": task + "/like",
            "open": True,
        }

    return make


def public_vehicle(data: Corpora) -> Maker:
    """Public sentences: refusals, and a fifth of media commands, which are rarer."""
    rows = [(line["text"], public.vehicle_answer(line)) for line in data.vehicle("fit")]
    no = [pair for pair in rows if pair[1] == REFUSAL]
    yes = [pair for pair in rows if pair[1] and pair[1] != REFUSAL]

    def make(r: random.Random) -> dict:
        return row("vehicle", *r.choice(yes if r.random() < 0.2 else no), "vehicle/public")

    return make


def makers(data: Corpora, kept: list[str]) -> dict[str, Maker]:
    """How a line of each source of COUNTS is made; `kept` are sentences of the `vehicle` task not to be trained on."""
    names = written.names()
    # Human sentences twice: they are what the task is, and the written ones are more.
    nlu = utterances.Sentences(data.nlu["fit"] * 2 + apart(written.intents("intent.txt"), data.nlu), names)
    snips = utterances.Sentences(data.snips["fit"] + apart(written.intents("snips.txt"), data.snips), names)
    codes = list(data.codes)
    not_snips = [line["text"] for line in data.outside_snips("fit")]
    anything = [line["text"] for line in data.vehicle("fit")]
    clinc = utterances.Sentences(data.clinc["fit"], {})
    return {
        "clinc": lambda r: row("clinc", *clinc.example(r), "clinc"),
        "vehicle/grammar": lambda r: row("vehicle", *vehicle.command(r), "vehicle/grammar"),
        "vehicle/written": vehicle_written(kept),
        "vehicle/refusal": vehicle_refusal(kept),
        "vehicle/public": public_vehicle(data),
        "intent": lambda r: row("intent", *nlu.example(r), "intent"),
        "intent/outside": intent_refusal(data),
        "intent/like": like("intent", apart(data.clinc["fit"] + data.snips["fit"], data.nlu), public.nlu_intent),
        "snips": lambda r: row("snips", *snips.example(r), "snips"),
        "snips/like": like(
            "snips",
            apart(data.clinc["fit"] + data.nlu["fit"], data.snips),
            lambda line: public.SNIPS_INTENT.get(line["intent"]),
        ),
        "snips/outside": lambda r: row("snips", r.choice(not_snips), REFUSAL, "snips/outside"),
        "alert": lambda r: row("alert", *alert.example(r), "alert"),
        "alert/outside": refused("alert", "alert/outside", anything),
        "dtc": lambda r: row("dtc", *dtc.example(data.codes, codes, r), "dtc"),
        "dtc/outside": refused("dtc", "dtc/outside", anything),
    }


def spoken(line: dict) -> tuple[str, str]:
    """The task, and the text without case and the marks at its ends: lines alike in both say the same."""
    return line["task"], line["text"].lower().strip(" .,!?")


def lines(data: Corpora, seed: int, share: float, kept: list[str], others: set[tuple[str, str]]) -> Iterator[dict]:
    """`share` of COUNTS lines of each source.

    None has the words of a sentence in `kept`, whatever its task, none is `spoken` as one of `others`.
    """
    words = {words_of(text) for text in kept}
    for source, make in makers(data, kept).items():
        r = random.Random(f"{seed} {source}")
        for _ in range(int(COUNTS[source] * share)):
            line = make(r)
            while words_of(line["text"]) in words or spoken(line) in others:
                line = make(r)
            yield line


def schemas(data: Corpora) -> dict[str, dict]:
    return {
        "vehicle": signals.schema(),
        "alert": alert.schema(),
        "intent": utterances.schema("Intent and slots", data.nlu["fit"]),
        "snips": utterances.schema("Intent and slots of SNIPS", data.snips["fit"]),
        "dtc": dtc.schema(data.codes),
    }


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in rows), encoding="utf-8")


def build(sources: Path, frozen: Path, out: Path, seed: int, share: float = 1.0, tell=print) -> None:
    """Write OUT/{train,choose,report}.jsonl and OUT/TASK.schema.json.

    `sources` is laid out as ../shared/data, `frozen` holds the hand-written sentences (onnx/tests).
    """
    data = corpora.read(sources)
    sets = report.Sets(data, sources, frozen)
    out.mkdir(parents=True, exist_ok=True)
    held = {part: list(sets.rows(part, seed)) for part in ("choose", "report")}
    human = {spoken(line) for rows in held.values() for line in rows if line["source"] in report.HUMAN}
    train = list(lines(data, seed, share, sets.kept(), human))
    random.Random(seed).shuffle(train)
    write(out / "train.jsonl", train)
    seen = {line["text"] for line in train}
    for part, all_rows in held.items():
        rows = [line for line in all_rows if line["source"] in report.HUMAN or line["text"] not in seen]
        write(out / f"{part}.jsonl", rows)
        tell(f"{out / part}.jsonl: {len(rows)} lines")
    for name, schema in schemas(data).items():
        text = json.dumps(schema, ensure_ascii=False, indent=1) + "\n"
        (out / f"{name}.schema.json").write_text(text, encoding="utf-8")
    tell(f"{out}/train.jsonl: {len(train)} lines, {len(seen)} different texts")
