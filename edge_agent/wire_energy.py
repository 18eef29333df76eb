"""A stage's energy as it travels with the stage's record: whole microjoules, codes, and the meter's name.

The record around it is `edge_agent.wire`'s.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from broker.messages import EnergyMethod, EnergyScope, EnergySource, StageEnergy
from edge_agent.errors import WireError

MAX_ENERGY_J: Final = 1e9
MAX_METER_BYTES: Final = 24
ENERGY_FORM: Final = f"QQBBB{MAX_METER_BYTES}s"
"""For `struct`: energy and its spread in microjoules, the codes of method, source and scope, and the meter."""

# The codes are part of the protocol: never renumber, only append.
_METHODS: Final[tuple[EnergyMethod, ...]] = ("integrated", "scaled", "model")
_SOURCES: Final[tuple[EnergySource, ...]] = ("measured", "modelled")
_SCOPES: Final[tuple[EnergyScope, ...]] = ("board", "soc", "package", "gpu", "wall")

_METER: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,23}")
_NONE: Final = (0, 0, 0, 0, 0, bytes(MAX_METER_BYTES))  # a method's code counts from 1


def pack_energy(energy: StageEnergy | None) -> tuple[Any, ...]:
    """The fields of ENERGY_FORM, all zero for None. WireError where a value is out of its bounds."""
    if energy is None:
        return _NONE
    origin = _pack_origin(energy.method, energy.source, energy.scope, energy.meter)
    _check_joules(energy.energy_j, energy.energy_j_std)
    return (round(energy.energy_j * 1e6), round(energy.energy_j_std * 1e6), *origin)


def unpack_energy(fields: Sequence[Any]) -> StageEnergy | None:
    """The energy in the fields of ENERGY_FORM; WireError says what of them cannot be."""
    if tuple(fields) == _NONE:
        return None
    energy_uj, std_uj, *origin = fields
    method, source, scope, meter = _unpack_origin(*origin)
    energy_j, energy_j_std = energy_uj / 1e6, std_uj / 1e6
    _check_joules(energy_j, energy_j_std)
    return StageEnergy(
        energy_j=energy_j, energy_j_std=energy_j_std, method=method, source=source, scope=scope, meter=meter
    )


# Where energies come from differs from node to node, not from message to message.
@lru_cache(256)
def _pack_origin(
    method: EnergyMethod, source: EnergySource, scope: EnergyScope, meter: str
) -> tuple[int, int, int, bytes]:
    packed = meter.encode(errors="replace")
    if not _METER.fullmatch(packed):
        raise WireError(f"{meter!r} is not a meter's name of at most {MAX_METER_BYTES} bytes")
    _check_method(method, source)
    return 1 + _METHODS.index(method), _SOURCES.index(source), _SCOPES.index(scope), packed


@lru_cache(256)
def _unpack_origin(
    method: int, source: int, scope: int, padded: bytes
) -> tuple[EnergyMethod, EnergySource, EnergyScope, str]:
    if not 1 <= method <= len(_METHODS) or source >= len(_SOURCES) or scope >= len(_SCOPES):
        raise WireError(f"an energy of unknown codes {method}, {source} and {scope}")
    meter = padded.rstrip(b"\0")
    if not _METER.fullmatch(meter):
        raise WireError("an energy without a valid meter's name")
    _check_method(_METHODS[method - 1], _SOURCES[source])
    return _METHODS[method - 1], _SOURCES[source], _SCOPES[scope], meter.decode("ascii")


def _check_joules(energy_j: float, energy_j_std: float) -> None:
    if not (0.0 <= energy_j <= MAX_ENERGY_J and 0.0 <= energy_j_std <= MAX_ENERGY_J):
        raise WireError(f"an energy of {energy_j:g} J ± {energy_j_std:g} J, up to {MAX_ENERGY_J:g} J fit")


def _check_method(method: EnergyMethod, source: EnergySource) -> None:
    if (method == "integrated") != (source == "measured"):
        raise WireError(f"an energy by the method `{method}` cannot be {source}")
