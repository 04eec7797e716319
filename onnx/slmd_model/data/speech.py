"""Sentence patterns shared by the topics: on and off, percentages, opening and closing."""

import random

from slmd_model.data.phrases import adjective, expand, number, percent, where

LITTLE = "a bit|a little|a little bit|slightly|a touch|a tad|somewhat"


LOT = "a lot|much|way|quite a bit|considerably|significantly"


ON = """
turn on {x}{z}
turn {x} on{z}
switch on {x}{z}
switch {x} on{z}
put {x} on{z}
put on {x}{z}
(activate|enable|start|engage) {x}{z}
"""


ON_SAID = """
{bare} on{z}
{bare}{z} on
i (want|need|would like) {x}{z}
i'd like {x} on{z}
we need {x}{z}
"""


OFF = """
turn off {x}{z}
turn {x} off{z}
switch off {x}{z}
switch {x} off{z}
(deactivate|disable|stop|kill|cut|shut off|shut down) {x}{z}
"""


OFF_SAID = """
{bare} off{z}
{bare}{z} off
no more {bare}{z}
i don't (want|need) {x} [anymore]{z}
"""


def act(signal: str, op: str, value) -> list[dict]:
    return [{"signal": signal, "op": op, "value": value}]


def fill(template: str, r: random.Random, **slots: str) -> str:
    """Expand a line of `template`, then put the slots in."""
    line = r.choice([line for line in template.splitlines() if line.strip()])
    for name, value in slots.items():
        line = line.replace("{" + name + "}", value)
    return expand(line, r)


def switch(r: random.Random, on: bool, nouns: str, z: str = "", adj: str = "") -> tuple[str, bool]:
    """A sentence that turns something on or off, and whether it is imperative."""
    noun = adj + expand(r.choice(nouns.split("/")), r)
    said = r.random() < 0.25
    template = (ON_SAID if on else OFF_SAID) if said else (ON if on else OFF)
    article = "" if adj.startswith(("all", "every")) else r.choice(["the ", "the ", "the ", ""])
    return fill(template, r, x=article + noun, bare=noun, z=z), not said


def toggle(signal: str, nouns: str, on_share: float = 0.55):
    """Topic of a plain on/off signal. `nouns` are alternatives, separated by /."""

    def topic(r: random.Random):
        on = r.random() < on_share
        text, imperative = switch(r, on, nouns)
        return text, act(signal, "set", on), imperative

    return topic


def step(r: random.Random, usual: int, little: int, much: int) -> tuple[str, str, int]:
    """How much: (words before a comparative, words after a verb, value)."""
    roll = r.random()
    if roll < 0.5:
        return "", "", usual
    if roll < 0.78:
        words = r.choice(LITTLE.split("|"))
        return words + " ", " " + words, little
    words = r.choice(LOT.split("|"))
    return words + " ", " " + r.choice(["a lot", "a lot", "quite a bit", "considerably"]), much


def zone_words(r: random.Random, zone: str) -> tuple[str, str]:
    """(adjective, place): one of the two carries the zone."""
    if zone and r.random() < 0.45:
        return adjective(zone, r), ""
    return "", where(zone, r)


def level(signal: str, nouns: str, usual: int, little: int, much: int, up: str, down: str, on: int | None = None):
    """Topic of a percentage without places: steps, a figure, extremes, on and off."""

    def topic(r: random.Random):
        noun = expand(r.choice(nouns.split("/")), r)
        return percentage(r, signal, noun, "", "", (usual, little, much), up, down, on)

    return topic


def percentage(r, signal, noun, adj, z, steps, up, down, on):
    """`up` and `down` are verbs with {x} for the noun, separated by /."""
    kind = r.choices(["step", "set", "extreme"] + (["switch"] if on is not None else []),
                     [45, 35, 12] + ([8] if on is not None else []))[0]  # fmt: skip
    x = adj + noun
    the = "" if adj.startswith(("all", "every")) else "the "
    if kind == "step":
        rising = r.random() < 0.5
        if r.random() < 0.2:
            n = r.choice([5, 10, 15, 20, 25, 30])
            after = " by " + percent(n, r)
        else:
            _, after, n = step(r, *steps)
        verb = r.choice((up if rising else down).split("/"))
        text = expand(verb.replace("{x}", the + x), r) + (after + z if r.random() < 0.5 else z + after)
        return text, act(signal, "increase" if rising else "decrease", n), True
    if kind == "switch":
        is_on = r.random() < 0.4
        text, imperative = switch(r, is_on, noun, z, adj)
        return text, act(signal, "set", on if is_on else 0), imperative
    if kind == "extreme":
        full = r.random() < 0.6
        word = "(max|maximum|full|full power|the maximum|the max|100%|highest)" if full else "(minimum|min|zero|0)"
        text = fill(
            "{x} to {w}{z}\nset {t}{x} to {w}{z}\nturn {t}{x} to {w}{z}\n{w} {x}{z}", r, x=x, t=the, w=word, z=z
        )
        return text, act(signal, "set", 100 if full else 0), False
    n = r.choice([r.randint(0, 100), r.randrange(0, 101, 10), r.randrange(0, 101, 5)])
    amount = percent(n, r) if r.random() < 0.6 else number(n, r)
    if r.random() < 0.08:
        n, amount = 50, r.choice(["half", "half", "medium", "the middle"])
    text = fill(
        "set {t}{x}{z} to {a}\nset {t}{x} to {a}{z}\n{x} [to|at] {a}{z}\n(put|turn|change|adjust|bring) {t}{x} to {a}{z}\n"
        "{x}{z} {a}\n{x}{z} to {a}\n(i want|make) {t}{x} {a}{z}",
        r, x=x, t=the, a=amount, z=z,
    )  # fmt: skip
    return text, act(signal, "set", n), False


PARTLY = (
    (20, "(a crack|a bit|a little|slightly|a little bit|a tiny bit|a tad|just a bit|just a crack|a touch)"),
    (25, "(a quarter|one quarter|a quarter of the way)"),
    (50, "(halfway|half way|half|halfway|half-way|to the middle)"),
    (75, "(three quarters|three quarters of the way|three-quarters)"),
    (100, "(all the way|fully|completely|entirely|wide)"),
)


def movable(r, signal, noun, z, opener, closer):
    """Open, close, or move partly something with 0 = closed and 100 = open."""
    roll = r.random()
    opens = r.random() < 0.58
    verb = opener if opens else closer
    split = r.choice(["the ", "the ", "the ", ""]) if not noun.startswith(("all", "every", "my")) else ""
    if roll < 0.42:
        value = 100 if opens else 0
        how = r.choice(["", "", "", " " + PARTLY[4][1] if opens else " (all the way|fully|completely)"])
        text = expand(f"{verb} {split}{noun}{z}{how}", r)
        if r.random() < 0.15:
            text = expand(f"{noun}{z} " + ("(open|down)" if opens else "(closed|up|shut)"), r)
            if "roof" in noun:
                text = text.replace(" down", " open").replace(" up", " closed")
        return text, act(signal, "set", value), True
    if roll < 0.72:
        value, words = r.choice([PARTLY[0], PARTLY[0], PARTLY[1], PARTLY[2], PARTLY[2], PARTLY[3]])
        if value == 20 and r.random() < 0.3:
            return (
                expand(f"(crack open|crack) {split}{noun}{z}|crack {split}{noun} [open]{z}", r),
                act(signal, "set", 20),
                True,
            )
        if not opens and value in (20, 25, 75):
            opens, verb = True, opener
        shape = r.choice([f"{verb} {split}{noun}{z} {words}", f"{verb} {split}{noun} {words}{z}"])
        return expand(shape, r), act(signal, "set", value), True
    if roll < 0.9:
        n = r.choice([r.randrange(5, 100, 5), r.randrange(10, 100, 10), r.randint(1, 99)])
        verb = opener if r.random() < 0.8 else "(set|move|put|bring)"
        shape = f"{verb} {split}{noun}{z} to {percent(n, r)}" if r.random() < 0.6 or verb.startswith("(set") else (
            f"{verb} {split}{noun} {percent(n, r)}{z}")  # fmt: skip
        return expand(shape, r), act(signal, "set", n), True
    words, n = r.choice([("[a bit|a little] (more|further)", 20), ("some more", 20), ("a lot (more|further)", 40)])
    return expand(f"{verb} {split}{noun}{z} {words}", r), act(signal, "increase" if opens else "decrease", n), True
