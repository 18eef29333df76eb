"""Small valid messages for tests of the session."""

from broker.messages import EnergyReading, Hardware, InferRequest, NodeAnnouncement, PowerModel

ANNOUNCEMENT = NodeAnnouncement(
    tier="edge",
    version="1.0",
    protocol=1,
    hardware=Hardware(
        architecture="x86_64", cpu_model="any", cores=4, memory_mb=4000.0, runtime="any", runtime_version="1"
    ),
    power=PowerModel(idle_w=2.7, busy_w=6.4),
    memory_mb=1000.0,
    endpoint="tcp://127.0.0.1:5000",
)
REQUEST = InferRequest(request_id="r1", image=b"image")


def energy(sequence: int, power_w: float = 3.0) -> EnergyReading:
    """The reading with this number."""
    return EnergyReading(
        node="pi",
        session="s1",
        sequence=sequence,
        at=1.0,
        energy_j=1.0,
        power_w=power_w,
        interval_s=1.0,
        meter="test",
        source="modelled",
        scope="board",
    )
