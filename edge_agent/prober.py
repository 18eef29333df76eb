"""The thread that probes this node's links and publishes what is news; what to do is decided by `edge_agent.probes`."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from broker.messages import LinkReading, TensorWay
from edge_agent import tcp
from edge_agent.clock import MACHINE_CLOCK
from edge_agent.companions import WatchedLinks
from edge_agent.deliveries import Delivery, ProbeResult
from edge_agent.errors import SendError
from edge_agent.links import LinkEstimate
from edge_agent.probes import LinkSettings
from edge_agent.transport import Transport

log = logging.getLogger("splitrail.links")

TICK_S: Final = 0.2


class LinkProber:
    """Watches the links to all peers of a transport; give it to `Transport.start` as its `links`.

    `publish` gets each LinkReading on this object's own thread. While either end `is_loading`, its process may stand
    still, so the link is left alone and nothing that is timed counts.
    """

    def __init__(
        self,
        node: str,
        transport: Transport,
        settings: LinkSettings,
        *,
        is_loading: Callable[[str], bool],
        publish: Callable[[LinkReading], None],
        clock: Callable[[], float] = MACHINE_CLOCK.now,
        pacing: float | None = None,
    ) -> None:
        """Watch the links from `node`; nothing is sent before `start`.

        Tensors are held to the share `pacing` of each link's bandwidth; None, or another system than Linux, to nothing.
        """
        self._node, self._transport, self._publish = node, transport, publish
        self._is_loading = is_loading
        self._clock = clock
        self._lock = threading.Lock()
        self._links = WatchedLinks(settings, pacing=pacing if tcp.SUPPORTED else None)
        self._ways: dict[str, TensorWay] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link-prober", daemon=True)

    def start(self) -> None:
        """Probe from now on; call once, after the transport's own start."""
        self._thread.start()

    def close(self) -> None:
        """Stop probing and wait for the thread; close the transport after this."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def estimate(self, dst: str) -> LinkEstimate | None:
        """The link to `dst` as known now."""
        with self._lock:
            watch = self._links.known(dst)
            return watch.estimate() if watch else None

    def round_trip_ms(self, dst: str) -> float | None:
        """The round trip to `dst`; None before the first ping."""
        with self._lock:
            watch = self._links.known(dst)
            return watch.rtt_ms if watch else None

    def transfer_ms(self, delivery: Delivery) -> float:
        """How long a delivery was on its way: the time to its acknowledgement less half a round trip."""
        rtt_ms = self.round_trip_ms(delivery.dst)
        return max(delivery.elapsed_ms - (rtt_ms or 0.0) / 2, 0.0)

    def on_round_trip(self, dst: str, rtt_ms: float) -> None:
        """Called by the transport."""
        if not self._stands_still(dst):
            with self._lock:
                self._links.of(dst).round_trip(rtt_ms)

    def on_probe(self, result: ProbeResult) -> None:
        """Called by the transport."""
        if not self._stands_still(result.dst):
            with self._lock:
                self._links.of(result.dst).probed(result, time.monotonic())

    def on_delivered(self, delivery: Delivery) -> None:
        """Called by the transport."""
        if not self._stands_still(delivery.dst):
            with self._lock:
                self._links.of(delivery.dst).delivered(delivery, time.monotonic())

    def _stands_still(self, dst: str) -> bool:
        return self._is_loading(dst) or self._is_loading(self._node)

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            peers = self._transport.peers
            before, self._ways = self._ways, {peer: self._transport.way(peer) for peer in peers}
            # What was seen of one way tells nothing of the other.
            same = [peer for peer, way in self._ways.items() if before.get(peer, way) == way]
            with self._lock:
                self._links.keep_only(same, unpaced=[peer for peer, way in self._ways.items() if way == "mqtt"])
            for peer in peers:
                if self._stands_still(peer):
                    continue
                with contextlib.suppress(SendError):  # it was disconnected since, or its queue is full
                    self._attend(peer)

    def _attend(self, peer: str) -> None:
        at = time.monotonic()
        in_flight = self._transport.in_flight(peer)
        with self._lock:
            watch = self._links.of(peer)
            due = watch.due(at, in_flight)
            pace_mbps = watch.pace_mbps()
            estimate = watch.news(at)
        self._transport.pace(peer, pace_mbps)
        if estimate is not None:
            self._announce(peer, estimate, at)
        if due.ping:
            self._transport.ping(peer)
        if due.probe is not None:
            self._transport.probe(peer, due.probe.chunks, due.probe.chunk_bytes)

    def _announce(self, peer: str, estimate: LinkEstimate, at: float) -> None:
        reading = LinkReading(
            src=self._node,
            dst=peer,
            at=self._clock() - (at - estimate.at),
            rtt_ms=estimate.rtt_ms,
            rtt_ms_std=estimate.rtt_ms_std,
            mbps=estimate.mbps,
            mbps_std=estimate.mbps_std,
            method=estimate.method,
            way=self._ways[peer],
        )
        try:
            self._publish(reading)
        except Exception:
            # A fault of the publisher must not end the probing.
            log.exception("a reading of the link to %s could not be published", peer)
