"""Hears the signs of life in what the tensor transport tells of links, for those who wait for one.

What a link is like is the prober's concern, who is suspected the origin's.
"""

from collections.abc import Callable

from edge_agent.deliveries import Delivery, LinkObserver, ProbeResult


class SignsOfLife:
    """Stands between the transport and the observer of links; `heard` gets the name of each node that answered."""

    def __init__(self, links: LinkObserver, heard: Callable[[str], None]) -> None:
        self._links = links
        self._heard = heard

    def on_round_trip(self, dst: str, rtt_ms: float) -> None:
        """A ping has come back."""
        self._heard(dst)
        self._links.on_round_trip(dst, rtt_ms)

    def on_probe(self, result: ProbeResult) -> None:
        """A bandwidth probe has come back."""
        self._heard(result.dst)
        self._links.on_probe(result)

    def on_delivered(self, delivery: Delivery) -> None:
        """Tensors have arrived."""
        self._heard(delivery.dst)
        self._links.on_delivered(delivery)
