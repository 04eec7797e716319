"""`slmd-model eval`: a bundle against JSON lines, answered by the daemon over its socket."""

import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from slmd_model import bundle, daemon, scores
from slmd_model.daemon import Client
from slmd_model.data.alert import FAILURES
from slmd_model.errors import UserError
from slmd_model.scores import Answer, Figure, interval, mean

UNFINISHED = {"incomplete", "deadline_exceeded"}
NO_TIMES = {"usage": {"completion_tokens": 1}, "timings": {"ttft_ms": 0.0, "total_ms": 0.0}}
FEW_LABELS = 12  # so many are shown one by one
DEADLINE_MS = 20_000  # a busy machine must not turn a right answer into a refusal
RULES = "alert"  # the task whose causes FAILURES follow published rules
TIMES = "ms: the daemon's own total, from a request's arrival to its answer; socket_ms: as the client waited for it"


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


def sample(lines: list[dict], count: int | None) -> list[dict]:
    """One of each of so many equal stretches, the same ones every time."""
    if count is None or count >= len(lines):
        return lines
    r, ends = random.Random(1), [i * len(lines) // count for i in range(count + 1)]
    return [lines[r.randrange(*ends[i : i + 2])] for i in range(count)]


def answer(client: Client, line: dict, check: Check) -> tuple[Answer, dict]:
    """An answer that was not complete in time or in tokens counts as invalid; other errors end the evaluation.

    Without a schema an answer is valid if it is complete, and an object where one is wanted.
    """
    request = {"task": line["task"], "prompt": line["text"], "deadline_ms": DEADLINE_MS}
    begin, want = time.perf_counter(), scores.said(line["answer"])
    reply = client.ask(request)
    waited = 1000 * (time.perf_counter() - begin)
    of = {"fields": check.fields, "socket_ms": waited, "task": line["task"]}
    if reply["status"] != "ok":
        error = reply["error"]
        if error["code"] not in UNFINISHED:
            raise UserError(f"{line['task']}: {line['text']!r}: {error['code']}: {error['message']}", 70)
        reply = {"text": error["code"], "confidence": 0.0} | NO_TIMES
        return Answer(want, None, False, 0.0, ms=waited, **of), reply
    got = scores.said(reply["text"])
    if isinstance(want, dict) and not isinstance(got, dict):
        got = None
    valid = got is not None and not reply.get("truncated", False)
    if check.schema is not None:
        valid = fits(check.schema, reply["text"])
    sure, abstained = reply.get("confidence"), reply.get("abstained", False)
    return Answer(want, got, valid, sure, abstained=abstained, ms=reply["timings"]["total_ms"], **of), reply


def fits(schema, text: str) -> bool:
    try:
        return schema.is_valid(json.loads(text))
    except ValueError:
        return False


def facts(socket: Path, folder: Path, threads: int | None) -> dict:
    """What is measured: the bundle, and the daemon as its status tells of it; None is unknown."""
    checks(folder)  # that it is a bundle
    status, manifest = daemon.status(socket), bundle.read(folder)
    return {
        "bundle": str(folder),
        "name": manifest.name,
        "version": manifest.version,
        "manifest_sha256": bundle.sha256(folder / bundle.MANIFEST),
        "model": status.get("model"),
        "slmd": status.get("version"),
        "engine": (status.get("engine") or {}).get("name"),
        "threads": threads,
    }


def run(socket: Path, lines: list[dict], folder: Path) -> Iterator[tuple[dict, Answer, dict]]:
    """(line, answer, reply) of every line, one after the other."""
    client, known = Client(socket), checks(folder)
    for line in tqdm(lines, unit="line", mininterval=2.0):
        found, reply = answer(client, line, known.get(line["task"], Check()))
        yield line, found, reply
    client.close()


@dataclass(frozen=True)
class Measure:
    figure: Figure
    at: list[int]  # the answers that it is of
    less: bool = False  # is better

    def of(self, answers: Sequence[Answer]) -> list[Answer]:
        return [answers[i] for i in self.at]


def measures(*runs: Sequence[Answer]) -> dict[str, Measure]:
    """All figures that the answers of one source have, in each of the runs of the same lines."""
    answers = runs[0]
    everything = list(range(len(answers)))
    outside = [i for i in everything if answers[i].want == scores.REFUSAL]
    inside = [i for i in everything if answers[i].want != scores.REFUSAL]
    found = {
        "exact": Measure(mean(lambda a: a.exact), everything),
        "valid": Measure(mean(lambda a: a.valid), everything),
    }
    wanted = sorted({scores.label(a.want) for a in answers})
    if set(wanted) - {"", "out_of_scope"}:
        found["label_accuracy"] = Measure(mean(lambda a: a.label_right), everything)
        found["label_macro_f1"] = Measure(scores.macro_f1(wanted), everything)
    rules = [i for i in everything if answers[i].task == RULES]
    if any(scores.label(answers[i].want) in FAILURES for i in rules):
        found["rule_f1"] = Measure(scores.macro_f1(FAILURES), rules)
    if any(isinstance(a.want, dict) and "slots" in a.want for a in answers):
        found["slot_f1"] = Measure(scores.slot_f1, everything)
    if outside:
        found["refusal_recall"] = Measure(mean(lambda a: a.refused), outside)
    if inside:
        found["false_refusal"] = Measure(mean(lambda a: a.refused), inside, less=True)
        found["wrong_answer"] = Measure(mean(lambda a: not a.refused and not a.exact), inside, less=True)
    if any(a.abstained for run in runs for a in run):
        if outside:
            found["declined_recall"] = Measure(mean(lambda a: a.declined), outside)
        if inside:
            found["false_declined"] = Measure(mean(lambda a: a.declined), inside, less=True)
            found["wrong_and_sure"] = Measure(mean(lambda a: not a.declined and not a.exact), inside, less=True)
    if all(pairs(run) for run in runs):
        found["ece"] = Measure(scores.calibration_error, everything, less=True)
    return found


def figures(answers: Sequence[Answer]) -> dict:
    """All figures that the answers of one source have."""
    found: dict = {"lines": len(answers)}
    for name, measure in measures(answers).items():
        found[name] = interval(measure.figure, measure.of(answers))
    wanted = sorted({scores.label(a.want) for a in answers})
    if "label_accuracy" in found and len(wanted) <= FEW_LABELS:
        found["label_f1"] = {name: round(scores.macro_f1([name])(answers), 4) for name in wanted}
    return found | {
        "ms": percentiles([a.ms for a in answers]),
        "socket_ms": percentiles([a.socket_ms for a in answers]),
    }


def percentiles(times: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(times, p)), 2) for p in (50, 95, 99)}


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
