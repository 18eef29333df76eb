"""Records of runs for the tests of the experiment's pure parts."""

from collections.abc import Sequence

from broker.messages import PlanStage
from testbed.paper.records import Mode, NodeCompute, PlanRecord, RequestRecord, RunKey, RunRecord


def key(
    contender: str = "latency",
    repetition: int = 1,
    *,
    mode: Mode = "emulated",
    model: str = "vgg16",
    trace: str = "bus.csv",
) -> RunKey:
    return RunKey(mode=mode, model=model, trace=trace, repetition=repetition, contender=contender)


def run(of: RunKey, latencies: Sequence[float | None], *, duration_s: float = 100.0, switches: int = 0) -> RunRecord:
    """A run whose requests follow each other; the Pi computes for half of each, the laptop for a tenth."""
    requests = []
    sent_s = 0.0
    for latency_ms in latencies:
        requests.append(request(sent_s, latency_ms))
        sent_s += (latency_ms or 1_000.0) / 1_000
    plans = tuple(
        PlanRecord(at_s=float(epoch), epoch=epoch + 1, stages=(PlanStage(node="pi", start=0, stop=epoch),), reason="")
        for epoch in range(switches + 1)
    )
    return RunRecord(key=of, duration_s=duration_s, requests=tuple(requests), plans=plans, took_s=duration_s + 5.0)


def request(sent_s: float, latency_ms: float | None) -> RequestRecord:
    if latency_ms is None:
        return RequestRecord(sent_s=sent_s, latency_ms=None, error="no answer", epoch=1)
    return RequestRecord(
        sent_s=sent_s,
        latency_ms=latency_ms,
        origin_energy_j=latency_ms / 100,
        total_energy_j=latency_ms / 50,
        compute=(NodeCompute("pi", latency_ms / 2), NodeCompute("laptop", latency_ms / 10)),
        epoch=1,
    )
