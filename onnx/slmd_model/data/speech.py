"""Sentence patterns shared by the topics: on and off, percentages, opening and closing."""

import random
import re

from slmd_model.data.phrases import adjective, expand, number, percent, where

LITTLE = "a bit|a little|a little bit|slightly|a touch|a tad|somewhat|a tiny bit|just a bit|ever so slightly|a wee bit|a smidge"


LOT = "a lot|much|way|quite a bit|considerably|significantly|a good bit|a whole lot|loads|a good deal|far"


ON = """
turn on {x}{z}
turn {x} on{z}
switch on {x}{z}
switch {x} on{z}
put {x} on{z}
put on {x}{z}
(activate|enable|start|engage) {x}{z}
(get|set) {x} going{z}
(stick|pop|flip|whack|throw|have|get|keep|power) {x} on{z}
(fire up|bring on|power up|kick in|crank up|hit|give me) {x}{z}
(let's|let us) have {x} [on]{z}
make sure {x} is on{z}
turn {x} back on{z}
(bring|put) {x} back [on]{z}
"""


ON_SAID = """
{bare} on{z}
{bare}{z} on
i (want|need|would like) {x}{z}
i'd like {x} on{z}
we need {x}{z}
{bare}{z} please
{bare}{z}
(can|could|may) (we|i) (have|get) {x} [on]{z}
{x} would be (nice|good|great|lovely|helpful){z}
(i|we) could (use|do with) {x}{z}
(time for|how about|what about) {x}{z}
(i'd|i would|we'd) (like|love) {x} [on]{z}
"""


OFF = """
turn off {x}{z}
turn {x} off{z}
switch off {x}{z}
switch {x} off{z}
(deactivate|disable|stop|kill|cut|shut off|shut down) {x}{z}
(get rid of|lose|end|cancel|quit|drop|switch out) {x}{z}
(shut|knock|flip|power|take|click|have|get) {x} off{z}
make sure {x} is off{z}
turn {x} (back|right) off{z}
"""


OFF_SAID = """
{bare} off{z}
{bare}{z} off
no more {bare}{z}
i don't (want|need) {x} [anymore]{z}
(that's|that is|thats) enough {bare}{z}
enough (of|with) {x}{z}
(we|you) don't need {x}{z} (anymore|any more|any longer|now)
no need for {x}{z} (anymore|any more|now|any longer)
{x} can (go|be turned|be switched|be) off (now|again|already){z}
(i'm|we're) done with {x}{z}
(i|we) can do without {x}{z}
{x} (isn't|is not) needed{z} [now|anymore]
could (we|you) do without {x}{z}
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
    return (
        words + " ",
        " " + r.choice(["a lot", "a lot", "quite a bit", "considerably", "a good bit", "a whole lot", "loads"]),
        much,
    )


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
        if r.random() < 0.25:
            n = r.choice([5, 10, 15, 20, 25, 30, 40, r.randint(2, 50)])
            after = r.choice([" by ", " by ", " "]) + (percent(n, r) if r.random() < 0.7 else number(n, r))
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
        "{x}{z} {a}\n{x}{z} to {a}\n(i want|make) {t}{x} {a}{z}\n{a} {x}{z}\n(have|get|take|run|keep|leave) {t}{x}{z} (at|to) {a}\n"
        "(i'd like|i want|let's have|we want|give me) {t}{x}{z} at {a}\n(go to|make it) {a} on {t}{x}{z}",
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
        roll = r.random()
        if roll < 0.2:
            text = expand(
                f"{split}{noun}{z} "
                + ("(open|down|wide open|all the way down)" if opens else "(closed|up|shut|all the way up)"),
                r,
            )
        elif roll < 0.45:
            state = "(open|fully open|wide open)" if opens else "(closed|shut|completely closed)"
            text = expand(
                f"(get|have|put) {split}{noun}{z} {state}|(i|we) (want|need|would like) {split}{noun} {state}{z}|"
                f"(can|could) (we|i|you) (have|get) {split}{noun} {state}{z}|{split}{noun}{z} (should|can|has to) be {state}|"
                f"(let's|let us) have {split}{noun} {state}{z}",
                r,
            )
        if "roof" in noun:
            text = re.sub(r" (all the way )?down$", " open", text)
            text = re.sub(r" (all the way )?up$", " closed", text)
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
