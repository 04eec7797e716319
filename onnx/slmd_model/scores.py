"""Figures of answers: right or wrong, slots, refusals, calibration; with intervals, differences, and paired tests.

Slots are counted as pairs of type and value, each as often as it comes.
seqeval wants tags of tokens, which these answers do not have.
"""

import functools
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

REFUSAL = {"out_of_scope": True}
LABELS = ("intent", "cause", "code")  # the member that says what an answer is about
BINS = 15  # as `slmd task test`
RESAMPLES = 1000


@dataclass(frozen=True)
class Answer:
    """What was wanted and what came, as `said` reads them; `got` is None where an object was wanted and none came.

    `confidence` (0 to 1, or None) is that what stands at the JSON pointers `fields` is right, or all of it if none
    are given. `abstained`: it was below the task's bound. `ms` is the daemon's own total, `socket_ms` the client's.
    """

    want: dict | list | str
    got: dict | list | str | None
    valid: bool
    confidence: float | None = None
    fields: tuple[str, ...] = ()
    abstained: bool = False
    ms: float = 0.0
    socket_ms: float = 0.0
    task: str = ""

    @property
    def exact(self) -> bool:
        return self.got == self.want

    @property
    def refused(self) -> bool:
        return self.got == REFUSAL

    @property
    def declined(self) -> bool:
        """Said to be out of scope, or not sure enough to be acted on."""
        return self.refused or self.abstained

    @property
    def sure_right(self) -> bool:
        """Whether that is right which the confidence is of."""
        want = picked(self.want, self.fields)
        return picked(self.got, self.fields) == want if want else self.exact

    @property
    def label_right(self) -> bool:
        return label(self.want) == label(self.got)


def said(text: str) -> dict | list | str:
    """The JSON object or array that an answer is, or its text without the white space around it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict | list) else text.strip()


def picked(value, fields: Sequence[str]) -> list[tuple[str, object]]:
    """(pointer, value) of what stands at these JSON pointers, in which `*` is any name or index."""
    found = []
    for field in fields:
        at = [("", value)]
        for part in field.split("/")[1:]:
            at = [(f"{path}/{name}", inner) for path, outer in at for name, inner in below(outer, part)]
        found += at
    return found


def below(value, part: str) -> list[tuple[str, object]]:
    if isinstance(value, list):
        value = {str(i): inner for i, inner in enumerate(value)}
    if not isinstance(value, dict):
        return []
    return list(value.items()) if part == "*" else [(part, value[part])] if part in value else []


def label(answer: dict | list | str | None) -> str:
    """The intent, cause or code of an answer; a refusal is a label too, and so is what cannot be read. Text: none."""
    if answer is None:
        return "invalid"
    if not isinstance(answer, dict):
        return ""
    return next((str(answer[name]) for name in LABELS if name in answer), "out_of_scope" if answer == REFUSAL else "")


def slots(answer: dict | list | str | None) -> Counter:
    found = answer.get("slots") if isinstance(answer, dict) else None
    if not isinstance(found, list):
        return Counter()
    pairs = [[slot.get("slot"), slot.get("value")] for slot in found if isinstance(slot, dict)]
    return Counter(json.dumps(pair, sort_keys=True) for pair in pairs)  # a value can be anything


@dataclass(frozen=True)
class Figure:
    """A figure that follows from sums over answers: then that of resampled answers is a product of matrices away.

    `columns` are the numbers of each answer, `value` the figure of their sums, which stand along the last axis.
    `too_large`: chance enlarges the figure of resampled answers, so their interval is moved back by what it did.
    """

    columns: Callable[[Sequence[Answer]], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]
    too_large: bool = False

    def __call__(self, answers: Sequence[Answer]) -> float:
        return float(self.value(self.columns(answers).sum(0)))


def mean(test: Callable[[Answer], bool]) -> Figure:
    return Figure(
        lambda answers: np.array([(test(a), 1) for a in answers], float).reshape(-1, 2),
        lambda sums: sums[..., 0] / np.maximum(1, sums[..., 1]),
    )


def hits(answers: Sequence[Answer]) -> np.ndarray:
    rows = [(slots(a.want), slots(a.got)) for a in answers]
    return np.array([((want & got).total(), want.total() + got.total()) for want, got in rows], float)


# Micro F1 of (type, value).
slot_f1 = Figure(hits, lambda sums: np.where(sums[..., 1] > 0, 2 * sums[..., 0] / np.maximum(1, sums[..., 1]), 1.0))


def macro_f1(names: Sequence[str]) -> Figure:
    """Mean F1 of those of these labels that are wanted."""

    def columns(answers: Sequence[Answer]) -> np.ndarray:
        want, got = (
            np.array([[found == name for name in names] for found in map(label, side)], float).reshape(-1, len(names))
            for side in ([a.want for a in answers], [a.got for a in answers])
        )
        return np.hstack([want * got, want, got])

    def value(sums: np.ndarray) -> np.ndarray:
        hit, want, got = np.split(sums, 3, axis=-1)
        total = np.where(want > 0, 2 * hit / np.maximum(1, want + got), 0.0).sum(-1)
        count = (want > 0).sum(-1)
        return np.where(count > 0, total / np.maximum(1, count), np.nan)

    return Figure(columns, value)


def gaps(answers: Sequence[Answer]) -> np.ndarray:
    """Confidence less 1 or 0, for right or wrong, in the column of the confidence's bin; and 1."""
    found = np.zeros((len(answers), BINS + 1))
    for i, a in enumerate(answers):
        found[i, min(int(a.confidence * BINS), BINS - 1)] = a.confidence - a.sure_right
    found[:, BINS] = 1
    return found


# Expected calibration error over bins of equal width (Guo et al. 2017), of answers that have a confidence.
calibration_error = Figure(
    gaps, lambda sums: np.abs(sums[..., :BINS]).sum(-1) / np.maximum(1, sums[..., BINS]), too_large=True
)


@functools.lru_cache(maxsize=4)
def resamples(count: int, seed: int) -> np.ndarray:
    """How often each of so many lines is in each resample, as float32."""
    picks = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    return np.array([np.bincount(pick, minlength=count) for pick in picks], np.float32)


def interval(figure: Figure, answers: Sequence[Answer], seed: int = 1) -> list[float]:
    """[value, low, high]: the figure and its 95 % bootstrap interval over the answers."""
    columns = figure.columns(answers)
    value = figure.value(columns.sum(0))
    drawn = figure.value(resamples(len(answers), seed) @ columns.astype(np.float32))
    found = bounds(value, drawn, figure.too_large)
    return [max(0.0, x) for x in found]


def difference(figure: Figure, first: Sequence[Answer], second: Sequence[Answer], seed: int = 1) -> list[float]:
    """[second - first, low, high], by a bootstrap over the lines that both answer."""
    pair = [figure.columns(answers) for answers in (first, second)]
    weights = resamples(len(first), seed)
    one, other = (figure.value(columns.sum(0)) for columns in pair)
    drawn, others = (figure.value(weights @ columns.astype(np.float32)) for columns in pair)
    return bounds(other - one, others - drawn, figure.too_large)


def bounds(value: float, drawn: np.ndarray, too_large: bool) -> list[float]:
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    by = np.nanmean(drawn) - value if too_large else 0.0
    return [round(float(x), 4) + 0.0 for x in (value, low - by, high - by)]  # not -0.0


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> dict:
    """Exact two-sided test of whether two models are right equally often on the same lines."""
    only = [sum(a and not b for a, b in zip(x, y, strict=True)) for x, y in ((first, second), (second, first))]
    n, k = sum(only), min(only)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n if n else 1.0
    return {"only_first": only[0], "only_second": only[1], "p": round(min(1.0, 2 * tail), 4)}
