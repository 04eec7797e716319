"""What the `vehicle` task can act on: COVESA VSS signals, their values, and the answer's schema.

Paths follow the VSS tree (https://covesa.global, MPL-2.0; names only). A `*`
stands for every instance at its level, as in VISS. Conventions of this model:

- left-hand drive: "left" is the driver's side;
- relative changes are an amount in the signal's unit (`increase`, `decrease`);
- Sunroof.Position is a sensor in VSS; here it is the wished position.
"""

from dataclasses import dataclass

TEMPERATURE_C = (16, 28)
SPEED_KMH = (30, 200)
PERCENT = (0, 100)


@dataclass(frozen=True)
class Group:
    """Signals with the same values. `set_to` is a (min, max) range, bool, or names; `step_by` a range or None."""

    signals: tuple[str, ...]
    set_to: tuple | type | None
    step_by: tuple[int, int] | None = None


def zones(rows: tuple[str, ...], driver: str, passenger: str) -> dict[str, str]:
    """Zone name -> path part with two levels."""
    first, second = rows
    return {
        "all": "*.*",
        "front": f"{first}.*",
        "rear": f"{second}.*",
        "left": f"*.{driver}",
        "right": f"*.{passenger}",
        "driver": f"{first}.{driver}",
        "passenger": f"{first}.{passenger}",
        "rear_left": f"{second}.{driver}",
        "rear_right": f"{second}.{passenger}",
    }


ROWS = ("Row1", "Row2")
STATION = zones(ROWS, "Driver", "Passenger")
SIDE = zones(ROWS, "DriverSide", "PassengerSide")

HVAC = "Vehicle.Cabin.HVAC"
DOOR = "Vehicle.Cabin.Door"
SEAT = "Vehicle.Cabin.Seat"
LIGHT = "Vehicle.Cabin.Light"
MEDIA = "Vehicle.Cabin.Infotainment.Media"
HMI = "Vehicle.Cabin.Infotainment.HMI"
NAVIGATION = "Vehicle.Cabin.Infotainment.Navigation"
BODY = "Vehicle.Body"
CHARGING = "Vehicle.Powertrain.TractionBattery.Charging"
MIRRORS = {"all": "*", "left": "DriverSide", "right": "PassengerSide"}


def spread(pattern: str, places: dict[str, str]) -> tuple[str, ...]:
    return tuple(pattern.format(part) for part in places.values())


GROUPS = (
    Group(spread(HVAC + ".Station.{}.Temperature", STATION), TEMPERATURE_C, (1, 10)),
    Group(
        (
            *spread(HVAC + ".Station.{}.FanSpeed", STATION),
            *spread(DOOR + ".{}.Window.Position", SIDE),
            *spread(DOOR + ".{}.Shade.Position", SIDE),
            *spread(LIGHT + ".AmbientLight.{}.Intensity", SIDE),
            "Vehicle.Cabin.Sunroof.Position",
            "Vehicle.Cabin.Sunroof.Shade.Position",
            "Vehicle.Cabin.RearShade.Position",
            MEDIA + ".Volume",
            NAVIGATION + ".Volume",
            HMI + ".Brightness",
        ),
        PERCENT,
        (1, 100),
    ),
    Group((CHARGING + ".ChargeLimit",), PERCENT),
    Group(
        (*spread(SEAT + ".{}.HeatingCooling", SIDE), "Vehicle.Chassis.SteeringWheel.HeatingCooling"),
        (-100, 100),
        (1, 100),
    ),
    Group(
        (
            SEAT + ".Row1.DriverSide.Position",
            SEAT + ".Row1.PassengerSide.Position",
            SEAT + ".Row1.DriverSide.Height",
            SEAT + ".Row1.PassengerSide.Height",
        ),
        None,
        (1, 200),
    ),
    Group(("Vehicle.ADAS.CruiseControl.SpeedSet",), SPEED_KMH, (1, 50)),
    Group(
        (
            HVAC + ".IsAirConditioningActive",
            HVAC + ".IsRecirculationActive",
            HVAC + ".IsFrontDefrosterActive",
            HVAC + ".IsRearDefrosterActive",
            *spread(DOOR + ".{}.IsLocked", SIDE),
            *spread(DOOR + ".{}.IsChildLockActive", SIDE),
            *spread(LIGHT + ".Spotlight.{}.IsLightOn", SIDE),
            *spread(LIGHT + ".AmbientLight.{}.IsLightOn", SIDE),
            LIGHT + ".IsDomeOn",
            LIGHT + ".IsGloveBoxOn",
            BODY + ".Lights.Beam.Low.IsOn",
            BODY + ".Lights.Beam.High.IsOn",
            BODY + ".Lights.Fog.Front.IsOn",
            BODY + ".Lights.Fog.Rear.IsOn",
            BODY + ".Lights.Parking.IsOn",
            BODY + ".Lights.Hazard.IsSignaling",
            BODY + ".Lights.DirectionIndicator.Left.IsSignaling",
            BODY + ".Lights.DirectionIndicator.Right.IsSignaling",
            BODY + ".Windshield.Front.IsHeatingOn",
            *spread(BODY + ".Mirrors.{}.IsFolded", MIRRORS),
            *spread(BODY + ".Mirrors.{}.IsHeatingOn", MIRRORS),
            BODY + ".Trunk.Rear.IsOpen",
            BODY + ".Trunk.Front.IsOpen",
            BODY + ".Hood.IsOpen",
            BODY + ".Horn.IsActive",
            "Vehicle.ADAS.CruiseControl.IsActive",
            "Vehicle.ADAS.LaneDepartureDetection.IsEnabled",
        ),
        bool,
    ),
    Group(
        (BODY + ".Windshield.Front.Wiping.Mode", BODY + ".Windshield.Rear.Wiping.Mode"),
        ("OFF", "SLOW", "MEDIUM", "FAST", "INTERVAL", "RAIN_SENSOR"),
    ),
    Group((MEDIA + ".Action",), ("PLAY", "STOP", "SKIP_FORWARD", "SKIP_BACKWARD")),
    Group((MEDIA + ".Played.Source",), ("FM", "AM", "DAB", "BLUETOOTH", "USB", "CD", "AUX", "INTERNET")),
    Group((SEAT + ".Row1.DriverSide.Massage.Status", SEAT + ".Row1.PassengerSide.Massage.Status"), ("ON", "OFF")),
    Group(
        spread(HVAC + ".Station.{}.AirDistribution", {k: STATION[k] for k in ("all", "front", "rear")}),
        ("UP", "MIDDLE", "DOWN"),
    ),
    Group((NAVIGATION + ".Mute",), ("MUTED", "ALERT_ONLY", "UNMUTED")),
    Group((HMI + ".DayNightMode",), ("DAY", "NIGHT")),
    Group((HMI + ".TemperatureUnit",), ("C", "F")),
    Group((BODY + ".Lights.LightSwitch",), ("OFF", "AUTO")),
    Group(("Vehicle.Powertrain.Transmission.PerformanceMode",), ("NORMAL", "SPORT", "ECONOMY", "SNOW", "RAIN")),
    Group((CHARGING + ".StartStopCharging",), ("START", "STOP")),
)
MAX_ACTIONS = 3


def _action(signals: tuple[str, ...], op: dict, value: dict) -> dict:
    return {
        "type": "object",
        "properties": {"signal": {"enum": list(signals)}, "op": op, "value": value},
        "required": ["signal", "op", "value"],
        "additionalProperties": False,
    }


def _set_value(set_to: tuple | type) -> dict:
    if set_to is bool:
        return {"type": "boolean"}
    if isinstance(set_to[0], int):
        return {"type": "integer", "minimum": set_to[0], "maximum": set_to[1]}
    return {"enum": list(set_to)}


def schema() -> dict:
    """JSON Schema of a `vehicle` answer, within what llguidance compiles strictly."""
    actions = []
    for group in GROUPS:
        if group.set_to:
            actions.append(_action(group.signals, {"const": "set"}, _set_value(group.set_to)))
        if group.step_by:
            low, high = group.step_by
            amount = {"type": "integer", "minimum": low, "maximum": high}
            actions.append(_action(group.signals, {"enum": ["increase", "decrease"]}, amount))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Vehicle command",
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "actions": {
                        "type": "array", "minItems": 1, "maxItems": MAX_ACTIONS, "items": {"anyOf": actions},
                    }
                },
                "required": ["actions"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "properties": {"out_of_scope": {"const": True}},
                "required": ["out_of_scope"],
                "additionalProperties": False,
            },
        ],
    }  # fmt: skip


def check(answer: dict) -> None:
    """Raise ValueError unless the answer follows the schema (a small check without a library)."""
    if answer == {"out_of_scope": True}:
        return
    if list(answer) != ["actions"] or not 1 <= len(answer["actions"]) <= MAX_ACTIONS:
        raise ValueError(f"not an answer: {answer}")
    for action in answer["actions"]:
        if not any(_fits(action, group) for group in GROUPS):
            raise ValueError(f"no signal takes this: {action}")


def _fits(action: dict, group: Group) -> bool:
    op, value = action["op"], action["value"]
    if list(action) != ["signal", "op", "value"] or action["signal"] not in group.signals:
        return False
    if op != "set":
        return bool(group.step_by) and group.step_by[0] <= value <= group.step_by[1]
    if group.set_to is None or group.set_to is bool:
        return group.set_to is bool and isinstance(value, bool)
    if isinstance(group.set_to[0], int):
        return type(value) is int and group.set_to[0] <= value <= group.set_to[1]
    return value in group.set_to
