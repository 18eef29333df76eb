"""How a node proves itself on the tensor plane, and whom it trusts there: TLS 1.3 with certificates on both ends.

Which certificates those are is `edge_agent.admission`'s concern; when hands are shaken, `edge_agent.opening`'s.
"""

import base64
import binascii
import ssl
import threading
from typing import Final

from edge_agent.admission import Admission
from edge_agent.errors import TransportError
from edge_agent.keys import NodeKey

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which Python does not name


class Handshakes:
    """The TLS contexts of a node. Every certificate that was announced is trusted, and none beside.

    Whose it is has to be compared after the handshake: a certificate stands for one node only.
    """

    def __init__(self, key: NodeKey, admission: Admission) -> None:
        """Prove to be the holder of `key`, to and by those that are admitted."""
        self._key, self._admission = key, admission
        self._lock = threading.Lock()
        self._trusted: frozenset[bytes] | None = None
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None

    def context(self, *, is_called: bool) -> ssl.SSLContext:
        """For a connection on which this node was called, or for one on which it calls."""
        with self._lock:
            trusted = self._admission.certificates
            if self._contexts is None or self._trusted is not trusted:
                self._contexts = (
                    _context(ssl.PROTOCOL_TLS_CLIENT, self._key, trusted),
                    _context(ssl.PROTOCOL_TLS_SERVER, self._key, trusted),
                )
                self._trusted = trusted
            return self._contexts[is_called]


def checked_certificate(peer: str, key: str) -> bytes:
    """The certificate (DER) that `peer` announced as `key`, in base64. TransportError if that is none."""
    try:
        certificate = base64.b64decode(key, validate=True)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate)
    except (binascii.Error, ssl.SSLError, ValueError):
        raise TransportError(peer, "what it announces as its tensor key is no certificate") from None
    return certificate


def _context(protocol: int, key: NodeKey, trusted: frozenset[bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # certificates are compared whole; names in them say nothing
    context.verify_mode = ssl.CERT_REQUIRED
    # Each is trusted as it stands: else OpenSSL takes another one of the same subject for its issuer, and refuses it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    if trusted:
        context.load_verify_locations(cadata=b"".join(trusted))
    key.show(context)
    return context
