"""Which certificates may speak on this node's tensor transport, and in whose name.

Pure: it holds what other agents announced; `edge_agent.handshakes` and `edge_agent.opening` ask it.
"""

from collections.abc import Mapping


class Admission:
    """The certificates of the peers, by their names. Replaced as a whole at each change: any thread may read it."""

    def __init__(self, *, is_open: bool) -> None:
        """Admit nobody yet; or, if `is_open`, everybody without a certificate, in any name."""
        self._is_open = is_open
        self._by_name: Mapping[str, bytes | None] = {}
        self.certificates: frozenset[bytes] = frozenset()
        """All of them, as DER; another object after each change."""

    def admit(self, peer: str, certificate: bytes | None) -> None:
        """From now on `peer` is whoever proves to hold the secret of `certificate` (DER)."""
        if peer not in self._by_name or self._by_name[peer] != certificate:
            self._replace({**self._by_name, peer: certificate})

    def dismiss(self, peer: str) -> None:
        """Nobody is `peer` any more."""
        self._replace({name: certificate for name, certificate in self._by_name.items() if name != peer})

    def may_speak(self, node: str, certificate: bytes | None) -> bool:
        """Whether the holder of `certificate` (None: of none) may speak in the name of `node` now, or is that peer."""
        return self._is_open or (certificate is not None and self._by_name.get(node) == certificate)

    def _replace(self, by_name: Mapping[str, bytes | None]) -> None:
        self._by_name = by_name
        self.certificates = frozenset(each for each in by_name.values() if each is not None)
