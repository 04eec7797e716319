"""Why a command is given: said beside it, a reason asks for nothing more.

A line of GROUNDS is (signals, when, reasons): `signals` is an expression for
the action's path, `when` says of its op and value whether the reasons go with
it. A statement that would be a command by itself ("it's freezing in here") is
a reason too as soon as a command stands beside it.
"""

import random
import re
from collections.abc import Callable

from slmd_model.data.idioms import idiom
from slmd_model.data.phrases import expand, split_bar

When = Callable[[str, object], bool]


def figure(op: str, value) -> bool:
    return op == "set" and type(value) is int


def more(op: str, value) -> bool:
    return op == "increase" or (figure(op, value) and value >= 50)


def less(op: str, value) -> bool:
    return op == "decrease" or (figure(op, value) and value <= 10)


def some(op: str, value) -> bool:
    return op == "increase" or (figure(op, value) and value > 0)


def none(op: str, value) -> bool:
    return op == "decrease" or (figure(op, value) and value == 0)


def cooled(op: str, value) -> bool:
    return figure(op, value) and value < 0


def on(op: str, value) -> bool:
    return op == "set" and (value is True or value in ("ON", "PLAY", "START") or (figure(op, value) and value > 0))


def off(op: str, value) -> bool:
    return op == "set" and (value is False or value in ("OFF", "STOP") or (figure(op, value) and value == 0))


def up(op: str, value) -> bool:
    return op == "increase"


def down(op: str, value) -> bool:
    return op == "decrease"


def named(*values: object) -> When:
    return lambda op, value: value in values


def always(op: str, value) -> bool:
    return True


WHO = "(my (wife|husband|mum|mother|dad|boss|daughter|son|passenger|friend|client|grandma|mate)|the (baby|dog|kid|little one|old man|lady))"
THEY = (
    "(the (kids|children|girls|boys|twins|passengers|guests|dogs)|my (parents|kids|in-laws|colleagues|customers)|they)"
)

GROUNDS: tuple[tuple[str, When, str], ...] = (
    (r"Station.*Temperature", up, "{w} is (shivering|cold|freezing|wrapped in a blanket|complaining about the cold)|{t} are (cold|freezing|shivering|blue with cold|in t-shirts)|(i'm|we're) (cold|freezing|shivering|chilled to the bone|frozen stiff)|it's (cold|freezing|chilly|icy|nippy|minus ten) (in here|outside|out there|today)|i can see my breath|(just|we just) came out of the (snow|water|rain|pool)|my (hands|fingers|feet|nose|toes) are (cold|ice|numb|frozen)|this car is a fridge|winter is here|brr|i've got a cold|it's not warm enough|the heating isn't doing much|still too cold"),
    (r"Station.*Temperature", down, "{w} is (sweating|hot|boiling|melting|complaining about the heat|getting carsick)|{t} are (hot|sweating|boiling|melting|red in the face)|(i'm|we're) (hot|boiling|sweating|roasting|melting|wearing a coat|dressed too warm)|it's (hot|boiling|stuffy|warm|thirty degrees|like a sauna|like an oven) (in here|outside|out there|today)|my shirt is (soaked|wet|sticking)|i just came from (the gym|a run)|i (get|got|feel) (sleepy|dizzy) when it's warm|this car is an oven|it's too warm (for me|in here)|the heating is overdoing it|still too warm"),
    (r"Station.*Temperature", named(*range(16, 29)), "{w} is (never happy|pregnant|easily cold|easily hot|not feeling well|asleep)|{t} can't agree|it's (hot|cold|chilly|warm|stuffy) in here|(i'm|we're) (cold|hot|freezing|sweating|used to that)|that's how i like it|that should do|that's what we have at home|not more|the (doctor|vet) said so"),
    (r"FanSpeed", more, "it's (stuffy|sticky|muggy|steamy|hot|airless) [in here]|(i|we) (need|want) (air|a breeze)|(i|we) can barely feel (it|anything|the air)|the air isn't moving|the windows (steam up|are fogging up)|it smells of (food|dog|wet dog|chips|smoke)|(i'm|we're) (sweating|melting|hot)"),
    (r"FanSpeed", less, "it's (loud|noisy|roaring|blowing in my face|drying my eyes|messing up my hair|too windy|howling)|(i|we) can't hear (each other|you|anything|myself|the radio|the phone) [over it]|my eyes are (dry|watering)|i have (contact lenses|a stiff neck)|{w} is (asleep|on the phone|sneezing)|i'm on a call|my hair is everywhere|the draught is getting to me"),
    (r"Window.*Position", some, "(i|we) need [some|a bit of] (air|fresh air)|it's (stuffy|hot|smelly|such a lovely evening|lovely out|warm outside|sticky) [in here]|someone (burped|farted|spilled milk|is smoking)|it (stinks|smells|reeks) [in here]|the dog wants to (sniff|look out)|i (have|need|want) to (pay|get a ticket|reach the machine|wave|talk to him|ask for directions|throw something out)|{w} (feels sick|is carsick|wants to look out)|there's a (toll booth|barrier|ticket machine|policeman) coming|i'm about to (smoke|throw up)|the glass is fogged up|summer is here"),
    (r"Window.*Position", none, "it's (cold|windy|raining|loud|noisy|dusty|drizzling|too draughty|starting to rain|pouring|snowing|howling) [in here|out there|outside]|(i|we) can't hear (anything|you|a word|myself)|there's a (draught|draft|wasp|bee|smell|storm coming|car wash|tunnel)|my hair is (everywhere|a mess)|we're (going on the motorway|parking|in a car wash|leaving the car|on the highway|behind a bus)|{w} is (freezing|cold|asleep|getting an earache|sticking his hand out)|i'm (cold|parking|getting wet|freezing|off)|rain is coming in|my papers are flying around|somebody's mowing"),
    (r"Sunroof.Position", some, "(what a|it's a) (lovely|beautiful|gorgeous|starry|clear) (day|night|evening|morning)|the (sun|moon|stars) (is|are) out|(i|we) need [some] (air|light|sun)|it's (stuffy|hot|dark) in here|we're on holiday|summer at last|{w} wants to see the (sky|stars|planes)"),
    (r"Sunroof.Position", none, "it's (raining|pouring|windy|loud|cold|drizzling|snowing|hailing|about to rain)|(i felt|that was) a drop|my (head|neck|bald head) is (cold|burning|getting burnt)|(the|a) (storm|bird|tree) is (coming|above us|dripping)|we're (parking|leaving|under trees|on the motorway)|it's dripping on me|leaves are falling in"),
    (r"[Ss]hade.*Position", some, "the sun is (in my eyes|in the baby's face|blinding|glaring|burning|too strong|low)|{w} is (asleep|trying to sleep|getting sunburnt|squinting)|{t} want to (sleep|watch a film)|it's too (bright|sunny|hot) [in here]|i don't want people (looking in|to see in)|some privacy"),
    (r"[Ss]hade.*Position", none, "the sun (is gone|has gone in|has set)|it's (dark|gloomy|cloudy) [in here|now]|{w} wants to (see out|look out|see the cows)|{t} (want|woke up and want) to look out|i can't see (out|behind me)"),
    (r"Seat.*HeatingCooling", on, "my (bum|back|behind|backside|bottom|butt|legs) (is|are) (cold|freezing|ice|frozen|sore|stiff)|it's (freezing|icy|bitterly cold|minus ten|a cold morning) [outside|today]|(i|we) (just came out of the snow|had to scrape the ice|got wet)|{w} (is cold|has back pain|is always cold|likes it warm)|{t} (are cold|are freezing|got wet)|leather is so cold|the leather is freezing|it's like sitting on ice|winter is back"),
    (r"Seat.*HeatingCooling", off, "my (bum|back|behind|backside|bottom|butt|legs) (is|are) (warm enough|too warm|burning|hot|sweating|roasting|on fire|cooked|toasty now)|(it's|that's|it is) (warm enough|too hot|getting hot|hot enough|burning|plenty warm) [now]|{w} (is sweating|is too warm|got out|isn't here|is roasting)|{t} (got out|are too warm|aren't here)|it's (june|summer|thirty degrees|not that cold)|i'm (sweating|warm now|roasting|warm enough)|that's plenty"),
    (r"Seat.*HeatingCooling", cooled, "my (back|bum|shirt) is (sweaty|soaked|sticky|sticking to the seat)|the leather is (hot|burning)|it's (boiling|thirty five degrees|so hot) [out|outside|today]|i'm (sweating|melting|boiling)|{w} is (sweating|melting)"),
    (r"Seat.*HeatingCooling", up, "(it's|that's) not (warm enough|doing anything)|i can't feel (it|anything)|{w} is still cold|still (cold|freezing)|my (back|bum) is still (cold|stiff)"),
    (r"SteeringWheel.*HeatingCooling", on, "my (hands|fingers) are (cold|freezing|ice|frozen|stiff|numb)|i (forgot|lost) my gloves|the wheel is like ice|it's (freezing|icy|minus ten) [outside|today]|i had to scrape the ice"),
    (r"SteeringWheel.*HeatingCooling", off, "my (hands|fingers|palms) are (warm enough|sweating|warm now|sweaty|burning)|(it's|that's) (warm enough|too hot|getting hot|hot enough) [now]|i'm warm now|it's not that cold"),
    (r"IsAirConditioningActive", on, "it's (hot|boiling|sweltering|stuffy|humid|a heatwave|thirty five degrees) [in here|today|outside]|(i'm|we're) (melting|sweating|dying|boiling)|{w} is (melting|sweating)|the windows keep fogging up|this heat is killing me"),
    (r"IsAirConditioningActive", off, "it's (cold|freezing|chilly|cool enough|fresh enough) [in here|now]|(i'm|we're) (cold|freezing|saving fuel|low on fuel|low on battery)|{w} is (cold|sneezing|freezing)|it (eats|uses|wastes) (fuel|battery|too much)|(my eyes are|my throat is) dry|i've got a (cold|sore throat|stiff neck)|it makes me (sneeze|cough)"),
    (r"IsRecirculationActive", on, "there's a (truck|tractor|bus|farm|pig farm|chemical plant|smoker) (in front of us|ahead|here)|it (stinks|smells|reeks) [of (diesel|manure|smoke|fish|cows)] (outside|out there|here)|we're (in a tunnel|behind a truck|in traffic|in the smog)|i have hay fever|the pollen is killing me"),
    (r"IsRecirculationActive", off, "(it's|the air is) (stale|stuffy|used up|thick) [in here]|(i|we) need fresh air|we're out of the (tunnel|smog|city)|the (truck|tractor|smell) is gone|the air is (better|clean) here"),
    (r"Front.*(Defroster|Heating)", on, "i can't see (anything|a thing|where i'm going|out|the road)|(it's|the windscreen is|the windshield is|the glass is) (all|completely) (foggy|fogged up|iced over|frosty|steamed up|misty)|there's (ice|frost|fog|mist) on the (glass|windscreen|windshield)|it froze last night"),
    (r"RearDefroster", on, "i can't see (anything|a thing) (behind me|out the back|in the mirror)|(it's|the rear window is|the back window is) (all|completely) (foggy|fogged up|iced over|frosty|steamed up)|there's (ice|frost|snow|condensation) on the (back|rear) (window|glass)|i have to reverse"),
    (r"Defroster|IsHeatingOn", off, "(it's|the glass is|the window is|everything is) (clear|clear again|dry|free of ice) [now]|(i|we) can see again|the (ice|fog|frost) is gone|that'll do|no ice left"),
    (r"IsLocked", named(True), "(this|it) is a (bad|dodgy|rough) (area|neighbourhood|part of town)|someone is (coming|walking up to us|trying to get in|looking at us)|i don't like (this place|the look of him)|we're (all in|off|leaving|stopping at the lights)|(i'm|we're) (scared|alone|getting out here)|{t} are playing with the doors|better safe than sorry"),
    (r"IsLocked", named(False), "{w} (wants to get in|is standing outside|wants to get out|is at the door|left something inside)|{t} (want|need) to get (in|out)|(we're|we are) (here|there|home)|i (want|need) to get (out|in|my bag)|my hands are full|the (valet|mechanic|policeman) needs to get in"),
    (r"ChildLock", named(True), "{t} (keep playing with|are fiddling with|can reach) the (door|handle|handles|doors)|the (toddler|little one) can reach the handle|safety first|we have (children|a toddler) on board"),
    (r"ChildLock", named(False), "{t} are (grown up|adults|old enough)|only (adults|grown ups) in the back|{t} can't get out|my colleagues are in the back"),
    (r"Beam.Low|Parking", on, "it's (dark|getting dark|dusk|gloomy|night|raining|grey|foggy) [out|outside|already|out there]|there's a tunnel [ahead|coming]|(the others|everybody else) (have|has) theirs on|i can't see the (road|kerb)|nobody can see us|the sun is going down"),
    (r"Beam.High", named(True), "it's pitch (dark|black) [out here]|there (are|might be) deer (around|here)|there's nobody (else|ahead|coming)|i can't see (far|where the road goes|the bends)|no street lamps here|country road now"),
    (r"Beam.High", named(False), "(someone|somebody|a car|a truck|a bike) is coming [towards us]|i'm (blinding|dazzling) (people|him|everyone)|(he|that guy) flashed me|there's traffic|we're in town"),
    (r"Fog", named(True), "(i|you) can't see (ten metres|the car in front|your hand)|the fog is (thick|terrible|like soup)|it's (foggy|like soup|so thick|pea soup) [out there]|visibility is (bad|terrible)"),
    (r"Fog", named(False), "the fog (is gone|has lifted|has cleared|cleared up)|it's clear (now|again)|i'm (dazzling|blinding) (people|the guy behind)|we can see again"),
    (r"Hazard", named(True), "(we've|we) (broke|broken) down|there's (been an accident|a crash|a traffic jam|a queue|a jam) [ahead]|(everybody|everyone|the car in front) is (braking|stopping)|we have a flat|i'm (stopping here|being towed|loading|double parked)|the engine died"),
    (r"Hazard", named(False), "we're (moving|off|rolling|fine) again|the (jam|queue) is over|all good now|help is here"),
    (r"Spotlight|Dome|GloveBox", named(True), "{w} (wants to read|dropped something|is looking for something|can't find the buckle|lost a toy)|i( dropped| lost| can't find|'m looking for) (my|the) (keys|phone|wallet|map|glasses|ticket|earring|sunglasses)|i (need|want) to read (something|the map|this)|it's (dark|pitch black) in here|{t} want to (read|draw|do homework)|i can't see what i'm doing|i have to find the papers"),
    (r"Spotlight|Dome|GloveBox", named(False), "{w} (is asleep|is done reading|fell asleep|wants to sleep)|it's (blinding me|reflecting|distracting|too bright|glaring)|{t} are (asleep|sleeping)|i (found it|found them|can't see the road|have it)|nobody is reading"),
    (r"AmbientLight", on, "it's (gloomy|so dark|romantic) [in here]|(it's|we're on) (date night|a date)|i like it (cosy|colourful)|it looks (nice|good)|let's get comfortable"),
    (r"AmbientLight", off, "it's (distracting|kitschy|too much|annoying|tacky|reflecting)|this isn't a disco|i can't concentrate|{w} (wants to sleep|hates it)"),
    (r"AmbientLight.*Intensity|Brightness", down, "it's (blinding me|too bright|glaring|dazzling|distracting|hurting my eyes) [at night]|it's (night|dark) [outside|out]|my eyes (hurt|are tired)|{w} is (asleep|trying to sleep)"),
    (r"AmbientLight.*Intensity|Brightness", up, "i can't (see|read) (anything|it|the map|a thing) [on it]|the sun is (on it|shining on it|so bright)|i (forgot|don't have) my glasses|it's too (dark|dim|faint)|it's hard to read"),
    (r"Wiping", named("MEDIUM", "FAST", "SLOW", "INTERVAL", "RAIN_SENSOR"), "it's (raining|drizzling|pouring|spitting|snowing|wet|starting to rain|bucketing down) [again|outside]|i can't see (a thing|anything|the road|through the windscreen)|there's (mud|spray|water|dirt|bird poo|slush|dust) (on|all over) the (windscreen|glass|windshield|window)|that truck (splashed|soaked) us|here comes the rain|the road is wet"),
    (r"Wiping", named("OFF"), "(it's|it is) (dry|stopped raining|not raining|clear|sunny) [now|again|any more]|the rain (stopped|is over|has stopped)|they're (squeaking|screeching|scraping)|it's squeaking|the glass is dry|the sun is out"),
    (r"IsFolded", named(True), "(it's|this is) (tight|narrow|a narrow street|a tight spot|a small garage)|there's (a wall|a car|a bus|no space) (here|next to us)|we're (parking|in the car wash|in the garage)|somebody might hit them"),
    (r"IsFolded", named(False), "(i|we) (need|have) to see|we're (out|through|driving off|leaving)|i can't see (behind me|anything in them)|the garage is behind us"),
    (r"Trunk.Rear", named(True), "i( have to| need to| want to| must|'ve got to) (load the (bags|shopping|pram)|get (my bag|the shopping|the suitcase|something) out|unload)|i('ve got| have) my hands full|{w} (wants to put the bags in|has the suitcases|is standing behind the car)|the (shopping|luggage|pram) is (here|waiting)|my hands are full"),
    (r"Hood", named(True), "i( have to| need to| want to| must|'ve got to) check the (oil|engine|coolant|battery)|the (mechanic|man from the garage) is here|the engine is (smoking|making a noise|too hot)|the oil light is on"),
    (r"Hood", named(False), "i'm done (with the oil|here)|the mechanic is (done|finished)|we're (done|off)|the oil is fine"),
    (r"Trunk.Rear", named(False), "(everything|the luggage|the shopping|the dog) is (in|loaded)|we're (done|loaded|ready to go|off)|it's (raining in|still open|raining)|i'm done loading|that's everything"),
    (r"Massage", on, "my (back|neck|shoulders|spine|muscles) (hurts|hurt|is killing me|are killing me|is stiff|aches|is sore)|(i've|we've) been (driving|sitting) (all day|for hours|since six)|it's been a long (day|drive|week)|i'm (tense|stiff|sore all over)|i need to relax"),
    (r"Massage", off, "it (tickles|hurts|is too much)|(that's|that was) (enough|nice|lovely)|i'm (relaxed now|black and blue)|i can't concentrate|my back is fine now"),
    (r"Seat.*Position", more, "(i|my legs|my knees) (can't|don't) (stretch|fit)|my knees are (hitting the wheel|up against the dash|in the way)|i have long legs|{w} is (tall|very tall)|i have no room"),
    (r"Seat.*Position", less, "i can't reach the (pedals|wheel|clutch)|{w} (has no legroom|is short|behind me has no room)|i have short legs|i'm too far away"),
    (r"Media.*Volume", more, "(i|we) (love|like) this (song|one|tune|bit)|i can('t| barely|'t quite) hear (it|him|the song|what they're saying|the news)|this is (my song|my favourite|a banger|our song)|{t} want to (sing|dance)|it's (too quiet|so quiet|hard to hear)|the (goal|news|best bit) is coming|what a tune"),
    (r"Media.*Volume", less, "{w} is (asleep|on the phone|sleeping|talking|trying to sleep|trying to call)|{t} are (asleep|sleeping|talking|doing homework)|i('m on the phone| have a headache| can't think| can't concentrate| need to park| have to listen)|(it's|that's) (too loud|deafening|giving me a headache|hurting my ears)|(someone|mum|my boss|the office) is calling|the phone is ringing|(i|we) can't hear (the navi|each other|the siren|ourselves)|my ears are ringing|there's an ambulance"),
    (r"Media.Action", named("SKIP_FORWARD"), "(i|we) (hate|don't like|can't stand|know) (this|it|this song|this one)|(this|it) is (awful|rubbish|boring|terrible|old|too slow|depressing|not my thing)|heard it a (hundred|thousand) times|not my taste|{w} hates this"),
    (r"Media.Action", named("SKIP_BACKWARD"), "(i|we) (missed|liked|loved|didn't hear) (it|that|that one|the beginning|the start)|that was (good|great|so good|a good one)|{t} want to hear it again|i was talking"),
    (r"Media.Action", named("STOP"), "{w} is (calling|asleep|on the phone|talking)|i (need|want|have) (quiet|to think|to concentrate|to make a call|a headache)|(someone|mum|my boss|the office) is calling|the phone is ringing|i can't (concentrate|think)|we're (here|there)|there's a police car"),
    (r"Media.Action", named("PLAY"), "it's (too quiet|boring|so quiet) [in here]|i'm (bored|falling asleep|in a good mood|done with my call)|{t} are bored|the call is over|it's a long (way|drive)|(time|let's) (for a party|sing|sing along)|it's friday"),
    (r"Played.Source", always, "i (want|need) (the news|the traffic report|my playlist|my music|the football)|the (signal|reception|sound|station) is (bad|terrible|gone|awful)|there's nothing (good|) on|(i|{w}) (brought|has) a (new|good) (mix|album|one)|this station is rubbish|the match is on"),
    (r"Navigation", named("MUTED", "ALERT_ONLY"), "i (know|can find) (the way|my way|where i am|where i'm going)|(i'm|we're) (nearly|almost) (home|there)|it (never shuts up|talks too much|keeps interrupting|is annoying)|i drive this every day|{w} is (asleep|talking|on the phone)|that voice (annoys me|is driving me mad)"),
    (r"Navigation", named("UNMUTED"), "(i'm|we're) (lost|new here)|i (don't know|have no idea) (the way|where to go|where we are)|i missed (the turn|my exit)|i don't know this (town|city|area)"),
    (r"Navigation.Volume", more, "i (missed the turn|can't hear it|can't hear her|missed the exit)|it's too quiet|the radio is too loud|she whispers"),
    (r"Navigation.Volume", less, "(it|she) (shouts|yells|is too loud|scares me|wakes the baby)|{w} is (asleep|on the phone)|it's louder than the music"),
    (r"CruiseControl.IsActive", named(True), "it's (a long|an empty|a straight|a boring) (road|motorway|way|highway)|the (road is|motorway is) (empty|clear)|my foot (hurts|is tired|fell asleep)|i don't want a ticket"),
    (r"CruiseControl.IsActive", named(False), "there's (traffic|roadworks|a jam|a toll booth) ahead|i want to drive myself|we're (leaving the motorway|in town)|the exit is coming"),
    (r"CruiseControl.SpeedSet", figure, "that's the limit [here]|there's a (limit|speed camera) [here|ahead]|i don't want a ticket|it's (a long|an empty|a boring) road"),
    (r"CruiseControl.SpeedSet", down, "there's (a speed camera|a limit|roadworks|traffic|a police car) [ahead]|that's too fast [for me]|{w} is scared|the road is wet"),
    (r"CruiseControl.SpeedSet", up, "we're (late|crawling)|the limit (went up|is higher here)|that's too slow|the road is clear"),
    (r"PerformanceMode", named("SPORT"), "i'm (late|in a hurry|bored|feeling fast)|(let's|i want to) (have some fun|overtake|show him|race)|the road is (clear|empty|great)|time for some fun"),
    (r"PerformanceMode", named("ECONOMY"), "(we're|i'm) (low on fuel|low on battery|running out of petrol|saving money|in no hurry)|(petrol|fuel|gas|electricity) is expensive|the battery is (low|nearly empty)|the tank is nearly empty"),
    (r"PerformanceMode", named("SNOW", "RAIN"), "it's (slippery|icy|snowing|pouring|wet|aquaplaning)|the (wheels|tyres) are (spinning|slipping)|the road is (slippery|white|wet|icy|flooded)|we're sliding"),
    (r"PerformanceMode", named("NORMAL"), "(we're|i'm) (in town|in no hurry)|(the road is|it's) (dry|fine) again|{w} is feeling sick|that was enough fun"),
    (r"StartStopCharging", named("START"), "(it's|i'm|we're|the car is) plugged in|(power|electricity) is cheap (now|tonight)|the battery is (low|nearly empty|down to ten percent)|(i|we) have a long (trip|drive) tomorrow|the sun is shining on the roof"),
    (r"StartStopCharging", named("STOP"), "(we|i) (need|have) to (go|leave)|(it's|power is) too expensive|somebody else (needs|wants) the charger|that's enough for today|we're off"),
    (r"ChargeLimit", always, "(it's|that's) better for the battery|(i|we) have a long (trip|drive) (tomorrow|ahead)|we're only going to (work|the shops)|that's enough for (the week|tomorrow)|the dealer said so"),
    (r"LaneDeparture", named(True), "i'm (tired|sleepy|yawning)|it's (late|a long drive|a long way|a boring road)|i keep drifting|motorway now"),
    (r"LaneDeparture", named(False), "it (beeps all the time|keeps pulling|fights me|drives me mad|annoys me|keeps beeping)|(there are|it's all) roadworks|the lanes are (narrow|a mess)|i can steer myself"),
    (r"DayNightMode", named("NIGHT"), "it's (dark|night|blinding|too bright|glaring)|my eyes (hurt|are tired)|the sun has set|white is blinding"),
    (r"DayNightMode", named("DAY"), "it's (day|light|bright|morning) [again|now|out]|i can't read (white on black|it)|the sun is (up|out)"),
    (r"AirDistribution", named("DOWN"), "my (feet|toes|ankles|shoes) are (cold|wet|frozen|ice|soaked)|it's (blowing in my face|drying my eyes)"),
    (r"AirDistribution", named("UP", "MIDDLE"), "the (glass|windscreen|windshield) is (fogging up|misting)|(i'm|my face is) (hot|sweating)|my (feet|legs) are (warm enough|boiling|too hot)"),
    (r"DirectionIndicator", named(True), "(i'm|we're) (turning|changing lanes|pulling over|overtaking|taking this exit|parking here)|(that's|this is|here's) (our|my) (exit|turn|street)|i forgot to signal|we have to go that way"),
    (r"DirectionIndicator", named(False), "it's still (on|blinking|clicking|ticking)|(i|we) (changed my mind|already turned|turned already|missed it)|the clicking annoys me"),
    (r"Horn", always, "(he|she|that idiot|the guy in front) is (asleep|on his phone|not moving|texting|backing into us)|it's green|the light is green|there's a (deer|dog|cow|pigeon) on the road"),
    (r"TemperatureUnit", named("F"), "i'm (american|from (texas|ohio|florida))|i don't understand celsius|{w} is american"),
    (r"TemperatureUnit", named("C"), "i'm (european|from (spain|germany|france))|i don't understand fahrenheit|{w} is (german|british|french)"),
)  # fmt: skip
COMPILED = [(re.compile(signals), when, split_bar(reasons)) for signals, when, reasons in GROUNDS]
# Signals with a place: whoever a reason is about must be who the place is of.
PLACED = re.compile(r"Station|Cabin\.(Seat|Door)|Spotlight|AmbientLight")
PLACE = re.compile(r"\.(Row\d|\*|Driver(Side)?|Passenger(Side)?)(?=\.|$)")
# How a sentence begins that tells how things are, and what makes a wish of it.
STATES = re.compile(
    r"(i'm|i am|we're|it's|it is|it (stinks|feels|started|starts)|that's|that is|that smells|this is|there's|there is|something stinks|"
    r"brr|can't see|[\w']+( [\w']+){0,4} (is|are|hurts?|aches?|feels?|stinks?|blinds)\b|feels |slightly too|too |way too|"
    r"i can|we can|you can|i hate|i don't like|i dropped|i'm looking)"
)
WISHES = re.compile(
    r"\b(wants?|needs?|needed|likes?|asked|enough|should|could|mood|done with|without|can (go|be|stop)|massage|turn(ing)?|switch|"
    r"make sure|let|get|have|keep)\b"
)


def states(text: str) -> bool:
    """Whether the sentence tells how things are, instead of what to do."""
    return STATES.match(text) is not None and not WISHES.search(text)


def kind(signal: str) -> str:
    """The signal without its place."""
    return PLACE.sub("", signal)


def fits(reason: str, signal: str) -> bool:
    """Whether the people of a reason are where the signal acts: nobody else's comfort says for whom a command is."""
    if not PLACED.search(signal):
        return True
    return ("{w}" not in reason or "Row1.Passenger" in signal) and ("{t}" not in reason or "Row2" in signal)


def ground(action: dict, r: random.Random) -> str | None:
    """A reason for `action`, None if none is known."""
    signal, op, value = action["signal"], action["op"], action["value"]
    found = [
        reason
        for pattern, when, reasons in COMPILED
        if pattern.search(signal) and when(op, value)
        for reason in reasons
        if fits(reason, signal)
    ]
    if not found:
        return None
    return expand(r.choice(found).replace("{w}", WHO).replace("{t}", THEY), r)


def remark(action: dict, r: random.Random) -> str | None:
    """A statement that would be a command by itself, for another thing than `action`; None if none is met soon."""
    for _ in range(12):
        text, (meant,), _ = idiom(r)
        if states(text) and "," not in text and kind(meant["signal"]) != kind(action["signal"]):
            return text
    return None
