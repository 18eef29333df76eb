"""Readings and plans for tests of what is counted and shown of them."""

from typing import Literal

from made_site import REFERENCE

from broker.messages import EnergyReading, Plan, PlanStage, Prediction, SpoolMark


def reading(
    node: str,
    meter: str,
    *,
    sequence: int = 1,
    session: str = "s1",
    power_w: float = 2.5,
    interval_s: float = 1.0,
    age_s: float = 0.0,
    source: Literal["measured", "modelled"] = "measured",
    emulated: bool = False,
) -> EnergyReading:
    return EnergyReading(
        node=node,
        session=session,
        sequence=sequence,
        at=0.0,
        energy_j=100.0 + power_w,
        power_w=power_w,
        interval_s=interval_s,
        meter=meter,
        source=source,
        scope="board",
        emulated=emulated,
        mark=SpoolMark(session=session, sequence=sequence, oldest=1, age_s=age_s),
    )


def plan(epoch: int, *, term: int = 1, deployment: str = "photos", split: int = 1) -> Plan:
    stages = (PlanStage(node="pi", start=0, stop=split), PlanStage(node="pc", start=split, stop=4))
    return Plan(
        deployment=deployment,
        epoch=epoch,
        model=REFERENCE,
        origin="pi",
        stages=tuple(stage for stage in stages if stage.start < stage.stop),
        way_back=("pc", "pi"),
        strategy="exact",
        prediction=Prediction(latency_ms=80.0, origin_energy_j=1.0, total_energy_j=2.0, objective=1.0),
        reason="for a test",
        created_at=0.0,
        term=term,
    )
