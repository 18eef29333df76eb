"""The agent of a node: joins the broker, the tensor transport and the parts that carry out plans.

Which message goes to which part is `edge_agent.hearing`'s and `edge_agent.arrivals`'; here the parts are joined.
"""

import contextlib
import gc
import logging
import signal
import threading
import time
from types import FrameType

from broker.messages import Telemetry, TensorCall
from broker.presence import Presence, agent_client_id, last_will, new_session_id
from broker.session import Session
from broker.topics import CALL
from edge_agent.announcing import announcement, power_model
from edge_agent.arrivals import Arrivals
from edge_agent.clock import WallClock
from edge_agent.configuration import AgentSettings
from edge_agent.emulated_load import EmulatedLoad
from edge_agent.energy.modelled import Traffic
from edge_agent.errors import SendError
from edge_agent.executor import Batching, Executor
from edge_agent.fallback import fallback_refusal, takes_fallback
from edge_agent.hearing import Hearing
from edge_agent.instruments import Instruments
from edge_agent.intake import Intake
from edge_agent.keys import tensor_key
from edge_agent.listening import SignsOfLife
from edge_agent.loading import LoadingNodes
from edge_agent.machine_state import MachineReadings, MachineWatch, ThisMachine
from edge_agent.metrics_counts import TelemetryCounts
from edge_agent.metrics_server import MetricsServer
from edge_agent.mqtt_way import MqttWay
from edge_agent.origin import Origin
from edge_agent.peers import Peers
from edge_agent.pipeline import Pipeline
from edge_agent.plan_book import PlanBook
from edge_agent.preparation import Preparation
from edge_agent.prober import LinkProber
from edge_agent.reports import Reports
from edge_agent.request_book import Limits
from edge_agent.spool import spool_file
from edge_agent.telemetry_outbox import TelemetryOutbox
from edge_agent.transport import Transport
from models.cache import ModelCache
from splitrail.log_lines import log_to_stderr
from splitrail.standstill import standstill

log = logging.getLogger("splitrail.agent")

SWEEP_S = 0.1
IDLE_SWEEP_S = 0.25
"""Between two sweeps while no request is here, nor has just come: each wakes a sleeping processor."""
LEAST_SWEEP_S = 0.005


class Agent:
    """One node's agent. `start` joins the site or raises BrokerError; `close` leaves it and ends every thread.

    NodeNameTakenError, from `start` and `tick`, tells that another agent has this node's name and stays.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._node = settings.node
        self._session_id = new_session_id()
        self._power = power_model(settings)

        cache = ModelCache(settings.cache)
        key = tensor_key(settings)
        self._transport = Transport(
            settings.node,
            settings.tensors.listen,
            key,
            mqtt=self._mqtt_way(settings) if takes_fallback(settings) else None,
            fallback_after_s=settings.tensors.fallback_after_s,
        )
        emulation = settings.emulation
        clock = WallClock(emulation.clock_file if emulation else None)
        self._session = Session(
            settings.broker,
            site=settings.site,
            client_id=agent_client_id(settings.node, self._session_id),
            last_will=last_will(settings.node, self._session_id),
        )
        self._telemetry = TelemetryOutbox(
            self._session,
            node=settings.node,
            session_id=self._session_id,
            file=spool_file(settings),
            max_bytes=round(settings.spool.max_mb * 1e6),
            wall_clock=clock.now,
        )
        emulated_load = EmulatedLoad(emulation.load_file if emulation else None)
        self._executor = Executor(
            compute_factor=emulation.compute_factor if emulation else 1.0,
            load=emulated_load.load,
            batching=Batching(settings.batching.most, settings.batching.longest_wait_ms / 1e3),
        )
        self._loading = LoadingNodes()
        self._plans = PlanBook(
            settings.node,
            self._loading,
            in_flight=lambda plan: self._origin.in_flight_under(plan),  # noqa: PLW0108  # made below: they need each other
            hold=lambda holdings: self._preparation.hold(holdings),  # noqa: PLW0108  # as above
        )
        self._reports = Reports(settings.node, self._session, self._plans)
        self._preparation = Preparation(
            settings,
            cache,
            ready=self._reports.ready,
            profiled=self._reports.profiled,
            unprofiled=self._reports.unprofiled,
        )
        self._origin = Origin(
            settings.node,
            plans=self._plans,
            begin=lambda plan, message, here: self._pipeline.begin(plan, message, may_compute=here),
            compute=self._executor,
            segment_of=self._preparation.segment,
            power=lambda: {**self._peers.powers(), settings.node: self._power},
            limits=Limits(settings.request_timeout_s, settings.longest_wait_s, settings.failover),
            missed=self._telemetry.publish,
            ask=self._ask,
            is_loading=self._loading.is_loading,
            round_trip_ms=lambda node: self._prober.round_trip_ms(node),  # noqa: PLW0108  # as above
            clock=clock.now,
            emulated=lambda: self._peers.emulated() | ({settings.node} if emulation is not None else set()),
        )
        self._peers = Peers(settings.node, self._transport, self._origin, addresses=settings.tensors.peers)
        self._pipeline = Pipeline(
            settings.node,
            self._executor,
            self._origin,
            plan_of=self._plans.plan_of,
            segment_of=self._preparation.segment,
            form_of=self._preparation.image_form,
            send=self._transport.send,
            may_stay=self._transport.may_stay,
        )
        self._counts = TelemetryCounts()
        self._intake = Intake(
            self._origin,
            cache,
            active=self._plans.active,
            is_coming=self._plans.is_coming,
            longest_wait_s=settings.longest_wait_s,
            reported=self._publish,
            dropped=self._counts.count_dropped,
        )
        self._metrics: MetricsServer | None = None
        self._has_joined = False
        self._ticked_at: float | None = None
        self._roused = threading.Event()
        self._hearing = Hearing(
            settings.node,
            self._session,
            peers=self._peers,
            plans=self._plans,
            preparation=self._preparation,
            origin=self._origin,
            intake=self._intake,
            transport=self._transport,
            reports=self._reports,
            roused=self._roused.set,
        )
        self._prober = LinkProber(
            settings.node,
            self._transport,
            settings.links,
            is_loading=self._loading.is_loading,
            publish=self._telemetry.publish,
            clock=clock.now,
            pacing=settings.tensors.pacing,
        )
        self._instruments = Instruments(
            settings,
            self._session_id,
            power=self._power,
            executor=self._executor,
            threads=lambda: max((profile.threads for profile in self._reports.profiles), default=1),
            emulated_load=emulated_load,
            clock=clock,
            traffic=self._tensor_traffic,
            listen=self._session.on_foreign,
        )

        machine = MachineReadings(
            ThisMachine(),
            node=settings.node,
            session=self._session_id,
            emulated=emulation is not None,
            clock=clock.now,
        )
        self._machine = MachineWatch(machine, self._telemetry.publish)

        self._announcement = announcement(settings, self._transport.endpoint, key.public if key else None)
        self._presence = Presence(
            self._session,
            node=settings.node,
            session_id=self._session_id,
            announcement=self._announcement,
            on_birth=self._reports.repeat,
            term=lambda: self._plans.highest_term,
            wall_clock=clock.now,
        )

    def start(self) -> None:
        """Join the site, once it is sure that no other agent has this node's name."""
        self._metrics = self._served_metrics()
        self._session.start()
        self._presence.join()
        self._telemetry.start()
        arrivals = Arrivals(
            self._node,
            self._transport,
            origin=self._origin,
            pipeline=self._pipeline,
            plans=self._plans,
            prober=self._prober,
        )
        self._transport.start(arrivals, SignsOfLife(self._prober, self._origin.heard))
        self._prober.start()
        self._instruments.start()
        self._machine.start()
        refusal = fallback_refusal(self._settings)
        if refusal is not None:
            log.warning("%s", refusal)
        self._hearing.start(takes_calls=refusal is None and takes_fallback(self._settings))
        self._presence.announce()
        self._has_joined = True
        log.info(
            "%s has joined the site %s; tensors come in at %s",
            self._node,
            self._settings.site,
            self._announcement.endpoint,
        )

    def close(self) -> None:
        """Leave the site and end every thread; requests in flight are dropped."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        self._session.close()
        self._prober.close()
        self._instruments.close()
        self._machine.close()
        self._executor.close()  # before the intake, whose threads may compute: an emulated machine does not sleep on
        self._intake.close()
        self._preparation.close()
        self._transport.close()
        self._telemetry.close()

    def tick(self) -> float:
        """What is due by the clock: late requests, the readings of load and energy; the seconds until the next call."""
        self._ticked_at = time.monotonic()
        self._presence.attend()
        due_s = self._origin.sweep()
        self._intake.sweep()
        self._plans.let_drained_go(time.monotonic())
        for reading in self._instruments.due():
            self._publish(reading)
        if not (self._origin.in_flight or self._hearing.is_busy):
            return IDLE_SWEEP_S
        return min(SWEEP_S, max(LEAST_SWEEP_S, due_s))

    def wait(self, due_s: float) -> None:
        """Return after so many seconds, or when the first request comes after a pause, or `rouse` is called."""
        self._roused.wait(due_s)
        self._roused.clear()

    def rouse(self) -> None:
        """Have `wait` return."""
        self._roused.set()

    def standstill(self) -> str | None:
        """Why this agent has to be started again; None while it is ticked. May be called from any thread."""
        return standstill("agent", self._ticked_at, time.monotonic())

    def unreadiness(self) -> str | None:
        """Why this agent cannot do its work now, in one sentence; None while it can. May be called from any thread."""
        if not self._has_joined:
            return f"{self._node} has not joined its site yet"
        return None if self._session.connected else "the MQTT broker is away"

    def _publish(self, telemetry: Telemetry) -> None:
        self._counts.count(telemetry)
        self._telemetry.publish(telemetry)

    def _ask(self, node: str) -> None:
        # One that is not connected has nothing to say.
        with contextlib.suppress(SendError):
            self._transport.ping(node)

    def _mqtt_way(self, settings: AgentSettings) -> MqttWay:
        return MqttWay(
            settings.node,
            settings.site,
            settings.broker,
            client_id=f"tensors-{settings.node}-{self._session_id}",
            call=lambda peer: self._session.publish(CALL, TensorCall(dst=peer, src=self._node), peer, self._node),
        )

    def _served_metrics(self) -> MetricsServer | None:
        if self._settings.metrics.port is None:
            return None
        from edge_agent.metrics_page import MetricsPage  # noqa: PLC0415  # its library is for nodes that are scraped

        page = MetricsPage(
            self._settings,
            self._counts,
            self._executor,
            self._transport,
            self._peers,
            self._telemetry,
            self._session,
        )
        return page.served(self.standstill, self.unreadiness)

    def _tensor_traffic(self) -> Traffic:
        counters = self._transport.counters
        return Traffic(counters.sent_bytes, counters.received_bytes)


def run_agent(settings: AgentSettings) -> None:
    """Run an agent until SIGINT or SIGTERM."""
    log_to_stderr(logging.INFO, "%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    stop = threading.Event()
    # Until it has joined, it may wait for a broker for ever.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.closing(Agent(settings)) as agent, contextlib.suppress(KeyboardInterrupt):
        agent.start()
        gc.freeze()  # what is there by now stays: no request waits while the collector looks through it again

        def end(_number: int, _frame: FrameType | None) -> None:
            stop.set()
            agent.rouse()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        while not stop.is_set():
            agent.wait(agent.tick())
