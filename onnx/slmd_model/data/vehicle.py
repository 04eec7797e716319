"""The grammar of vehicle commands: English sentences and the actions they mean.

A topic returns (text, actions, imperative). What words mean by default:
"warmer" 2 degrees, "a bit" 1, "a lot" 4; fan and brightness 20 percent (10,
40); volume 10 (5, 25); a window or roof "a bit" open is 20 percent; heating
"on" is 50; no place said means all stations or windows, but the driver for a
single seat or window.
"""

import random
import re

from slmd_model.data import again, grounds, loose
from slmd_model.data import signals as s
from slmd_model.data.body import (
    ambient,
    child_lock,
    flap,
    hazard,
    horn,
    indicator,
    light_switch,
    lock,
    mirrors,
    reading_light,
    shade,
    sunroof,
    window,
    wipers,
)
from slmd_model.data.climate import air_distribution, defrost, fan, recirculation, temperature
from slmd_model.data.comfort import (
    charging,
    cruise,
    display,
    drive_mode,
    massage,
    media,
    navigation,
    seat_heat,
    seat_move,
    source,
    volume,
)
from slmd_model.data.idioms import idiom
from slmd_model.data.phrases import dress
from slmd_model.data.speech import toggle

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

POINTS = re.compile(r"\b(it|this|that|them|'em|em)\b", re.IGNORECASE)
OF_HEAT = re.compile(
    r"degree|°|temp|celsius|fahrenheit|heat|climate|cool|cold|hot|warm|\bac\b|air|thermostat", re.IGNORECASE
)
IDIOM_SHARE = 0.22
JOINS = (
    " and ", " and ", " and ", " and ", ", ", ", ", " and then ", ", then ", " and also ", ", and ", "; ", " plus ", ". ",
    " ", " ", " oh and ", ", oh and ", " and while you're at it ", " while you're at it ", " as well as ", ", also ", " and please ",
)  # fmt: skip


def clause(r: random.Random):
    """One command without politeness."""
    topic = r.choices(TOPICS, WEIGHTS)[0][1]
    text, actions, imperative = topic(r)
    return " ".join(text.split()), actions, imperative


def of_the_body(r: random.Random) -> str:
    """A command for what only a car has: windows, mirrors, wipers, seats."""
    topic = r.choice((window, sunroof, mirrors, wipers, seat_heat, seat_move, flap, cruise, indicator, child_lock))
    return dress(" ".join(topic(r)[0].split()), r)


def several(count: int, r: random.Random) -> list:
    """Commands of one sentence. A statement beside a command is a reason: so all of them state, or none does."""
    parts = [idiom(r) if r.random() < IDIOM_SHARE else clause(r) for _ in range(count)]
    if len({grounds.states(text) for text, _, _ in parts}) > 1:
        for at in range(count):
            while grounds.states(parts[at][0]):
                parts[at] = clause(r)
    stated = grounds.states(parts[0][0])
    for at in range(1, count):
        while not follows(parts[at], parts[:at]) or grounds.states(parts[at][0]) != stated:
            parts[at] = clause(r)
    return parts


def follows(part, before: list) -> bool:
    """Whether `part` is of another signal than those before it, and says what its figure is of ("20 for me" does not)."""
    text, actions, _ = part
    known = {action["signal"] for _, group, _ in before for action in group}
    figure = any(action["signal"].endswith("Temperature") and action["op"] == "set" for action in actions)
    return not known & {action["signal"] for action in actions} and not (figure and not OF_HEAT.search(text))


def shortened(r: random.Random):
    """Several commands of which the later ones are shortened, or one that is repeated."""
    roll = r.random()
    if roll < 0.55:
        return again.two_places(r)
    if roll < 0.7:
        return again.two_moves(r)
    text, actions, imperative = again.said_twice([topic for _, topic in TOPICS], WEIGHTS, r)
    return " ".join(text.split()), actions, imperative


def around(text: str, r: random.Random) -> str:
    """What speech puts around a whole sentence, in two fifths of the cases."""
    if r.random() < 0.08:
        text = r.choice(ANY_BEFORE) + r.choice([" ", ", "]) + text
    if r.random() < 0.08:
        text += r.choice([" ", ", "]) + r.choice(AFTER)
    return as_heard(text, r)


def as_heard(text: str, r: random.Random) -> str:
    """With a filler, a word misheard, or without marks, now and then."""
    if r.random() < 0.08:
        text = loose.filled(text, r)
    if r.random() < 0.05:
        text = loose.misheard(text, r)
    return loose.spoken(text, r) if r.random() < 0.2 else text


def reason(text: str, action: dict, r: random.Random) -> str:
    """Why `action` is wanted: mostly what goes with it, now and then what would be a command alone.

    Not beside a statement, which might be one more command then; and "it" must not be what a remark is about.
    """
    roll, found = r.random(), None
    if roll < 0.65:
        found = grounds.ground(action, r)
    elif roll < 0.8 and not POINTS.search(text):
        found = grounds.remark(action, r)
    return found or loose.reason(r)


def command(r: random.Random) -> tuple[str, dict]:
    """A sentence and its answer."""
    roll = r.random()
    parts = [shortened(r)] if roll < 0.1 else several(r.choices([1, 2, 3], [77, 17, 6])[0], r)
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
    stated = any(grounds.states(part) for part, _, _ in parts)
    return dress(loosen(text, actions, r, len(parts) == 1, stated), r, question), answer


def loosen(text: str, actions: list[dict], r: random.Random, single: bool, stated: bool) -> str:
    """What goes around a command in speech, in nearly half of the sentences; `stated`: one is a statement."""
    roll = r.random()
    if roll < 0.17:
        before = r.random() < 0.6
        why = loose.reason(r) if stated else reason(text, actions[0 if before else -1], r)
        text = loose.reasoned(text, why, before, r)
    elif roll < 0.21 and single:
        text = loose.contrasted(text, clause(r)[0], r)
    elif roll < 0.24 and single:
        text = loose.corrected_number(text, r) or text
    return as_heard(text, r)
