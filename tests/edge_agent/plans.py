"""Plans for the agent's tests."""

import msgspec

from broker.messages import ModelReference, Plan, PlanStage, Prediction, StagePrediction

MODEL = ModelReference(sha256="0" * 64, name="small", size_bytes=1, ops=10, url="http://127.0.0.1:1/models/0")


def plan_of(*stages: tuple[str, int, int], way_back: tuple[str, ...] = (), epoch: int = 1, origin: str = "pi") -> Plan:
    """A plan of these (node, start, stop) stages."""
    return Plan(
        deployment="photos",
        epoch=epoch,
        model=MODEL,
        origin=origin,
        stages=tuple(PlanStage(node=node, start=start, stop=stop) for node, start, stop in stages),
        way_back=way_back,
        strategy="exact",
        prediction=Prediction(latency_ms=1.0, origin_energy_j=1.0, total_energy_j=1.0, objective=1.0),
        reason="test",
        created_at=0.0,
    )


def predicted(plan: Plan) -> Plan:
    """The plan with a millisecond for each of its steps."""
    one = StagePrediction(transfer_ms=1.0, transfer_std_ms=0.0, compute_ms=1.0, compute_std_ms=0.0)
    told = msgspec.structs.replace(plan.prediction, stages=(one,) * len(plan.stages), return_ms=1.0)
    return msgspec.structs.replace(plan, prediction=told)
