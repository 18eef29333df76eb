"""Where the broker is, and what a client shows it and asks of it: user, password, certificate.

The connection itself is `broker.connection`'s.
"""

import ssl
import stat
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from broker.errors import ConnectionFailedError
from broker.explanations import explain_ca_file, is_loopback


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the MQTT broker is and how to sign in."""

    host: Annotated[str, Meta(min_length=1, description="name or address of the MQTT broker")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535, description="its port")] = 1883
    username: Annotated[str | None, Meta(description="user name; none signs in anonymously")] = None
    password_file: Annotated[Path | None, Meta(description="file whose first line is the password")] = None
    tls: Annotated[
        bool, Meta(description="encrypt, and check the broker's certificate by the system's authorities")
    ] = False
    ca_file: Annotated[Path | None, Meta(description="authority that signed the broker's certificate; implies tls")] = (
        None
    )
    keepalive_s: Annotated[int, Meta(ge=1, le=65535, description="silence after which the peer counts as gone")] = 15
    start_timeout_s: Annotated[
        float, Meta(ge=0.0, description="how long the first connection may take; 0 waits for ever")
    ] = 10.0

    @property
    def endpoint(self) -> str:
        """`host:port`, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def encrypted(self) -> bool:
        """Whether the connection is made over TLS."""
        return self.tls or self.ca_file is not None


class _ClosedOnFailure(ssl.SSLSocket):
    """A socket that paho cannot forget to close when the handshake fails."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def exposures(broker: BrokerSettings) -> tuple[str, ...]:
    """What signing in like this lays open to others, each as a sentence that says what would help."""
    found = []
    if not is_loopback(broker.host):
        if not broker.encrypted and broker.username is None:
            found.append(
                "anyone on the way can read and change what is said: connect over TLS (broker.ca_file), under a name "
                "(`splitrail site` makes what that takes)"
            )
        elif not broker.encrypted:
            found.append("the password travels readable for anyone on the way: connect over TLS (broker.ca_file)")
        elif broker.username is None:
            found.append("this broker may admit anyone: sign in with broker.username and broker.password_file")
    file = broker.password_file
    if file is not None and file.is_file() and file.stat().st_mode & stat.S_IROTH:
        found.append(f"everyone on this machine can read the password in {file}: `chmod 600` it")
    return tuple(found)


def read_password(broker: BrokerSettings) -> str | None:
    """The password that `password_file` holds now, None without one; ConnectionFailedError if it holds none."""
    if broker.password_file is None:
        return None
    try:
        lines = broker.password_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = f"cannot read broker.password_file {broker.password_file}: {error}"
        raise ConnectionFailedError(broker.endpoint, reason) from None
    if not lines or not lines[0]:
        raise ConnectionFailedError(broker.endpoint, f"the first line of {broker.password_file} holds no password")
    return lines[0]


def tls_context(broker: BrokerSettings) -> ssl.SSLContext:
    """One that checks the broker's certificate and its name, by `ca_file` alone where there is one.

    ConnectionFailedError if `ca_file` cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=broker.ca_file)
    except OSError as error:
        raise ConnectionFailedError(broker.endpoint, explain_ca_file(error, str(broker.ca_file))) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _ClosedOnFailure
    return context
