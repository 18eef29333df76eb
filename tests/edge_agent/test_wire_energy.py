"""A stage's energy on the wire: nothing comes in that could not have been measured or modelled by an agent."""

import struct
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from broker.messages import StageEnergy
from edge_agent.errors import WireError
from edge_agent.wire_energy import ENERGY_FORM, MAX_ENERGY_J, pack_energy, unpack_energy

ENERGY = StageEnergy(
    energy_j=1.25, energy_j_std=0.125, method="integrated", source="measured", scope="board", meter="hwmon"
)
FORM = struct.Struct("<" + ENERGY_FORM)


def test_no_energy_stays_none() -> None:
    """A node that does not say is told from one that took nothing."""
    assert unpack_energy(FORM.unpack(FORM.pack(*pack_energy(None)))) is None
    nothing = msgspec.structs.replace(ENERGY, energy_j=0.0, energy_j_std=0.0)
    assert unpack_energy(FORM.unpack(FORM.pack(*pack_energy(nothing)))) == nothing


@given(st.floats(0.0, MAX_ENERGY_J))
def test_energy_is_rounded_to_microjoules(energy_j: float) -> None:
    """No more than half of one is lost."""
    sent = msgspec.structs.replace(ENERGY, energy_j=energy_j)
    received = unpack_energy(FORM.unpack(FORM.pack(*pack_energy(sent))))
    assert received is not None
    assert received.energy_j == pytest.approx(energy_j, abs=0.6e-6, rel=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"energy_j": 2 * MAX_ENERGY_J},
        {"energy_j": float("nan")},
        {"energy_j_std": float("inf")},
        {"energy_j": -1.0},
        {"method": "model"},
        {"source": "modelled"},
        {"meter": ""},
        {"meter": "m" * 25},
        {"meter": "a meter"},
    ],
)
def test_what_cannot_be_is_not_sent(changes: dict[str, Any]) -> None:
    """Neither figures out of bounds, nor a measured model, nor a name that is none."""
    with pytest.raises(WireError):
        pack_energy(msgspec.structs.replace(ENERGY, **changes))


@pytest.mark.parametrize(
    ("position", "value"),
    [(0, 10**15 + 1), (1, 2**64 - 1), (2, 0), (2, 2), (2, 4), (3, 1), (3, 2), (4, 5), (5, bytes(24))],
)
def test_what_cannot_be_is_not_taken(position: int, value: Any) -> None:
    """A peer's codes, bounds and names are checked as our own."""
    fields = list(pack_energy(ENERGY))
    fields[position] = value
    with pytest.raises(WireError):
        unpack_energy(FORM.unpack(FORM.pack(*fields)))
