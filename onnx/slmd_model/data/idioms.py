"""What people say instead of naming a thing and a state: one line of sentences for each action.

A line is (signal, op, value, zone, sentences). `@` in the signal stands for the
zone: the line's own, or one of the kind that it names (`ZONES`); `{p}` in a
sentence is where the zone is said. A value such as "{16-28}" is drawn, and said
where `{n}` is; `{m}` is music, `#` the plural of a mirror.
"""

import random

from slmd_model.data import signals as s
from slmd_model.data.phrases import expand, number, split_bar, where
from slmd_model.data.speech import act

KIN = "(wife|husband|passenger|friend|mum|mom|dad|sister|brother|girlfriend|boyfriend|son|daughter|partner|colleague)"
KIDS = "(kids|children|girls|boys|people in the back|passengers in the back|ones in the back|folks in the back|little ones|guests in the back)"
TEMPERATURE = s.HVAC + ".Station.@.Temperature"
FAN = s.HVAC + ".Station.@.FanSpeed"
WINDOW = s.DOOR + ".@.Window.Position"
HEAT = s.SEAT + ".@.HeatingCooling"
LOCK = s.DOOR + ".@.IsLocked"
WIPER = s.BODY + ".Windshield.Front.Wiping.Mode"
REAR_WIPER = s.BODY + ".Windshield.Rear.Wiping.Mode"
VOLUME, ACTION = s.MEDIA + ".Volume", s.MEDIA + ".Action"

IDIOMS = (
    (TEMPERATURE, "increase", 2, "all", "i'm (cold|chilly)|it's (cold|nippy|fresh|cool) [in here|inside]|we're [getting] cold|brr|could do with some (warmth|heat)|a bit of (heat|warmth) please|(bring|get|put) some heat in [here]|warm us up|take the chill off|it (could|should) be warmer [in here]|the car is [too] cold|make it cosy|i want it warmer"),
    (TEMPERATURE, "increase", 4, "all", "(i'm|we're) (freezing|frozen|shivering|icing up) [here|to death]|my teeth are chattering|it's (freezing|like a fridge|arctic|like a freezer|ice cold|like the north pole) in here|(i can|you can) see my breath|it's bitterly cold"),
    (TEMPERATURE, "decrease", 2, "all", "i'm (hot|warm)|it's (warm|hot|stuffy and warm) [in here|inside]|could do with some cool air|cool us down|it (could|should) be cooler [in here]|the car is [too] (hot|warm)|i want it cooler|get it cooler [in here]|some cooling [please]|not so (warm|hot) please"),
    (TEMPERATURE, "decrease", 4, "all", "(i'm|we're) (boiling|roasting|melting|sweating|dying of heat|cooking|baking) [here|alive]|it's (boiling|like a sauna|like a furnace|like an oven|scorching|sweltering|baking|tropical|unbearably hot) in here|this is a sauna|i'm drenched in sweat"),
    (TEMPERATURE, "increase", 1, "all", "a (touch|tad|bit|notch|degree) warmer|(one|a) notch warmer|(go|turn it) up (a notch|a degree|one degree)|(it's|feels) a (bit|tad|little) (cold|chilly|cool|fresh|nippy)|slightly too cold [for me|in here]"),
    (TEMPERATURE, "decrease", 1, "all", "a (touch|tad|bit|notch|degree) cooler|(one|a) notch cooler|(go|turn it) down (a degree|one degree)|(it's|feels) a (bit|tad|little) (warm|hot)|slightly too (warm|hot) [for me|in here]"),
    (TEMPERATURE, "increase", 2, "passenger", f"my {KIN} [here|next to me] is (cold|chilly|getting cold)|the passenger (feels|is) cold|(she|he) next to me is cold"),
    (TEMPERATURE, "increase", 2, "rear", f"the {KIDS} are (cold|chilly|getting cold)|(it's|feels) (cold|chilly) (back here|in the back|back there|in the rear)|(grandma|grandpa|the baby|the dog) in the back is cold"),
    (TEMPERATURE, "decrease", 2, "passenger", f"my {KIN} [here|next to me] is (hot|warm|too warm)|the passenger (feels|is) (hot|warm)"),
    (TEMPERATURE, "decrease", 2, "rear", f"the {KIDS} are [too|getting] (hot|warm)|(it's|feels) [too] (hot|warm) (back here|in the back|back there|in the rear)"),
    (TEMPERATURE, "increase", "{1-6}", "any", "{n} degrees (warmer|more|up|hotter){p}|(take|put|turn|bring|move|bump|nudge|crank) (it|the heat|the temperature|the temp|the heating) up [by] {n} [degrees|degree]{p}|(make|get) it {n} [degrees] warmer{p}|add {n} degrees{p}|(warmer|hotter|up) by {n} [degrees]{p}|raise (it|the temp|things) {n} degrees{p}|go up {n} degrees{p}|up {n} [degrees]{p}"),
    (TEMPERATURE, "decrease", "{1-6}", "any", "{n} degrees (cooler|less|down|colder){p}|(take|put|turn|bring|move|knock|nudge|drop) (it|the heat|the temperature|the temp|the heating) down [by] {n} [degrees|degree]{p}|(make|get) it {n} [degrees] (cooler|colder){p}|(cooler|colder|down) by {n} [degrees]{p}|take {n} degrees off{p}|lower (it|the temp|things) {n} degrees{p}|go down {n} degrees{p}|down {n} [degrees]{p}"),
    (TEMPERATURE, "set", "{16-28}", "any", "(let's|let us) have [it at] {n} [degrees]{p}|(can|could) (we|i) (have|get|do) {n} [degrees]{p}|{n} [degrees] (is|would be) (fine|nice|good|perfect|enough){p}|get (it|the cabin|the car|the interior|the air) to {n} [degrees|celsius]{p}|(heat|cool) (it|the car|the cabin) to {n} [degrees]{p}|(i'd|we'd) (like|prefer|love) {n} [degrees]{p}|(make|have|keep|put) it {n} [degrees]{p}|(climate|climate control|heating|thermostat|hvac) (at|on|to) {n}{p}|go (for|with|to) {n} [degrees]{p}"),
    (TEMPERATURE, "set", "{16-28}", "driver", "(my|the driver) (side|temperature|temp|zone|climate) (to|at|on) {n}|(put|set|make|have|i'd like|i want) my (side|temperature|temp|zone) (at|to) {n} [degrees]|{n} [degrees] for me"),
    (TEMPERATURE, "set", "{16-28}", "passenger", f"(give|get) (my {KIN}|the passenger|her|him) {{n}} [degrees]|(my {KIN}|the passenger|she|he) (wants|needs|likes|would like|asked for) [it at] {{n}} [degrees]|{{n}} [degrees] for my {KIN}|the passenger's (side|temp) (to|at) {{n}}"),
    (TEMPERATURE, "set", "{16-28}", "rear", f"(give|get) the {KIDS} {{n}} [degrees]|the {KIDS} (want|need|like|would like|asked for) [it at] {{n}} [degrees]|{{n}} [degrees] for the {KIDS}"),
    (s.HVAC + ".IsAirConditioningActive", "set", True, "", "(some|a bit of|a little) (ac|a c|air con|air conditioning) please|(get|let's get) the (ac|air con|cooling) (on|going|running)|we need (the ac|air con|aircon|air conditioning|some ac)|ac time|start cooling|run the (ac|aircon|air con)|the ac again please"),
    (s.HVAC + ".IsAirConditioningActive", "set", False, "", "(no|without) (ac|air con|aircon|air conditioning)|the (ac|aircon) is not needed|stop cooling|we don't need the (ac|air con|aircon)|(lose|kill|cut|stop) the (ac|a c|air con)"),
    (s.HVAC + ".IsRecirculationActive", "set", True, "", "(don't let|keep) (the|that) (smell|stink|smoke|outside air|exhaust|fumes|dust|pollen) (in|out)|(shut|block|close off) [the] outside air|(it stinks|something stinks|what a stink|that smells awful|the truck ahead stinks)|only inside air|use the air inside|circulate the (inside|cabin) air"),
    (s.HVAC + ".IsRecirculationActive", "set", False, "", "(get|let|bring) [some] [fresh] air in from (outside|out there)|(open|use) the outside air [again]|air from outside please|no more recirculat(ed air|ion)|stop circulating the (same|old) air"),
    (s.HVAC + ".IsFrontDefrosterActive", "set", True, "", "(the|my) (windshield|windscreen|front window|front glass) is [all|totally|completely|getting|really] (fogging|misty|steamed|foggy|fogged|iced|frosted|frozen|misting) [up|over]|(get|clear|blow) the (fog|mist|steam|condensation|frost|ice) (off|away from) the (windshield|windscreen|front)|[i] can't see [anything] through the (windshield|windscreen|front window)|(clear|demist|defog) the (view|front)"),
    (s.HVAC + ".IsRearDefrosterActive", "set", True, "", "(the|my) (rear|back) (window|glass|windscreen) is [all|totally|completely|getting|really] (fogging|misty|steamed|foggy|fogged|iced|frosted|frozen|misting) [up|over]|(get|clear|blow) the (fog|mist|steam|condensation|frost|ice) (off|away from) the (rear|back) (window|glass)|[i] can't see [anything] (out of|through) the (back|rear) [window]|(heat|warm) the (rear|back) (window|glass)|(rear|back) window (heating|heater) [on]"),
    (s.HVAC + ".IsRearDefrosterActive", "set", False, "", "(rear|back) window (heating|heater) off|(stop|quit) (heating|defrosting) the (rear|back) (window|glass)|the (rear|back) window is clear [now|again]"),
    (s.HVAC + ".IsFrontDefrosterActive", "set", False, "", "(stop|quit) (demisting|defrosting|clearing) the (front|windshield|windscreen)|the (windshield|windscreen) is clear [now|again]"),
    (FAN, "increase", 20, "any", "(more|stronger) (air|wind|blowing|airflow|breeze){p}|[i|we] (need|want) more air{p}|blow (harder|stronger|more|faster){p}|(give me|let's have|can we get) more (air|fan){p}|(i|we) can't feel [any|the] air{p}"),
    (FAN, "decrease", 20, "any", "less (air|wind|blowing|airflow){p}|blow (less|softer|weaker){p}|(it's|that is) too (windy|drafty|draughty) [in here]{p}|the (fan|blower) is [way|far] too (loud|noisy|strong){p}|calm the (fan|blower){p}"),
    (FAN, "increase", 10, "any", "a (bit|little|touch) more (air|fan|wind|airflow|breeze){p}|blow a (bit|little) (harder|more){p}"),
    (FAN, "decrease", 10, "any", "a (bit|little|touch) less (air|fan|wind|airflow){p}|blow a (bit|little) (less|softer){p}"),
    (FAN, "set", 100, "any", "(full blast|full power|flat out|max air|maximum blow|all you've got) [on the (fan|blower)]{p}|(fan|blower) (on|at) full [blast|power|speed]{p}|blow as hard as you can{p}|crank the (fan|blower) [all the way] up{p}"),
    (FAN, "set", 0, "any", "stop (blowing|the air|the fan|the blower){p}|no (fan|air|blowing|wind){p}|(fan|blower) all the way down{p}"),
    (s.HVAC + ".Station.@.AirDistribution", "set", "DOWN", "air", "(some|warm|a bit of) air (down|on|to|at|for) [there|my|our|the] (feet|toes|legs|floor|ankles){p}|my (feet|toes|legs) are (cold|freezing|frozen)|(blow|aim|point|send|direct|push) [the|some] air (down|at the floor|to the feet|downwards|at my feet|at our feet|low){p}"),
    (s.HVAC + ".Station.@.AirDistribution", "set", "UP", "air", "(blow|aim|point|send|direct|push) [the|some] air (up|at the glass|at the windscreen|upwards|to the top|up to the windshield|high){p}|air (up|at the glass|onto the windshield){p}"),
    (s.HVAC + ".Station.@.AirDistribution", "set", "MIDDLE", "air", "(blow|aim|point|send|direct|push) [the|some] air (at me|in my face|at my face|at our faces|at us|to the middle|at my body|straight at me){p}|air (in|on|at) (my face|our faces|the middle){p}"),
    (WINDOW, "set", 100, "door", "(roll|wind|put|let|bring|take|slide) (the window|it){p} [all the way] down|(roll|wind|put|let) down the window{p}|(down|open) with the window{p}"),
    (WINDOW, "set", 0, "door", "(roll|wind|put|bring|get|slide) (the window|it){p} [all the way|back] up|(up|closed) with the window{p}|(roll|wind|put|get) up the window{p}"),
    (WINDOW, "set", 100, "driver", "(roll|wind|put|let) (my|mine) [window] down|(open|down with) my window [all the way|fully|completely]|my window (down|open) [all the way]|(i need|let me have) my window (down|open)|the window (next to|beside) me [all the way] (down|open)|open (up|the window) (next to|beside) me"),
    (WINDOW, "set", 0, "driver", "(roll|wind|put|get|bring) my window [back] up|(shut|close) (my|the driver) window|my window (up|closed|shut)|there's a draft on my side"),
    (WINDOW, "set", 100, "all", "(roll|wind|put|let) (them|'em|em) [all] down|all [the|of the|four] windows (down|open)|(everything|all) (open|down), [all] windows|(every|each) window (down|open)|(open|put down|lower) (every|each) window|windows (down|open) everywhere"),
    (WINDOW, "set", 0, "all", "(roll|wind|put|get|bring) (them|'em|em) [all] [back] up|all [the|of the|four] windows (up|closed|shut)|(every|each) window (up|closed|shut)|(close|put up|shut|raise) (every|each|any open) window|(shut|close) the windows [everywhere|all of them]|windows (up|closed) [everywhere]|no open windows please"),
    (WINDOW, "set", 20, "all", "(crack|open) (the|all|all the) windows (a bit|a little|a crack|slightly|an inch)|(let's|let us) (get|have) some fresh air [in here]|(a|some) breeze [please|would be nice]|(a bit of|some) fresh air please|vent the (car|cabin)|air the (car|cabin) out"),
    (WINDOW, "set", 20, "driver", "(crack|open) my window (a bit|a little|a crack|slightly|an inch)|(a|some) breeze from (my window|the driver's window)|my window (down|open) (a bit|a little|a crack|slightly)"),
    (WINDOW, "set", 20, "rear", "(crack|open) the (back|rear) windows (a bit|a little|a crack|slightly|an inch)|(a bit of|some) (air|breeze) through the (back|rear) windows|(back|rear) windows (down|open) (a bit|a little|a crack|slightly)"),
    (WINDOW, "set", 50, "door", "[the] window{p} (halfway|half way|half) [open|down] [please]|(put|open|lower|get) the window{p} (half|half way|halfway) [down|open]"),
    (WINDOW, "set", 25, "door", "[the] window{p} (a quarter|a quarter of the way|one quarter) [open|down]|(put|open|lower|get) the window{p} (a quarter|one quarter|a quarter of the way) [down|open]"),
    (WINDOW, "set", "{5-95}", "door", "[the] window{p} (at|to) {n} [percent|%]|(put|get|have|set|move|bring) the window{p} (at|to) {n} (percent|%)|open the window{p} {n} (percent|%)"),
    ("Vehicle.Cabin.Sunroof.Position", "set", 100, "", "(let|get) (the sun|some sun|some light|the sky) in [through the roof]|(open|slide) the [sun] roof [back] [all the way|fully]|(roof|sunroof|moonroof) (open|back) [please]|(i want to|let's|let me) (see|feel) the (sky|stars|sun) [above]|(get|have) the (sunroof|roof|moonroof) open"),
    ("Vehicle.Cabin.Sunroof.Position", "set", 0, "", "(shut|close|slide) the (roof|sunroof|moonroof|glass roof|sun roof|panorama roof) [shut|back|up|again|for me]|(roof|sunroof|moonroof) (closed|shut) [please]|it's raining in|(get|have) the (sunroof|roof|moonroof) (shut|closed)"),
    ("Vehicle.Cabin.Sunroof.Position", "set", 50, "", "(sunroof|roof|moonroof) half [way] [open]|half open the (sunroof|roof)|tilt the (sunroof|roof|moonroof) (halfway|half) [open]"),
    ("Vehicle.Cabin.Sunroof.Position", "set", 25, "", "(sunroof|roof|moonroof) [open] [about] a quarter|tilt the (sunroof|roof|moonroof) [open] [about] a quarter"),
    ("Vehicle.Cabin.Sunroof.Shade.Position", "set", 100, "", "(close|draw|pull|shut|slide) the (blind|shade|cover|curtain) (on|of|under|over|at) the (sunroof|roof|glass roof) [shut|closed]|(the sun is|too much sun|it's too bright) [coming in] (from above|through the roof), (close|draw) the (blind|shade)|(cover|shade) the (glass roof|sunroof)"),
    ("Vehicle.Cabin.Sunroof.Shade.Position", "set", 0, "", "(open|pull back|slide back) the (blind|shade|cover|curtain) (on|of|under|over|at) the (sunroof|roof|glass roof)|uncover the (glass roof|sunroof)"),
    ("Vehicle.Cabin.RearShade.Position", "set", 100, "", "(get|have|put|pull|bring) the [rear|back] [window] (sunshade|sun shade|sun blind) [in the (back|rear)] up|(get|put|pull) the (rear|back) [window] (blind|shade|sunshade|sun blind) up|(the rear|rear|the back) (blind|shade|sunshade) up [please]|the sun is blinding (the kids|them) through the (rear|back) window"),
    ("Vehicle.Cabin.RearShade.Position", "set", 0, "", "(get|have|put|pull|bring) the (rear|back) [window] (blind|shade|sunshade|sun blind) (down|back down|away)|(the rear|rear|the back) (blind|shade|sunshade) (down|away) [please]"),
    (HEAT, "set", 50, "driver", "(warm|heat|toast) (up|) my (seat|bum|back|backside|bottom|behind|butt)|my (seat|bum|backside|bottom|back) is (cold|freezing|icy)|(seat|bum|butt) warmer [on] [for me|please]|(i want|i'd like|give me|i need) (a warm seat|a heated seat|some heat in my seat|my seat warm)|get my seat (warm|heated|toasty)|make my seat (warm|warmer|hot)"),
    (HEAT, "set", 50, "passenger", f"(warm|heat|toast) my {KIN}'s (seat|bum|back)|my {KIN} (wants|needs|would like) (a warm seat|the seat heated|seat heating|the seat heater)|(seat|bum) warmer for my {KIN}|the passenger's (seat|bum) is cold|(heat|warm) the seat (next to|beside) me"),
    (HEAT, "set", 50, "rear", f"the {KIDS} (want|need) (warm|heated) seats|(seat|bum) (warmers|heaters|heating) for the {KIDS}|(heat|warm) the (back|rear) (seats|bench|row)|(heated|warm) seats (on in|for|in) the (back|rear)"),
    (HEAT, "set", 0, "driver", "(my seat|my bum|my back|my backside) is (burning|on fire|too hot|too warm|roasting|boiling)|(stop|quit) (heating|warming) my seat|my seat (heating|heater|warmer) off|no heat in my seat|i don't need a (warm|heated) seat"),
    (HEAT, "set", 0, "passenger", "(stop|quit) (heating|warming) the (passenger|passenger's) seat|(turn|switch) off the (heating|heater) of the (empty|other|passenger) seat|the passenger's seat (heating|heater) off"),
    (HEAT, "set", 0, "all", "(all|every|all the) (seat heaters|seat heating|seat heater|heated seats|seat warmers) off|(switch|turn|shut) off (all|every|all the|all of the) (seat heaters|seat heater|heated seats|seat heating)|no (seat heating|heated seats) (anywhere|at all|for anyone)"),
    (HEAT, "set", -50, "driver", "(cool|ventilate|air|chill) my (seat|back)|my (seat|back) is sweaty|(seat|back) ventilation [on] [for me|please]|(give me|i want) (a cool seat|some air in my seat|a ventilated seat)"),
    (HEAT, "set", 100, "seat", "seat (heating|heater|warmer){p} (to|at|on) (max|maximum|full|the max|the highest|full blast)|(max|maximum|full) seat (heating|heat){p}|(heat|warm) the seat{p} (to the max|as much as possible|at full blast|all the way)"),
    (HEAT, "set", "{10-95}", "seat", "seat (heating|heater|warmer){p} (to|at|on|) {n} (percent|%)|(put|have|get|set) the seat (heating|heater|warmer){p} (at|to|on) {n} (percent|%)|{n} (percent|%) seat (heating|heat){p}"),
    ("Vehicle.Chassis.SteeringWheel.HeatingCooling", "set", 50, "", "my (hands|fingers) are (cold|freezing|frozen|icy|numb) [on the (wheel|steering wheel)]|(warm|heat) (up|) (the|this|my) [steering] wheel|the [steering] wheel is (cold|freezing|icy|ice cold)|(warm|heated) [steering] wheel please|(i want|give me) a warm [steering] wheel|[steering] wheel (heat|heating|heater) [on]"),
    ("Vehicle.Chassis.SteeringWheel.HeatingCooling", "set", 0, "", "the [steering] wheel is (too hot|burning|too warm|warm enough)|[steering] wheel (heat|heating|heater) off [again|now|please]|(stop|quit) (heating|warming) the [steering] wheel"),
    (s.SEAT + ".@.Massage.Status", "set", "ON", "front2", "(my back|my shoulders) (hurts|hurt|is killing me|aches|ache|could use a massage)|(give|get) (me|my back) a (massage|rub|back rub)|a massage{p} [please|would be nice]|(start|begin) (massaging|kneading){p}|i (could use|need|want|fancy) a (massage|back rub)"),
    (s.SEAT + ".@.Massage.Status", "set", "OFF", "front2", "(stop|quit|end) (massaging|kneading|rubbing){p}|(enough|no more) massage{p}|the massage{p} can stop|(that was|that's) a good massage"),
    (s.SEAT + ".@.Position", "increase", "{10-120}", "front2seat", "(move|slide|scoot|push|shift|put) {p}seat (back|backwards|rearwards|further back) [by] {n} (mm|millimeters|millimetres)|{p}seat (back|backwards) [by] {n} (mm|millimeters|millimetres)|(take|bring) {p}seat {n} (mm|millimeters|millimetres) back"),
    (s.SEAT + ".@.Position", "decrease", "{10-120}", "front2seat", "(move|slide|scoot|push|shift|put|bring) {p}seat (forward|forwards|closer|to the front|further forward) [by] {n} (mm|millimeters|millimetres)|{p}seat (forward|forwards) [by] {n} (mm|millimeters|millimetres)"),
    (s.SEAT + ".@.Height", "increase", "{10-80}", "front2seat", "(raise|lift|bring up|move up|higher) {p}seat [by] {n} (mm|millimeters|millimetres)|{p}seat (up|higher) [by] {n} (mm|millimeters|millimetres)|(move|bring|put|take) {p}seat (up|higher) [by] {n} (mm|millimeters|millimetres)"),
    (s.SEAT + ".@.Height", "decrease", "{10-80}", "front2seat", "(lower|drop) {p}seat [by] {n} (mm|millimeters|millimetres)|{p}seat (down|lower) [by] {n} (mm|millimeters|millimetres)|(move|bring|put|take) {p}seat (down|lower) [by] {n} (mm|millimeters|millimetres)"),
    (LOCK, "set", True, "all", "lock (up|us in|it|her up|the car|everything|all the doors)|secure (the car|the doors|everything|all doors)|(keep|make sure) (the|all|all the) doors [are|stay] locked|(nobody|no one) (gets|should get|comes) in|doors locked"),
    (LOCK, "set", False, "all", "unlock (it|the car|everything|all the doors|us)|(release|undo|open) (the|all) [door] locks|(let us|let me|let everyone) out|doors unlocked"),
    (LOCK, "set", True, "door", "(keep|make sure) the door{p} [is|stays] locked|secure the door{p}|(lock|bolt) the door{p}|door{p} locked"),
    (LOCK, "set", False, "passenger", f"(unlock|open) (up|) for my {KIN}|(release|undo) the passenger lock|passenger door unlocked"),
    (LOCK, "set", False, "rear", "let the (kids|children|girls|boys) (in|out)|(unlock|undo) the (back|rear) [doors]|rear doors unlocked"),
    (s.DOOR + ".@.IsChildLockActive", "set", True, "rear", "(kid|child|kids) (locks|lock|safety|proofing) (on|please|in the back)|(child|kid) proof the [back|rear] doors|(put|switch|set) the child (lock|locks|safety) on"),
    (s.DOOR + ".@.IsChildLockActive", "set", False, "rear", "(take|put|switch|get) [off] the child (lock|locks|safety) off|(release|remove|undo) the (child|kid|kids) (lock|locks)|no (child|kids) (lock|locks) [anymore|now]|the kids may open the doors [themselves]"),
    (s.BODY + ".Lights.Beam.Low.IsOn", "set", True, "", "(it's|it is) (getting|so|too|really) dark [out|outside|out there]|(put|turn|switch|get) the (lights|headlamps|headlights|lamps) on|(lights|headlamps|headlights) [on] [please]|i need (my|some|the) (headlights|headlamps|lights)|(lights|headlamps) on, (it's dark|there's a tunnel|i can't see)"),
    (s.BODY + ".Lights.Beam.Low.IsOn", "set", False, "", "(put|turn|switch|shut) (out|off) the (headlamps|headlights|front lights)|(headlamps|headlights) (off|out) [again|now|please]|(i|we) don't need the (headlights|headlamps)"),
    (s.BODY + ".Lights.Beam.High.IsOn", "set", True, "", "(full|main|high|long) (beam|beams) [on] [please]|brights [on]|i need (more light on the road|to see further|full beam|the brights)|light up the road|(put|flip|get|hit|flick) (the|my) (full beam|main beam|brights|high beams|long lights) [on]"),
    (s.BODY + ".Lights.Beam.High.IsOn", "set", False, "", "(dip|drop|lower) the (lights|headlights|beam|beams|high beams|full beam)|(oncoming traffic|someone is coming|i'm blinding people|a car is coming), (off with the|kill the|lower the|no) (high beams|high beam|full beam|brights|main beam)|(take|get|put|switch) the (high beam|full beam|brights|high beams|main beam) (off|down)|(no|kill the|lose the) (brights|full beam|high beams|main beam)"),
    (s.BODY + ".Lights.Hazard.IsSignaling", "set", True, "", "(flashers|four ways|hazards|warning lights|emergency flashers|emergency lights|warning flashers|blinkers on both sides) [on] [please|now]|(both|all) (blinkers|indicators) [on]|(warn|alert) the (cars|traffic|people) behind [us|me]|(traffic jam|accident|breakdown|we broke down), (hazards|flashers|warning lights) [on]"),
    (s.BODY + ".Lights.Hazard.IsSignaling", "set", False, "", "(flashers|four ways|hazards|warning lights|emergency flashers|emergency lights) (off|can stop|out) [now|again|please]|(stop|quit) (flashing|the flashers|the hazards)|no more (flashers|hazards|warning lights)"),
    (s.BODY + ".Lights.DirectionIndicator.Left.IsSignaling", "set", True, "", "(indicate|signal|blink|flash) [to the] left|left (blinker|indicator|turn signal|signal|flasher) [on]|(i'm|we're) turning left|blinker [to the] left|(show|say) (i'm|we're) going left"),
    (s.BODY + ".Lights.DirectionIndicator.Right.IsSignaling", "set", True, "", "(indicate|signal|blink|flash) [to the] right|right (blinker|indicator|turn signal|signal|flasher) [on]|(i'm|we're) turning right|blinker [to the] right|(show|say) (i'm|we're) going right"),
    (s.BODY + ".Lights.DirectionIndicator.Left.IsSignaling", "set", False, "", "(stop|cancel|end|quit) (the left|left) (blinker|indicator|signal|turn signal|signalling|blinking)|left (blinker|indicator|turn signal|signal) (off|out)"),
    (s.BODY + ".Lights.DirectionIndicator.Right.IsSignaling", "set", False, "", "(stop|cancel|end|quit) (the right|right) (blinker|indicator|signal|turn signal|signalling|blinking)|right (blinker|indicator|turn signal|signal) (off|out)"),
    (s.BODY + ".Lights.Fog.Front.IsOn", "set", True, "", "front (fogs|fog lamps|fog lights|foggers) [on]|fog (lamps|lights) (up front|at the front) [on]|(it's|so) foggy, (put|turn|switch) the front (fogs|fog lights|fog lamps) on"),
    (s.BODY + ".Lights.Fog.Front.IsOn", "set", False, "", "(the fog is gone|no more fog|the fog cleared), front (fogs|fog lamps|fog lights) off|front (fogs|fog lamps|fog lights) (off|out)"),
    (s.BODY + ".Lights.Fog.Rear.IsOn", "set", True, "", "(rear|back) (fogs|fog lamp|fog lamps|fog light|fog lights|fogger) [on]|fog (lamp|light|lights) (at the back|in the rear) [on]|(it's|so) foggy, (put|turn|switch) the (rear|back) (fogs|fog light|fog lamp) on"),
    (s.BODY + ".Lights.Fog.Rear.IsOn", "set", False, "", "(the fog is gone|no more fog|the fog cleared|the fog lifted), (switch|turn) [off] the (rear|back) (fogs|fog lamp|fog light) off|(rear|back) (fogs|fog lamp|fog light) (off|out)"),
    (s.BODY + ".Lights.Parking.IsOn", "set", True, "", "(parking|side|position|sidelights|standing) (lights|lamps) [on]|sidelights [on]|just the (parking|side) lights"),
    (s.BODY + ".Lights.Parking.IsOn", "set", False, "", "(parking|side|position) (lights|lamps) (off|out)|sidelights off|no (parking|side) lights"),
    (s.BODY + ".Lights.LightSwitch", "set", "AUTO", "", "(let|leave) the (lights|headlights|car) (decide|do it|run|be automatic|control) [by themselves|themselves|on their own|the lights] [automatically]|(lights|headlights|headlamps) (on|to|in) (auto|automatic) [mode]|(automatic|auto) (lights|headlights|headlamps) [please|on]|(set|put|leave|switch) the (lights|headlights) (to|on|in) (auto|automatic) [mode]|you (handle|manage|take care of) the (lights|headlights)"),
    (s.LIGHT + ".IsDomeOn", "set", True, "", "(some|a bit of|a little) light (in here|inside|please|in the car)|(i|we) (can't see a thing|need light|need some light) (in here|inside)|(light|lights|lamp) (in here|inside|in the cabin|in the car) [on] [please]|(inside|interior|cabin|ceiling|overhead|courtesy) (light|lights|lamp) [on] [please]|(i dropped|i'm looking for|i can't find) (something|my phone|my keys|my wallet), (light|light please|some light)|light up the (cabin|inside|interior)"),
    (s.LIGHT + ".IsDomeOn", "set", False, "", "(light|lights|lamp) (in here|inside|in the cabin) (off|out)|(inside|interior|cabin|ceiling|overhead|courtesy) (light|lights|lamp) (off|out) [please|again]|make it dark (in here|inside)|too bright in here, (lights|light) (off|out)"),
    (s.LIGHT + ".IsGloveBoxOn", "set", True, "", "(light|lamp) in the glove (box|compartment) [on]|(glovebox|glove box|glove compartment) (light|lamp) [on]|light up the (glovebox|glove box)|i can't see (anything|a thing) in the (glovebox|glove box)"),
    (s.LIGHT + ".IsGloveBoxOn", "set", False, "", "(light|lamp) in the glove (box|compartment) (off|out)|(glovebox|glove box|glove compartment) (light|lamp) (off|out)"),
    (s.LIGHT + ".Spotlight.@.IsLightOn", "set", True, "door", "(reading|map) (light|lamp){p} [on] [please]|(i want|i'd like|somebody wants|trying) to read{p}[, light please]|(give|get) (me|us|them) a (reading light|light to read|light){p}|(a light|light) to read by{p}|light for reading{p}|spot light{p} [on]"),
    (s.LIGHT + ".Spotlight.@.IsLightOn", "set", False, "door", "(reading|map) (light|lamp){p} (off|out) [please|again]|(nobody|no one) is reading{p} [anymore], (light|lamp) off|spot light{p} (off|out)"),
    (s.LIGHT + ".AmbientLight.*.*.IsLightOn", "set", True, "", "(some|a bit of) (ambience|mood lighting|ambient light|atmosphere) [please]|(ambient|mood|accent) (light|lights|lighting|glow) [on] [please]|(set|create) (the|a) mood|get the (ambient|mood) (light|lights|lighting|glow) on|make it (romantic|cosy) with the (ambient|mood) (light|lights)"),
    (s.LIGHT + ".AmbientLight.*.*.IsLightOn", "set", False, "", "(ambient|mood|accent) (light|lights|lighting|glow) (off|out) [please]|no (ambience|mood lighting|ambient light|mood lights)|(kill|lose) the (ambient|mood) (light|lights|lighting|glow)"),
    (s.LIGHT + ".AmbientLight.*.*.Intensity", "set", "{5-95}", "", "(ambient|mood|accent) (light|lights|lighting|glow) [at|to|on] {n} (percent|%)|(put|have|get|set) the (ambient|mood) (light|lights|lighting) (at|to|on) {n} [percent|%]"),
    (s.LIGHT + ".AmbientLight.*.*.Intensity", "increase", 20, "", "(ambient|mood|accent) (light|lights|lighting|glow) (brighter|up|stronger)|(brighter|more|stronger) (ambient|mood|accent) (light|lights|lighting)"),
    (s.LIGHT + ".AmbientLight.*.*.Intensity", "increase", 10, "", "(ambient|mood|accent) (light|lights|lighting|glow) a (bit|little|touch|tad) (brighter|up|stronger)|a (bit|little) (brighter|more) (ambient|mood|accent) (light|lights|lighting)|(brighten|turn up|raise) the (ambient|mood) (light|lights|lighting|glow) a (bit|little|touch)"),
    (s.LIGHT + ".AmbientLight.*.*.Intensity", "decrease", 10, "", "(ambient|mood|accent) (light|lights|lighting|glow) a (bit|little|touch|tad) (dimmer|down|darker|softer)|a (bit|little) (dimmer|less) (ambient|mood|accent) (light|lights|lighting)|(dim|turn down|lower) the (ambient|mood) (light|lights|lighting|glow) a (bit|little|touch)"),
    (WIPER, "set", "MEDIUM", "", "[the] wipers [on] [please]|(get|start|let) the wipers (going|moving|on|run)|wipe [the (window|glass|windscreen|windshield)] [please]|(it's|it) (raining|started raining|starts to rain|wet) [again|out there|outside][, wipers on|, wipers]|there's (rain|water|mud|spray) on the (windshield|windscreen|glass)|(i|we) need (the|my|some) wipers"),
    (WIPER, "set", "FAST", "", "(it's|it is) (pouring|bucketing|chucking it down|raining cats and dogs|a downpour|raining hard|raining heavily|hammering down)[, wipers|, wipe faster]|wipers (as fast as they go|as fast as possible|full speed|at full speed|flat out|on full|quick|quicker|top speed|like crazy)|(wipe|go) as fast as you can with the wipers|(faster|quicker) (with the|) wipers"),
    (WIPER, "set", "SLOW", "", "wipers (slowly|nice and slow|as slow as they go|to the slowest|down to slow|slow please|gently)|(slow|gentle) wipers|wipe (slowly|gently)|(slow|ease) the wipers down|slow it down with the wipers|run the wipers slowly"),
    (WIPER, "set", "INTERVAL", "", "wipe (now and then|every now and then|once in a while|from time to time|every few seconds|occasionally|every so often)|(just|only) (a wipe|wipe) (now and then|every now and then|once in a while|from time to time|every so often)|wipers (on|to|in) (intermittent|interval|intermittence|delay) [mode]|it's (drizzling|spitting|misty rain)|(intermittent|occasional) (wiping|wipes|wipe)"),
    (WIPER, "set", "RAIN_SENSOR", "", "(let|have) the (wipers|rain sensor|car) (decide|figure it out|handle it|choose|work it out|take care of the wipers|do the wiping|run the wipers|control the wipers) [by themselves|itself|automatically]|wipers (on|to|in) (auto|automatic|sensor) [mode]|(auto|automatic|sensor) (wipers|wiping)|wipe when it rains|(use|turn on) the rain sensor [for the wipers]"),
    (WIPER, "set", "OFF", "", "(stop|quit|end) (wiping|the wiping|the wipers)|(it|the rain) (stopped|has stopped|is over)[, wipers off|, stop wiping]|(no|kill the|stop the) wipers [anymore|now]|[the] wipers (can stop|off|off now|off again)|the (windshield|windscreen|glass) is dry"),
    (REAR_WIPER, "set", "MEDIUM", "", "(rear|back) (wiper|wipers) [on] [please]|wipe the (rear|back) [window|glass]|(wiper|wipers) (at|in) the (back|rear) [on]|(dirt|rain|water|mud) on the (rear|back) window"),
    (REAR_WIPER, "set", "OFF", "", "(rear|back) (wiper|wipers) (off|can stop|off now)|stop wiping the (rear|back) [window]|(wiper|wipers) (at|in) the (back|rear) off"),
    (REAR_WIPER, "set", "SLOW", "", "(rear|back) (wiper|wipers) (slow|slowly|on slow|to slow)|wipe the (rear|back) [window] slowly|(wiper|wipers) (at|in) the (back|rear) [on] (slow|slowly)"),
    (REAR_WIPER, "set", "FAST", "", "(rear|back) (wiper|wipers) (fast|quick|on fast|to fast|on full)|wipe the (rear|back) [window] (fast|quickly)"),
    (REAR_WIPER, "set", "INTERVAL", "", "(rear|back) (wiper|wipers) (intermittent|on intermittent|on interval|now and then|to interval)|wipe the (rear|back) [window] (now and then|once in a while)"),
    (s.BODY + ".Windshield.Front.IsHeatingOn", "set", True, "", "(heat|warm) [up] the (windscreen|windshield|front window|front glass)|(windscreen|windshield|front window) (heating|heater|heat) [on] [please]|heated (windscreen|windshield) [on]"),
    (s.BODY + ".Windshield.Front.IsHeatingOn", "set", False, "", "(windscreen|windshield|front window) (heating|heater|heat) off|(stop|quit) heating the (windscreen|windshield)|heated (windscreen|windshield) off"),
    (s.BODY + ".Mirrors.@.IsFolded", "set", True, "mirror", "(fold|tuck|pull|bring|get|put) the [wing|side|outside] {p}mirror# in [please]|{p}mirror# (in|folded) [please]|(narrow|tight|small) (street|garage|gap|spot|parking space), [fold] the {p}mirror# in"),
    (s.BODY + ".Mirrors.@.IsFolded", "set", False, "mirror", "(fold|put|bring|get) the [wing|side|outside] {p}mirror# [back] out [again]|{p}mirror# (out|unfolded|back out) [please]"),
    (s.BODY + ".Mirrors.@.IsHeatingOn", "set", True, "mirror", "the {p}mirror# (is|are) (frosty|frozen|icy|iced up|fogged up|wet|misty|foggy|covered in ice)|(heat|warm|defrost|dry|clear|de-ice) [up] the [wing|side|outside] {p}mirror#|(get|clear) the (ice|frost|fog|mist) off the {p}mirror#|{p}mirror (heat|heating|heater|heaters) [on]"),
    (s.BODY + ".Mirrors.@.IsHeatingOn", "set", False, "mirror", "{p}mirror (heat|heating|heater|heaters) off|(stop|quit) (heating|warming) the {p}mirror#"),
    (s.BODY + ".Trunk.Rear.IsOpen", "set", True, "", "(boot|trunk|tailgate|hatch) (open|up) [please]|(get|have|let) the (boot|trunk|tailgate|hatch) open|(i have|i've got|we have) (shopping|luggage|bags|suitcases|groceries)[, (open|pop) the (boot|trunk|tailgate)|, boot please]|let me (into|at) the (boot|trunk)|(pop|lift|raise) the (boot|trunk|tailgate|hatch) [lid]"),
    (s.BODY + ".Trunk.Rear.IsOpen", "set", False, "", "(boot|trunk|tailgate|hatch) (closed|shut|down) [please]|(shut|close|lower|bring down) the (boot|trunk|tailgate|hatch) [lid] [again|please]"),
    (s.BODY + ".Trunk.Front.IsOpen", "set", True, "", "(frunk|front trunk|front boot) (open|up) [please]|(pop|lift|unlatch|open) the (frunk|front trunk|front boot) [lid]"),
    (s.BODY + ".Trunk.Front.IsOpen", "set", False, "", "(frunk|front trunk|front boot) (closed|shut|down) [please]|(shut|close) the (frunk|front trunk|front boot) [lid]"),
    (s.BODY + ".Hood.IsOpen", "set", True, "", "(hood|bonnet) (open|up) [please]|(pop|lift|unlatch|release) the (hood|bonnet)|let me (at|look at|see) the engine"),
    (s.BODY + ".Hood.IsOpen", "set", False, "", "(hood|bonnet) (closed|shut|down) [please]|(shut|close|drop) the (hood|bonnet)"),
    (s.BODY + ".Horn.IsActive", "set", True, "", "(honk|hoot|toot|beep|sound) [the horn] [at (him|her|them|that idiot|this guy|that car|the cyclist)]|(give|let) (him|them|her|it) a (honk|beep|hoot|toot)|(use|hit|blast|lean on|blow|sound) the horn|beep beep|horn [please|now]"),
    ("Vehicle.ADAS.CruiseControl.SpeedSet", "set", "{30-200}", "", "(cruise|hold|keep|stay|go|drive|travel) (at|steady at|constant at) {n} [km/h|kilometers an hour|k]|(set|fix|put|lock) the speed (to|at) {n} [km/h|kilometers an hour|k]|(cruise|cruise control|speed) (at|to|on|) {n} [km/h|k]|(make|keep) it {n} [km/h|kilometers an hour] on the cruise|{n} (km/h|kilometers an hour|kmh) [on] [the] cruise [control] [please]"),
    ("Vehicle.ADAS.CruiseControl.SpeedSet", "increase", "{2-30}", "", "{n} [km/h|k|kilometers] (faster|quicker|more) [on|with] [the] cruise [control]|(add|put) {n} [km/h|k] (to|on) the cruise [speed|control]|cruise [control|speed] up [by] {n} [km/h|k]|(speed up|raise) the cruise [control] [by] {n}"),
    ("Vehicle.ADAS.CruiseControl.SpeedSet", "decrease", "{2-30}", "", "{n} [km/h|k|kilometers] (slower|less) [on|with] [the] cruise [control]|(take|knock) {n} [km/h|k] off the cruise [speed|control]|cruise [control|speed] down [by] {n} [km/h|k]|(slow down|drop|lower) the cruise [control|speed] [by] {n}"),
    ("Vehicle.ADAS.CruiseControl.IsActive", "set", True, "", "cruise [control] [on] [please]|(engage|start|resume|use|set|turn on) [the] (cruise|cruise control|tempomat)|(my foot is tired|let's cruise|take over the speed)[, cruise control on|, cruise on]"),
    ("Vehicle.ADAS.CruiseControl.IsActive", "set", False, "", "(cancel|end|quit|stop|drop|leave|kill|exit) [the] (cruise|cruise control|tempomat)|(i'll|i will|let me|i want to) (drive|control the speed|do it|brake|take over) (myself|again|on my own|by myself)[, (cancel|stop|cruise off|end) [cruise]]|cruise [control] (off|out)"),
    ("Vehicle.ADAS.LaneDepartureDetection.IsEnabled", "set", True, "", "(lane|lane keeping|lane departure) (warning|warnings|assist|assistant|alert|watch|helper) [on] [please]|(warn|tell|alert) me (if|when) i (leave|drift out of|cross) (the|my) (lane|line)|(watch|mind|keep an eye on) (the|my) lane"),
    ("Vehicle.ADAS.LaneDepartureDetection.IsEnabled", "set", False, "", "(lane|lane keeping|lane departure) (warning|warnings|assist|assistant|alert|watch|helper) off|(stop|no more|enough of|quit) (the|that|this) lane (warning|nagging|alert|assist|thing)|(stop|quit) (warning|nagging) (me|) about the (lane|lanes|lines)"),
    ("Vehicle.Powertrain.Transmission.PerformanceMode", "set", "SPORT", "", "(let's|let us) (have some fun|go sporty|go sport|race)|(sport|sporty|sports|dynamic|racing) [mode] [please]|(give me|i want) (more power|sport|the sporty one|sport mode)|make it (sporty|sportier|more dynamic)|drive (sporty|dynamically)|put (it|her|the car) in[to] sport"),
    ("Vehicle.Powertrain.Transmission.PerformanceMode", "set", "ECONOMY", "", "(save|conserve) (some|) (energy|fuel|gas|battery|petrol|power)|(eco|economy|economical|efficient|green) [mode] [please]|(let's|let us) (go|drive|be) (eco|green|economical|efficient|economically)|drive (economically|efficiently|green)|put (it|her|the car) in[to] eco|(i want to|we should|let's) save (energy|fuel|battery|gas|power)"),
    ("Vehicle.Powertrain.Transmission.PerformanceMode", "set", "NORMAL", "", "(back to|return to|just|go back to) (normal|standard|regular|comfort) [driving|drive] [mode]|(normal|standard|regular|comfort) [driving|drive] [mode] [please|again]|no more (sport|eco|snow|rain) mode"),
    ("Vehicle.Powertrain.Transmission.PerformanceMode", "set", "SNOW", "", "(snow|winter|ice) [mode] [please]|(it's|it is) (snowing|icy|slippery with snow)[, (snow|winter) mode|, put it in snow mode]|(the road is|roads are) (snowy|icy|covered in snow)|put (it|her|the car) in[to] (snow|winter) [mode]"),
    ("Vehicle.Powertrain.Transmission.PerformanceMode", "set", "RAIN", "", "(rain|wet) (mode|driving mode|drive mode) [please]|(the road is|roads are) (wet|soaked)[, (rain|wet) mode]|put (it|her|the car) in[to] (rain|wet) mode"),
    (s.CHARGING + ".ChargeLimit", "set", "{30-100}", "", "(only|just|never|don't) charge [it|the car|the battery] [up] (to|past|beyond|over|above|more than) {n} (percent|%)|(stop|quit|end) (charging|the charge) (at|when it hits|once it reaches) {n} (percent|%)|{n} (percent|%) [charge] (is enough|will do|max|is the limit|charge limit) [for the battery]|(fill|top) [up] the battery [up] to {n} (percent|%)|(cap|limit) the (battery|charge|charging) (at|to) {n} [percent|%]|begin charging [up] to {n} (percent|%)"),
    (s.CHARGING + ".StartStopCharging", "set", "START", "", "(start|begin|resume|continue) (charging|to charge|the charge|the charging|loading the battery) [now|the car|the battery|please|again]|(charge|juice) (up|it|her|the car|the battery) [now|up] [please]|(the cable is in|i plugged it in|plugged in), (start|begin) charging|give (it|the battery) some juice"),
    (s.CHARGING + ".StartStopCharging", "set", "STOP", "", "(stop|end|interrupt|pause|quit|cut|cancel) (charging|the charge|the charging|loading) [now|the car|the battery|please]|(that's|it's) enough (charge|charging|juice)|(i|we) (need|have) to (leave|go), (stop|end) (charging|the charge)|no more charging"),
    (VOLUME, "increase", 10, "", "louder [please]|(turn|crank|pump|put|bring) (it|this|that|the music|the sound|the tunes|the radio|the tune) up|(i|we|they) can [barely|hardly] hear (it|the music|the song|anything|the radio)|(i|we) can't hear (it|the music|the song|the radio)|(more|) volume [up] [please]|(it's|that's|the music is|the radio is) too (quiet|low|soft|faint)|speak up, radio|pump it up"),
    (VOLUME, "decrease", 10, "", "(quieter|softer|not so loud|less loud|lower) [please]|(turn|put|bring|take|keep) (it|this|that|the music|the sound|the tunes|the radio|the noise) down|(too loud|way too loud|that's too loud|it's too loud|this is deafening|my ears hurt|my ears are bleeding)|(i|we) can't (talk|hear myself think|hear you) (over|with) (the music|this music|the radio)|volume down [please]|don't shout, radio"),
    (VOLUME, "increase", 5, "", "a (bit|little|touch|tad) louder [please]|(turn|crank|put|bring) (it|this|that|the music|the sound|the radio) up (a bit|a little|a touch|slightly|a tad|a notch)|slightly louder|(just|) a (bit|little) more volume"),
    (VOLUME, "decrease", 5, "", "a (bit|little|touch|tad) (quieter|softer|lower|less loud) [please]|(turn|put|bring|take) (it|this|that|the music|the sound|the radio) down (a bit|a little|a touch|slightly|a tad|a notch)|slightly (quieter|softer)|(just|) a (bit|little) less volume"),
    (VOLUME, "increase", 25, "", "(a lot|much|way|far|loads) louder [please]|(turn|crank|pump|blast) (it|this|that|the music|the sound) [right] up (a lot|loads|quite a bit)|blast it"),
    (VOLUME, "decrease", 25, "", "(a lot|much|way|far|loads) (quieter|softer) [please]|(turn|bring|take) (it|this|that|the music|the sound) [right] down (a lot|loads|quite a bit)"),
    (VOLUME, "set", 0, "", "(mute|silence|hush|quiet|shush) [it|that|the music|the radio|the sound] [please|now]|(total|complete|some|absolute) silence [please]|no (sound|noise|audio|volume)|(kill|cut) the (sound|audio|noise)|(sound|volume) (off|to zero|all the way down)|shut (it|that thing|the radio) up|be quiet"),
    (VOLUME, "set", 100, "", "(full|maximum|max) (volume|blast) [please]|(volume|music|sound) (all the way up|to the max|at full blast)|as loud as (it goes|possible|you can)"),
    (VOLUME, "set", "{1-99}", "", "(volume|music|sound|radio|stereo|audio) [at|on|to|] {n} [percent|%]|(have|get|keep|play|put|leave) (it|the music|the radio|the sound|the volume) at {n} [percent|%]|{n} percent volume|(turn|bring|crank|bump) (it|the volume|the music|the radio|the sound) (up|down) to {n} [percent|%]"),
    (VOLUME, "increase", "{3-40}", "", "(volume|music|sound|radio) up [by] {n} [percent|%]|(turn|bring|take|bump) (it|the volume|the music|the radio) up by {n} [percent|%]|{n} percent louder|louder by {n} [percent]"),
    (VOLUME, "decrease", "{3-40}", "", "(volume|music|sound|radio) down [by] {n} [percent|%]|(turn|bring|take|bump) (it|the volume|the music|the radio) down by {n} [percent|%]|{n} percent quieter|quieter by {n} [percent]"),
    (ACTION, "set", "SKIP_FORWARD", "", "(next|another|a different|some other) (song|track|tune|one|number) [please|now]|(skip|change|pass) (this|that|it|this song|the song|this one|this track)|(i hate|i can't stand|i don't like|i'm sick of|not) (this song|this one|that song|this track|this tune)[, (skip|next|skip it|change it)]|(go|jump|move|skip) (on|ahead|forward|to the next one|to the next song|one ahead)|next one|(let's hear|play) (the next|another) (one|song|track)"),
    (ACTION, "set", "SKIP_BACKWARD", "", "(previous|last|the one before) (song|track|tune|one) [please|again]|(play|let's hear|let me hear|i want to hear) (that|the last one|the last song|the previous one|that song|this) (again|once more|one more time)|(go|jump|skip|move) back (one|a song|a track|one track|to the last one|to the previous song)|what was that song, play it again|(again|once more|one more time), (that song|from the start)|back (one|a) (song|track)"),
    (ACTION, "set", "STOP", "", "(stop|pause|halt|hold|freeze) (the music|the song|it|playing|the radio|the tunes|the player|the audio) [for a (second|sec|minute|moment)|please|now]|(music|radio|song|player) off|(no|enough) (music|radio|tunes) [please|now|for now]|(that's|) enough music|(cut|kill) the (music|radio|tunes)|(turn|switch|shut) (the music|the radio|the stereo|the tunes) off|stop (it|that noise|this music)"),
    (ACTION, "set", "PLAY", "", "(play|put on|let's hear|let's listen to|let me hear|i want to hear|i'd like to hear|i fancy|give me|how about|i'm in the mood for|we want|throw on|spin) (some|a bit of|a little|something by|a song by|anything by|) {m}|(carry on|keep|go on|continue|start|resume) (playing|with the music|with the song|the music)|(some|a bit of|a little) (music|tunes|sound) [please|would be nice]|(play|start|get) (the|some|my) (music|tunes|songs|playlist|favourites|favorites) [going|again|please]|(music|tunes) (on|please|again|back on)|(entertain me|let's dance|party time)[, play (something|some music)]|unpause"),
    (s.NAVIGATION + ".Mute", "set", "MUTED", "", "(shut|hush|silence|mute|quiet) (the|that) (navi|nav|sat nav|satnav|gps|navigation|route|guidance|nav voice|directions) [up|voice|down]|(stop|quit) (telling me where to go|giving directions|the directions|the guidance|talking, navigation)|no (voice guidance|directions|spoken directions|navigation voice)|(navigation|navi|gps|sat nav|guidance) (quiet|silent|mute|voice off|be quiet|shut up)|i know the way"),
    (s.NAVIGATION + ".Mute", "set", "UNMUTED", "", "(let|make|have) the (navi|nav|sat nav|satnav|gps|navigation|guidance) (talk|speak) [to me] [again]|(unmute|bring back) the (navi|nav|sat nav|gps|navigation|guidance|directions) [voice]|(give me|i want|i need) (spoken|voice) (directions|guidance) [again]|(navigation|navi|gps|sat nav|guidance) voice (on|back|back on|again)|(tell me|say) the directions [again|out loud]"),
    (s.NAVIGATION + ".Mute", "set", "ALERT_ONLY", "", "(navigation|navi|gps|sat nav|guidance) (alerts|warnings) only|only (alerts|warnings) from the (navi|nav|sat nav|gps|navigation)|the (navi|nav|sat nav|gps|navigation) should only (warn|alert) me"),
    (s.NAVIGATION + ".Volume", "set", "{5-95}", "", "(navigation|navi|gps|sat nav|guidance|directions|nav) (voice|volume|sound|) [at|to|on] {n} (percent|%)|(put|have|get|set) the (navigation|navi|gps|sat nav|guidance) [voice|volume] (at|to|on) {n} (percent|%)"),
    (s.NAVIGATION + ".Volume", "increase", 10, "", "(navigation|navi|gps|sat nav|guidance|directions|nav) (voice|) (louder|up)|louder (navigation|navi|gps|sat nav|guidance|directions)|i can't hear the (navigation|navi|gps|sat nav|guidance|directions)"),
    (s.NAVIGATION + ".Volume", "decrease", 10, "", "(navigation|navi|gps|sat nav|guidance|directions|nav) (voice|) (quieter|softer|down)|quieter (navigation|navi|gps|sat nav|guidance|directions)|the (navigation|navi|gps|sat nav|guidance) [voice] is too loud"),
    (s.HMI + ".Brightness", "set", "{5-100}", "", "(screen|display|dash|dashboard|monitor|touchscreen) [brightness] [at|to|on|] {n} [percent|%]|(put|have|get|set) the (screen|display|brightness|touchscreen) (at|to|on) {n} [percent|%]|brightness {n}"),
    (s.HMI + ".Brightness", "increase", 20, "", "(i can't read|i can't see|i can hardly see) (the screen|the display|anything on the screen|the touchscreen)|(the|this) (screen|display|dash|monitor|touchscreen) is [way|far] too (dark|dim|faint)|(brighter|lighter) (screen|display|dash)|(screen|display|dash) (brighter|up)|more (light on|brightness on|brightness for) the (screen|display|dash)"),
    (s.HMI + ".Brightness", "decrease", 20, "", "(the|this) (screen|display|dash|monitor|touchscreen) (is [way|far] too (bright|light|glaring)|blinds me|is blinding [me]|hurts my eyes|is glaring|dazzles me)|(darker|dimmer) (screen|display|dash)|(screen|display|dash) (darker|dimmer|down)|less (light on|brightness on|brightness for) the (screen|display|dash)"),
    (s.HMI + ".Brightness", "decrease", 10, "", "(dim|turn down|lower) the (screen|display|dash|monitor|touchscreen) a (bit|little|touch|tad)|(screen|display|dash) a (bit|little|touch|tad) (darker|dimmer|down)|a (bit|little) (darker|dimmer|less bright) on the (screen|display)"),
    (s.HMI + ".Brightness", "increase", 10, "", "(brighten|turn up|raise) the (screen|display|dash|monitor|touchscreen) a (bit|little|touch|tad)|(screen|display|dash) a (bit|little|touch|tad) (brighter|lighter|up)|a (bit|little) (brighter|lighter) on the (screen|display)"),
    (s.HMI + ".DayNightMode", "set", "NIGHT", "", "(night|dark) (mode|theme|colours|colors|design) [on] [please|for the (screen|display)|on the (screen|display)]|(screen|display|dash) (in|to|on) (night|dark) [mode]|(make|turn|put) the (screen|display|dash) (dark|black|to night)|black background please"),
    (s.HMI + ".DayNightMode", "set", "DAY", "", "(day|light|daytime) (mode|theme|colours|colors|design) [on] [please|for the (screen|display)|on the (screen|display)]|(screen|display|dash) (in|to|on) (day|light|daytime) [mode]|white background please|no more (night|dark) mode"),
    (s.HMI + ".TemperatureUnit", "set", "F", "", "(i'm american, show|show me|give me|display|i prefer|i want) fahrenheit [please|instead|for the temperature]|temperature in fahrenheit|(show|display|give me) [the] (temperature|degrees) in fahrenheit|fahrenheit (not|instead of) celsius|change celsius to fahrenheit"),
    (s.HMI + ".TemperatureUnit", "set", "C", "", "(i'm european, show|show me|give me|display|i prefer|i want) celsius [please|instead|for the temperature]|temperature in celsius|(show|display|give me) [the] (temperature|degrees) in celsius|celsius (not|instead of) fahrenheit|change fahrenheit to celsius"),
    *(
        (s.MEDIA + ".Played.Source", "set", value, "", f"(put|switch|change|move|go|turn) [the radio|it|over|back|the music|the audio] (to|on|over to|on to) {noun}|(use|take|let's use|let's have|i want|i'd like) {noun} [for the music|for audio|for music|instead|please]|(music|audio|sound|tunes|songs|play|listen|something) (from|over|via|through|off) {noun}|{noun} [please|now|radio]|play (what's on|the music on|the songs on|my songs from) {noun}")
        for value, noun in (
            ("FM", "(fm|f m|the fm|fm radio)"), ("AM", "(am|a m|the am band|am radio)"), ("DAB", "(dab|d a b|digital radio|dab radio)"),
            ("BLUETOOTH", "(bluetooth|my phone|the phone|my mobile|my iphone|blue tooth)"), ("USB", "(usb|u s b|the usb|my usb stick|the memory stick|the thumb drive)"),
            ("CD", "(cd|c d|the cd|the disc|the cd player)"), ("AUX", "(aux|the aux|the aux jack|the aux cord|auxiliary)"),
            ("INTERNET", "(internet radio|web radio|the internet|streaming|online radio|net radio)"),
        )
    ),
)  # fmt: skip
WEIGHTS = [min(1.0, 0.35 + 0.12 * len(split_bar(line[4]))) for line in IDIOMS]
ARTISTS = (
    "the beatles|beatles|abba|queen|mozart|bach|beethoven|taylor swift|elvis|johnny cash|bob marley|u2|coldplay|drake|"
    "adele|madonna|metallica|nirvana|pink floyd|the stones|ed sheeran|beyonce|eminem|vivaldi|prince|oasis|blur|acdc|"
    "miles davis|frank sinatra|jazz|rock|pop|classical|hip hop|country|techno|blues|metal|reggae|soul|folk|punk|house|"
    "rap|indie|disco|funk|latin|dance|opera|eighties|nineties|80s music|old songs|love songs|christmas songs|kids songs|"
    "guitar music|piano music|good music|happy music|quiet music|dance music|my favourite song|something nice|metallica"
)
ZONES = {
    "any": ("all", "all", "all", "front", "rear", "driver", "passenger", "left", "right", "rear_left", "rear_right"),
    "door": ("driver", "passenger", "rear_left", "rear_right"), "seat": ("driver", "passenger", "rear_left", "rear_right"),
    "front2": ("driver", "driver", "passenger"), "front2seat": ("driver", "driver", "passenger"),
    "mirror": ("all", "all", "left", "right"), "air": ("all", "all", "front", "rear"),
}  # fmt: skip
DOORS = {
    "driver": " (on my side|next to me|of the driver|on the driver's side|on the driver side|in front on the left|at my door|by me)",
    "passenger": " (on the passenger side|on the passenger's side|next to my passenger|in front on the right|of the passenger|on the other side|for the passenger)",
    "rear_left": " (behind me|behind the driver|in the back on the left|at the rear left|on the left in the back|back left|rear left)",
    "rear_right": " (behind the passenger|in the back on the right|at the rear right|on the right in the back|back right|rear right|behind my passenger)",
}


def target(signal: str, zone: str) -> str:
    """The signal with its zone."""
    if ".Station." in signal:
        return signal.replace("@", s.STATION[zone])
    if ".Mirrors." in signal:
        return signal.replace("@", s.MIRRORS[zone])
    return signal.replace("@", s.SIDE[zone])


def spot(kind: str, zone: str, r: random.Random) -> str:
    """Words for the zone as the sentences of `kind` need them."""
    if kind in ("door", "seat"):
        return expand(DOORS[zone], r).join((" ", ""))
    if kind == "front2seat":
        return expand("(the passenger|the passenger's|the front passenger)" if zone == "passenger"
                      else "(my|my|the driver|the driver's)", r) + " "  # fmt: skip
    if kind == "front2" and zone == "driver":
        return r.choice(["", "", where("driver", r)])
    if kind == "mirror":
        return {"all": "", "left": expand("(left|driver|driver's|driver side)", r) + " ",
                "right": expand("(right|passenger|passenger's|passenger side)", r) + " "}[zone]  # fmt: skip
    return "" if zone == "all" and r.random() < 0.7 else where(zone, r)


def idiom(r: random.Random):
    """(text, actions, imperative) of one line of the table."""
    signal, op, value, kind, sentences = r.choices(IDIOMS, WEIGHTS)[0]
    zone = r.choice(ZONES[kind]) if kind in ZONES else kind
    line = r.choice(split_bar(sentences))
    place = spot(kind, zone, r) if kind in ZONES else ""
    if isinstance(value, str) and value.startswith("{"):
        low, high = map(int, value[1:-1].split("-"))
        value = (
            r.randint(low, high) if r.random() < 0.6 or high - low < 12 else r.randrange(-(-low // 5) * 5, high + 1, 5)
        )
        line = line.replace("{n}", number(value, r))
    if "{p}" not in line and kind in ("any", "air"):
        zone = "all"
    if "{p}" not in line and kind == "front2":
        zone = "driver"
    line = line.replace("{m}", r.choice(ARTISTS.split("|"))).replace("#", "s" if zone == "all" else "")
    text = expand(line.replace("{p}", place), r).replace(" ,", ",")
    return text, act(target(signal, zone) if "@" in signal else signal, op, value), False
