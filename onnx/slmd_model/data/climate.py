"""Topics of heating and air: what people say, and the signals they mean."""

import random

from slmd_model.data import signals as s
from slmd_model.data.phrases import expand, number, place, split_bar, where
from slmd_model.data.speech import act, fill, percentage, step, switch, zone_words


def temperature(r: random.Random):
    zone = place(r)
    signal = f"{s.HVAC}.Station.{s.STATION[zone or 'all']}.Temperature"
    kind = r.choices(["step", "degrees", "feel", "set", "extreme"], [30, 12, 14, 36, 8])[0]
    adj, z = zone_words(r, zone)
    if kind == "set":
        return set_temperature(r, zone, signal, adj, z)
    if kind == "extreme":
        warm = r.random() < 0.5
        text = fill(
            "(max|maximum|full) (heat|heating|temperature){z}\n[make it] as (warm|hot) as possible{z}\n"
            "heat [it] to the max{z}\n[turn the] heat[ing] all the way up{z}\nset the temperature to (max|maximum){z}"
            if warm
            else "(max|maximum|full) (cold|cooling){z}\n[make it] as (cold|cool) as possible{z}\n"
            "set the temperature to (min|minimum|the lowest){z}\nlowest temperature{z}\n[turn the] heat[ing] all the "
            "way down{z}",
            r, z=where(zone, r),
        )  # fmt: skip
        return text, act(signal, "set", s.TEMPERATURE_C[warm]), False
    up = r.random() < 0.55
    if kind == "feel":
        return feel(r, zone, signal)
    op = "increase" if up else "decrease"
    if kind == "degrees":
        n = r.choice([1, 1, 2, 2, 3, 3, 4, 5, 6])
        amount = number(n, r) + (" degree" if n == 1 else " degrees") + r.choice(["", "", "", " celsius"])
        word = "(warmer|hotter|up|more)" if up else "(cooler|colder|down|less)"
        verb = "(raise|increase|turn up|bump up)" if up else "(lower|decrease|reduce|turn down|drop)"
        text = fill(
            "{a} {w}{z}\nmake it {a} {w}{z}\n{v} the {adj}(temperature|temp|heat|heating){z} by {a}\n"
            "{v} the {adj}(temperature|temp){z} {a}\n{adj}(temperature|temp) {w} {a}{z}\n{v} it [by] {a}{z}\n"
            "i (want|need) it {a} {w}{z}\ngo {a} {w}{z}",
            r, a=amount, w=word, v=verb, adj=adj, z=z or (where(zone, r) if not adj else ""),
        )  # fmt: skip
        if zone and adj and adj.strip() not in text:
            text += where(zone, r)
        return text, act(signal, op, n), False
    before, after, n = step(r, 2, 1, 4)
    word = "(warmer|hotter|warmer)" if up else "(cooler|colder|cooler)"
    verb = "(raise|increase|turn up|bump up|up)" if up else "(lower|decrease|reduce|turn down|drop)"
    shape = r.choice([1, 1, 2, 3, 4])
    if shape == 1 or (shape == 4 and not up):
        text = fill(
            "{b}{w}{z}\nmake it {b}{w}{z}\n[get] it {b}{w}{z}\n(i want|i'd like|we want) it {b}{w}{z}\n"
            "can (we|i) have it {b}{w}{z}\n{w}{z}{a}",
            r, b=before, w=word, z=where(zone, r), a=after,
        )  # fmt: skip
    elif shape == 4:
        text = fill("more (heat|warmth){z}\n(warm|heat) (it|things|the car) up{a}{z}\nheat up the (car|cabin){a}{z}",
                    r, z=where(zone, r), a=after)  # fmt: skip
        n = n if any(word in text for word in after.split()) and after else 2
    elif shape == 2:
        text = fill("{v} the {adj}(temperature|temp|heat|heating){a}{z}\n{v} the {adj}(temperature|temp){z}{a}",
                    r, v=verb, adj=adj, a=after, z=z)  # fmt: skip
        return text, act(signal, op, n), True
    else:
        text = fill("{adj}(temperature|temp|heat) (up|higher){a}{z}" if up
                    else "{adj}(temperature|temp|heat) (down|lower){a}{z}", r, adj=adj, a=after, z=z)  # fmt: skip
    return text, act(signal, op, n), False


def feel(r: random.Random, zone: str, signal: str):
    """ "I'm cold" and its kin: mild words mean 2 degrees, strong ones 4."""
    strong, cold = r.random() < 0.35, r.random() < 0.55
    words = {
        (True, True): "(freezing|frozen|freezing cold|icy|ice cold|super cold)",
        (True, False): "(boiling|sweating|melting|burning up|roasting|super hot|boiling hot)",
        (False, True): "(cold|chilly|[too] cold|too cool|a bit cold|getting cold)",
        (False, False): "(hot|warm|too hot|too warm|a bit warm|getting hot)",
    }[strong, cold]
    who = {"passenger": "(my wife|my husband|the passenger|my friend)", "driver": "(the driver)"}.get(zone)
    if who and r.random() < 0.6:
        text = expand(f"{who} is {words}", r)
    elif zone == "rear" and r.random() < 0.5:
        text = expand(f"the (kids|people|passengers|children) [in the back|back there] are {words}", r)
        text = text if "back" in text or "kids" in text or "children" in text else text + " in the back"
    else:
        text = expand(f"(i'm|i am|it's|it is|we're|we are|it feels|im|its) {words}", r) + where(zone, r)
    return text, act(signal, "increase" if cold else "decrease", 4 if strong else 2), False


def set_temperature(r: random.Random, zone: str, signal: str, adj: str, z: str):
    if r.random() < 0.15:
        n = r.randint(61, 82)
        value, unit = round((n - 32) / 1.8), r.choice([" fahrenheit", " degrees fahrenheit", " F", "°F", " degrees"])
    else:
        n = value = r.randint(*s.TEMPERATURE_C)
        unit = r.choice(["", "", " degrees", " degrees", " degrees", "°", " °C", " degrees celsius", " celsius", "C"])
    amount = number(n, r)
    amount += unit if amount.isdigit() or unit[:1] == " " else " degrees"
    what = "(temperature|temp|temperature|climate|heating|heat|thermostat|ac|air conditioning|air con|aircon)"
    imperative = r.random() < 0.6
    text = fill(
        "(set|change|turn|adjust|bring|put) the {adj}{w}{z} to {a}\n(set|put|change) the {adj}(temperature|temp) to {a}{z}\n"
        "(set|turn|put) (it|the car){z} to {a}\n(set|put) it to {a}{z}\nmake it {a}{z}\n"
        "(keep|set) the {adj}(temperature|temp) at {a}{z}\nset {a}{z}\nset the {adj}side to {a}"
        if imperative
        else "{a}{z}\n{adj}(temperature|temp) [to] {a}{z}\n{adj}{w} {a}{z}\n(i want|i'd like|i would like|we want) "
        "[it] {a}{z}\n{adj}(temperature|temp) at {a}{z}\n{a} in here{z}\n{adj}side to {a}",
        r, adj=adj, z=z, w=what, a=amount,
    )  # fmt: skip
    if "side to" in text and ("side side" in text or not adj or adj.startswith(("all", "every", "front ", "rear "))):
        text = f"set the {adj}temperature{z} to {amount}"
    if adj and adj.strip() not in text:  # not every line has room for it
        text += where(zone, r)
    return text, act(signal, "set", value), imperative


def fan(r: random.Random):
    zone = place(r, 0.5)
    signal = f"{s.HVAC}.Station.{s.STATION[zone or 'all']}.FanSpeed"
    adj, z = zone_words(r, zone)
    noun = r.choice(["fan", "fan", "fan speed", "fan", "blower", "airflow", "air flow", "ventilation", "fans"])
    return percentage(
        r, signal, noun, adj, z, (20, 10, 40),
        "(turn up|increase|raise|speed up) {x}/{x} (up|faster|higher|stronger)/turn {x} up/more " + noun
        + "/more air/blow harder/more fan/make {x} (stronger|faster)/(a stronger|stronger) " + noun,
        "(turn down|decrease|reduce|lower|slow down) {x}/{x} (down|slower|lower)/turn {x} down/less " + noun
        + "/less air/less fan/make {x} (weaker|slower)/{x} is too (strong|loud|high)",
        on=50,
    ) if not adj else percentage(
        r, signal, noun, adj, z, (20, 10, 40),
        "(turn up|increase|raise) {x}/turn {x} up/{x} (up|faster|higher)",
        "(turn down|decrease|reduce|lower) {x}/turn {x} down/{x} (down|slower|lower)",
        on=50,
    )  # fmt: skip


def defrost(r: random.Random):
    rear = r.random() < 0.5
    glass = (
        "(rear|back) (window|windshield|windscreen|glass)"
        if rear
        else "(front window|windshield|windscreen|front windshield|windshield)"
    )
    signal = f"{s.HVAC}.Is{'Rear' if rear else 'Front'}DefrosterActive"
    if r.random() < 0.45:
        text = fill(
            "(defrost|defog|demist|de-ice|clear) [the] {g}\n[the] {g} is [all|completely|totally] (fogged up|foggy|frozen|icy|iced up|misted up|"
            "steamed up|fogging up)\ni can't see (out of|through) the {g}\nget the (fog|ice|mist) off the {g}",
            r, g=glass,
        )  # fmt: skip
        return text, act(signal, "set", True), False
    on = r.random() < 0.6
    side = "(rear|back|rear window|back window)" if rear else "(front|windshield|front window|windscreen)"
    text, imperative = switch(r, on, f"{side} (defroster|defrost|defogger|defrosting|demister)")
    if not rear and r.random() < 0.2:
        text, imperative = switch(r, on, "(windshield|windscreen|front window) (heating|heater)")
        signal = f"{s.BODY}.Windshield.Front.IsHeatingOn"
    return text, act(signal, "set", on), imperative


def air_distribution(r: random.Random):
    zone = r.choice(["", "", "front", "rear"])
    value, words = r.choice([("DOWN", "(feet|legs|the footwell|my feet|the floor|our feet)"),
                             ("UP", "(the windshield|the window|the windows|my head|the top)"),
                             ("MIDDLE", "(my face|face|my chest|the middle|the dashboard vents|my body|the center)")])  # fmt: skip
    text = fill("(direct|point|blow|send) [the] air (to|at|towards|on) {w}{z}\nair (to|on|at) {w}{z}\n(blow|air) (on|at) {w}{z}\n"
                "set [the] air (distribution|direction) to {w}{z}\nair vents to {w}{z}", r, w=words, z=where(zone, r))  # fmt: skip
    return text, act(f"{s.HVAC}.Station.{s.STATION[zone or 'all']}.AirDistribution", "set", value), True


def recirculation(r: random.Random):
    on = r.random() < 0.6
    text, imperative = switch(
        r, on, "recirculation/air recirculation/recirculating air/recirc/recirculation mode/circulating air"
    )
    if r.random() < 0.4:
        text = "recirculate [the] [cabin|inside] air|(close|shut) the outside air|keep the (smell|fumes|exhaust|dust) out|it (stinks|smells) outside" if on else (
            "let [in] outside air [in]|use (outside|fresh) air|stop recirculating [the] air")  # fmt: skip
        text, imperative = expand(r.choice(split_bar(text)), r), True
    return text, act(f"{s.HVAC}.IsRecirculationActive", "set", on), imperative
