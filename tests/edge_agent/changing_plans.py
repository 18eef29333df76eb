"""Three real agents on one broker whose plans change all the time, and a stream of requests that compares every bit."""

import itertools
import random
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from eventually import eventually

from broker.messages import ModelReference, Plan, PlanStage, Prediction, StagePrediction
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import PLAN
from edge_agent.agent import Agent
from edge_agent.configuration import AgentSettings, TensorSettings
from edge_agent.probes import LinkSettings
from edge_agent.request import Finished
from models.cache import ModelCache
from models.graph import Graph, read_graph
from models.runtime import Segment

DEPLOYMENT = "photos"
ORIGIN = "pi"
NODES = ("pi", "laptop", "pc")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and what it should give."""

    inputs: tuple[np.ndarray[Any, Any], ...]
    expected: list[np.ndarray[Any, Any]]


class RunningAgent:
    """An agent in this process, with a thread that ticks it."""

    def __init__(self, settings: AgentSettings) -> None:
        self.settings = settings
        self.agent = Agent(settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, name=f"ticks of {settings.node}", daemon=True)
        self.agent.start()
        self._thread.start()

    def close(self) -> None:
        """Leave as one that is stopped."""
        self._stop.set()
        self._thread.join()
        self.agent.close()

    def _tick(self) -> None:
        due_s = 0.1
        while not self._stop.wait(due_s):
            due_s = self.agent.tick()


class ChangingSite:
    """The agents, and a coordinator that only publishes the plans that it is told to."""

    def __init__(self, mosquitto: PrivateMosquitto, model: Path, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.model = model
        self.graph: Graph = read_graph(model)
        self.site = f"site-{uuid.uuid4().hex[:8]}"
        self.plans: dict[int, Plan] = {}
        cache = directory / "cache"
        held = ModelCache(cache).add(model)
        # Nobody serves it: the agents find it in their cache.
        self.reference = ModelReference(
            sha256=held.sha256,
            name="small",
            size_bytes=held.size_bytes,
            ops=len(self.graph.ops),
            url="http://127.0.0.1:1/model",
        )
        self._settings = {
            name: AgentSettings(
                site=self.site,
                node=name,
                tier="edge" if name == ORIGIN else "cloud",
                broker=mosquitto.settings,
                cache=cache,
                tensors=TensorSettings(listen="tcp://127.0.0.1:0", security="open", pacing=None),
                links=LinkSettings(ping_interval_s=1.0, probe_interval_s=3600.0),
                request_timeout_s=20.0,
            )
            for name in NODES
        }
        self._mosquitto = mosquitto
        self._opened = ExitStack()
        self.agents: dict[str, RunningAgent] = {}

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self.session = opened.enter_context(
                Session(self._mosquitto.settings, site=self.site, client_id=f"coordinator-{uuid.uuid4().hex[:8]}")
            )
            opened.callback(self._close_agents)
            for name in NODES:
                self.start(name)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @property
    def origin(self) -> Agent:
        """The agent at which requests begin."""
        return self.agents[ORIGIN].agent

    def start(self, name: str) -> None:
        """Start an agent that is not there."""
        self.agents[name] = RunningAgent(self._settings[name])

    def stop(self, name: str) -> None:
        """Stop an agent."""
        self.agents.pop(name).close()

    def change(self, plan: Plan) -> None:
        """Publish a plan."""
        self.plans[plan.epoch] = plan
        self.session.publish(PLAN, plan, DEPLOYMENT)

    def takes(self, plan: Plan, timeout_s: float = 20.0) -> bool:
        """Whether the origin moves to a plan in time."""
        return eventually(lambda: self.active_epoch == plan.epoch, timeout_s)

    @property
    def active_epoch(self) -> int:
        """The epoch that requests begin under; 0 without one."""
        active = self.origin._plans.active(DEPLOYMENT)
        return active.epoch if active is not None else 0

    def random_plan(self, epoch: int, nodes: Sequence[str] = NODES, predicted: bool = False) -> Plan:
        """Any split over these nodes: one stage or several, revisits, relays, a way back with or without one."""
        chosen = self.random
        inner = [cut.k for cut in self.graph.cuts[1:-1] if cut.allowed]
        cuts = sorted(chosen.sample(inner, chosen.randint(0, min(3, len(inner)))))
        ends = [0, *cuts, len(self.graph.ops)]
        stages: list[PlanStage] = []
        for start, stop in itertools.pairwise(ends):
            node = chosen.choice(nodes)
            if stages and stages[-1].node != node and chosen.random() < 0.2:
                stages.append(PlanStage(node=chosen.choice(nodes), start=start, stop=start))
            stages.append(PlanStage(node=node, start=start, stop=stop))
        last = stages[-1].node
        relays = [node for node in nodes if node not in (ORIGIN, last)]
        way_back: tuple[str, ...] = ()
        if last != ORIGIN:
            relay = (chosen.choice(relays),) if relays and chosen.random() < 0.3 else ()
            way_back = (last, *relay, ORIGIN)
        one = StagePrediction(transfer_ms=2.0, transfer_std_ms=1.0, compute_ms=1.0, compute_std_ms=0.5)
        return Plan(
            deployment=DEPLOYMENT,
            epoch=epoch,
            model=self.reference,
            origin=ORIGIN,
            stages=tuple(stages),
            way_back=way_back,
            strategy="exact",
            prediction=Prediction(
                latency_ms=5.0,
                origin_energy_j=1.0,
                total_energy_j=1.0,
                objective=1.0,
                stages=(one,) * len(stages) if predicted else (),
                return_ms=2.0,
            ),
            reason="test",
            created_at=0.0,
        )

    def _close_agents(self) -> None:
        """And let go of them: what an agent had loaded is freed with it."""
        while self.agents:
            self.agents.popitem()[1].close()


class Stream:
    """Threads that ask one request after the other, from `with` to its end, and keep every end that came."""

    def __init__(self, site: ChangingSite, threads: int = 3) -> None:
        self._site = site
        whole = Segment(site.model)
        generator = np.random.default_rng(1)
        inputs = [
            tuple(generator.standard_normal(spec.shape).astype(spec.dtype) for spec in whole.inputs) for _ in range(8)
        ]
        self._asked = [Asked(arrays, whole.run(arrays)) for arrays in inputs]
        whole.close()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(threads)]
        self.begun = 0
        self.ended: dict[int, list[tuple[Asked, Finished]]] = {}
        """By the number of the request: one end each, if all is well."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def ends(self) -> list[tuple[Asked, Finished]]:
        """All ends, of all requests."""
        return [end for ends in self.ended.values() for end in ends]

    def _ask(self, number: int) -> None:
        turn = number
        while not self._stop.is_set():
            asked = self._asked[turn % len(self._asked)]
            turn += 1
            with self._lock:
                request = self.begun
                self.begun += 1
                self.ended[request] = []
            done = threading.Event()

            def finish(finished: Finished, request: int = request, asked: Asked = asked, done: Any = done) -> None:
                with self._lock:
                    self.ended[request].append((asked, finished))
                done.set()

            self._site.origin._origin.submit(DEPLOYMENT, asked.inputs, finish)
            if not done.wait(60):
                return
            time.sleep(0.002)


def is_exact(asked: Asked, finished: Finished) -> bool:
    """Whether the outputs are those of the unsplit model, bit for bit."""
    return finished.outputs is not None and all(
        got.tobytes() == wanted.tobytes() and got.shape == wanted.shape
        for got, wanted in zip(finished.outputs, asked.expected, strict=True)
    )


def ran_as_planned(site: ChangingSite, finished: Finished) -> bool:
    """Whether the report's stages are those of exactly one plan, or of its beginning and the origin's rest."""
    report = finished.report
    plan = site.plans[report.epoch]
    ran = [(stage.node, stage.start, stage.stop) for stage in report.stages]
    planned = [(stage.node, stage.start, stage.stop) for stage in plan.stages if stage.start < stage.stop]
    if report.fallback is None:
        return ran == planned
    *before, last = ran
    begun = [stage for stage in planned if stage[2] <= last[1]]
    return before == begun and all(node == ORIGIN for node, _, _ in ran) and last[2] == site.reference.ops
