"""What smart plugs say over MQTT: watts and a counter of energy, each with the step of its last digit. Pure."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, NoReturn

from edge_agent.errors import MeterUnavailableError

PlugKind = Literal["tasmota", "shelly", "zigbee2mqtt"]

MAX_PAYLOAD_BYTES: Final = 64_000
MOST_W: Final = 20_000.0  # more than a socket gives
MOST_J: Final = 1e15  # 280 GWh
_J_PER_WH: Final = 3_600.0
# Old firmware and templates send numbers as texts, with or without their unit.
_TEXT: Final = re.compile(r"\s*(-?\d{1,20}(?:\.\d{1,20})?)\s*([mkM]?)(Wh|W)?\s*")
_PREFIXES: Final = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, and the step of its last digit; in W or J."""

    value: float
    step: float


@dataclass(frozen=True, slots=True)
class PlugReading:
    """What one message says; at least one of the two."""

    power: Figure | None
    energy: Figure | None


def read_payload(kind: PlugKind, payload: bytes) -> PlugReading:
    """The watts and joules in a message of a plug of this kind. MeterUnavailableError says what it lacks."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise _unreadable(kind, f"a message of {len(payload)} bytes")
    try:
        said = json.loads(payload, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse)
    except (ValueError, InvalidOperation, RecursionError):
        raise _unreadable(kind, "no JSON") from None
    if not isinstance(said, dict):
        raise _unreadable(kind, "no JSON object")
    power, energy = _READERS[kind](said)
    reading = PlugReading(_bounded(power, MOST_W), _bounded(energy, MOST_J))
    if reading.power is None and reading.energy is None:
        raise _unreadable(kind, f"neither {_SAYS[kind]}")
    return reading


def _tasmota(said: dict[str, Any]) -> tuple[Figure | None, Figure | None]:
    # {"Time": ..., "ENERGY": {"Total": 3.705, "Power": 5, ...}}; Time has no zone and is not read: tasmota.github.io
    energy = said.get("ENERGY")
    if not isinstance(energy, dict):
        return None, None
    return _figure(energy.get("Power"), "W"), _figure(energy.get("Total"), "Wh", 1e3)


def _shelly(said: dict[str, Any]) -> tuple[Figure | None, Figure | None]:
    # {"id": 0, "apower": 8.9, "aenergy": {"total": 6.532, ...}, ...}: shelly-api-docs.shelly.cloud, Switch, status
    counter = said.get("aenergy")
    total = counter.get("total") if isinstance(counter, dict) else None
    return _figure(said.get("apower"), "W"), _figure(total, "Wh")


def _zigbee2mqtt(said: dict[str, Any]) -> tuple[Figure | None, Figure | None]:
    # {"power": 5, "energy": 1.23, ...}, W and kWh: zigbee2mqtt.io, the devices' "Exposes"
    return _figure(said.get("power"), "W"), _figure(said.get("energy"), "Wh", 1e3)


_READERS: Final[dict[PlugKind, Callable[[dict[str, Any]], tuple[Figure | None, Figure | None]]]] = {
    "tasmota": _tasmota,
    "shelly": _shelly,
    "zigbee2mqtt": _zigbee2mqtt,
}
_SAYS: Final[dict[PlugKind, str]] = {
    "tasmota": "ENERGY.Power nor ENERGY.Total",
    "shelly": "apower nor aenergy.total",
    "zigbee2mqtt": "power nor energy",
}


def _figure(said: object, unit: Literal["W", "Wh"], usual: float = 1.0) -> Figure | None:
    """A number in `usual` units, or a text that may name its own; None for null, and what is no number."""
    if isinstance(said, Decimal):
        return _in_si(said, unit, usual)
    match = _TEXT.fullmatch(said) if isinstance(said, str) else None
    if match is None or match[3] not in (None, unit):
        return None
    number, prefix, named = match.groups()
    if prefix and named is None:
        return None
    return _in_si(Decimal(number), unit, usual if named is None else _PREFIXES[prefix])


def _in_si(number: Decimal, unit: Literal["W", "Wh"], factor: float) -> Figure:
    scale = factor if unit == "W" else factor * _J_PER_WH
    exponent = number.as_tuple().exponent
    digits = min(exponent, 0) if isinstance(exponent, int) else 0
    return Figure(float(number) * scale, 10.0**digits * scale)


def _bounded(figure: Figure | None, most: float) -> Figure | None:
    """None for what cannot be: less than nothing, or more than a socket gives."""
    if figure is None or not math.isfinite(figure.value) or not 0.0 <= figure.value <= most:
        return None
    return figure


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _unreadable(kind: PlugKind, what: str) -> MeterUnavailableError:
    return MeterUnavailableError(
        f"the smart plug's message has {what}",
        fix=f"give energy.plug the topic and the kind of its readings, now {kind}",
        is_there=True,
    )
