"""The grammar of sensor alerts: statistics of a window in, a verdict out.

The verdict follows fixed rules, in this order (`limit` is an upper bound, `low` a lower one):

1. min == max over 5 or more samples: kind flat, warning, inspect (a stuck sensor);
2. last > limit: above_limit; critical and stop when last >= 1.25 limit, else warning and inspect;
3. last < low: below_limit, warning, inspect;
4. max > limit: spike, warning, watch;
5. last >= 1.5 first (and no limit broken): rising, info, watch; last <= 0.5 first: falling, info, watch;
6. else normal, info, none.
"""

import json
import random

SENSORS = (
    ("vibration", "mm/s", 0.5, 12, 7.1), ("temperature", "°C", 15, 120, 80), ("pressure", "bar", 0.5, 16, 10),
    ("current", "A", 1, 60, 40), ("torque", "Nm", 5, 80, 60), ("speed", "rpm", 200, 3000, 2500),
    ("humidity", "%", 10, 100, 85), ("level", "%", 0, 100, 90), ("flow", "l/min", 1, 90, 70), ("noise", "dB", 30, 120, 85),
    ("voltage", "V", 8, 30, 26), ("power", "kW", 0.5, 20, 15), ("co2", "ppm", 350, 3000, 1500),
)  # fmt: skip
KINDS = ("normal", "above_limit", "below_limit", "spike", "rising", "falling", "flat")
SEVERITIES = ("info", "warning", "critical")
ACTIONS = ("none", "watch", "inspect", "stop")
CRITICAL, RISING, FALLING, FLAT_COUNT = 1.25, 1.5, 0.5, 5


def judge(stats: dict) -> dict:
    """The rules of the module's head."""
    limit, low = stats.get("limit"), stats.get("low")
    last, first = stats["last"], stats["first"]
    if stats["min"] == stats["max"] and stats["count"] >= FLAT_COUNT:
        return verdict("warning", "flat", "inspect")
    if limit is not None and last > limit:
        return verdict("critical", "above_limit", "stop") if last >= CRITICAL * limit else verdict(
            "warning", "above_limit", "inspect")  # fmt: skip
    if low is not None and last < low:
        return verdict("warning", "below_limit", "inspect")
    if limit is not None and stats["max"] > limit:
        return verdict("warning", "spike", "watch")
    if last >= RISING * first:
        return verdict("info", "rising", "watch")
    if last <= FALLING * first:
        return verdict("info", "falling", "watch")
    return verdict("info", "normal", "none")


def verdict(severity: str, kind: str, action: str) -> dict:
    return {"severity": severity, "kind": kind, "action": action}


def schema() -> dict:
    names = {"severity": SEVERITIES, "kind": KINDS, "action": ACTIONS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sensor alert",
        "type": "object",
        "properties": {name: {"enum": list(values)} for name, values in names.items()},
        "required": list(names),
        "additionalProperties": False,
    }


def window(r: random.Random) -> dict:
    """Statistics of an invented window."""
    name, unit, low_end, high_end, usual_limit = r.choice(SENSORS)
    limit = round(usual_limit * r.uniform(0.7, 1.3), 1 if usual_limit < 100 else 0)
    digits = 0 if high_end > 500 or r.random() < 0.2 else r.choice([1, 1, 2])
    base = r.uniform(low_end, limit)
    kind = r.choice(["steady", "steady", "over", "over", "spike", "rise", "fall", "flat", "low"])
    first = base
    last = {
        "steady": base * r.uniform(0.8, 1.2), "over": limit * r.uniform(1.01, 1.6), "spike": base * r.uniform(0.7, 1.0),
        "rise": min(base * r.uniform(1.4, 2.5), limit * 0.99), "fall": base * r.uniform(0.1, 0.6), "flat": base,
        "low": base * r.uniform(0.2, 0.9),
    }[kind]  # fmt: skip
    points = [first, last] + [r.uniform(min(first, last), max(first, last)) for _ in range(3)]
    if kind == "spike":
        points.append(limit * r.uniform(1.05, 1.6))
    if kind == "steady":
        points += [base * r.uniform(0.8, 1.2), base * r.uniform(0.8, 1.2)]
    figure = (lambda v: round(v)) if digits == 0 else (lambda v: round(v, digits))
    values = [figure(first)] * 5 if kind == "flat" else [figure(p) for p in points]
    stats = {
        "sensor": name, "unit": unit, "count": r.choice([5, 10, 30, 60, 120, r.randint(5, 300)]),
        "min": min(values), "max": max(values), "mean": figure(sum(values) / len(values)),
        "first": values[0], "last": values[0] if kind == "flat" else values[1],
    }  # fmt: skip
    if r.random() < 0.85:
        stats["limit"] = int(limit) if limit == int(limit) else limit
    if kind == "low" or r.random() < 0.15:
        stats["low"] = figure(base * r.uniform(0.3, 0.8))
    return stats


def render(stats: dict, r: random.Random) -> str:
    """JSON as a watch's template writes it, or a line of text."""
    shown = dict(stats)
    for name in ("unit", "mean", "sensor"):
        if r.random() < 0.25:
            del shown[name]
    roll = r.random()
    if roll < 0.7:
        items = list(shown.items())
        if r.random() < 0.3:
            r.shuffle(items)
        return json.dumps(dict(items), ensure_ascii=False, separators=(",", ":") if r.random() < 0.6 else None)
    if roll < 0.85:
        return " ".join(f"{k}={v}" for k, v in shown.items())
    return ", ".join(f"{k} {v}" for k, v in shown.items())


def example(r: random.Random) -> tuple[str, dict]:
    stats = window(r)
    return render(stats, r), judge(stats)
