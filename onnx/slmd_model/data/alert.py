"""The grammar of sensor alerts: a window's statistics in; severity, cause, message and action out.

A model of this size does not learn to multiply or divide, so the prompt holds
what the watch's template computes. Two kinds of windows:

A series, each figure an integer percentage (absent where it has no meaning):

- `last`, `peak`: the last and the largest value, of the upper limit;
- `floor`: the last value, of the lower limit;
- `trend`: change from the first value to the last, of the first;
- `spread`: largest minus smallest value, of the mean.

A milling machine as in AI4I 2020 (UCI, CC-BY-4.0), integer percentages too:

- `type`: L, M or H;
- `cooling`: process minus air temperature, of 8.6 K; `speed`: of 1380 rpm; `base`: power, of 3500 W (rounded down);
- `power`: torque times angular speed, of 9000 W; `strain`: wear times torque, of the type's limit (rounded up);
- `wear`: of 200 minutes (rounded down).

The verdict follows fixed rules, in the order of `judge_series` and
`judge_machine`; the latter are the published ones of AI4I's failures PWF, OSF
and HDF. Its tool wear failure strikes at random between 200 and 240 minutes:
`tool_wear` warns of it.
"""

import json
import math
import random

from slmd_model.data.utterances import or_refusal

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
    "machine_temperature",
]
CRITICAL_PERCENT, TREND_PERCENT = 125, 50
POWER_W, DELTA_K, SPEED_RPM, WEAR_MIN = (3500, 9000), 8.6, 1380, 200
STRAIN = {"L": 11_000, "M": 12_000, "H": 13_000}
# cause: (severity, action, message); {} is the sensor's name
CAUSES = {
    "normal": ("info", "none", "all values are normal"),
    "above_limit": ("warning", "inspect", "{} is above its limit"),
    "far_above_limit": ("critical", "stop", "{} is far above its limit"),
    "below_limit": ("warning", "inspect", "{} is below its limit"),
    "spike": ("warning", "watch", "{} was above its limit for a moment"),
    "rising": ("info", "watch", "{} is rising fast"),
    "falling": ("info", "watch", "{} is falling fast"),
    "flat": ("warning", "inspect", "{} does not change, the sensor may be stuck"),
    "power": ("critical", "stop", "the power is out of range"),
    "overstrain": ("critical", "replace_tool", "the torque is too high for a tool so worn"),
    "heat_dissipation": ("critical", "check_cooling", "the heat is not carried away at this low speed"),
    "tool_wear": ("warning", "replace_tool", "the tool is near the end of its life"),
}
FAILURES = ("power", "overstrain", "heat_dissipation")


def judge_series(stats: dict) -> str:
    """The cause that a series' figures tell."""
    last, peak, floor = stats.get("last", 0), stats.get("peak", 0), stats.get("floor", 100)
    trend = stats.get("trend", 0)
    if stats.get("spread") == 0:
        return "flat"
    if last > 100:
        return "far_above_limit" if last >= CRITICAL_PERCENT else "above_limit"
    if floor < 100:
        return "below_limit"
    if peak > 100:
        return "spike"
    if abs(trend) >= TREND_PERCENT:
        return "rising" if trend > 0 else "falling"
    return "normal"


def judge_machine(stats: dict) -> str:
    """The cause that a machine's figures tell: AI4I's PWF, OSF, HDF in this order, then wear."""
    if stats["power"] > 100 or stats["base"] < 100:
        return "power"
    if stats["strain"] > 100:
        return "overstrain"
    if stats["cooling"] < 100 and stats["speed"] < 100:
        return "heat_dissipation"
    return "tool_wear" if stats["wear"] >= 100 else "normal"


def judge(stats: dict) -> dict:
    cause = judge_machine(stats) if "power" in stats and "type" in stats else judge_series(stats)
    severity, action, message = CAUSES[cause]
    sensor = str(stats.get("sensor", "the value"))
    return {"severity": severity, "cause": cause, "message": message.format(sensor), "action": action}


def schema() -> dict:
    found = {
        "type": "object",
        "properties": {
            "severity": {"enum": sorted({severity for severity, _, _ in CAUSES.values()})},
            "cause": {"enum": list(CAUSES)},
            "message": {"type": "string", "minLength": 1, "maxLength": 96},
            "action": {"enum": sorted({action for _, action, _ in CAUSES.values()})},
        },
        "required": ["severity", "cause", "message", "action"],
        "additionalProperties": False,
    }
    return or_refusal("Sensor alert", found)


def around(r: random.Random, border: int, low: int, high: int, width: int = 12) -> int:
    """A number in low..high, often near the border where the verdict changes."""
    n = r.randint(border - width, border + width) if r.random() < 0.4 else r.randint(low, high)
    return min(max(n, low), high)


def series(r: random.Random) -> dict:
    """Statistics of an invented series."""
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


def machine(r: random.Random) -> dict:
    """Statistics of an invented milling machine; half of them near a border."""
    kind = r.choice(["any", "any", "power", "strain", "heat", "wear"])
    near = r.random() < 0.5
    speed = min(max(r.gauss(1540, 180), 1168), 2886)
    delta = r.uniform(7.6, 12.1)
    if kind == "heat":
        speed = r.uniform(1250, 1450) if near else r.uniform(1168, 1600)
        delta = r.uniform(8.0, 9.2) if near else delta
    power = min(max(r.gauss(6280, 1070), 1150), 10_500)
    if kind == "power":
        power = r.choice(POWER_W) * r.uniform(0.93, 1.07) if near else r.uniform(1150, 10_500)
    wear = r.uniform(180, 220) if kind == "wear" and near else r.uniform(0, 253 if kind in ("wear", "strain") else 199)
    tool = r.choice("LLMH")
    strain = STRAIN[tool] * (r.uniform(0.9, 1.1) if near else r.uniform(0, 1.4))
    return percentages(tool, delta, speed, power, wear, strain if kind == "strain" else wear * power / speed * 9.5493)


def percentages(tool: str, delta: float, speed: float, power: float, wear: float, strain: float) -> dict:
    """The statistics of a machine; units as in AI4I 2020, power in W, strain in minNm."""
    low, high = POWER_W
    return {
        "type": tool, "cooling": int(100 * delta / DELTA_K), "speed": int(100 * speed / SPEED_RPM),
        "power": math.ceil(100 * power / high), "base": int(100 * power / low), "wear": int(100 * wear / WEAR_MIN),
        "strain": math.ceil(100 * strain / STRAIN[tool]),
    }  # fmt: skip


def of_row(row: dict) -> dict:
    """The statistics of a row of AI4I 2020, as the watch's template computes them."""
    air, process = float(row["Air temperature [K]"]), float(row["Process temperature [K]"])
    rpm, torque, wear = int(row["Rotational speed [rpm]"]), float(row["Torque [Nm]"]), int(row["Tool wear [min]"])
    return percentages(row["Type"], process - air, rpm, torque * rpm * math.pi / 30, wear, wear * torque)


def of_series(values: list[float], sensor: str, low: float, high: float) -> dict:
    """The statistics of a window of positive values between a lower and an upper limit."""
    mean, last = sum(values) / len(values), values[-1]
    return {
        "sensor": sensor, "last": round(100 * last / high), "peak": round(100 * max(values) / high),
        "floor": round(100 * last / low), "trend": round(100 * (last - values[0]) / values[0]),
        "spread": round(100 * (max(values) - min(values)) / mean),
    }  # fmt: skip


def compact(stats: dict) -> str:
    return json.dumps(stats, separators=(",", ":"))


def render(stats: dict, r: random.Random) -> str:
    """JSON as a watch's template writes it, now and then with white space or as a line of text."""
    roll = r.random()
    if roll < 0.8:
        return compact(stats)
    if roll < 0.9:
        return json.dumps(stats)
    return " ".join(f"{k}={v}" for k, v in stats.items())


def example(r: random.Random) -> tuple[str, dict]:
    make = series if r.random() < 0.5 else machine
    stats = make(r)
    while judge(stats)["cause"] == "normal" and r.random() < 0.6:
        stats = make(r)
    return render(stats, r), judge(stats)
