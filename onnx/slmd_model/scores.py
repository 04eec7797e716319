"""Figures of answers: right or wrong, slots, refusals, calibration; with intervals, and paired tests.

Slots are counted as pairs of type and value, each as often as it comes.
seqeval wants tags of tokens, which these answers do not have.
"""

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
    """What was wanted and what came; `got` is None where it was no JSON object.

    `confidence` (0 to 1, or None) is that what stands at the JSON pointers `fields` is right, or all of it if none
    are given. `abstained`: it was below the task's bound.
    """

    want: dict
    got: dict | None
    valid: bool
    confidence: float | None = None
    fields: tuple[str, ...] = ()
    abstained: bool = False
    ms: float = 0.0

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


def label(answer: dict | None) -> str:
    """The intent, cause or code of an answer; a refusal is a label too, and so is what cannot be read."""
    if answer is None:
        return "invalid"
    return next((str(answer[name]) for name in LABELS if name in answer), "out_of_scope" if answer == REFUSAL else "")


def slots(answer: dict | None) -> Counter:
    found = (answer or {}).get("slots")
    if not isinstance(found, list):
        return Counter()
    return Counter((slot.get("slot"), slot.get("value")) for slot in found if isinstance(slot, dict))


def slot_f1(answers: Sequence[Answer]) -> float:
    """Micro F1 of (type, value)."""
    hit = sum((slots(a.want) & slots(a.got)).total() for a in answers)
    total = sum(slots(a.want).total() + slots(a.got).total() for a in answers)
    return 2 * hit / total if total else 1.0


def macro_f1(answers: Sequence[Answer], names: Sequence[str] | None = None) -> float:
    """Mean F1 of the labels in `names`, by default all that are wanted."""
    want, got = [label(a.want) for a in answers], [label(a.got) for a in answers]
    names = sorted(set(want)) if names is None else names
    found = []
    for name in names:
        hit = sum(w == g == name for w, g in zip(want, got, strict=True))
        found.append(2 * hit / max(1, want.count(name) + got.count(name)))
    return sum(found) / max(1, len(found))


def mean(test: Callable[[Answer], bool]) -> Callable[[Sequence[Answer]], float]:
    return lambda answers: sum(test(a) for a in answers) / max(1, len(answers))


def interval(figure: Callable[[Sequence[Answer]], float], answers: Sequence[Answer], seed: int = 1) -> list[float]:
    """[value, low, high]: the figure and its 95 % bootstrap interval over the answers."""
    r = np.random.default_rng(seed)
    picks = r.integers(0, len(answers), (RESAMPLES, len(answers)))
    drawn = [figure([answers[i] for i in pick]) for pick in picks]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return [round(float(x), 4) for x in (figure(answers), low, high)]


def calibration_error(confidences: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over bins of equal width (Guo et al. 2017)."""
    at = np.minimum((confidences * BINS).astype(int), BINS - 1)
    bins = [at == b for b in range(BINS) if (at == b).any()]
    return float(sum(abs(confidences[b].mean() - right[b].mean()) * b.mean() for b in bins))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> dict:
    """Exact two-sided test of whether two models are right equally often on the same lines."""
    only = [sum(a and not b for a, b in zip(x, y, strict=True)) for x, y in ((first, second), (second, first))]
    n, k = sum(only), min(only)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n if n else 1.0
    return {"only_first": only[0], "only_second": only[1], "p": round(min(1.0, 2 * tail), 4)}
