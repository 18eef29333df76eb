"""Why there is no connection to the broker, as sentences that say what would help."""

import errno
import ipaddress
import socket
import ssl

from paho.mqtt.reasoncodes import ReasonCode

_UNSUPPORTED_PROTOCOL = 0x84
_BAD_CREDENTIALS = 0x86
_NOT_AUTHORISED = 0x87
# MQTT 5.0, table 3-1: refusals that no waiting mends (protocol, client identifier, credentials, ban, method).
_PERMANENT_REFUSALS = frozenset({_UNSUPPORTED_PROTOCOL, 0x85, _BAD_CREDENTIALS, _NOT_AUTHORISED, 0x8A, 0x8C})

# OpenSSL's X509_V_ERR_*.
_NOT_YET_VALID = 9
_EXPIRED = 10
_OTHER_NAME = frozenset({62, 64})  # HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH

_SPEAKS_NO_TLS = (
    "something listens there but does not speak TLS: correct broker.port (a TLS listener usually has 8883), "
    "or, for a broker without TLS, leave out broker.tls and broker.ca_file"
)


def explain_failure(error: OSError | UnicodeError, host: str, *, encrypted: bool) -> str:
    """Why no connection came about, over TLS where it was to be `encrypted`, and what would help."""
    return _explain_tls_failure(error, host) if encrypted else _explain_plain_failure(error, host)


def explain_hanging_up(*, encrypted: bool) -> str:
    """Why something that took the connection ended it without a word, and what would help."""
    hangs_up = "something listens there but hangs up: is it an MQTT broker?"
    return hangs_up if encrypted else f"{hangs_up} One that expects TLS needs broker.ca_file here"


def _explain_tls_failure(error: OSError | UnicodeError, host: str) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return _explain_certificate(error, host)
        case (
            ssl.SSLError(reason="WRONG_VERSION_NUMBER")
            | ssl.SSLEOFError()
            | ConnectionResetError()
            | ConnectionAbortedError()
            | BrokenPipeError()
        ):
            return _SPEAKS_NO_TLS
        case TimeoutError() if "handshake" in str(error):
            return _SPEAKS_NO_TLS
        case _:
            return _explain_plain_failure(error, host)


def _explain_plain_failure(error: OSError | UnicodeError, host: str) -> str:
    match error:
        case ConnectionRefusedError() if is_loopback(host):
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
    if is_sign_in(reason):
        if username is None:
            return (
                "the broker admits no anonymous clients: set broker.username and broker.password_file "
                "(`splitrail site` makes both for each member)"
            )
        return (
            f"the broker refuses the user {username!r} or its password: "
            "correct broker.username and broker.password_file"
        )
    return f"the broker refuses the session ({reason})"


def is_sign_in(refusal: ReasonCode) -> bool:
    """Whether a refusal is about who signs in."""
    return refusal.value in (_BAD_CREDENTIALS, _NOT_AUTHORISED)


def explain_ca_file(error: OSError, file: str) -> str:
    """Why an authority's file cannot be used, and what would help."""
    if isinstance(error, ssl.SSLError):
        return f"broker.ca_file {file} holds no certificate: give the ca.crt (PEM) that `splitrail site init` made"
    return f"cannot read broker.ca_file {file}: {error.strerror}"


def is_lasting(error: Exception) -> bool:
    """Whether trying again would fail in the same way; a Pi without a clock of its own starts in the past."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code != _NOT_YET_VALID


def is_permanent(refusal: ReasonCode) -> bool:
    """Whether trying again would bring the same refusal."""
    return refusal.value in _PERMANENT_REFUSALS


def is_loopback(host: str) -> bool:
    """Whether a host is surely this machine: a loopback address, or `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _explain_certificate(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code in _OTHER_NAME:
        return (
            f"the broker's certificate does not bear the name {host}: correct broker.host, "
            "or have `splitrail site renew --server --host` add it"
        )
    if error.verify_code == _EXPIRED:
        return "the broker's certificate has expired: `splitrail site renew --server` makes a new one"
    if error.verify_code == _NOT_YET_VALID:
        return "the broker's certificate is not valid yet: is this machine's clock right?"
    return (
        f"the broker's certificate is not signed by an authority that is trusted here ({error.verify_message}): "
        "broker.ca_file must be the ca.crt of the site"
    )
