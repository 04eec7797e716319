"""What spoken commands have and typed ones lack: reasons, fillers, corrections, refusals of a part, mishearing.

All of it goes around a command of the grammar and leaves its meaning alone.
"""

import random
import re

from slmd_model.data.phrases import split_bar, top

REASONS = """
it's (getting|so|really|a bit) (dark|late|early|loud|quiet|dusty|sticky|humid|foggy|windy|bright) [in here|out here|outside|today]
(there's|here comes|i see) a (tunnel|police car|truck|school|car wash|roundabout|traffic jam|bus stop|parking attendant|drive through)
(the|my) (kids|children|baby|dog|passengers|wife|husband|mother|friend|boss) (is|are) (asleep|sleeping|tired|awake|complaining|in the car|getting in|here)
i (can't|cannot) (see|hear|sleep|concentrate|read|breathe) [anything|properly|well|a thing]
i'm (tired|busy|driving|on the phone|late|trying to sleep|in a hurry|reading|about to park|wearing gloves)
we're (almost there|in a tunnel|on the motorway|on the highway|parked|in town|stuck in traffic|going to the beach|leaving)
(the sun|that guy|this truck|that bus|the rain|the snow|the wind) is (annoying|in my eyes|everywhere|right behind us|in front of us|getting worse)
(as|like) (always|usual|yesterday|last time|before)
i (forgot|left it on|just got in|just woke up|just washed it|need both hands)
somebody (is coming|left it that way|is at the door)
it (smells|stinks|is nasty|feels odd) (in here|out there|today)
(good morning|good evening|hi there|welcome back|right|listen|excuse me|sorry|one more thing|you know what|alright then)
(my (wife|husband|doctor|instructor|mum|boss) (insists|says so|keeps telling me)|that's what my (dad|wife|instructor) (does|says|would do))
(it's been|what) (a long day|a day|a week|one of those days)|it was a long day
i (nearly|almost) (forgot|fell asleep|missed it|hit something)|i keep forgetting
(this is|it's) (my first time in this car|a rental|a hire car|my wife's car|new to me)
(we have|there are) (guests|four of us|three people|passengers) (in the car|on board|today)
(before|while) (we go|we leave|i forget|we're stopped|i'm driving|we're waiting|they get in)
(i'll|we'll) be (back in a minute|there soon|five minutes|right back)
(the|my) (hands|arms) are full|i've got my hands full|i'm (eating|holding the coffee|wearing mittens)
"""
FILLERS = "uh|um|uhm|er|like|you know|well|i mean|hmm|so|actually|basically|just|maybe|kind of"
CORRECTIONS = (
    "no|no wait|wait no|sorry|i mean|no i mean|sorry i meant|scratch that|actually|hmm no|oh no wait|rather|"
    "no no|not that|forget that"
)
# What speech recognition writes instead, both ways.
HEARD = {
    "to": "two|too", "too": "to", "for": "four", "hear": "here", "here": "hear",
    "their": "there", "there": "their", "rear": "rare|real", "seat": "seed|seats", "seats": "seat", "heat": "heed",
    "brake": "break", "light": "lite", "lights": "light|lites", "right": "write", "ac": "a c|a.c.", "high": "hi",
    "beam": "beem|being", "fog": "fogg|frog", "wiper": "viper|wipe her", "wipers": "vipers", "by": "buy|bye",
    "close": "clothes|cloths", "windows": "window|window's", "window": "windows|window's", "boot": "boots",
    "hood": "would", "fan": "van|fen", "trunk": "trunks", "mirrors": "mirror", "door": "doors", "sun": "son",
    "sunroof": "sun roof|some roof", "dim": "dimm", "cool": "cold",
    "volume": "volumes", "please": "pleas", "it": "its|it's", "the": "a|da|de", "in": "and", "and": "an|in",
    "percent": "per cent|%", "degrees": "degree|the grease", "temperature": "temper", "my": "may",
    "defrost": "the frost|de frost", "radio": "video", "cruise": "crews", "horn": "horns", "lock": "look|log",
}  # fmt: skip


def filled(text: str, r: random.Random) -> str:
    """A filler, or a word said twice, somewhere in the sentence."""
    words = text.split(" ")
    at = r.randrange(len(words))
    if r.random() < 0.35 and words[at].isalpha():
        words.insert(at, words[at])
    else:
        words.insert(at, r.choice(FILLERS.split("|")) + r.choice(["", "", ","]))
    return " ".join(words)


def misheard(text: str, r: random.Random) -> str:
    """One word as speech recognition may write it; never a figure, "on" or "off", on which the meaning hangs."""
    words = text.split(" ")
    found = [i for i, word in enumerate(words) if word.lower() in HEARD]
    if not found:
        return text
    i = r.choice(found)
    words[i] = r.choice(HEARD[words[i].lower()].split("|"))
    return " ".join(words)


def reason(r: random.Random) -> str:
    """A reason that goes with any command."""
    return top(REASONS, r)


def reasoned(text: str, why: str, before: bool, r: random.Random) -> str:
    """The command with a reason before or after it, in one sentence or two."""
    if r.random() < 0.4:
        why = re.sub(r"^(my \w+|the [a-z]+|this \w+|everyone|somebody|he|she|who) is\b", r"\1's", why)
    if before:
        return why + r.choice([", ", ", ", ", ", " ", " so ", ", so ", ". ", " - ", " and so ", ", please "]) + text
    return (
        text
        + r.choice([", ", ", ", " ", " because ", ", cause ", " since ", ", as ", ". ", " - ", ", you know "])
        + why
    )


def contrasted(text: str, wrong: str, r: random.Random) -> str:
    """A command after one that is taken back or ruled out."""
    roll = r.random()
    if roll < 0.5:
        return f"{wrong}{r.choice([' ', ', ', ' ... '])}{r.choice(CORRECTIONS.split('|'))}{r.choice([' ', ', '])}{text}"
    before = r.choice(split_bar("don't|do not|you don't need to|no need to|instead of that don't|please don't"))
    return f"{before} {wrong}{r.choice([', ', ', just ', ' but ', ', instead ', '. ', ' just '])}{text}"


def corrected_number(text: str, r: random.Random) -> str | None:
    """ "to 20 no 22": the figure of the command comes last. None if it has none."""
    found = list(re.finditer(r"(?<![\w.])\d+(?![\w.])", text))
    if not found:
        return None
    match = r.choice(found)
    wrong = str(max(1, int(match[0]) + r.choice([-10, -5, -2, -1, 1, 2, 5, 10])))
    return text[: match.start()] + f"{wrong} {r.choice(CORRECTIONS.split('|'))} {match[0]}" + text[match.end() :]


def spoken(text: str, r: random.Random) -> str:
    """As a recogniser writes it: small letters, no punctuation."""
    return " ".join(re.sub(r"[^\w%'°]+", " ", text.lower()).split()) or text
