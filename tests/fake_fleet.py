"""Agents made of plain sessions, and a coordinator on a thread: a site without any real node."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from made_site import OP_MS, announcement, link_message, load_message, miss_message

from broker.messages import (
    PROTOCOL_VERSION,
    DeploymentNotice,
    EnergyReading,
    InferenceReport,
    ModelReference,
    NodeProfile,
    Plan,
    PlanReady,
    SpoolMark,
)
from broker.presence import Presence, last_will, new_session_id
from broker.session import Session
from broker.sign_in import BrokerSettings
from broker.topics import DEPLOYMENT, ENERGY, INFERENCE, LINK, LOAD, MISS, PLAN, PROFILE, READY
from coordinator.configuration import CoordinatorSettings
from coordinator.service import Coordinator


class FakeAgent:
    """One node: it announces itself and says what it is told to say."""

    def __init__(
        self, broker: BrokerSettings, site: str, node: str, *, protocol: int = PROTOCOL_VERSION, term: int = 0
    ) -> None:
        self.node = node
        self.session_id = new_session_id()
        self.notices: list[DeploymentNotice] = []
        self.plans: list[Plan] = []
        self._session = Session(
            broker, site=site, client_id=f"{site}-{node}", last_will=last_will(node, self.session_id)
        )
        self._presence = Presence(
            self._session,
            node=node,
            session_id=self.session_id,
            announcement=announcement(node, protocol=protocol, memory_mb=10_000.0),
            term=lambda: term,
        )
        self._session.on(DEPLOYMENT, lambda incoming: self.notices.append(incoming.message))
        self._session.on(PLAN, lambda incoming: self.plans.append(incoming.message))

    def __enter__(self) -> Self:
        self._session.start()
        self._presence.join()
        self._presence.announce()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def profile(self, model: ModelReference) -> None:
        times = (OP_MS[self.node],) * model.ops
        profile = NodeProfile(
            node=self.node,
            model=model.sha256,
            runtime="none",
            threads=1,
            op_ms=times,
            op_ms_std=(0.0,) * model.ops,
            unsplit_ms=sum(times),
            unsplit_ms_std=0.0,
            memory_mb=1.0,
        )
        self._session.publish(PROFILE, profile, self.node, model.sha256)

    def link(self, dst: str, mbps: float) -> None:
        self._session.publish(LINK, link_message(self.node, dst, mbps), self.node, dst)

    def link_in_the_name_of(self, src: str, dst: str, mbps: float) -> None:
        self._session.publish(LINK, link_message(src, dst, mbps), self.node, dst)

    def load(self, load: float) -> None:
        self._session.publish(LOAD, load_message(self.node, load, self.session_id, emulated=True), self.node)

    def energy(self, sequence: int, power_w: float) -> None:
        reading = EnergyReading(
            node=self.node,
            session=self.session_id,
            sequence=sequence,
            at=0.0,
            energy_j=power_w * sequence,
            power_w=power_w,
            interval_s=1.0,
            meter="model",
            source="modelled",
            scope="board",
        )
        self._session.publish(ENERGY, reading, self.node)

    def miss(self, suspect: str) -> None:
        self._session.publish(MISS, miss_message(suspect, src=self.node, node=self.node), self.node)

    def inference(
        self, request_id: str, latency_ms: float, error: str | None = None, age_s: float | None = None
    ) -> None:
        mark = None if age_s is None else SpoolMark(session="earlier", sequence=1, oldest=1, age_s=age_s)
        report = InferenceReport(
            deployment="photos",
            epoch=1,
            request_id=request_id,
            origin=self.node,
            at=0.0,
            latency_ms=latency_ms,
            origin_energy_j=0.5,
            total_energy_j=0.75,
            error=error,
            mark=mark,
        )
        self._session.publish(INFERENCE, report, "photos", report.origin)

    def is_ready(self, epoch: int) -> None:
        self._session.publish(
            READY, PlanReady(deployment="photos", epoch=epoch, node=self.node, ready=True), "photos", self.node
        )

    def refuse(self, epoch: int, reason: str) -> None:
        refusal = PlanReady(deployment="photos", epoch=epoch, node=self.node, ready=False, reason=reason)
        self._session.publish(READY, refusal, "photos", self.node)


@contextmanager
def coordinating(settings: CoordinatorSettings) -> Iterator[Coordinator]:
    """A coordinator that runs on a thread until the block ends."""
    stop = threading.Event()
    with Coordinator(settings, lambda before, after: None) as coordinator:
        thread = threading.Thread(target=coordinator.run, args=(stop,))
        thread.start()
        try:
            yield coordinator
        finally:
            stop.set()
            thread.join()
