"""Topics of seats, media, displays, driving and charging."""

import random

from slmd_model.data import signals as s
from slmd_model.data.phrases import expand, number, percent, place, split_bar, top
from slmd_model.data.speech import act, fill, percentage, step, switch, zone_words


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
