"""Building blocks of the grammars: alternatives, numbers in words, zones, noise."""

import random
import re

ALTERNATIVES = re.compile(r"\(([^()]*)\)")
OPTIONAL = re.compile(r"\[([^\[\]]*)\]")

UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]

# Where a command applies: what follows the command, and what goes before the noun.
PLACES = {
    "front": "in the front|up front|in front|for the front [row|seats]|in the front (row|seats)|at the front",
    "rear": "in the (back|rear)|at the (back|rear)|for the (back|rear) [seats|row|passengers]|in the back row|"
    "back here|back there|for the kids [in the back]|for the people in the back|in the second row|"
    "for the second row|on the (back|rear) seats|on the back seat|for (the children|the baby|the dog|grandma|grandpa|"
    "our guests|the girls|the boys|my parents|the family|everyone) in the (back|rear)|behind us|where the kids (sit|are)|"
    "for those in the back|for the rear|in the rear compartment|for the (back|rear) (bench|seat)|for everybody in the back",
    "left": "on the left [side|hand side]|to my left",
    "right": "on the right [side|hand side]|to my right",
    "driver": "for the driver|on the (driver|driver's|drivers) side|for me|on my side|at the driver's seat|over here|"
    "at my seat|on the driver seat|just for me|where i sit|for myself",
    "passenger": "for the [front] passenger|on the [front] (passenger|passenger's|passengers) side|"
    "for my (wife|husband|friend|passenger|girlfriend|mom|dad|partner|sister|brother|boyfriend|son|daughter|missus|"
    "mother|father|colleague|boss|date|co-driver) [next to me|beside me]|next to me|on the passenger seat|beside me|"
    "for (her|him|whoever is) (next to|beside) me|where my (wife|husband|friend) sits|over on the passenger side",
    "rear_left": "in the (back|rear) left|on the left in the (back|rear)|for the (rear|back) left (seat|passenger)|"
    "behind the driver|on the (rear|back) left|at the (rear|back) left",
    "rear_right": "in the (back|rear) right|on the right in the (back|rear)|for the (rear|back) right "
    "(seat|passenger)|behind the passenger|on the (rear|back) right|at the (rear|back) right",
    "all": "everywhere|in the [whole] car|for everyone|for everybody|in the cabin|throughout the car|all over|"
    "for all of us|in here|for all seats|inside|in the entire (car|cabin)|for the whole car|all around",
}
ADJECTIVES = {
    "front": "front",
    "rear": "rear|back",
    "left": "left|left-hand|left side",
    "right": "right|right-hand|right side",
    "driver": "driver|driver's|drivers|driver side|driver's side",
    "passenger": "passenger|passenger's|passengers|passenger side|passenger's side|front passenger",
    "rear_left": "rear left|back left|left rear|left back",
    "rear_right": "rear right|back right|right rear|right back",
    "all": "all|all the|all of the|every",
}
PLACE_WEIGHTS = {
    "front": 3, "rear": 5, "left": 1.5, "right": 1.5, "driver": 4, "passenger": 4,
    "rear_left": 1.5, "rear_right": 1.5, "all": 1.5,
}  # fmt: skip


def expand(template: str, r: random.Random) -> str:
    """Choose among `(a|b)`, keep or drop `[a|b]`; a bare `a|b` at the top is a choice too."""
    while match := OPTIONAL.search(template):
        kept = r.choice(split_bar(match[1])) if r.random() < 0.5 else ""
        template = template[: match.start()] + kept + template[match.end() :]
    while match := ALTERNATIVES.search(template):
        template = template[: match.start()] + r.choice(match[1].split("|")) + template[match.end() :]
    return " ".join(r.choice(template.split("|")).split())


def top(templates: str, r: random.Random) -> str:
    """`expand` one line of several; lines are separated by newlines and may hold `|` in brackets."""
    return expand(r.choice([line for line in templates.splitlines() if line.strip()]), r)


def in_words(n: int) -> str:
    if n < 20:
        return UNITS[n]
    if n < 100:
        return TENS[n // 10] + (f" {UNITS[n % 10]}" if n % 10 else "")
    return "one hundred" + (f" [and] {in_words(n % 100)}" if n % 100 else "") if n < 200 else str(n)


def number(n: int, r: random.Random) -> str:
    if r.random() < 0.6 or n >= 200:
        return str(n)
    words = in_words(n).replace(" [and]", r.choice(["", " and"]))
    if n > 109 and r.random() < 0.3:  # "one thirty"
        words = "one " + in_words(n - 100)
    return words.replace(" ", "-") if r.random() < 0.2 and " and" not in words else words


def percent(n: int, r: random.Random) -> str:
    return number(n, r) + r.choice(["%", " %", " percent", " percent", " per cent"])


def place(r: random.Random, share: float = 0.6) -> str:
    """A zone, or "" (none said) with probability 1 - share."""
    if r.random() > share:
        return ""
    return r.choices(list(PLACE_WEIGHTS), list(PLACE_WEIGHTS.values()))[0]


def where(zone: str, r: random.Random) -> str:
    """ " in the back" with its leading space, or ""."""
    return " " + expand(r.choice(split_bar(PLACES[zone])), r) if zone else ""


def adjective(zone: str, r: random.Random) -> str:
    """ "rear " with its trailing space, or ""."""
    return r.choice(ADJECTIVES[zone].split("|")) + " " if zone else ""


def split_bar(text: str) -> list[str]:
    """Split at `|` outside brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([" and 1) or ((char in ")]" and -1) or 0)
        if char == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def typo(text: str, r: random.Random) -> str:
    """Drop, double or swap one letter inside a word of five or more letters."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not long:
        return text
    i = r.choice(long)
    word, at = words[i], r.randrange(1, len(words[i]) - 2)
    kind = r.randrange(3)
    if kind == 0:
        word = word[:at] + word[at + 1 :]
    elif kind == 1:
        word = word[:at] + word[at] + word[at:]
    else:
        word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    words[i] = word
    return " ".join(words)


def dress(text: str, r: random.Random, question: bool = False) -> str:
    """Case, punctuation and typing mistakes, as people send them."""
    if r.random() < 0.06:
        text = typo(text, r)
    roll = r.random()
    if roll < 0.3:
        text = text[:1].upper() + text[1:]
    elif roll < 0.34:
        text = text.upper()
    if r.random() < 0.15:
        text = text.replace("'", "")
    if r.random() < 0.4:
        text += "?" if question and r.random() < 0.8 else r.choice([".", ".", ".", "!"])
    return text
