"""Sentences the `vehicle` task must refuse: questions, homes, reminders, negations, noise."""

import random
import re

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
# What cars can do and no signal here is for.
CANNOT = """
(put|pull|apply|release|set|let off|engage) the (handbrake|hand brake|parking brake|emergency brake)
(pop|open|close|unlock) the (fuel (flap|cap|door|lid)|gas cap|petrol cap|tank [lid]|charging (flap|port|door))
(squirt|spray|squeeze) [some] (washer fluid|water|screen wash) [on (the windscreen|it|the glass)]|wash the (windscreen|windshield|front window|headlights)|clean the (camera|rear camera|headlights)
(recline|tilt|straighten|lean) (my|the|the passenger) (seat|backrest|seat back) [back|a bit|forward|all the way]|(lumbar support|lumbar) (up|on|more|in)|(more|less|increase) lumbar [support]|(raise|lower|adjust) (my|the) (headrest|head rest|armrest|seat belt height|steering wheel|steering column)
(tilt|turn|angle|adjust|move) the (left|right|driver's|passenger's|rear view|rearview) mirror (down|up|a bit|to see the kerb)
(make|turn|set|change) the (ambient light|light|interior light|mood light|dashboard|lighting|glow) (to|into|) (purple|red|blue|green|pink|orange|violet|turquoise|warm white|the colour of the sea)|(purple|red|blue|green|pink|orange) (light|lights|ambient light|ambience)|change the (colour|color) of the (light|lights|ambient light|dashboard)
(start|stop|switch off|turn off|kill|restart) the (engine|motor|car)|start her up|(shift|put it|go|change) (into|to|in) (reverse|neutral|park|drive|first gear|second|third gear|low range|four wheel drive)|(up|down) a gear|downshift|upshift
(turn on|activate|switch off|disable|turn off) (the dash cam|the rear camera|the park assist|parking sensors|auto park|traction control|stability control|start stop|auto start stop|the alarm|the immobiliser|the wifi|the hotspot|airplane mode|the head up display|blind spot monitoring|the speed limiter|hill descent|hill hold|the air purifier|the fragrance|the tv in the back|the fridge)
(park|parallel park|reverse|back up|drive|brake|accelerate|overtake|turn around|pull over|change lanes) (the car|here|now|at the next exit|that lorry|for me|by yourself|please)
(turn|pump) (up|down) the (bass|treble)|(more|less) (bass|treble)|(set|change) the (equaliser|equalizer|balance|fader|surround sound)
(open|close|slide) the (driver's door|passenger door|rear door|sliding door|car door|garage door|partition|tailgate window|rear quarter window)|(fold|drop|fold down|put down) the (rear seats|back seats|back seat|third row)|(extend|retract|lower|raise) the (tow bar|spoiler|roof rack|air suspension|suspension|ride height|roof top|soft top)
(save|store|recall|load) (my|this) (seat position|driving position|profile|settings|radio station)|(pair|connect|disconnect|forget) (my|this|the) (phone|headset|tablet|new phone)|switch (driver|user|profile)
(reset|zero|show me|clear) the (trip computer|trip meter|odometer|oil light|warning|maintenance reminder|fuel consumption)|(check|inflate|read) the (tyre pressure|tire pressure|tyres|oil level)
(change|set) the (language|clock|time|time zone|units) (to|from) (english|german|summer time|miles|five past|spanish)|(update|reboot|restart) the (software|system|screen|map)
(call|ring|dial|text|answer|hang up on|reject) (mum|the garage|roadside assistance|my boss|this caller|the last number|dad)|(take|avoid|find) (the toll roads|motorways|a detour|another route|the scenic route|a parking space)|(zoom in|zoom out) [on the map]|(navigate|cancel the route|add a stop)
(unbuckle|tighten|loosen|fasten) (my|the) (seat belt|seatbelt|seatbelts|belt)|(heat|cool|chill) (my (coffee|drink|cup)|the cup holder|the bottle|the back seat pocket)|(vacuum|sweep) the (seats|footwell|car)
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
DONT = "[please|hey|no|no no|oh no|wait|stop|and|whatever you do|for now|really] (don't|do not|dont|never|don't you dare|you must not|don't ever|please don't|i don't want you to|i never told you to|nobody said to|there is no need to|better not|don't you)"
# How a command begins that another verb can stand before.
BARE_VERB = re.compile(
    r"(turn|switch|put|make|set|open|slide|lock|bring|unlock|close|shut|let|get|lower|move|fold|raise|use|stop|roll|wind|heat|warm|"
    r"keep|pop|charge|change|retract|drop|crack|power|play|decrease|have|reduce|start|release|unlatch|engage|enable|cool|activate|"
    r"increase|flip|give|end|preheat|hit|kill|take|cancel|blink|draw|ventilate|lose|honk|dim|limit|quit|disable|recirculate|adjust|"
    r"cut|push|unfold|deactivate|lift|indicate|bump|hold|fire|knock|extend|throw|pull|slow|unmute|tuck|fill|beep|chill|listen|deploy|"
    r"direct|defog|show|pause|maintain|resume|press|brighten|defrost|begin|mute|pump) "
)
MENTIONED = (
    "how do i|how can i|why can't i|what happens if i|is it safe to|remind me tomorrow to|should i|when should i|"
    "who told you to|am i allowed to|how long does it take to|what does it cost to|can i sue someone who wants to|"
    "in the manual it says|my dad used to|yesterday i had to|i remember when i could still|some people always|"
    "in the film he says|my old car could not|when we get home|in ten minutes|tomorrow morning|as soon as we arrive|"
    "once we're parked|the mechanic forgot to|it would be illegal to|my neighbour asked his car to|i dreamt that you would|"
    "if it rains|if i fall asleep|later on|before the next trip|in case it gets dark|at eight|last summer they made us|"
    "have you ever tried to|do you know how to|why would anyone|what's the point if i|is there a button to"
)
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
    group = r.choices([QUESTIONS, REQUESTS, CANNOT, STATEMENTS], [30, 25, 30, 15])[0]
    line = r.choice([line for line in group.splitlines() if line])
    while "{n}" in line:
        line = line.replace("{n}", number(r.randint(1, 90), r), 1)
    text = expand(line, r)
    if r.random() < 0.1:
        text = top("please\ncan you\nhey car\ncould you\nhey", r) + " " + text
    return dress(text, r, question=group is QUESTIONS)


def about_a_command(command: str, r: random.Random) -> str:
    """A sentence that mentions a command without giving it."""
    if r.random() < 0.45:
        before = expand(DONT, r)
        return dress(
            f"{before} {command}{r.choice(['', '', ' yet', ' now', ' again', ' please', ' anymore', ' right now', ' just yet'])}",
            r,
        )
    before = r.choice(split_bar(MENTIONED))
    return dress(f"{before} {command}", r, question=before.split()[0] in ("how", "why", "what", "is", "should", "can"))
