from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from broker.messages import PowerModel, StageEnergy, StageReport, TransferReport
from edge_agent.accounting import compute_energy, inference_energy

POWER = {
    "pi": PowerModel(idle_w=2.0, busy_w=6.0, tx_j_per_mb=0.5, rx_j_per_mb=0.25),
    "pc": PowerModel(idle_w=40.0, busy_w=90.0, rx_j_per_mb=0.1),
}
STAGES = (
    StageReport(node="pi", start=0, stop=4, compute_ms=100.0, wait_ms=0.0),
    StageReport(node="pc", start=4, stop=9, compute_ms=20.0, wait_ms=1.0),
)
TRANSFERS = (
    TransferReport(src="pi", dst="pc", size_bytes=2_000_000, transfer_ms=70.0),
    TransferReport(src="pc", dst="pi", size_bytes=4_000, transfer_ms=5.0),
)


def test_the_origin_pays_for_waiting_and_the_others_for_what_compute_adds() -> None:
    """The cost model's two rules, on figures that can be checked by hand."""
    pi, pc = inference_energy(origin="pi", latency_ms=200.0, stages=STAGES, transfers=TRANSFERS, power=POWER)
    assert (pi.compute_j, pi.waiting_j) == pytest.approx((0.6, 0.2))
    assert pi.radio_j == pytest.approx(2 * 0.5 + 0.004 * 0.25)
    assert (pc.compute_j, pc.waiting_j) == pytest.approx((50 * 0.02, 0.0))
    assert pc.radio_j == pytest.approx(0.2)


def test_a_node_without_a_power_model_counts_as_zero() -> None:
    """An agent that has gone since leaves no figure that could be right."""
    energy = inference_energy(origin="pi", latency_ms=200.0, stages=STAGES, transfers=TRANSFERS, power={})
    assert all(one.compute_j == one.waiting_j == one.radio_j == 0.0 for one in energy)


MEASURED = StageEnergy(
    energy_j=3.0, energy_j_std=0.3, method="integrated", source="measured", scope="package", meter="rapl"
)


def stages_with(*energies: StageEnergy | None) -> tuple[StageReport, ...]:
    """A stage for each energy."""
    return tuple(msgspec.structs.replace(STAGES[0], energy=energy) for energy in energies)


def test_the_stages_energies_are_summed_and_their_spreads_as_independent_ones() -> None:
    """Two of one kind keep their source and scope."""
    other = msgspec.structs.replace(MEASURED, energy_j=1.0, energy_j_std=0.4)
    total = compute_energy(stages_with(MEASURED, other))
    assert total is not None
    assert (total.energy_j, total.energy_j_std) == pytest.approx((4.0, 0.5))
    assert (total.source, total.scope) == ("measured", "package")


@pytest.mark.parametrize(
    ("changes", "source", "scope"),
    [
        ({"method": "model", "source": "modelled"}, "mixed", "package"),
        ({"scope": "board"}, "measured", "mixed"),
        ({"method": "scaled", "source": "modelled", "scope": "wall"}, "mixed", "mixed"),
    ],
)
def test_a_sum_of_unlike_figures_says_so(changes: dict[str, Any], source: str, scope: str) -> None:
    """Measured beside modelled, or a package beside a board, is mixed."""
    total = compute_energy(stages_with(MEASURED, msgspec.structs.replace(MEASURED, **changes)))
    assert total is not None
    assert (total.source, total.scope) == (source, scope)


def test_a_stage_whose_node_says_nothing_leaves_no_sum() -> None:
    """Half a sum would be taken for the whole."""
    assert compute_energy(stages_with(MEASURED, None)) is None
    assert compute_energy(()) is None


@given(st.lists(st.tuples(st.floats(0.0, 1e6), st.floats(0.0, 1e6)), min_size=1, max_size=8))
def test_a_sum_is_no_less_certain_than_its_parts_are_together(figures: list[tuple[float, float]]) -> None:
    """Its spread is between that of the worst part and the sum of all."""
    parts = [msgspec.structs.replace(MEASURED, energy_j=energy_j, energy_j_std=std_j) for energy_j, std_j in figures]
    total = compute_energy(stages_with(*parts))
    assert total is not None
    assert total.energy_j == pytest.approx(sum(energy_j for energy_j, _ in figures))
    stds = [std_j for _, std_j in figures]
    assert max(stds) * (1 - 1e-9) <= total.energy_j_std <= sum(stds) * (1 + 1e-9)
