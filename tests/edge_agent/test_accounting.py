import pytest

from broker.messages import PowerModel, StageReport, TransferReport
from edge_agent.accounting import inference_energy

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
