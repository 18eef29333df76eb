"""Announces a site's entities to Home Assistant over MQTT: sent anew at each connection and each birth of the hub.

What is announced is `coordinator.home_assistant`'s to say; the broker keeps it, and so tells what was announced before.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from broker.discovery import COMPONENTS, DEFAULT_PREFIX, configuration_topic, hub_status_topic
from broker.messages import EnergyReading
from broker.session import Session
from coordinator.configuration import HomeAssistantSettings
from coordinator.home_assistant import Site, discovery, obsolete, unheard
from coordinator.site import State

LOOK_S: Final = 5.0
"""Time between two looks at what should be announced."""
SETTLED_S: Final = 60.0
"""After a connection: by then whoever is there has been heard."""
MOST_AT_ONCE: Final = 100
"""The rest goes out at the next turn: plans must find room among what waits for the broker."""
MAX_THERE: Final = 10_000
BIRTH: Final = b"online"


class HomeAssistantHub:
    """Keeps the announced entities as the site is. Without `settings` none are wanted, and earlier ones are cleared.

    Those of another prefix than the settings', or without them the default one, are not found again.
    """

    def __init__(
        self,
        session: Session,
        site: str,
        settings: HomeAssistantSettings | None,
        *,
        members: Callable[[], frozenset[str] | None],
        readings: Callable[[], Iterable[EnergyReading]],
    ) -> None:
        """`members` tells who may sign in at the site, None where that is not known; `readings` the newest of each
        meter that still speaks.
        """
        self._session = session
        self._site = site
        self._is_wanted = settings is not None
        self._prefix = DEFAULT_PREFIX if settings is None else settings.discovery_prefix
        self._members = members
        self._readings = readings
        self._lock = threading.Lock()
        self._there: dict[str, bytes] = {}
        self._sent: dict[str, bytes] = {}
        self._connected_s: float | None = None
        self._looked_s = 0.0
        for component in COMPONENTS:
            session.on_foreign(configuration_topic(self._prefix, component, site, "+"), self._hear_announced)
        session.on_foreign(hub_status_topic(self._prefix), self._hear_hub)
        session.on_connected(self._begin_anew)

    def follow(self, state: State) -> None:
        """Announce what is not yet announced as it is, and clear what is no more; for the one that leads the site."""
        now_s = time.monotonic()
        if self._connected_s is None or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        site = Site(self._site, self._prefix, self._members())
        with self._lock:
            there, sent = dict(self._there), self._sent
        if not self._is_wanted:
            wanted: dict[str, bytes] = {}
            gone = frozenset(there)
        else:
            wanted = discovery(site, state, self._readings())
            is_settled = now_s - self._connected_s > SETTLED_S
            gone = obsolete(there, site, state, settled=is_settled) - wanted.keys()
            if is_settled:
                rest = {topic: there[topic] for topic in there.keys() - wanted.keys() - gone}
                wanted |= unheard(rest, site, state)
        due = [(topic, b"") for topic in gone] + [
            (topic, payload)
            for topic, payload in wanted.items()
            if not sent.get(topic) == payload == there.get(topic, payload)
        ]
        for topic, payload in due[:MOST_AT_ONCE]:
            if self._session.publish_foreign(topic, payload, retain=True):
                self._note(topic, payload, sent)
        if len(due) > MOST_AT_ONCE:
            self._looked_s = 0.0

    def _note(self, topic: str, payload: bytes, sent: dict[str, bytes]) -> None:
        """Enter what was sent; an empty message is not heard again."""
        if payload:
            sent[topic] = payload
        else:
            with self._lock:
                self._there.pop(topic, None)

    def _begin_anew(self) -> None:
        with self._lock:
            self._there, self._sent = {}, {}
            self._connected_s, self._looked_s = time.monotonic(), 0.0

    def _hear_announced(self, topic: str, payload: bytes) -> None:
        with self._lock:
            if topic in self._there or len(self._there) < MAX_THERE:
                self._there[topic] = payload

    def _hear_hub(self, _topic: str, payload: bytes) -> None:
        if payload == BIRTH:
            with self._lock:
                self._sent, self._looked_s = {}, 0.0
