"""A second command that leaves out what the first one said, and one wish that is said twice.

"(open the driver window) and the passenger's too", "seat forward 20 and up 10".
"""

import random
import re

from slmd_model.data import grounds
from slmd_model.data import signals as s
from slmd_model.data.body import lock, reading_light, window
from slmd_model.data.climate import fan, temperature
from slmd_model.data.comfort import seat_heat
from slmd_model.data.phrases import expand, number, percent, split_bar
from slmd_model.data.speech import act

PLACE = re.compile(r"(Row1|Row2|\*)\.(Driver|Passenger|\*)(Side)?(?=\.)")
COOLING = re.compile("cool|ventil|chill", re.IGNORECASE)
ROW = {"Row1": {"front"}, "Row2": {"rear"}, "*": {"front", "rear"}}
SIDE = {"Driver": {"left"}, "Passenger": {"right"}, "*": {"left", "right"}}
# What a place is called once the thing itself has been named.
CALLED = {
    "driver": "mine|my one|my side|the driver's|the driver side|the driver's one",
    "passenger": "hers|his|the passenger's|the passenger side|my wife's|my husband's|the passenger's one",
    "front": "the front|the front ones|the ones in the front|the front row",
    "rear": "the back|the rear|the back ones|the rear ones|the ones in the back|the back row",
    "left": "the left|the left side|the left ones",
    "right": "the right|the right side|the right ones",
    "rear_left": "the rear left|the back left [one]|the one behind (me|the driver)",
    "rear_right": "the rear right|the back right [one]|the one behind the passenger",
}
SAME = """
{t} and {o} (too|as well|also)
{t} and (do|then) {o} [too]
{t} and {o}
{t}, {o} too
{t} also {o}
{t}, and {o}
{t}, same (for|with|on|at) {o}
{t} and the same (for|with|on|at) {o}
{t} (plus|as well as) {o}
{t}, oh and {o} (too|as well)
"""
OTHER_FIGURE = """
{t} and {o} to {n}
{t}, {o} to {n}
{t} and {o} (at|on) {n}
{t} but {o} to {n}
{t} then {o} to {n}
{t}, {n} for {o}
"""
BETWEEN = (", ", ", ", " ", " - ", ", come on, ", ", please ", ", yes ", ", i said ", " so ")


def seats(part: str) -> set[tuple[str, str]]:
    """The (row, side) pairs of "Row1.Driver", "*.*" and the like."""
    row, side = part.removesuffix("Side").split(".")
    return {(r, c) for r in ROW[row] for c in SIDE[side]}


def placed(topic, r: random.Random):
    """(text, action, place) of a command for one place, which states nothing ("i'm cold")."""
    while True:
        text, actions, _ = topic(r)
        found = PLACE.search(actions[0]["signal"])
        if found and len(actions) == 1 and len(seats(found[0])) < 4 and not grounds.states(text):
            return " ".join(text.split()), actions[0], found


def two_places(r: random.Random):
    """A command, and its second place; now and then with a figure of its own."""
    text, action, found = placed(
        r.choice((temperature, temperature, fan, window, window, seat_heat, seat_heat, lock, reading_light)), r
    )
    places = s.STATION if ".Station." in action["signal"] else s.SIDE
    apart = [name for name in CALLED if not seats(places[name]) & seats(found[0])]
    if not found[0].startswith("*"):  # beside one seat "the right" is not a whole side
        apart = [name for name in apart if name not in ("left", "right")]
    other = r.choice(apart)
    signal, value = action["signal"].replace(found[0], places[other]), action["value"]
    called = expand(r.choice(split_bar(CALLED[other])), r)
    cooling = signal.endswith("HeatingCooling") and COOLING.search(text)
    if action["op"] == "set" and type(value) is int and not cooling and r.random() < 0.4:
        degrees = signal.endswith("Temperature")
        value = r.randint(*s.TEMPERATURE_C) if degrees else r.randrange(5, 101, 5)
        said = number(value, r) + r.choice(["", " degrees"]) if degrees else percent(value, r)
        shape = expand(r.choice(OTHER_FIGURE.strip().splitlines()), r)
        text = shape.replace("{t}", text).replace("{o}", called).replace("{n}", said)
    else:
        text = expand(r.choice(SAME.strip().splitlines()), r).replace("{t}", text).replace("{o}", called)
    return text, [action, *act(signal, action["op"], value)], False


def amount(n: int, r: random.Random) -> str:
    if n % 10 == 0 and r.random() < 0.4:
        return number(n // 10, r) + r.choice([" cm", " centimetres", " centimeters"])
    return number(n, r) + r.choice(["", " mm", " millimetres", " millimeters"])


def two_moves(r: random.Random):
    """A seat moved both ways: "20 millimetres forward and 10 up"."""
    passenger, back, up = (r.random() < share for share in (0.3, 0.5, 0.5))
    seat = expand(
        "[the] passenger seat|the passenger's seat" if passenger else "my seat|my seat|the driver seat|[the] seat", r
    )
    base = f"{s.SEAT}.Row1." + ("PassengerSide" if passenger else "DriverSide")
    n, m = r.randrange(10, 121, 10), r.randrange(5, 81, 5)
    moves = [
        (r.choice(["back", "backwards"] if back else ["forward", "forwards"]), n, act(base + ".Position", "increase" if back else "decrease", n)),
        (r.choice(["up", "higher"] if up else ["down", "lower"]), m, act(base + ".Height", "increase" if up else "decrease", m)),
    ]  # fmt: skip
    r.shuffle(moves)
    first, second = (r.choice([f"{way} {amount(k, r)}", f"{amount(k, r)} {way}"]) for way, k, _ in moves)
    verb = r.choice(["move ", "slide ", "shift ", "", "i need ", "put ", "bring "])
    return (
        f"{verb}{seat} {first}{r.choice([' and ', ' and ', ', ', ' then '])}{second}",
        moves[0][2] + moves[1][2],
        False,
    )


def said_twice(topics, weights, r: random.Random):
    """One wish in two wordings; a plain command if a topic has no other for it."""
    topic = r.choices(topics, weights)[0]
    text, actions, imperative = topic(r)
    for _ in range(60):
        more, same, _ = topic(r)
        if same == actions and more != text:
            return text + r.choice(BETWEEN) + more, actions, False
    return text, actions, imperative
