"""The page of an agent that Prometheus scrapes: what its parts say at that moment, and where that is served.

Imported by agents that are scraped alone, for its library's sake; the figures' names are `edge_agent.metrics`'.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from broker.session import Session
from edge_agent.configuration import AgentSettings
from edge_agent.executor import Executor
from edge_agent.metrics import Moment, figures
from edge_agent.metrics_counts import TelemetryCounts
from edge_agent.metrics_server import MetricsServer, Pages
from edge_agent.peers import Peers
from edge_agent.telemetry_outbox import TelemetryOutbox
from edge_agent.transport import Transport
from splitrail.metric_families import CONTENT_TYPE, Exposition

log = logging.getLogger("splitrail.agent")


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """The page, by the parts of the agent that it tells of."""

    settings: AgentSettings
    counts: TelemetryCounts
    executor: Executor
    transport: Transport
    peers: Peers
    telemetry: TelemetryOutbox
    session: Session

    def moment(self) -> Moment:
        """All that the page is made of, now."""
        return Moment(
            site=self.settings.site,
            node=self.settings.node,
            tier=self.settings.tier,
            emulated=self.settings.emulation is not None,
            counts=self.counts.counts(),
            backlog_s=self.executor.backlog_s,
            busy_s=self.executor.busy_s,
            tensors=self.transport.counters,
            peers=len(self.peers),
            spool=self.telemetry.spool,
            connected=self.session.connected,
            dropped=self.session.dropped,
        )

    def served(self, standstill: Callable[[], str | None], unreadiness: Callable[[], str | None]) -> MetricsServer:
        """The page at `metrics.port`, beside what says whether the agent lives. MetricsError as for `MetricsServer`."""
        text = Exposition(lambda: figures(self.moment())).text
        server = MetricsServer(self.settings.metrics, Pages(text, CONTENT_TYPE, standstill, unreadiness))
        log.info("metrics are at %s/metrics", server.url)
        return server
