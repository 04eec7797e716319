"""Topics of windows, doors, lights, wipers and mirrors."""

import random

from slmd_model.data import signals as s
from slmd_model.data.phrases import adjective, expand, place, split_bar
from slmd_model.data.speech import act, fill, movable, percentage, switch, zone_words

OPEN_WINDOW = "(open|open|open up|roll down|lower|put down|wind down|let down|slide down|bring down)"


CLOSE_WINDOW = "(close|close|shut|roll up|raise|put up|wind up|close up|bring up)"


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
