"""`slmd-model eval`: a bundle against JSON lines, answered by the daemon over its socket."""

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
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
Scaling = dict[str, tuple[float, float]]  # of the confidences `answer` and `label`
DEADLINE_MS = 20_000  # a busy machine must not turn a right answer into a refusal


def validators(folder: Path) -> dict:
    """Task -> what checks its answers against the bundle's schema."""
    if not (folder / bundle.MANIFEST).is_file():
        raise UserError(f"{folder}: no {bundle.MANIFEST}", 66)
    from jsonschema import Draft202012Validator

    tasks = bundle.read(folder).tasks
    schemas = {name: json.loads((folder / task.schema).read_text()) for name, task in tasks.items() if task.schema}
    return {name: Draft202012Validator(schema) for name, schema in schemas.items()}


def confidences(reply: dict) -> tuple[float | None, float | None]:
    """Of the whole answer and of its label: the product of the probabilities of the tokens that say it.

    The whole is the reply's own `confidence` where it has one.
    """
    content = (reply.get("logprobs") or {}).get("content")
    if content is None:
        return reply.get("confidence"), None
    end = deciding_length(reply["text"])
    whole = label = 0.0
    at = 0
    for token in content:
        whole += token["logprob"]
        label += token["logprob"] if at < end else 0.0
        at += len(bytes(token["bytes"]).decode(errors="replace"))
    return reply.get("confidence", math.exp(min(0.0, whole))), math.exp(min(0.0, label))


def deciding_length(text: str) -> int:
    """Characters up to the end of the label, all where there is none."""
    for name in scores.LABELS:
        start = text.find(f'"{name}":"')
        if start >= 0:
            return text.find('"', start + len(name) + 4) + 1
    return len(text)


def answer(client: Client, line: dict, checks: dict, logprobs: bool) -> tuple[Answer, dict]:
    """An answer that was not complete in time or in tokens counts as invalid; other errors end the evaluation."""
    request = {"task": line["task"], "prompt": line["text"], "deadline_ms": DEADLINE_MS, "logprobs": logprobs}
    begin, want = time.perf_counter(), json.loads(line["answer"])
    reply = client.ask(request)
    if reply["status"] != "ok":
        error = reply["error"]
        if error["code"] not in UNFINISHED:
            raise UserError(f"{line['task']}: {line['text']!r}: {error['code']}: {error['message']}", 70)
        reply = {"text": error["code"], "confidence": 0.0} | NO_TIMES
        return Answer(want, None, False, 0.0, 0.0, 1000 * (time.perf_counter() - begin)), reply
    try:
        got = json.loads(reply["text"])
    except ValueError:
        got = None
    check = checks.get(line["task"])
    valid = isinstance(got, dict) and (check is None or check.is_valid(got))
    return Answer(want, got, valid, *confidences(reply), reply["timings"]["total_ms"]), reply


def run(socket: Path, lines: list[dict], folder: Path, logprobs: bool = True) -> Iterator[tuple[dict, Answer, dict]]:
    """(line, answer, reply) of every line, one after the other."""
    client, checks = Client(socket), validators(folder)
    for line in tqdm(lines, unit="line", mininterval=2.0):
        found, reply = answer(client, line, checks, logprobs)
        yield line, found, reply
    client.close()


def figures(answers: Sequence[Answer], platt: Scaling | None = None) -> dict:
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
    found |= calibration(answers, platt or {})
    times = [a.ms for a in answers]
    found["ms"] = {f"p{p}": round(float(np.percentile(times, p)), 2) for p in (50, 95, 99)}
    return found


def pairs(answers: Sequence[Answer]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(confidence, 1 where right) of `answer`, and of `label` where answers have one."""
    found = {}
    if all(a.confidence is not None for a in answers):
        found["answer"] = [(a.confidence, a.exact) for a in answers]
    if all(a.label_confidence is not None and scores.label(a.want) for a in answers):
        found["label"] = [(a.label_confidence, a.label_right) for a in answers]
    return {name: tuple(np.array(column, float) for column in zip(*rows, strict=True)) for name, rows in found.items()}


def calibration(answers: Sequence[Answer], platt: Scaling) -> dict:
    """Expected calibration errors, as it is and after Platt's scaling."""
    found = {}
    for name, (sure, right) in pairs(answers).items():
        found[f"ece_{name}"] = round(scores.calibration_error(sure, right), 4)
        if name in platt:
            sure = scores.calibrated(sure, *platt[name])
            found[f"ece_{name}_calibrated"] = round(scores.calibration_error(sure, right), 4)
    return found


def by(answers: Sequence[tuple[dict, Answer]], key: str) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = defaultdict(list)
    for line, one in answers:
        found[line[key]].append(one)
    return dict(sorted(found.items()))


def report(answers: Sequence[tuple[dict, Answer]], platt: dict[str, Scaling]) -> dict:
    """Figures by source, and by task."""
    task_of = {line["source"]: line["task"] for line, _ in answers}
    sources = {name: figures(group, platt.get(task_of[name])) for name, group in by(answers, "source").items()}
    tasks = {name: figures(group, platt.get(name)) for name, group in by(answers, "task").items()}
    return {"sources": sources, "tasks": tasks}


def fitted(answers: Sequence[tuple[dict, Answer]]) -> dict[str, Scaling]:
    """Platt's scaling of each task's confidences; from sentences that choose, never from those that report."""
    return {
        task: {name: scores.fit_calibration(*pair) for name, pair in pairs(group).items()}
        for task, group in by(answers, "task").items()
    }


def plot(answers: Sequence[tuple[dict, Answer]], platt: dict[str, Scaling], out: Path) -> None:
    """The reliability of each task's confidence, of its label where it has one, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 5))
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for task, group in by(answers, "task").items():
        found = pairs(group)
        if not found:
            continue
        name = "label" if "label" in found else "answer"
        sure, right = found[name]
        if name in platt.get(task, {}):
            sure = scores.calibrated(sure, *platt[task][name])
        at = np.minimum((sure * scores.BINS).astype(int), scores.BINS - 1)
        full = [b for b in range(scores.BINS) if (at == b).sum() >= 5]
        axes.plot([sure[at == b].mean() for b in full], [right[at == b].mean() for b in full], "o-", label=task)
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=120)
    pyplot.close(figure)
