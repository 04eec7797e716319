"""The grammar of vehicle commands: English sentences and the actions they mean.

A topic returns (text, actions, imperative). What words mean by default:
"warmer" 2 degrees, "a bit" 1, "a lot" 4; fan and brightness 20 percent (10,
40); volume 10 (5, 25); a window or roof "a bit" open is 20 percent; heating
"on" is 50; no place said means all stations or windows, but the driver for a
single seat or window.
"""

import random

from slmd_model.data import signals as s
from slmd_model.data.phrases import adjective, dress, expand, number, percent, place, split_bar, top, where

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


def temperature(r: random.Random):
    zone = place(r)
    signal = f"{s.HVAC}.Station.{s.STATION[zone or 'all']}.Temperature"
    kind = r.choices(["step", "degrees", "feel", "set", "extreme"], [30, 12, 14, 36, 8])[0]
    adj, z = zone_words(r, zone)
    if kind == "set":
        return set_temperature(r, zone, signal, adj, z)
    if kind == "extreme":
        warm = r.random() < 0.5
        text = fill(
            "(max|maximum|full) (heat|heating|temperature){z}\n[make it] as (warm|hot) as possible{z}\n"
            "heat [it] to the max{z}\n[turn the] heat[ing] all the way up{z}\nset the temperature to (max|maximum){z}"
            if warm
            else "(max|maximum|full) (cold|cooling){z}\n[make it] as (cold|cool) as possible{z}\n"
            "set the temperature to (min|minimum|the lowest){z}\nlowest temperature{z}\n[turn the] heat[ing] all the "
            "way down{z}",
            r, z=where(zone, r),
        )  # fmt: skip
        return text, act(signal, "set", s.TEMPERATURE_C[warm]), False
    up = r.random() < 0.55
    if kind == "feel":
        return feel(r, zone, signal)
    op = "increase" if up else "decrease"
    if kind == "degrees":
        n = r.choice([1, 1, 2, 2, 3, 3, 4, 5, 6])
        amount = number(n, r) + (" degree" if n == 1 else " degrees") + r.choice(["", "", "", " celsius"])
        word = "(warmer|hotter|up|more)" if up else "(cooler|colder|down|less)"
        verb = "(raise|increase|turn up|bump up)" if up else "(lower|decrease|reduce|turn down|drop)"
        text = fill(
            "{a} {w}{z}\nmake it {a} {w}{z}\n{v} the {adj}(temperature|temp|heat|heating){z} by {a}\n"
            "{v} the {adj}(temperature|temp){z} {a}\n{adj}(temperature|temp) {w} {a}{z}\n{v} it [by] {a}{z}\n"
            "i (want|need) it {a} {w}{z}\ngo {a} {w}{z}",
            r, a=amount, w=word, v=verb, adj=adj, z=z or (where(zone, r) if not adj else ""),
        )  # fmt: skip
        if zone and adj and adj.strip() not in text:
            text += where(zone, r)
        return text, act(signal, op, n), False
    before, after, n = step(r, 2, 1, 4)
    word = "(warmer|hotter|warmer)" if up else "(cooler|colder|cooler)"
    verb = "(raise|increase|turn up|bump up|up)" if up else "(lower|decrease|reduce|turn down|drop)"
    shape = r.choice([1, 1, 2, 3, 4])
    if shape == 1 or (shape == 4 and not up):
        text = fill(
            "{b}{w}{z}\nmake it {b}{w}{z}\n[get] it {b}{w}{z}\n(i want|i'd like|we want) it {b}{w}{z}\n"
            "can (we|i) have it {b}{w}{z}\n{w}{z}{a}",
            r, b=before, w=word, z=where(zone, r), a=after,
        )  # fmt: skip
    elif shape == 4:
        text = fill("more (heat|warmth){z}\n(warm|heat) (it|things|the car) up{a}{z}\nheat up the (car|cabin){a}{z}",
                    r, z=where(zone, r), a=after)  # fmt: skip
        n = n if any(word in text for word in after.split()) and after else 2
    elif shape == 2:
        text = fill("{v} the {adj}(temperature|temp|heat|heating){a}{z}\n{v} the {adj}(temperature|temp){z}{a}",
                    r, v=verb, adj=adj, a=after, z=z)  # fmt: skip
        return text, act(signal, op, n), True
    else:
        text = fill("{adj}(temperature|temp|heat) (up|higher){a}{z}" if up
                    else "{adj}(temperature|temp|heat) (down|lower){a}{z}", r, adj=adj, a=after, z=z)  # fmt: skip
    return text, act(signal, op, n), False


def feel(r: random.Random, zone: str, signal: str):
    """ "I'm cold" and its kin: mild words mean 2 degrees, strong ones 4."""
    strong, cold = r.random() < 0.35, r.random() < 0.55
    words = {
        (True, True): "(freezing|frozen|freezing cold|icy|ice cold|super cold)",
        (True, False): "(boiling|sweating|melting|burning up|roasting|super hot|boiling hot)",
        (False, True): "(cold|chilly|[too] cold|too cool|a bit cold|getting cold)",
        (False, False): "(hot|warm|too hot|too warm|a bit warm|getting hot)",
    }[strong, cold]
    who = {"passenger": "(my wife|my husband|the passenger|my friend)", "driver": "(the driver)"}.get(zone)
    if who and r.random() < 0.6:
        text = expand(f"{who} is {words}", r)
    elif zone == "rear" and r.random() < 0.5:
        text = expand(f"the (kids|people|passengers|children) [in the back|back there] are {words}", r)
        text = text if "back" in text or "kids" in text or "children" in text else text + " in the back"
    else:
        text = expand(f"(i'm|i am|it's|it is|we're|we are|it feels|im|its) {words}", r) + where(zone, r)
    return text, act(signal, "increase" if cold else "decrease", 4 if strong else 2), False


def set_temperature(r: random.Random, zone: str, signal: str, adj: str, z: str):
    if r.random() < 0.15:
        n = r.randint(61, 82)
        value, unit = round((n - 32) / 1.8), r.choice([" fahrenheit", " degrees fahrenheit", " F", "°F", " degrees"])
    else:
        n = value = r.randint(*s.TEMPERATURE_C)
        unit = r.choice(["", "", " degrees", " degrees", " degrees", "°", " °C", " degrees celsius", " celsius", "C"])
    amount = number(n, r)
    amount += unit if amount.isdigit() or unit[:1] == " " else " degrees"
    what = "(temperature|temp|temperature|climate|heating|heat|thermostat|ac|air conditioning|air con|aircon)"
    imperative = r.random() < 0.6
    text = fill(
        "(set|change|turn|adjust|bring|put) the {adj}{w}{z} to {a}\n(set|put|change) the {adj}(temperature|temp) to {a}{z}\n"
        "(set|turn|put) (it|the car){z} to {a}\n(set|put) it to {a}{z}\nmake it {a}{z}\n"
        "(keep|set) the {adj}(temperature|temp) at {a}{z}\nset {a}{z}\nset the {adj}side to {a}"
        if imperative
        else "{a}{z}\n{adj}(temperature|temp) [to] {a}{z}\n{adj}{w} {a}{z}\n(i want|i'd like|i would like|we want) "
        "[it] {a}{z}\n{adj}(temperature|temp) at {a}{z}\n{a} in here{z}\n{adj}side to {a}",
        r, adj=adj, z=z, w=what, a=amount,
    )  # fmt: skip
    if "side to" in text and ("side side" in text or not adj or adj.startswith(("all", "every", "front ", "rear "))):
        text = f"set the {adj}temperature{z} to {amount}"
    if adj and adj.strip() not in text:  # not every line has room for it
        text += where(zone, r)
    return text, act(signal, "set", value), imperative


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


def fan(r: random.Random):
    zone = place(r, 0.5)
    signal = f"{s.HVAC}.Station.{s.STATION[zone or 'all']}.FanSpeed"
    adj, z = zone_words(r, zone)
    noun = r.choice(["fan", "fan", "fan speed", "fan", "blower", "airflow", "air flow", "ventilation", "fans"])
    return percentage(
        r, signal, noun, adj, z, (20, 10, 40),
        "(turn up|increase|raise|speed up) {x}/{x} (up|faster|higher|stronger)/turn {x} up/more " + noun
        + "/more air/blow harder/more fan/make {x} (stronger|faster)/(a stronger|stronger) " + noun,
        "(turn down|decrease|reduce|lower|slow down) {x}/{x} (down|slower|lower)/turn {x} down/less " + noun
        + "/less air/less fan/make {x} (weaker|slower)/{x} is too (strong|loud|high)",
        on=50,
    ) if not adj else percentage(
        r, signal, noun, adj, z, (20, 10, 40),
        "(turn up|increase|raise) {x}/turn {x} up/{x} (up|faster|higher)",
        "(turn down|decrease|reduce|lower) {x}/turn {x} down/{x} (down|slower|lower)",
        on=50,
    )  # fmt: skip


PARTLY = (
    (20, "(a crack|a bit|a little|slightly|a little bit|a tiny bit|a tad|just a bit|just a crack|a touch)"),
    (25, "(a quarter|one quarter|a quarter of the way)"),
    (50, "(halfway|half way|half|halfway|half-way|to the middle)"),
    (75, "(three quarters|three quarters of the way|three-quarters)"),
    (100, "(all the way|fully|completely|entirely|wide)"),
)
OPEN_WINDOW = "(open|open|open up|roll down|lower|put down|wind down|let down|slide down|bring down)"
CLOSE_WINDOW = "(close|close|shut|roll up|raise|put up|wind up|close up|bring up)"


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


def window(r: random.Random):
    if r.random() < 0.05:
        text = "(let|get) [some] [fresh] air in[to the car]|i need [some] fresh air|it's stuffy in here|air out the car"
        return expand(text, r), act(f"{s.DOOR}.*.*.Window.Position", "set", 20), False
    zone = place(r, 0.7)
    plural = zone in ("front", "rear", "left", "right", "all") or (not zone and r.random() < 0.6)
    noun = "windows" if plural else "window"
    target = s.SIDE[zone or ("all" if plural else "driver")]
    adj, z = zone_words(r, zone)
    if zone == "all" and not adj:
        z = r.choice(["", "", " in the car", " everywhere"])
        adj = r.choice(["all ", "all the ", "every one of the "]) if not z else ""
    if zone == "driver" and r.random() < 0.3:
        adj, z = "my ", ""
    if adj == "every ":
        noun = "window"
    if r.random() < 0.03 and not plural:
        noun = r.choice(["windo", "wndow"])
    return movable(r, f"{s.DOOR}.{target}.Window.Position", adj + noun, z, OPEN_WINDOW, CLOSE_WINDOW)


def sunroof(r: random.Random):
    noun = r.choice(["sunroof", "sunroof", "sun roof", "roof", "moonroof", "panoramic roof", "glass roof"])
    opener, closer = "(open|open|open up|slide open|slide back)", "(close|close|shut|slide shut)"
    return movable(r, "Vehicle.Cabin.Sunroof.Position", noun, "", opener, closer)


def shade(r: random.Random):
    """Shades: 0 = retracted, 100 = drawn."""
    kind = r.choice(["rear", "rear", "roof", "door"])
    drawn = r.random() < 0.5
    if kind == "rear":
        noun, signal = (
            "rear (shade|sunshade|sun shade|window shade|blind|window blind)|back (shade|blind)",
            "Vehicle.Cabin.RearShade.Position",
        )
        verb = (
            "(pull up|raise|put up|close|deploy|draw|bring up)"
            if drawn
            else "(lower|retract|put down|open|let down|bring down)"
        )
        bare = "(up|closed)" if drawn else "(down|open)"
    else:
        verb, bare = ("(close|draw|pull|shut)", "closed") if drawn else ("(open|retract)", "open")
        if kind == "roof":
            noun, signal = "(sunroof|roof) (shade|blind|cover|curtain)", "Vehicle.Cabin.Sunroof.Shade.Position"
        else:
            zone = r.choice(["all", "rear", "left", "right", "rear_left", "rear_right"])
            adj = "" if zone == "all" else adjective(zone, r).replace(" side", "")
            noun, signal = (
                adj + "(door|side) (shades|blinds|sunshades|shade)",
                f"{s.DOOR}.{s.SIDE[zone]}.Shade.Position",
            )
    noun = expand(noun, r)
    if r.random() < 0.25:
        value, word = 50, " (halfway|half way|half)"
    else:
        value, word = 100 if drawn else 0, r.choice(["", "", " (all the way|completely|fully)"])
    if r.random() < 0.15 and value != 50:
        return expand(f"{noun} {bare}", r), act(signal, "set", value), False
    return expand(f"{verb} [the] {noun}{word}", r), act(signal, "set", value), True


def lock(r: random.Random):
    locked = r.random() < 0.55
    zone = place(r, 0.5)
    adj, z = zone_words(r, zone if zone != "all" else "")
    noun = "doors" if zone in ("", "front", "rear", "left", "right", "all") else "door"
    if zone == "all":
        adj = r.choice(["all ", "all the ", "all of the "])
    elif not zone and r.random() < 0.3:
        noun = r.choice(["car", "vehicle", "door locks", "car doors", "everything", "door"])
        noun = "doors" if noun == "door" and r.random() < 0.5 else noun
    the = "" if adj.startswith("all") or noun == "everything" else r.choice(["the ", "the ", ""])
    verb = "lock" if locked else "unlock"
    if r.random() < 0.08 and not zone:
        return expand("(lock|lock it) up|lock us in|lock it" if locked else "unlock it|unlock|open the locks", r), act(
            f"{s.DOOR}.*.*.IsLocked", "set", locked), True  # fmt: skip
    text = f"{verb} {the}{adj}{noun}{z}" if r.random() < 0.9 else f"make sure {the}{adj}{noun}{z} (is|are) {verb}ed"
    return expand(text, r), act(f"{s.DOOR}.{s.SIDE[zone or 'all']}.IsLocked", "set", locked), True


def child_lock(r: random.Random):
    zone = r.choice(["", "", "rear", "rear", "rear_left", "rear_right"])
    adj, z = zone_words(r, zone)
    on = r.random() < 0.6
    text, imperative = switch(
        r, on, "child lock/child locks/child safety lock/child safety locks/kids lock/child safety", z, adj
    )
    return text, act(f"{s.DOOR}.{s.SIDE[zone or 'rear']}.IsChildLockActive", "set", on), imperative


def seat_heat(r: random.Random):
    zone = place(r, 0.6)
    cool = r.random() < 0.25
    adj, z = zone_words(r, zone)
    plural = zone in ("front", "rear", "left", "right", "all") or (not zone and r.random() < 0.2)
    target = zone or ("all" if plural else "driver")
    wheel = r.random() < 0.14
    signal = f"{s.SEAT}.{s.SIDE[target]}.HeatingCooling"
    seat = "seats" if plural else "seat"
    if wheel:
        signal, adj, z, seat, cool = "Vehicle.Chassis.SteeringWheel.HeatingCooling", "", "", "steering wheel", False
    owner = "my " if not zone and not plural and not wheel and r.random() < 0.5 else "the "
    if adj.startswith(("all", "every")):
        owner = ""
        seat = "seat" if adj == "every " else seat
    sign = -1 if cool else 1
    noun = "seat (cooling|ventilation|cooler|ventilation)" if cool else "seat (heating|heater|heating|warmer|heat)"
    if wheel:
        noun = "steering wheel (heating|heater|heat)"
    if plural and not wheel:
        noun = r.choice(
            [
                "(cooled|ventilated) seats" if cool else "(heated|heated) seats",
                noun if zone else "(heated) seats" if not cool else "(ventilated) seats",
            ]
        )
    kind = r.choices(["on", "off", "level", "step", "verb"], [26, 20, 22, 10, 22])[0]
    x = adj + expand(noun, r)
    if kind in ("on", "off"):
        text, imperative = switch(r, kind == "on", expand(noun, r), z, adj)
        if kind == "off" and r.random() < 0.2:
            word = "cold" if cool else "hot"
            text, imperative = (
                expand(f"{owner}{adj}{seat}{z} is too {word} (,|and) (switch|turn) (it|the (heating|cooling)) off", r),
                False,
            )
            text = text.replace(" ,", ",").replace("seats is", "seats are").replace("seats in", "seats in")
            if owner.strip() != "my" and not zone and not wheel:
                text = text.replace("the seat ", "my seat ")
        return text, act(signal, "set", sign * 50 if kind == "on" else 0), imperative
    words, value = r.choice([
        ("(low|level 1|level one|the lowest level|1)", 33), ("(medium|level 2|level two|middle|2)", 66),
        ("(high|level 3|level three|max|maximum|full|full power|the max|the highest level|3)", 100),
    ])  # fmt: skip
    if kind == "level":
        if r.random() < 0.3:
            value = r.randrange(10, 101, 10)
            words = percent(value, r)
        text = fill("set {o}{x}{z} to {w}\n{x} [to|on] {w}{z}\n(put|turn) {o}{x} (to|on) {w}{z}\n{x}{z} to {w}",
                    r, o=r.choice(["the ", ""]) if owner else "", x=x, z=z, w=words)  # fmt: skip
        return text, act(signal, "set", sign * value), True
    if kind == "step":
        up = r.random() < 0.5
        text = fill(
            "(turn up|increase|raise) the {x}{z}\nmore {x}{z}\n{x} up{z}\nturn the {x} up{z}" if up
            else "(turn down|decrease|reduce|lower) the {x}{z}\nless {x}{z}\n{x} down{z}\nturn the {x} down{z}",
            r, x=x, z=z,
        )  # fmt: skip
        if cool:  # more cooling is a lower value
            up = not up
        return text, act(signal, "increase" if up else "decrease", 30), True
    verb = "(cool|cool down|ventilate|chill)" if cool else "(heat|warm|warm up|heat up|preheat)"
    thing = f"{owner}{adj}{seat}{z}"
    if r.random() < 0.35:
        how = r.choice(["at", "to", "on", "with"])
        full = expand(words, r)
        text = expand(f"{verb} {thing} {how} {full}", r)
        return text, act(signal, "set", sign * value), True
    return expand(f"{verb} {thing}", r), act(signal, "set", sign * 50), True


def seat_move(r: random.Random):
    passenger = r.random() < 0.3
    seat = (
        "the (passenger|front passenger|passenger's) seat" if passenger else "(my|my|the|the driver|the driver's) seat"
    )
    base = f"{s.SEAT}.Row1." + ("PassengerSide" if passenger else "DriverSide")
    if r.random() < 0.6:
        back = r.random() < 0.5
        word = (
            "(back|backwards|backward|further back)"
            if back
            else "(forward|forwards|to the front|closer to the wheel|further forward)"
        )
        _, after, n = step(r, 50, 20, 100)
        if r.random() < 0.2:
            n, unit = r.choice(
                [
                    (20, "2 centimeters"),
                    (30, "3 cm"),
                    (50, "5 cm"),
                    (10, "1 cm"),
                    (100, "10 centimeters"),
                    (40, "40 mm"),
                ]
            )
            after = " " + r.choice(["", "by "]) + unit
        text = r.choice([f"(move|slide|push|put) {seat} {word}{after}", f"(move|slide) {seat}{after} {word}"])
        return expand(text, r), act(base + ".Position", "increase" if back else "decrease", n), True
    up = r.random() < 0.5
    _, after, n = step(r, 20, 10, 40)
    text = r.choice([f"(raise|lift) {seat}{after}" if up else f"(lower|drop) {seat}{after}",
                     f"(move|put|bring) {seat} " + ("(up|higher)" if up else "(down|lower)") + after])  # fmt: skip
    return expand(text, r), act(base + ".Height", "increase" if up else "decrease", n), True


def massage(r: random.Random):
    passenger = r.random() < 0.35
    on = r.random() < 0.6
    z = expand("(on|for|in) the (passenger seat|passenger's seat|passenger|passenger side)" if passenger
               else "|on my seat|(on|for|in) the (driver seat|driver's seat|driver)|for me", r)  # fmt: skip
    text, imperative = switch(r, on, "massage/seat massage/massage function/back massage", " " + z if z else "")
    if on and not passenger and r.random() < 0.15:
        text, imperative = (
            expand("(give me|i need|i want) a [back] massage|massage my back|my back hurts, massage please", r),
            False,
        )
    signal = f"{s.SEAT}.Row1." + ("PassengerSide" if passenger else "DriverSide") + ".Massage.Status"
    return text, act(signal, "set", "ON" if on else "OFF"), imperative


def reading_light(r: random.Random):
    zone = place(r, 0.7)
    adj, z = zone_words(r, zone)
    on = r.random() < 0.55
    nouns = "reading (light|lamp)/reading light/spotlight/map light/reading lamp"
    nouns = (
        nouns.replace("light)", "lights)").replace("light/", "lights/") if zone in ("all", "front", "rear") else nouns
    )
    text, imperative = switch(r, on, nouns, z, adj)
    return text, act(f"{s.LIGHT}.Spotlight.{s.SIDE[zone or 'driver']}.IsLightOn", "set", on), imperative


def ambient(r: random.Random):
    zone = place(r, 0.4)
    adj, z = zone_words(r, zone)
    noun = r.choice(
        ["ambient light", "ambient lighting", "ambient lights", "mood lighting", "mood light", "ambience light"]
    )
    base = f"{s.LIGHT}.AmbientLight.{s.SIDE[zone or 'all']}"
    if r.random() < 0.4:
        on = r.random() < 0.5
        text, imperative = switch(r, on, noun, z, adj)
        return text, act(base + ".IsLightOn", "set", on), imperative
    return percentage(
        r, base + ".Intensity", noun, adj, z, (20, 10, 40),
        "(brighten|turn up|increase|raise) {x}/{x} brighter/make {x} brighter/turn {x} up",
        "(dim|dim|dim|turn down|decrease|lower|reduce) {x}/{x} (dimmer|darker|down)/make {x} (darker|dimmer)/turn {x} down",
        on=None,
    )  # fmt: skip


def indicator(r: random.Random):
    side = r.choice(["Left", "Right"])
    on = r.random() < 0.75
    nouns = f"{side.lower()} (indicator|turn signal|blinker|indicator)/{side.lower()} (turn signal|indicator)"
    text, imperative = switch(r, on, nouns)
    if on and r.random() < 0.3:
        text, imperative = expand(f"(signal|indicate|blink) [to the] {side.lower()}", r), True
    return text, act(f"{s.BODY}.Lights.DirectionIndicator.{side}.IsSignaling", "set", on), imperative


def wipers(r: random.Random):
    rear = r.random() < 0.2
    noun = expand("rear (wiper|wiper|window wiper|wipers)|back wiper" if rear
                  else "[front] wipers|windshield wipers|wipers|wiper|windscreen wipers", r)  # fmt: skip
    signal = f"{s.BODY}.Windshield.{'Rear' if rear else 'Front'}.Wiping.Mode"
    mode = r.choice(["OFF", "OFF", "MEDIUM", "MEDIUM", "SLOW", "FAST", "FAST", "INTERVAL", "INTERVAL", "RAIN_SENSOR"])
    if mode in ("OFF", "MEDIUM") and r.random() < 0.75:
        text, imperative = switch(r, mode == "MEDIUM", noun)
        if mode == "MEDIUM" and not rear and r.random() < 0.12:
            text, imperative = (
                expand("(wipe|clear) the (windshield|windscreen)|it's raining|it started raining", r),
                False,
            )
        return text, act(signal, "set", mode), imperative
    words = {
        "OFF": "(off|the off position|zero)", "MEDIUM": "(medium|medium speed|normal|normal speed|the middle setting|speed 2)",
        "SLOW": "(slow|low|slow speed|low speed|the slowest setting|speed 1|the lowest setting|slow mode)",
        "FAST": "(fast|high|full speed|high speed|max|maximum|maximum speed|the fastest setting|the highest setting|fast mode|top speed)",
        "INTERVAL": "(interval|intermittent|interval mode|intermittent mode|intermittent wiping)",
        "RAIN_SENSOR": "(auto|automatic|rain sensor|rain sensor mode|automatic mode|auto mode|the rain sensor)",
    }[mode]  # fmt: skip
    more = {
        "FAST": "(speed up the {n}|{n} faster|make the {n} (go|wipe) faster|faster {n}|it's pouring|increase the wiper speed|wipe faster)",
        "SLOW": "(slow down the {n}|{n} slower|make the {n} (go|wipe) slower|slower {n}|wipe slower|reduce the wiper speed)",
        "RAIN_SENSOR": "(let the rain sensor (control|handle|run) the {n}|make the {n} (automatic|use the rain sensor|follow the rain sensor|react to rain)|automatic {n})",
        "INTERVAL": "(intermittent {n}|interval {n}|make the {n} intermittent|wipe (once in a while|every few seconds))",
    }.get(mode)  # fmt: skip
    if more and r.random() < 0.45 and not (rear and "pouring" in more and r.random() < 0.5):
        text = expand(more.replace("{n}", noun), r)
        if rear and "rear" not in text and "back" not in text:
            text += " in the rear"
        return text, act(signal, "set", mode), False
    text = fill(
        "set the {n} to {w}\n(put|switch|turn) the {n} (to|on) {w}\n{n} [to|on] {w}\n{n} {w}", r, n=noun, w=words
    )
    return text, act(signal, "set", mode), True


def mirrors(r: random.Random):
    side = r.choice(["all", "all", "all", "left", "right"])
    path = f"{s.BODY}.Mirrors.{s.MIRRORS[side]}"
    adj = {"all": "", "left": "(left|driver's|driver side) ", "right": "(right|passenger|passenger side) "}[side]
    noun = f"[side|outside|wing|door|exterior] {adj}mirrors" if side == "all" else f"{adj}[side|wing|outside] mirror"
    if r.random() < 0.6:
        fold = r.random() < 0.55
        text = (
            f"(fold|fold in|fold|retract|close|tuck in) [the] {noun}"
            if fold
            else f"(unfold|fold out|open|extend|fold out) [the] {noun}"
        )
        if r.random() < 0.3:
            text = f"fold [the] {noun} " + ("in" if fold else "out")
        return expand(text, r), act(path + ".IsFolded", "set", fold), True
    on = r.random() < 0.6
    text, imperative = switch(r, on, expand(noun, r).removesuffix("s") + " (heating|heater|heat)")
    if on and r.random() < 0.4:
        text, imperative = expand(f"(heat|defrost|warm up|defog|de-ice) [the] {noun}", r), True
    return text, act(path + ".IsHeatingOn", "set", on), imperative


def flap(r: random.Random):
    signal, noun = r.choice([
        (f"{s.BODY}.Trunk.Rear.IsOpen", "(trunk|trunk|boot|tailgate|trunk lid|hatch|rear trunk|liftgate)"),
        (f"{s.BODY}.Trunk.Rear.IsOpen", "(trunk|trunk|boot|tailgate)"),
        (f"{s.BODY}.Trunk.Front.IsOpen", "(frunk|front trunk)"),
        (f"{s.BODY}.Hood.IsOpen", "(hood|bonnet|engine hood)"),
    ])  # fmt: skip
    opens = r.random() < 0.6
    verb = "(open|open|open up|pop|pop open|release|unlatch)" if opens else "(close|close|shut)"
    return expand(f"{verb} [the] {noun}", r), act(signal, "set", opens), True


def defrost(r: random.Random):
    rear = r.random() < 0.5
    glass = (
        "(rear|back) (window|windshield|windscreen|glass)"
        if rear
        else "(front window|windshield|windscreen|front windshield|windshield)"
    )
    signal = f"{s.HVAC}.Is{'Rear' if rear else 'Front'}DefrosterActive"
    if r.random() < 0.45:
        text = fill(
            "(defrost|defog|demist|de-ice|clear) [the] {g}\n[the] {g} is [all|completely|totally] (fogged up|foggy|frozen|icy|iced up|misted up|"
            "steamed up|fogging up)\ni can't see (out of|through) the {g}\nget the (fog|ice|mist) off the {g}",
            r, g=glass,
        )  # fmt: skip
        return text, act(signal, "set", True), False
    on = r.random() < 0.6
    side = "(rear|back|rear window|back window)" if rear else "(front|windshield|front window|windscreen)"
    text, imperative = switch(r, on, f"{side} (defroster|defrost|defogger|defrosting|demister)")
    if not rear and r.random() < 0.2:
        text, imperative = switch(r, on, "(windshield|windscreen|front window) (heating|heater)")
        signal = f"{s.BODY}.Windshield.Front.IsHeatingOn"
    return text, act(signal, "set", on), imperative


def air_distribution(r: random.Random):
    zone = r.choice(["", "", "front", "rear"])
    value, words = r.choice([("DOWN", "(feet|legs|the footwell|my feet|the floor|our feet)"),
                             ("UP", "(the windshield|the window|the windows|my head|the top)"),
                             ("MIDDLE", "(my face|face|my chest|the middle|the dashboard vents|my body|the center)")])  # fmt: skip
    text = fill("(direct|point|blow|send) [the] air (to|at|towards|on) {w}{z}\nair (to|on|at) {w}{z}\n(blow|air) (on|at) {w}{z}\n"
                "set [the] air (distribution|direction) to {w}{z}\nair vents to {w}{z}", r, w=words, z=where(zone, r))  # fmt: skip
    return text, act(f"{s.HVAC}.Station.{s.STATION[zone or 'all']}.AirDistribution", "set", value), True


def volume(r: random.Random):
    noun = r.choice(
        ["volume", "volume", "volume", "music", "sound", "radio", "audio", "music volume", "radio volume", "stereo"]
    )
    signal = f"{s.MEDIA}.Volume"
    if r.random() < 0.2:
        louder = r.random() < 0.5
        before, after, n = step(r, 10, 5, 25)
        text = fill("{b}{w}\nmake it {b}{w}\n{w}{a}\nturn it {d}{a}\nturn it {d}{a}, (it's|the music is|it is) too {o}\n"
                    "(the music is|it's|the radio is) too {o}\nplay it {b}{w}",
                    r, b=before, a=after, w="louder" if louder else "(quieter|softer)", d="up" if louder else "down",
                    o="(quiet|low|soft)" if louder else "loud")  # fmt: skip
        n = n if (before and before in text + " ") or (after and after.strip() in text) else 10
        return text, act(signal, "increase" if louder else "decrease", n), False
    if r.random() < 0.12:
        return (
            expand(
                "mute|mute it|mute the (music|radio|sound|audio|volume)|silence|sound off|no sound|quiet please|be quiet|shut up the radio",
                r,
            ),
            act(signal, "set", 0),
            False,
        )
    return percentage(
        r, signal, noun, "", "", (10, 5, 25),
        "(turn up|increase|raise|pump up|crank up) {x}/turn {x} up/{x} (up|higher|louder)/more volume/make {x} louder",
        "(turn down|decrease|reduce|lower) {x}/turn {x} down/{x} (down|lower|quieter)/less volume/make {x} (quieter|softer)",
        on=None,
    )  # fmt: skip


GENRES = (
    "jazz|rock|pop|classical|hip hop|country|techno|blues|metal|reggae|soul|folk|punk|electronic|house|rap|indie|"
    "disco|funk|chill|lofi|r&b|latin|dance|opera|christmas|kids|80s|90s"
)


def media(r: random.Random):
    action = r.choice(["PLAY", "PLAY", "STOP", "SKIP_FORWARD", "SKIP_BACKWARD"])
    genre = r.choice(GENRES.split("|"))
    text = {
        "PLAY": f"play (some|a bit of|me some|) {genre} [music]\nplay [some|the|my|] (music|songs|tunes|radio)\n(resume|continue|start) [the] (music|playback|song|playing)\n"
        f"(put on|i want to hear|i want to listen to|let's hear|how about) [some] {genre} [music]\nput (some|the) music on\nplay (something|a song|anything)\nplay\nunpause [the music]\n"
        f"i (feel like|am in the mood for|'m in the mood for) [some] {genre}\nmusic please",
        "STOP": "(stop|pause|halt|end) [the] (music|song|playback|radio|playing|track|media)\n(stop|pause) (it|playing)\npause\nturn off the (music|radio|stereo)\nmusic off\nradio off\nswitch the (music|radio) off\nstop playing [music]",
        "SKIP_FORWARD": "(next|skip) (track|song|one)\nskip [this] [song|track|one]\n(play|go to|skip to|give me|jump to) the next (song|track|one)\nnext\ni don't like this song\nskip forward\nnext (song|track) please\nchange the song\nanother song",
        "SKIP_BACKWARD": "(previous|last) (track|song)\n(play|go [back] to) the (previous|last) (song|track|one)\ngo back (a|one) (song|track)\nprevious\nplay that [song|one] again\nskip back[wards]\nback one (track|song)\nrepeat that song",
    }[action]  # fmt: skip
    return top(text, r), act(f"{s.MEDIA}.Action", "set", action), False


def source(r: random.Random):
    value, noun = r.choice([
        ("FM", "(fm|fm radio|the fm radio|FM)"), ("AM", "(am radio|the am radio|AM)"), ("DAB", "(dab|digital radio|DAB radio|dab)"),
        ("BLUETOOTH", "(bluetooth|my phone|bluetooth audio|bluetooth|Bluetooth)"), ("USB", "(usb|the usb stick|the usb drive|USB)"),
        ("CD", "(cd|the cd|the cd player|CD)"), ("AUX", "(aux|the aux input|the aux cable|AUX)"),
        ("INTERNET", "(internet radio|the internet radio|web radio|streaming|online radio)"),
    ])  # fmt: skip
    text = fill("(play|listen to|play music) (from|over|via|through|on) {n}\n(switch|change|go) [over] to {n}\n(set|change|switch) the [audio|media|music] source to {n}\n"
                "use {n} [for music|as source]\n{n} [as] source\n(put on|play) {n}", r, n=noun)  # fmt: skip
    return text, act(f"{s.MEDIA}.Played.Source", "set", value), True


def cruise(r: random.Random):
    signal = "Vehicle.ADAS.CruiseControl.SpeedSet"
    noun = r.choice(["cruise control", "cruise control", "cruise", "cruise speed", "cruise control speed", "speed"])
    roll = r.random()
    if roll < 0.35:
        on = r.random() < 0.5
        text, imperative = switch(r, on, "cruise control/cruise/cruise control/the tempomat/adaptive cruise control")
        return text.replace("the the", "the"), act("Vehicle.ADAS.CruiseControl.IsActive", "set", on), imperative
    if roll < 0.7:
        n = r.choice([r.randrange(30, 201, 10), r.randrange(30, 201, 5), r.randint(30, 200)])
        unit = r.choice(["", "", "", " km/h", " kmh", " kilometers per hour", " kph", " k"])
        text = fill("set [the|my] {n} (to|at) {a}\n{n} [to|at] {a}\n(hold|keep|cruise at|maintain) {a}\nset cruise to {a}\n(keep|hold) the speed at {a}\n"
                    "drive {a} with cruise control", r, n=noun, a=number(n, r) + unit)  # fmt: skip
        return text, act(signal, "set", n), True
    up = r.random() < 0.5
    n, by = r.choice([(5, ""), (5, " [a bit|a little]")] + [(k, f" by {k} [km/h]") for k in (5, 10, 15, 20)])
    noun = "cruise " + r.choice(["control", "speed", "control speed"])
    verb = "(increase|raise|turn up|speed up)" if up else "(decrease|reduce|lower|turn down|slow down)"
    return expand(f"{verb} [the] {noun}{by}", r), act(signal, "increase" if up else "decrease", n), True


def drive_mode(r: random.Random):
    value, name = r.choice([("SPORT", "(sport|sports|dynamic|sporty)"), ("ECONOMY", "(eco|economy|eco|efficient|economic)"),
                            ("NORMAL", "(normal|comfort|standard|regular)"), ("SNOW", "(snow|winter|ice)"), ("RAIN", "(rain|wet)")])  # fmt: skip
    text = fill("[drive in] {n} mode\n(switch|change|go|put it|shift|set the car) [in]to {n} [driving] mode\n(activate|enable|turn on|engage|use) {n} mode\n"
                "set [the] (drive|driving|performance) mode to {n}\n{n} [driving] mode [on]\ni want to drive in {n} mode", r, n=name)  # fmt: skip
    return text, act("Vehicle.Powertrain.Transmission.PerformanceMode", "set", value), False


def charging(r: random.Random):
    if r.random() < 0.5:
        start = r.random() < 0.5
        text = "(start|begin|resume|initiate) [the] charging [process|now]|(start|begin) to charge|charge [the] (car|battery|vehicle) [now]|plug in charging on" if start else (
            "(stop|end|pause|cancel|abort|quit) [the] charging [process|now]|don't charge [any] more|stop charging [the] (car|battery)|charging off")  # fmt: skip
        return (
            expand(r.choice(split_bar(text)), r),
            act(f"{s.CHARGING}.StartStopCharging", "set", "START" if start else "STOP"),
            True,
        )
    n = r.choice([50, 60, 70, 75, 80, 80, 85, 90, 95, 100, r.randint(30, 100)])
    text = fill("charge [the] [battery|car|vehicle] (to|up to|until) {a}\n(set|limit|change) [the] (charge|charging|battery) [limit] (to|at) {a}\n(stop|end) charging at {a}\n"
                "[charge|charging] limit {a}\nonly charge to {a}\n(charge|fill) the battery to {a}", r, a=percent(n, r))  # fmt: skip
    return text, act(f"{s.CHARGING}.ChargeLimit", "set", n), True


def display(r: random.Random):
    roll = r.random()
    if roll < 0.6:
        noun = r.choice(
            [
                "screen",
                "display",
                "screen brightness",
                "display brightness",
                "dashboard",
                "touchscreen",
                "brightness",
                "infotainment screen",
            ]
        )
        return percentage(
            r, f"{s.HMI}.Brightness", noun, "", "", (20, 10, 40),
            "(brighten|turn up|increase) {x}/make {x} brighter/{x} brighter/turn {x} up/{x} is too dark",
            "(dim|dim|turn down|decrease|lower) {x}/make {x} (darker|dimmer)/{x} (darker|dimmer)/turn {x} down/{x} is too bright",
            on=None,
        )  # fmt: skip
    if roll < 0.85:
        night = r.random() < 0.6
        noun = "(night|dark)" if night else "(day|light)"
        text = fill(
            "(switch|change|go) to {n} (mode|theme)\n(activate|enable|turn on|use) {n} mode\n[set the] (screen|display) (to|in) {n} mode\n{n} mode [on|please]",
            r,
            n=noun,
        )
        return text, act(f"{s.HMI}.DayNightMode", "set", "NIGHT" if night else "DAY"), False
    unit, name = r.choice([("C", "(celsius|degrees celsius)"), ("F", "(fahrenheit|degrees fahrenheit)")])
    text = fill(
        "(show|display) [the] (temperature|temperatures) in {n}\n(switch|change|set) [the] temperature (unit|units) to {n}\nuse {n} [for temperature]\n(switch|change) to {n}",
        r,
        n=name,
    )
    return text, act(f"{s.HMI}.TemperatureUnit", "set", unit), True


def navigation(r: random.Random):
    if r.random() < 0.5:
        value = r.choice(["MUTED", "UNMUTED", "ALERT_ONLY"])
        noun = "(navigation|navi|gps|nav|navigation voice|voice guidance)"
        text = {
            "MUTED": "(mute|silence|quiet) [the] {n}|turn off the (navigation voice|voice guidance)|stop the (navigation|gps) (voice|from talking)",
            "UNMUTED": "unmute [the] {n}|turn on the (navigation voice|voice guidance)|i want to hear the (navigation|directions)",
            "ALERT_ONLY": "(navigation|navi|gps) alerts only|only [give me] navigation alerts|set [the] {n} to alerts only",
        }[value]  # fmt: skip
        return (
            expand(r.choice(split_bar(text.replace("{n}", noun))), r),
            act(f"{s.NAVIGATION}.Mute", "set", value),
            True,
        )
    noun = r.choice(["navigation volume", "gps volume", "navi volume", "navigation voice", "navigation"])
    return percentage(
        r, f"{s.NAVIGATION}.Volume", noun, "", "", (10, 5, 25),
        "(turn up|increase|raise) {x}/turn {x} up/{x} (up|louder)/make {x} louder",
        "(turn down|decrease|reduce|lower) {x}/turn {x} down/{x} (down|quieter)/make {x} (quieter|softer)", on=None,
    )  # fmt: skip


def hazard(r: random.Random):
    on = r.random() < 0.65
    text, imperative = switch(
        r,
        on,
        "hazard lights/hazards/hazard light/hazard warning lights/warning lights/emergency lights/warning flashers/four-way flashers",
    )
    if on and r.random() < 0.1:
        text, imperative = r.choice(["hazards", "hazard lights", "warning lights", "hazard lights now"]), False
    return text, act(f"{s.BODY}.Lights.Hazard.IsSignaling", "set", on), imperative


def horn(r: random.Random):
    text = "(honk|beep|honk the horn|sound the horn|use the horn|blow the horn|beep the horn|honk at (him|them|that guy)|press the horn)"
    return expand(text, r), act(f"{s.BODY}.Horn.IsActive", "set", True), True


def light_switch(r: random.Random):
    if r.random() < 0.5:
        text = "(set|put|switch|turn) [the] (lights|headlights|headlamps) (to|on) (auto|automatic)|automatic (lights|headlights)|(lights|headlights) (auto|automatic|on auto)"
        return expand(r.choice(split_bar(text)), r), act(f"{s.BODY}.Lights.LightSwitch", "set", "AUTO"), True
    text = "(turn|switch|shut) off all [the] [exterior|outside] lights|all [the] (exterior|outside) lights off|(exterior|outside) lights off|turn the (exterior|outside) lights off"
    return expand(r.choice(split_bar(text)), r), act(f"{s.BODY}.Lights.LightSwitch", "set", "OFF"), True


def recirculation(r: random.Random):
    on = r.random() < 0.6
    text, imperative = switch(
        r, on, "recirculation/air recirculation/recirculating air/recirc/recirculation mode/circulating air"
    )
    if r.random() < 0.4:
        text = "recirculate [the] [cabin|inside] air|(close|shut) the outside air|keep the (smell|fumes|exhaust|dust) out|it (stinks|smells) outside" if on else (
            "let [in] outside air [in]|use (outside|fresh) air|stop recirculating [the] air")  # fmt: skip
        text, imperative = expand(r.choice(split_bar(text)), r), True
    return text, act(f"{s.HVAC}.IsRecirculationActive", "set", on), imperative


TOPICS = (
    (16, temperature), (7, fan), (12, window), (4, sunroof), (2.5, shade), (5, lock), (2, child_lock), (10, seat_heat),
    (3, seat_move), (2, massage), (3, reading_light), (4, ambient), (2, indicator), (5.5, wipers), (3.5, mirrors),
    (3.5, flap), (4.5, defrost), (2, air_distribution), (7, volume), (6, media), (2.5, source), (3.5, cruise),
    (2.5, drive_mode), (3, charging), (4, display), (2, navigation), (2, hazard), (0.7, horn), (0.8, light_switch),
    (2.5, recirculation),
    (4, toggle(f"{s.HVAC}.IsAirConditioningActive", "AC/ac/air conditioning/air con/aircon/air conditioner/A C/a.c./climate control/AC")),
    (2, toggle(f"{s.LIGHT}.IsDomeOn", "dome light/interior light/cabin light/inside light/interior lights/ceiling light/light inside/cabin lights")),
    (0.7, toggle(f"{s.LIGHT}.IsGloveBoxOn", "glove box light/glovebox light/glove compartment light")),
    (2, toggle(f"{s.BODY}.Lights.Beam.High.IsOn", "high beams/high beam/full beam/main beam/brights/long beam/high beam lights")),
    (2, toggle(f"{s.BODY}.Lights.Beam.Low.IsOn", "low beams/low beam/headlights/dipped beam/headlamps/headlights/front lights")),
    (1.2, toggle(f"{s.BODY}.Lights.Fog.Front.IsOn", "front fog lights/front fog light/fog lights in [the] front/fog lights/fog lamps/front fogs")),
    (1.2, toggle(f"{s.BODY}.Lights.Fog.Rear.IsOn", "rear fog light/rear fog lights/fog light in the (back|rear)/back fog light/rear fog lamp")),
    (0.8, toggle(f"{s.BODY}.Lights.Parking.IsOn", "parking lights/parking light/position lights/side lights")),
    (1, toggle("Vehicle.ADAS.LaneDepartureDetection.IsEnabled", "lane assist/lane keeping assist/lane departure warning/lane keeping/lane departure assist")),
)  # fmt: skip
WEIGHTS = [weight for weight, _ in TOPICS]
POLITE_BEFORE = [
    "please",
    "can you",
    "could you",
    "would you",
    "can you please",
    "could you please",
    "will you",
    "would you please",
    "could you kindly",
    "i want you to",
    "i'd like you to",
    "i need you to",
    "go ahead and",
    "just",
    "let's",
    "quickly",
    "would you mind to",
    "can we",
    "could we",
    "i would like to",
    "i want to",
    "please go and",
    "now",
]
ANY_BEFORE = [
    "hey car",
    "hey",
    "ok",
    "okay",
    "um",
    "uh",
    "ok car",
    "hello",
    "hi",
    "so",
    "well",
    "hmm",
    "alright",
    "oh",
    "yo",
    "hey there",
    "computer",
    "assistant",
]
AFTER = [
    "please",
    "please",
    "thanks",
    "now",
    "right now",
    "thank you",
    "would you",
    "if you can",
    "asap",
    "ok",
    "okay",
    "will you",
    "a.s.a.p.",
    "already",
]
JOINS = (" and ", " and ", " and ", ", ", " and then ", ", then ", " and also ", ", and ", "; ", " plus ", ". ")


def clause(r: random.Random):
    """One command without politeness."""
    topic = r.choices(TOPICS, WEIGHTS)[0][1]
    text, actions, imperative = topic(r)
    return " ".join(text.split()), actions, imperative


def command(r: random.Random) -> tuple[str, dict]:
    """A sentence and its answer."""
    count = r.choices([1, 2, 3], [86, 12.5, 1.5])[0]
    parts = [clause(r) for _ in range(count)]
    text = parts[0][0]
    for part, _, _ in parts[1:]:
        text += r.choice(JOINS) + part
    actions = [action for _, group, _ in parts for action in group]
    question = False
    if parts[0][2] and r.random() < 0.33:
        prefix = r.choice(POLITE_BEFORE)
        question = prefix.startswith(("can", "could", "would", "will"))
        text = f"{prefix} {text}"
    if r.random() < 0.1:
        text = r.choice(ANY_BEFORE) + r.choice([" ", ", "]) + text
    if r.random() < 0.16:
        text += r.choice([" ", " ", ", "]) + r.choice(AFTER)
    answer = {"actions": actions}
    s.check(answer)
    return dress(text, r, question), answer
