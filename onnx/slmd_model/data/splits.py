"""Disjoint parts of human sentences: one to fit, one to choose by, one to report.

Sentences that nearly repeat each other go to the same part. Two sentences do
so if, without case, punctuation and figures, the words they share are at
least NEAR of all their words.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable

NEAR = 0.8


def words_of(text: str) -> frozenset[str]:
    """The words of a sentence; digits count as one kind of word."""
    return frozenset(re.findall(r"[^\W\d_]+|#", re.sub(r"\d+", " # ", text.lower().replace("'", ""))))


def near(a: frozenset[str], b: frozenset[str]) -> bool:
    return a == b or (bool(a) and len(a & b) >= NEAR * len(a | b))


def prefix(words: frozenset[str], rank: dict[str, tuple]) -> list[str]:
    """The rarest words: sentences that are near to each other share one of them."""
    keep = len(words) - int(NEAR * len(words) + 0.999) + 1
    return sorted(words, key=rank.__getitem__)[:keep]


class Index:
    """Finds the sentences near to a given one."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.sets = [words_of(text) for text in texts]
        count: dict[str, int] = defaultdict(int)
        for group in self.sets:
            for word in group:
                count[word] += 1
        self.count = count
        self.by_word: dict[str, list[int]] = defaultdict(list)
        self.empty = [i for i, group in enumerate(self.sets) if not group]
        for i, group in enumerate(self.sets):
            for word in prefix(group, self.rank(group)):
                self.by_word[word].append(i)

    def rank(self, words: frozenset[str]) -> dict[str, tuple]:
        return {word: (self.count.get(word, 0), word) for word in words}

    def near(self, text: str) -> set[int]:
        group = words_of(text)
        if not group:
            return set(self.empty)
        found = {i for word in prefix(group, self.rank(group)) for i in self.by_word.get(word, ())}
        return {i for i in found if near(group, self.sets[i])}


def clusters(texts: list[str]) -> list[int]:
    """A number for each sentence, the same for those linked by nearness."""
    index, parent = Index(texts), list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, text in enumerate(texts):
        for k in index.near(text):
            parent[root(k)] = root(i)
    return [root(i) for i in range(len(texts))]


def share(text: str) -> float:
    """A number in [0, 1) that depends on the text only."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def split(rows: list[dict], choose: float, report: float) -> dict[str, list[dict]]:
    """The parts `fit`, `choose` and `report` of rows with a `text`; the last two have each cluster once."""
    parts: dict[str, list[dict]] = {"fit": [], "choose": [], "report": []}
    groups: dict[int, list[dict]] = defaultdict(list)
    for row, cluster in zip(rows, clusters([row["text"] for row in rows]), strict=True):
        groups[cluster].append(row)
    for group in groups.values():
        first = min(group, key=lambda row: row["text"])
        at = share(first["text"])
        if at < choose + report:
            parts["choose" if at < choose else "report"].append(first)
        else:
            parts["fit"] += group
    return parts


def without(rows: list[dict], others: Iterable[str]) -> list[dict]:
    """The rows that are near to none of `others`."""
    index = Index(others)
    return [row for row in rows if not index.near(row["text"])]
