"""The grammar of sensor alerts: a window's statistics, as percentages, in; a verdict out.

A model of this size does not learn to divide, so the prompt holds ratios that
the watch computes, each an integer percentage (absent where it has no meaning):

- `last`, `peak`: the last and the largest value, of the upper limit;
- `floor`: the last value, of the lower limit;
- `trend`: change from the first value to the last, of the first;
- `spread`: largest minus smallest value, of the mean.

The verdict follows fixed rules, in this order:

1. spread 0: flat, warning, inspect (a stuck sensor);
2. last > 100: above_limit; critical and stop when last >= 125, else warning and inspect;
3. floor < 100: below_limit, warning, inspect;
4. peak > 100: spike, warning, watch;
5. trend >= 50: rising, info, watch; trend <= -50: falling, info, watch;
6. else normal, info, none.
"""

import json
import random

SENSORS = [
    "vibration",
    "temperature",
    "pressure",
    "current",
    "torque",
    "speed",
    "humidity",
    "level",
    "flow",
    "noise",
    "voltage",
    "power",
    "co2",
    "weight",
    "ph",
    "rms",
    "oil_temperature",
    "bearing_temperature",
    "motor_current",
    "pump_pressure",
    "spindle_speed",
]
KINDS = ("normal", "above_limit", "below_limit", "spike", "rising", "falling", "flat")
SEVERITIES = ("info", "warning", "critical")
ACTIONS = ("none", "watch", "inspect", "stop")
CRITICAL_PERCENT, TREND_PERCENT = 125, 50


def judge(stats: dict) -> dict:
    """The rules of the module's head."""
    last, peak, floor = stats.get("last", 0), stats.get("peak", 0), stats.get("floor", 100)
    trend = stats.get("trend", 0)
    if stats.get("spread") == 0:
        return verdict("flat", "warning", "inspect")
    if last > 100:
        grave = last >= CRITICAL_PERCENT
        return verdict("above_limit", *(("critical", "stop") if grave else ("warning", "inspect")))
    if floor < 100:
        return verdict("below_limit", "warning", "inspect")
    if peak > 100:
        return verdict("spike", "warning", "watch")
    if abs(trend) >= TREND_PERCENT:
        return verdict("rising" if trend > 0 else "falling", "info", "watch")
    return verdict("normal", "info", "none")


def verdict(kind: str, severity: str, action: str) -> dict:
    return {"kind": kind, "severity": severity, "action": action}


def schema() -> dict:
    names = {"kind": KINDS, "severity": SEVERITIES, "action": ACTIONS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sensor alert",
        "type": "object",
        "properties": {name: {"enum": list(values)} for name, values in names.items()},
        "required": list(names),
        "additionalProperties": False,
    }


def around(r: random.Random, border: int, low: int, high: int) -> int:
    """A number in low..high, often near the border where the verdict changes."""
    n = r.randint(border - 12, border + 12) if r.random() < 0.4 else r.randint(low, high)
    return min(max(n, low), high)


def window(r: random.Random) -> dict:
    """Statistics of an invented window."""
    kind = r.choice(["any", "calm", "calm", "over", "low", "spike", "trend", "flat"])
    calm = kind in ("calm", "low", "spike", "trend", "flat")
    last = around(r, r.choice([100, 125]), 5, 200) if kind in ("any", "over") else r.randint(5, 100)
    peak = last + r.choice([0, 0, r.randint(0, 30)])
    if kind == "spike":
        peak = around(r, 100, max(last, 5), 200)
    elif calm:
        peak = min(100, peak)
    trend = around(r, r.choice([-50, 50]), -95, 300) if kind in ("any", "trend") else r.randint(-45, 45)
    spread = 0 if kind == "flat" else r.randint(1, 150)
    stats = {"sensor": r.choice(SENSORS), "last": last, "peak": peak}
    if kind == "low" or r.random() < 0.2:
        stats["floor"] = around(r, 100, 10, 300) if kind in ("low", "any") else r.randint(100, 400)
    stats |= {"trend": 0 if kind == "flat" else trend, "spread": spread}
    for name in ("sensor", "trend", "spread"):
        if r.random() < 0.1 and kind not in ("flat", "trend"):
            del stats[name]
    return stats


def render(stats: dict, r: random.Random) -> str:
    """JSON as a watch's template writes it, or a line of text."""
    roll = r.random()
    if roll < 0.75:
        return json.dumps(stats, separators=(",", ":") if r.random() < 0.6 else None)
    if roll < 0.88:
        return " ".join(f"{k}={v}" for k, v in stats.items())
    return ", ".join(f"{k} {v}" for k, v in stats.items())


def example(r: random.Random) -> tuple[str, dict]:
    stats = window(r)
    return render(stats, r), judge(stats)
