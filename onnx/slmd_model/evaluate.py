"""`slmd-model eval`: a bundle against JSON lines, answered by the daemon over its socket."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from slmd_model import bundle, scores
from slmd_model.daemon import Client
from slmd_model.errors import UserError
from slmd_model.scores import Answer, interval, mean

UNFINISHED = {"incomplete", "deadline_exceeded"}
NO_TIMES = {"usage": {"completion_tokens": 1}, "timings": {"ttft_ms": 0.0, "total_ms": 0.0}}
FEW_LABELS = 12  # so many are shown one by one
DEADLINE_MS = 20_000  # a busy machine must not turn a right answer into a refusal


@dataclass(frozen=True)
class Check:
    """What is known of a task: `schema` validates its answers, its confidence is of what stands at `fields`."""

    schema: object = None
    fields: tuple[str, ...] = ()


def checks(folder: Path) -> dict[str, Check]:
    """Those of a bundle's tasks, by name."""
    if not (folder / bundle.MANIFEST).is_file():
        raise UserError(f"{folder}: no {bundle.MANIFEST}", 66)
    from jsonschema import Draft202012Validator

    def schema(task):
        return Draft202012Validator(json.loads((folder / task.schema).read_text())) if task.schema else None

    tasks = bundle.read(folder).tasks
    return {name: Check(schema(task), task.confidence_fields) for name, task in tasks.items()}


def answer(client: Client, line: dict, check: Check) -> tuple[Answer, dict]:
    """An answer that was not complete in time or in tokens counts as invalid; other errors end the evaluation."""
    request = {"task": line["task"], "prompt": line["text"], "deadline_ms": DEADLINE_MS}
    begin, want = time.perf_counter(), json.loads(line["answer"])
    reply = client.ask(request)
    if reply["status"] != "ok":
        error = reply["error"]
        if error["code"] not in UNFINISHED:
            raise UserError(f"{line['task']}: {line['text']!r}: {error['code']}: {error['message']}", 70)
        reply = {"text": error["code"], "confidence": 0.0} | NO_TIMES
        return Answer(want, None, False, 0.0, check.fields, ms=1000 * (time.perf_counter() - begin)), reply
    try:
        got = json.loads(reply["text"])
    except ValueError:
        got = None
    valid = isinstance(got, dict) and (check.schema is None or check.schema.is_valid(got))
    sure, abstained = reply.get("confidence"), reply.get("abstained", False)
    return Answer(want, got, valid, sure, check.fields, abstained, reply["timings"]["total_ms"]), reply


def run(socket: Path, lines: list[dict], folder: Path) -> Iterator[tuple[dict, Answer, dict]]:
    """(line, answer, reply) of every line, one after the other."""
    client, known = Client(socket), checks(folder)
    for line in tqdm(lines, unit="line", mininterval=2.0):
        found, reply = answer(client, line, known.get(line["task"], Check()))
        yield line, found, reply
    client.close()


def figures(answers: Sequence[Answer]) -> dict:
    """All figures that the answers of one source have."""
    found: dict = {
        "lines": len(answers),
        "exact": interval(mean(lambda a: a.exact), answers),
        "valid": mean(lambda a: a.valid)(answers),
    }
    wanted = {scores.label(a.want) for a in answers}
    if wanted - {"", "out_of_scope"}:
        found["label_accuracy"] = interval(mean(lambda a: a.label_right), answers)
        found["label_macro_f1"] = round(scores.macro_f1(answers), 4)
        if len(wanted) <= FEW_LABELS:
            found["label_f1"] = {name: round(scores.macro_f1(answers, [name]), 4) for name in sorted(wanted)}
    if any("slots" in a.want for a in answers):
        found["slot_f1"] = interval(scores.slot_f1, answers)
    outside = [a for a in answers if a.want == scores.REFUSAL]
    inside = [a for a in answers if a.want != scores.REFUSAL]
    if outside:
        found["refusal_recall"] = interval(mean(lambda a: a.refused), outside)
    if inside:
        found["false_refusal"] = interval(mean(lambda a: a.refused), inside)
        found["wrong_answer"] = interval(mean(lambda a: not a.refused and not a.exact), inside)
    if any(a.abstained for a in answers):
        for name, group in (("declined_recall", outside), ("false_declined", inside)):
            if group:
                found[name] = interval(mean(lambda a: a.declined), group)
        if inside:
            found["wrong_and_sure"] = interval(mean(lambda a: not a.declined and not a.exact), inside)
    if sure := pairs(answers):
        found["ece"] = round(scores.calibration_error(*sure), 4)
    times = [a.ms for a in answers]
    found["ms"] = {f"p{p}": round(float(np.percentile(times, p)), 2) for p in (50, 95, 99)}
    return found


def pairs(answers: Sequence[Answer]) -> tuple[np.ndarray, np.ndarray] | None:
    """Confidences, and 1 where what they are of is right; None where answers have no confidence."""
    if not answers or any(a.confidence is None for a in answers):
        return None
    rows = [(a.confidence, a.sure_right) for a in answers]
    sure, right = (np.array(column, float) for column in zip(*rows, strict=True))
    return sure, right


def by(answers: Sequence[tuple[dict, Answer]], key: str) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = defaultdict(list)
    for line, one in answers:
        found[line[key]].append(one)
    return dict(sorted(found.items()))


def report(answers: Sequence[tuple[dict, Answer]]) -> dict:
    """Figures by source, and by task."""
    groups = {"sources": by(answers, "source"), "tasks": by(answers, "task")}
    return {kind: {name: figures(group) for name, group in found.items()} for kind, found in groups.items()}


def plot(answers: Sequence[tuple[dict, Answer]], out: Path) -> None:
    """The reliability of each task's confidence, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 5))
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for task, group in by(answers, "task").items():
        if (found := pairs(group)) is None:
            continue
        sure, right = found
        at = np.minimum((sure * scores.BINS).astype(int), scores.BINS - 1)
        full = [b for b in range(scores.BINS) if (at == b).sum() >= 5]
        axes.plot([sure[at == b].mean() for b in full], [right[at == b].mean() for b in full], "o-", label=task)
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=120)
    pyplot.close(figure)
