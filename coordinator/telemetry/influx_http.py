"""One HTTP connection pool for an InfluxDB: what the server answers is bounded in size and time, and never followed.

What is asked and what an answer means is `coordinator.telemetry.influx_server`'s.
"""

import io
import math
import socket
import ssl
import time
from pathlib import Path
from typing import Any, Final

import urllib3

MAX_ANSWER_BYTES: Final = 16_000_000
"""A minute of 100,000 inferences is 6 MB; beyond that no answer is read."""
_CHUNK_BYTES: Final = 65_536


class BoundedPool(urllib3.PoolManager):
    """A urllib3 pool that reads at most 16 MB of an answer, undecoded, and follows no redirection.

    So a server can neither fill the memory nor send credentials elsewhere. What is too large raises HTTPError.
    """

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> urllib3.HTTPResponse:  # type: ignore[override]  # noqa: ARG002  # narrower, as all that we need
        """Ask, and read the whole answer; a server that dribbles has twice its `timeout` at most."""
        timeout = options.get("timeout")
        longest_s = timeout.total if isinstance(timeout, urllib3.Timeout) else None
        deadline = time.monotonic() + longest_s if isinstance(longest_s, int | float) else math.inf
        options |= {"preload_content": False, "decode_content": False, "retries": False}
        answer = super().urlopen(method, url, redirect=False, **options)
        parts: list[bytes] = []
        size = 0
        for part in answer.stream(_CHUNK_BYTES, decode_content=False):
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                answer.close()
                raise urllib3.exceptions.HTTPError("its answer is too long")
        # As a stream: an empty text would be no body at all.
        body = io.BytesIO(b"".join(parts))
        return urllib3.HTTPResponse(body, headers=answer.headers, status=answer.status, decode_content=False)


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """What servers are checked with. OSError where the authority's file cannot be read or holds no certificate."""
    return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))


def explain(error: BaseException) -> str:
    """Why no answer came, and what would help, from what urllib3 raises."""
    match _cause(error):
        case ssl.SSLCertVerificationError() as cause:
            reason = f"its certificate is not trusted here ({cause.verify_message}): give influxdb.ca_file"
        case ssl.SSLError():
            reason = "something listens there but does not speak TLS: correct influxdb.url (http or https, the port)"
        case ConnectionRefusedError():
            reason = "no InfluxDB listens there: start it, or correct influxdb.url"
        case UnicodeDecodeError():
            reason = "what answers there is no InfluxDB: correct influxdb.url"
        case socket.gaierror() | UnicodeError() | urllib3.exceptions.NameResolutionError():
            reason = "this name is not known: correct influxdb.url, or give an IP address"
        case TimeoutError() | urllib3.exceptions.TimeoutError():
            reason = "no answer in time: check influxdb.url, the network and how busy the server is"
        case OSError() as cause:
            reason = f"the connection failed ({cause.strerror or cause}): check influxdb.url and the network"
        case cause:
            reason = f"no answer ({cause})"
    return reason


def _cause(error: BaseException) -> BaseException:
    """The operating system's or the TLS library's own error, where there is one below."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError | UnicodeError) and not isinstance(seen, urllib3.exceptions.HTTPError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error
