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
BINS = 10
RESAMPLES = 1000


@dataclass(frozen=True)
class Answer:
    """What was wanted and what came; `got` is None where it was no JSON object.

    `confidence` is that all of it is right, `label_confidence` that its label is; 0 to 1, or None.
    """

    want: dict
    got: dict | None
    valid: bool
    confidence: float | None = None
    label_confidence: float | None = None
    ms: float = 0.0

    @property
    def exact(self) -> bool:
        return self.got == self.want

    @property
    def refused(self) -> bool:
        return self.got == REFUSAL

    @property
    def label_right(self) -> bool:
        return label(self.want) == label(self.got)


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
    """Expected calibration error over ten bins of equal width."""
    at = np.minimum((confidences * BINS).astype(int), BINS - 1)
    bins = [at == b for b in range(BINS) if (at == b).any()]
    return float(sum(abs(confidences[b].mean() - right[b].mean()) * b.mean() for b in bins))


def logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p))


def calibrated(confidences: np.ndarray, scale: float, shift: float) -> np.ndarray:
    """Platt's scaling of a confidence."""
    return 1 / (1 + np.exp(-(scale * logit(confidences) + shift)))


def fit_calibration(confidences: np.ndarray, right: np.ndarray, steps: int = 50) -> tuple[float, float]:
    """(scale, shift) of `calibrated` by damped Newton steps on the log-likelihood, lightly held to (1, 0)."""
    x = np.stack([logit(confidences), np.ones(len(confidences))], 1)
    start = np.array([1.0, 0.0])

    def cost(weights: np.ndarray) -> float:
        margin = x @ weights * (2 * right - 1)
        return float(np.logaddexp(0, -margin).sum() + 0.05 * ((weights - start) ** 2).sum())

    weights = start
    for _ in range(steps):
        p = 1 / (1 + np.exp(-x @ weights))
        slope = x.T @ (p - right) + 0.1 * (weights - start)
        bend = (x * (p * (1 - p))[:, None]).T @ x + 0.1 * np.eye(2)
        move = np.linalg.solve(bend, slope)
        while cost(weights - move) > cost(weights) and np.abs(move).max() > 1e-6:
            move = move / 2
        weights = weights - move
    return float(weights[0]), float(weights[1])


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> dict:
    """Exact two-sided test of whether two models are right equally often on the same lines."""
    only = [sum(a and not b for a, b in zip(x, y, strict=True)) for x, y in ((first, second), (second, first))]
    n, k = sum(only), min(only)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n if n else 1.0
    return {"only_first": only[0], "only_second": only[1], "p": round(min(1.0, 2 * tail), 4)}
