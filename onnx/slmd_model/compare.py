"""`slmd-model compare`: bundles of one model in several precisions, each served by the daemon in turn.

The first bundle is the reference: the others' exact answers are tested against
its by McNemar's exact test on the same lines.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slmd_model import daemon, evaluate, scores


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def speed(replies: Sequence[dict]) -> float:
    """Tokens a second while answers were written, the first token left out."""
    counts = [reply["usage"]["completion_tokens"] - 1 for reply in replies]
    times = [reply["timings"]["total_ms"] - reply["timings"]["ttft_ms"] for reply in replies]
    return 1000 * sum(counts) / max(1e-9, sum(times))


def measure(slmd: str, folder: Path, lines: list[dict], engine: str, threads: int) -> dict:
    """Answers and costs of one bundle."""
    with daemon.serve(slmd, folder, engine, threads) as (socket, pid):
        rows = list(evaluate.run(socket, lines, folder))
        memory = daemon.memory_kb(pid)
    answers = [answer for _, answer, _ in rows]
    return {
        "answers": answers,
        "figures": {
            "bundle_bytes": size(folder),
            "rss_mib": round(memory["rss"] / 1024, 1),
            "anonymous_mib": round(memory["anonymous"] / 1024, 1),
            "tokens_per_second": round(speed([reply for _, _, reply in rows]), 1),
            "p95_ms": round(float(np.percentile([a.ms for a in answers], 95)), 2),
            "exact": scores.interval(scores.mean(lambda a: a.exact), answers),
            "valid": scores.mean(lambda a: a.valid)(answers),
            "sources": evaluate.report([(line, a) for line, a, _ in rows])["sources"],
        },
    }


def compare(slmd: str, folders: list[Path], lines: list[dict], engine: str, threads: int) -> dict[str, dict]:
    """Figures by bundle; `against_first` is the paired test, of all lines and by source."""
    found: dict[str, dict] = {}
    first: list[scores.Answer] = []
    for folder in folders:
        one = measure(slmd, folder, lines, engine, threads)
        found[str(folder)] = one["figures"]
        if not first:
            first = one["answers"]
            continue
        found[str(folder)]["against_first"] = paired(lines, first, one["answers"])
    return found


def paired(lines: list[dict], first: Sequence[scores.Answer], second: Sequence[scores.Answer]) -> dict[str, dict]:
    tests = {"all": scores.mcnemar([a.exact for a in first], [a.exact for a in second])}
    for source in sorted({line["source"] for line in lines}):
        at = [i for i, line in enumerate(lines) if line["source"] == source]
        tests[source] = scores.mcnemar([first[i].exact for i in at], [second[i].exact for i in at])
    return tests
