"""Where the time of one hop goes at a node between two others: its own steps, on one thread, without the kernel's part.

    python benchmarks/hop.py [--quick] [--json FILE]

A message of 4 KB is read, computed (a negation) and sent on by the parts that an agent is made of. In place of sockets
there is memory, so what the kernel takes to receive and to send comes on top. Medians of what each step took: hop
after hop, and behind 4 ms of sleep or of arithmetic on 20 KB, after which a processor that others use too has
forgotten what it knew of this code.
"""

import argparse
import hashlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from figures import Figure, write

from broker.messages import ModelReference, Plan, PlanStage, PowerModel, Prediction
from edge_agent.deliveries import Delivery
from edge_agent.energy.stage_meter import MachineModel, NodeStageMeter
from edge_agent.executor import Executor
from edge_agent.inbox import Inbox
from edge_agent.loading import LoadingNodes
from edge_agent.origin import Origin
from edge_agent.outgoing import Outgoing
from edge_agent.pipeline import Pipeline
from edge_agent.plan_book import PlanBook
from edge_agent.request_book import Limits
from edge_agent.routes import plan_digest
from edge_agent.stream import MessageReader
from edge_agent.transport import Sendable
from edge_agent.wire import FailureMessage, Route, StageRecord, TensorsMessage, TransferRecord, WireMessage, encode
from edge_agent.wire_tensors import Frame, Tensor, TensorSpec
from models.runtime import Segment
from testbed.carrier_models import write_carrier_model

PAUSE_S = 0.004
ARITHMETIC = bytes(20_000)
SHAPE = (1, 11, 31, 3)
STEPS = (
    ("begun", ""),
    ("read", "read a message from the bytes that came"),
    ("known", "note the sign of life, and that its plan is in use"),
    ("placed", "find plan, segment and a place in the executor's order"),
    ("running", "begin the energy meter and the clocks"),
    ("computed", "run the segment: its inputs in, the runtime, its outputs out"),
    ("recorded", "reckon the energy, make the stage's record and the message"),
    ("encoded", "make the header, and find the tensors' bytes"),
    ("sent", "take a place in the peer's line"),
    ("done", "leave the executor; acknowledge"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """What a step does, and the medians of what it took, in microseconds, in the manners of MANNERS."""

    name: str
    took_us: tuple[float, ...]


class Node:
    """The middle node of a chain, with memory in place of its sockets; it notes when it reaches each step."""

    def __init__(self, segment: Segment) -> None:
        self.at_ns: dict[str, int] = {}
        self._segment = Noting(segment, self)
        self.executor = Executor()
        model = MachineModel(PowerModel(idle_w=2.7, busy_w=6.4), "modelled", "board", 4, is_emulated=False)
        self.executor.measure_energy_by(NodeStageMeter(model, None))
        plans = PlanBook("laptop", LoadingNodes(), in_flight=lambda _: 0, hold=lambda _: None)
        plans.hear(PLAN)
        self._plans = plans
        self._outgoing = Outgoing(self)
        self._outgoing.connect("pc", "tcp://127.0.0.1:1", None)
        self._origin = Origin(
            "laptop",
            plans=plans,
            begin=lambda *_: None,
            compute=self.executor,
            segment_of=lambda *_: None,
            power=dict,
            limits=Limits(30.0, 10.0),
            missed=lambda _: None,
            ask=lambda _: None,
            is_loading=lambda _: False,
        )
        self._pipeline = Pipeline(
            "laptop",
            self.executor,
            self._origin,
            plan_of=plans.plan_of,
            segment_of=lambda *_: self._segment,  # type: ignore[arg-type]  # it stands in for one
            form_of=lambda _: None,
            send=self._send,
            may_stay=self._may_stay,
        )
        self._reader = MessageReader(self, lambda _: None)
        self._inbox = Inbox(self)

    def note(self, step: str) -> None:
        """It is there now."""
        self.at_ns[step] = time.perf_counter_ns()

    def hop(self, packed: bytes) -> None:
        """One message comes, and goes on."""

        def fill(room: memoryview) -> int:
            room[: len(packed)] = packed
            return len(packed)

        self.note("begun")
        message = self._reader.take(fill)
        assert message is not None
        self.note("read")
        self._inbox.take(self, "pi", message, 0)
        self.note("done")
        self._outgoing.settle("pc", ONWARD, time.monotonic_ns())

    # --- what the reader and the inbox tell

    def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> Sequence[Tensor] | None:
        """As an agent."""
        return self._pipeline.memory_for(route, specs)

    def on_tensors(self, message: TensorsMessage, src: str) -> None:
        """As an agent."""
        self._origin.heard(src)
        self._plans.passed(message.route, time.monotonic())
        self.note("known")
        self._pipeline.arrive(message, src)

    def on_failure(self, message: FailureMessage, src: str) -> None:
        """None comes."""

    def on_transfer_record(self, message: TransferRecord, src: str) -> None:
        """None comes."""

    def on_delivered(self, delivery: Delivery) -> None:
        """None comes."""

    # --- the way out

    def _may_stay(self) -> bool:
        self.note("placed")
        return True

    def _send(self, peer: str, message: Sendable) -> None:
        assert isinstance(message, TensorsMessage)
        self.note("recorded")
        frames = encode(message)
        self.note("encoded")
        self._outgoing.submit(peer, frames, message.route)

    def send(self, peer: str, frames: Sequence[Frame]) -> None:  # noqa: ARG002  # the protocol's signature
        """Where the kernel would take it."""
        self.note("sent")

    def reply(self, message: WireMessage) -> None:
        """An acknowledgement, where the kernel would take it."""
        encode(message)

    def open(self, peer: str, endpoint: str) -> None:
        """There is nothing to be opened."""

    def shut(self, peer: str) -> None:
        """There is nothing to be shut."""

    def pace(self, peer: str, bytes_per_s: float | None) -> None:
        """There is nothing to be paced."""

    def is_ready(self, peer: str) -> bool:  # noqa: ARG002  # the protocol's signature
        """It always is."""
        return True


class Noting:
    """A segment whose run is noted."""

    def __init__(self, segment: Segment, node: Node) -> None:
        self._segment, self._node = segment, node
        self.inputs, self.outputs = segment.inputs, segment.outputs
        self.kept, self.release_outputs = segment.kept, segment.release_outputs

    def run_in_place(self, arrays: Sequence[Tensor]) -> list[Tensor]:
        """Run it."""
        self._node.note("running")
        outputs = self._segment.run_in_place(arrays)
        self._node.note("computed")
        return outputs


STAGES = tuple(PlanStage(node=node, start=at, stop=at + 1) for at, node in enumerate(("pi", "laptop", "pc")))
PLAN = Plan(
    deployment="benchmark",
    epoch=1,
    model=ModelReference(sha256="0" * 64, name="carrier", size_bytes=1, ops=3, url="http://127.0.0.1/"),
    origin="pi",
    stages=STAGES,
    way_back=("pc", "pi"),
    strategy="static",
    prediction=Prediction(latency_ms=0.0, origin_energy_j=0.0, total_energy_j=0.0, objective=0.0),
    reason="benchmark",
    created_at=0.0,
)
INWARD = Route(PLAN.deployment, PLAN.epoch, bytes(16), 1, plan_digest(PLAN))
ONWARD = Route(PLAN.deployment, PLAN.epoch, bytes(16), 2, plan_digest(PLAN))


def main() -> None:
    """Print a row for each step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the hops")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="splitrail-hop-") as directory:
        path = Path(directory) / "carrier.tflite"
        write_carrier_model(path, SHAPE, ops=1)
        steps = measured(Segment(path), is_quick=arguments.quick)
    steps.append(Step("in all", tuple(map(sum, zip(*(step.took_us for step in steps), strict=True)))))
    print("".join(f"{manner:>18}" for manner in MANNERS))
    for step in steps:
        print("".join(f"{took_us:15.1f} us" for took_us in step.took_us), "", step.name)
    if arguments.json:
        warm = (Figure(step.name, step.took_us[0], "us", "lower") for step in steps)
        apart = zip([*MANNERS][1:], steps[-1].took_us[1:], strict=True)
        write(arguments.json, (*warm, *(Figure(f"in all, {manner}", took, "us", "lower") for manner, took in apart)))


def nothing() -> None:
    """Hop follows hop."""


def sleep() -> None:
    """As an agent does between requests."""
    time.sleep(PAUSE_S)


def reckon() -> None:
    """Keep the processor busy with what fits beside a hop's code and data in the smallest cache."""
    until_s = time.monotonic() + PAUSE_S
    while time.monotonic() < until_s:
        hashlib.sha256(ARITHMETIC).digest()


MANNERS: dict[str, tuple[Callable[[], None], int]] = {
    "hop after hop": (nothing, 10_000),
    "after sleep": (sleep, 1_000),
    "after arithmetic": (reckon, 1_000),
}
"""What comes before each hop, and how many of them there are."""


def measured(segment: Segment, *, is_quick: bool) -> list[Step]:
    """Each step in each manner."""
    node = Node(segment)
    by_manner = [measure(node, hops // 5 if is_quick else hops, before) for before, hops in MANNERS.values()]
    node.executor.close()
    return [Step(what, took_us) for (_, what), took_us in zip(STEPS[1:], zip(*by_manner, strict=True), strict=True)]


def measure(node: Node, hops: int, before: Callable[[], None]) -> list[float]:
    """What the steps of many hops took, the first tenth of them to warm up."""
    values = np.random.default_rng(1).standard_normal(SHAPE, np.float32)
    packed = b"".join(map(bytes, encode(TensorsMessage(INWARD, (values,), (StageRecord(0, 1_000, 1_000),)))))
    noted: list[dict[str, int]] = []
    for number in range(hops + hops // 10):
        before()
        node.hop(packed)
        if number >= hops // 10:
            noted.append(dict(node.at_ns))
    return [
        statistics.median(each[name] - each[last] for each in noted) / 1e3
        for (last, _), (name, _) in itertools.pairwise(STEPS)
    ]


if __name__ == "__main__":
    main()
