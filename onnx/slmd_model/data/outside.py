"""Sentences the `vehicle` task must refuse: questions, homes, reminders, negations, noise."""

import random

from slmd_model.data.phrases import dress, expand, number, split_bar, top

THINGS = "(trunk|hood|sunroof|driver window|passenger door|rear window|tailgate|door|left window|charging port)"  # what can be open
DEVICES = (
    "(ac|seat heating|radio|fog light|high beam|cruise control|rear defroster|wiper|recirculation|steering wheel heating|"
    "ambient light|lane assist|massage|child lock|navigation)"
)
QUANTITIES = (
    "(fuel|gas|oil|range|battery|washer fluid|time|charge|coolant|air pressure|tire pressure|mileage|temperature|"
    "outside temperature|speed|oil pressure|fuel economy)"
)
ROOMS = "(kitchen|bedroom|living room|bathroom|garage|hallway|office|basement|house|garden|dining room|attic|kids room)"
HOUSEHOLD = "(oven|coffee machine|tv|television|vacuum|dishwasher|washing machine|thermostat at home|robot|fridge|toaster|heater at home|sprinkler|house alarm)"

QUESTIONS = f"""
is the {THINGS} (open|closed|locked)
is the {DEVICES} (on|off|active|running|working)
(how much|how many) {QUANTITIES} (is|do we have|do i have) left
what(is| is|'s) (the|my|our) {QUANTITIES}
(how|what) (warm|cold|hot) is it (outside|in here|in the back|in the car)
what temperature is it [set to]
how (do|can) i (change|fix|replace|check|use|adjust|clean|install|open|remove) (a|the|my) (tire|flat tire|wiper blade|headlight|air filter|battery|mirror|seat cover|window|sunroof|fuse|oil)
why is the {DEVICES} (on|off|not working|blinking|making noise|so weak)
(does|has) (this|the|my) car have (a sunroof|seat heating|a spare tire|cruise control|an ac|fog lights)
who invented the (wiper|car|windshield|seat belt|electric car|radio)
when (is|was) (my|the) (next|last) (oil change|service|inspection|maintenance)
what does the (yellow|red|blinking|orange) light (mean|on the dashboard mean)
how far (is it|to the next gas station|can i go|is the airport)
where is the (nearest|next|closest) (gas station|charging station|parking lot|supermarket|hospital|restaurant)
are the (doors|windows) (locked|open|closed)
did i (lock|close) the (car|doors|windows|trunk)
what is (playing|this song|the name of this song)
how fast (am i|are we) (going|driving)
is it (raining|cold|snowing|hot) (outside|today|tomorrow)
what's the (capital|population|president|currency|language) of (france|germany|spain|italy|japan|china|canada|brazil|india|poland|sweden|the us|mexico)
how (old|tall|big) is (obama|the eiffel tower|the moon|mount everest|the president|madonna|the earth)
who (is|was|wrote|painted|won) (einstein|hamlet|the mona lisa|the world cup|the president of france|shakespeare|picasso)
can you explain the (high beam|rain sensor|cruise control|massage function)
"""
REQUESTS = f"""
remind me to (close the windows|lock the car|buy milk|call (mom|dad|john)|check the oil|pick up the kids|turn off the lights) (tomorrow|at six|tonight|in {{n}} minutes|when i get home)
set (a|an|the) (timer|alarm) (for|to) {{n}} (minutes|am|pm|hours|o'clock)
wake me up at {{n}}
(call|text|message|phone|ring) (mom|dad|john|my wife|the office|anna|peter|home)
(navigate|drive|take me|take us|route|go) (to|to the) (home|work|airport|nearest gas station|city center|main street {{n}}|station|beach)
book (a table|a hotel|a flight|a room|a taxi) for {{n}}
(order|buy) (a pizza|some coffee|milk|tickets|flowers|{{n}} burgers)
add (milk|eggs|bread|tires|oil) to (my|the) (shopping|to do) list
turn (on|off) the {HOUSEHOLD}
turn (on|off) the (lights|light|lamp|fan|heating|heater|radio|tv) in (the|my) {ROOMS}
(open|close) the (blinds|curtains|shutters|window|door|windows) in (the|my) {ROOMS}
(open|close) the (garage|garage door|front door|garden gate|gate|fridge|oven)
(set|turn) the (oven|house|kitchen|fridge|living room|bedroom) to {{n}} degrees
dim the lights in (the|my) {ROOMS}
lock the (front door|house|back door|garage|gate)
(tell|read) me (a joke|the news|a story|something funny|the weather|my messages|my emails)
send (an email|a message|a text) to (john|anna|my boss|mom)
(convert|what is) {{n}} (miles|dollars|pounds|fahrenheit) in (kilometers|euros|kilos|celsius)
what is {{n}} (plus|times|minus|divided by) {{n}}
translate (good morning|thank you|window|where is the station) (to|into) (french|german|spanish|italian)
write (a poem|an email|a story|a python program|some code) about (cars|summer|my dog|windows)
schedule (a meeting|an appointment|a service|an oil change) (for|on) (monday|tomorrow|friday at {{n}})
(change|fix|replace|rotate) the (tires|oil|brakes|flat tire|wiper blades|battery)
(park|wash|clean|sell|refuel|tow) (the|my) car
"""
STATEMENTS = """
(i like|i love|i hate|i bought|i sold|i broke) (my|the|this) (new car|seat|window|radio|sunroof|phone|bike|steering wheel)
(yes|no|maybe|okay then|sure|never mind|cancel|nothing|forget it|thank you|thanks|good job|well done|hello|hi there|good morning|bye|goodbye)
(don't|do not|please don't) (open|close|touch|change|turn on|lock|move) (the|any) (window|windows|doors|sunroof|seat|seats|radio|anything)
(what|why|who|when|where|how)
(you are|you're) (great|stupid|funny|not helpful|a good car|awesome)
i (am|'m) (hungry|tired|bored|thirsty|late|happy|sad|lost|sick|in a hurry|on my way home)
(the movie|the game|the food|the hotel|my brother|my boss) (was|is) (great|too long|late|terrible|amazing|cold|hot)
(the weather|the road|the traffic|the sky) is (nice|bad|terrible|blue|slippery) today
it's (a nice day|my birthday|monday|late|{n} o'clock)
"""
KEYS = [
    "asdf",
    "jkl",
    "qwer",
    "tyui",
    "zxcv",
    "fghj",
    "bla",
    "foo",
    "bar",
    "baz",
    "blub",
    "xyz",
    "hmm",
    "hrm",
    "lorem",
    "ipsum",
    "dolor",
    "test",
    "1234",
    "la",
    "na",
    "ugh",
    "zz",
]


def refusal(r: random.Random) -> str:
    """A sentence that asks for nothing the car can do."""
    roll = r.random()
    if roll < 0.04:
        text = " ".join(r.choices(KEYS, k=r.randint(1, 4)))
        return text + r.choice(["", "", "?", "!", "..."])
    if roll < 0.07:
        letters = "abcdefghijklmnopqrstuvwxyz      "
        return " ".join("".join(r.choices(letters, k=r.randint(3, 24))).split()) or "x"
    group = r.choices([QUESTIONS, REQUESTS, STATEMENTS], [45, 40, 15])[0]
    line = r.choice([line for line in group.splitlines() if line])
    while "{n}" in line:
        line = line.replace("{n}", number(r.randint(1, 90), r), 1)
    text = expand(line, r)
    if r.random() < 0.1:
        text = top("please\ncan you\nhey car\ncould you\nhey", r) + " " + text
    return dress(text, r, question=group is QUESTIONS)


def about_a_command(command: str, r: random.Random) -> str:
    """A sentence that mentions a command without giving it."""
    before = r.choice(split_bar(
        "how do i|how can i|why can't i|what happens if i|is it safe to|remind me tomorrow to|don't|do not|never|"
        "when should i|should i|who told you to|am i allowed to|how long does it take to|what does it cost to|"
        "can i sue someone who wants to|please don't|in the manual it says"
    ))  # fmt: skip
    return dress(f"{before} {command}", r, question=before.split()[0] in ("how", "why", "what", "is", "should", "can"))
