"""`slmd-model compare`: bundles of one model in several precisions, each served by the daemon in turn.

The first bundle is the reference: the others' exact answers are tested against
its by McNemar's exact test on the same lines, and every figure is told with
its difference to the first's.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from slmd_model import daemon, evaluate, scores

ALL = "all"
OF_ALL = ("exact", "valid")  # what has a meaning over lines of several sources
WORSE = 0.01  # more than this is flagged
# A row of the table for each: what it says of a bundle.
COSTS: dict[str, Callable[[dict], str]] = {
    "name and version": lambda b: f"{b['run']['name']} {b['run']['version']}",
    "engine, threads": lambda b: f"{b['run']['engine'] or '?'}, {b['run']['threads']}",
    "size, MB": lambda b: f"{b['bundle_bytes'] / 1e6:.1f}",
    "RSS, MiB": lambda b: f"{b['rss_mib']:.1f}",
    "of it anonymous, MiB": lambda b: f"{b['anonymous_mib']:.1f}",
    "tokens/s": lambda b: f"{b['tokens_per_second']:.1f}",
    "p95, the daemon's own total, ms": lambda b: f"{b['p95_ms']:.2f}",
    "p95 through the socket, ms": lambda b: f"{b['p95_socket_ms']:.2f}",
}
NOTES = (
    "per cent; of the first bundle with a 95 % interval, of the others with the difference to the first and its "
    "95 % interval (paired bootstrap); p by McNemar's test\n"
    "! worse than the first by more than a point; !! and its whole interval is worse"
)


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
        facts = evaluate.facts(socket, folder, threads)
        rows = list(evaluate.run(socket, lines, folder))
        memory = daemon.memory_kb(pid)
    answers = [answer for _, answer, _ in rows]
    return {
        "answers": answers,
        "figures": {
            "run": facts,
            "bundle_bytes": size(folder),
            "rss_mib": round(memory["rss"] / 1024, 1),
            "anonymous_mib": round(memory["anonymous"] / 1024, 1),
            "tokens_per_second": round(speed([reply for _, _, reply in rows]), 1),
            "p95_ms": evaluate.percentiles([a.ms for a in answers])["p95"],
            "p95_socket_ms": evaluate.percentiles([a.socket_ms for a in answers])["p95"],
            "exact": scores.interval(scores.mean(lambda a: a.exact), answers),
            "valid": scores.interval(scores.mean(lambda a: a.valid), answers),
            "sources": evaluate.report([(line, a) for line, a, _ in rows])["sources"],
        },
    }


def compare(slmd: str, folders: list[Path], lines: list[dict], engine: str, threads: int) -> dict[str, dict]:
    """Figures by bundle, of all lines and by source.

    `against_first` is the paired test, `difference` what each figure is above the first bundle's, `worse` names those
    that are worse by more than `WORSE`.
    """
    found: dict[str, dict] = {}
    first: list[scores.Answer] = []
    for folder in folders:
        one = measure(slmd, folder, lines, engine, threads)
        found[str(folder)] = one["figures"]
        if not first:
            first = one["answers"]
            continue
        found[str(folder)] |= against(lines, first, one["answers"])
    return found


def against(lines: list[dict], first: Sequence[scores.Answer], second: Sequence[scores.Answer]) -> dict[str, dict]:
    tests, differences, worse = {}, {}, []
    for group in [ALL, *sorted({line["source"] for line in lines})]:
        at = [i for i, line in enumerate(lines) if group in (ALL, line["source"])]
        pair = [first[i] for i in at], [second[i] for i in at]
        tests[group] = scores.mcnemar(*([a.exact for a in answers] for answers in pair))
        differences[group] = {}
        for name, measure in evaluate.measures(*pair).items():
            if group == ALL and name not in OF_ALL:
                continue
            found = scores.difference(measure.figure, *(measure.of(answers) for answers in pair))
            differences[group][name] = found
            if (found[0] if measure.less else -found[0]) > WORSE:
                worse.append([group, name])
    return {"against_first": tests, "difference": differences, "worse": worse}


def table(found: dict[str, dict]) -> str:
    """For people: a column for each bundle."""
    bundles, paths = list(found.values()), [Path(name) for name in found]
    alike = len({path.name for path in paths}) < len(paths)
    rows = [["", *(str(path) if alike else path.name or str(path) for path in paths)]]
    rows += [[title, *map(cost, bundles)] for title, cost in COSTS.items()]
    for group in [ALL, *bundles[0]["sources"]]:
        rows += [[""], *rows_of(group, bundles)]
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    return "\n".join([*lines, "", NOTES])


def rows_of(group: str, bundles: list[dict]) -> list[list[str]]:
    own = [bundle if group == ALL else bundle["sources"][group] for bundle in bundles]
    names = OF_ALL
    if group != ALL:
        names = tuple(dict.fromkeys(name for one in own for name, value in one.items() if isinstance(value, list)))
    count = sum(source["lines"] for source in bundles[0]["sources"].values()) if group == ALL else own[0]["lines"]
    rows = [[f"{group}: {count} lines"]]
    rows += [[f"  {name}", *(cell(b, o, group, name) for b, o in zip(bundles, own, strict=True))] for name in names]
    tests = [bundle.get("against_first", {}).get(group) for bundle in bundles]
    return [*rows, ["  exact only here; only in the first", *map(told, tests)]] if any(tests) else rows


def told(test: dict | None) -> str:
    """McNemar's."""
    if not test:
        return ""
    chance = f"p = {test['p']:.2g}" if test["p"] else "p < 0.0001"
    return f"{test['only_second']}; {test['only_first']} ({chance})"


def cell(bundle: dict, own: dict, group: str, name: str) -> str:
    """A figure with its interval, or with how it differs."""
    value = f"{100 * own[name][0]:.1f}" if name in own else "-"
    if "difference" not in bundle:
        return f"{value} ({100 * own[name][1]:.1f}-{100 * own[name][2]:.1f})" if name in own else value
    if (found := bundle["difference"][group].get(name)) is None:
        return value
    by, low, high = (f"{100 * x:+.1f}" for x in found)
    sure = found[1] > 0 or found[2] < 0
    return f"{value} {by} ({low} to {high})" + (" !!" if sure else " !") * ([group, name] in bundle["worse"])
