"""JSON-lines tasks as token ids, and batches of lines of like length."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slmd_model import default_tokenizer as words
from slmd_model.errors import UserError

CHUNK = 20_000  # lines sorted by length at a time


@dataclass(frozen=True)
class Examples:
    """Token ids of all lines, one after the other; line i is ids[ends[i-1]:ends[i]], its answer from answers[i].

    `kept`: which of the lines that were given these are, in their order.
    """

    ids: np.ndarray
    ends: np.ndarray
    answers: np.ndarray
    kept: np.ndarray

    def line(self, i: int) -> tuple[np.ndarray, int]:
        start = self.ends[i - 1] if i else 0
        return self.ids[start : self.ends[i]], int(self.answers[i] - start)

    def lengths(self) -> np.ndarray:
        return np.diff(self.ends, prepend=0)


def read_lines(path: Path) -> list[dict]:
    """Lines of {"task", "text", "answer"}; an answer that is not text is written as compact JSON.

    A line without a task is of the default model's first one, one without a source is of its file.
    Of a line with `"open": true` the answer is known in its beginning only: nothing is learned of what follows.
    """
    if not path.is_file():
        raise UserError(f"{path}: missing; it holds JSON lines of task, text, answer (see onnx/README.md)", 66)
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            answer = line["answer"]
            if not isinstance(line["text"], str):
                raise TypeError
        except (ValueError, TypeError, KeyError):
            raise UserError(f'{path}:{number}: not a JSON object with "text" and "answer"') from None
        if not isinstance(answer, str):
            answer = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
        defaults = {"task": words.DEFAULT_TASK, "source": path.stem}
        lines.append(defaults | line | {"answer": answer})
    if not lines:
        raise UserError(f"{path}: no lines")
    return lines


def encode(tokenizer, lines: list[dict]) -> Examples:
    """Lines longer than the context are left out: cut, they would teach answers without their ends."""
    rows, ends, starts, kept, end = [], [], [], [], 0
    for at in range(0, len(lines), 2000):  # an Encoding object takes kilobytes
        part = lines[at : at + 2000]
        prompts = tokenizer.encode_batch_fast([words.render(line["task"], line["text"]) for line in part])
        answers = tokenizer.encode_batch_fast(
            [line["answer"] + ("" if line.get("open") else words.END) for line in part]
        )
        for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True), at):
            row = prompt.ids + answer.ids
            if len(row) > words.CONTEXT:
                continue
            kept.append(i)
            starts.append(end + len(prompt.ids))
            end += len(row)
            ends.append(end)
            rows.append(np.array(row, np.int16))
    ids = np.concatenate(rows) if rows else np.zeros(0, np.int16)
    return Examples(ids, *(np.array(each, np.int64) for each in (ends, starts, kept)))


def tell_left_out(path: Path, lines: int, kept: int, limit: int, tell) -> None:
    """Tell how many of the lines were too long; that all were is an error."""
    if not kept:
        raise UserError(f"{path}: every line is longer than {limit} tokens, text and answer together")
    if kept < lines:
        tell(f"{path}: {lines - kept} of {lines} lines are longer than {limit} tokens and left out")


def groups(examples: Examples, tokens: int, seed: int):
    """Endless groups of lines of like length; each pass over the data is shuffled anew."""
    r, lengths = random.Random(seed), examples.lengths()
    while True:
        order = list(range(len(lengths)))
        r.shuffle(order)
        found = []
        for at in range(0, len(order), CHUNK):
            group: list[int] = []
            for i in sorted(order[at : at + CHUNK], key=lambda i: lengths[i]):
                if group and (len(group) + 1) * lengths[i] > tokens:
                    found.append(group)
                    group = []
                group.append(i)
            found.append(group)
        r.shuffle(found)
        yield from found


def tensors(examples: Examples, group: list[int], pad: int, device: str):
    """(ids, wanted): padded ids [lines, width], and the next token where it belongs to an answer, else -100."""
    import torch

    rows = [examples.line(i) for i in group]
    width = max(len(row) for row, _ in rows)
    ids = np.full((len(rows), width), pad, np.int64)
    wanted = np.full((len(rows), width), -100, np.int64)
    for k, (row, answer) in enumerate(rows):
        ids[k, : len(row)] = row
        wanted[k, answer - 1 : len(row) - 1] = row[answer:]
    return torch.from_numpy(ids).to(device), torch.from_numpy(wanted).to(device)
