"""Which keys may connect to this node's tensor transport, and in whose name they may speak.

Pure: it holds what other agents announced; `edge_agent.handshakes` and `edge_agent.transport` ask it.
"""

from collections.abc import Mapping


class Admission:
    """The keys of the peers, by their names. Replaced as a whole at each change, so that any thread may read it."""

    def __init__(self, *, is_open: bool) -> None:
        """Admit nobody yet; or, if `is_open`, everybody without a key, in any name."""
        self._is_open = is_open
        self._keys: Mapping[str, str | None] = {}
        self._admitted: frozenset[str | None] = frozenset()

    def admit(self, peer: str, key: str | None) -> None:
        """From now on `peer` is whoever holds the secret of `key` (Z85)."""
        self._replace({**self._keys, peer: key})

    def dismiss(self, peer: str) -> None:
        """Nobody is `peer` any more."""
        self._replace({name: key for name, key in self._keys.items() if name != peer})

    def admits(self, key: str) -> bool:
        """Whether some peer announced `key`."""
        return key in self._admitted

    def may_speak(self, node: str, key: str | None) -> bool:
        """Whether the holder of `key` (None: of no key) may speak in the name of `node` now."""
        return self._is_open or (key is not None and self._keys.get(node) == key)

    def _replace(self, keys: Mapping[str, str | None]) -> None:
        self._keys = keys
        self._admitted = frozenset(keys.values())
