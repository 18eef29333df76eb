"""Why there is no connection to the broker, as sentences that say what would help."""

import errno
import ipaddress
import socket

from paho.mqtt.reasoncodes import ReasonCode

_UNSUPPORTED_PROTOCOL = 0x84
_BAD_CREDENTIALS = 0x86
_NOT_AUTHORISED = 0x87
# MQTT 5.0, table 3-1: refusals that no waiting mends (protocol, client identifier, credentials, ban, method).
_PERMANENT_REFUSALS = frozenset({_UNSUPPORTED_PROTOCOL, 0x85, _BAD_CREDENTIALS, _NOT_AUTHORISED, 0x8A, 0x8C})


def explain_failure(error: OSError | UnicodeError, host: str) -> str:
    """Why no connection came about, and what would help."""
    match error:
        case ConnectionRefusedError() if _is_loopback(host):
            return "no MQTT broker listens there: start Mosquitto, or correct broker.host and broker.port"
        case ConnectionRefusedError():
            return (
                "no MQTT broker listens there: start Mosquitto and give it a `listener` line "
                "(without one it listens on its own machine only), or correct broker.host and broker.port"
            )
        case socket.gaierror() | UnicodeError():
            return "this name is not known: correct broker.host, or give an IP address"
        case TimeoutError():
            return "no answer: check broker.host, the network and the firewall"
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return "no way leads there: check broker.host and the network"
        case OSError():
            return f"cannot connect ({error.strerror or error}): check broker.host and broker.port"


def explain_refusal(reason: ReasonCode, username: str | None) -> str:
    """Why the broker refused the session, and what would help."""
    if reason.value == _UNSUPPORTED_PROTOCOL:
        return "the broker does not speak MQTT 5: use Mosquitto 1.6 or later"
    if reason.value in (_BAD_CREDENTIALS, _NOT_AUTHORISED):
        if username is None:
            return "the broker admits no anonymous clients: set broker.username and broker.password_file"
        return (
            f"the broker refuses the user {username!r} or its password: "
            "correct broker.username and broker.password_file"
        )
    return f"the broker refuses the session ({reason})"


def is_permanent(refusal: ReasonCode) -> bool:
    """Whether trying again would bring the same refusal."""
    return refusal.value in _PERMANENT_REFUSALS


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
