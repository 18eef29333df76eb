"""The management interface of InfluxDB 2 and 3: JSON over HTTP with a token.

What is asked of it is `coordinator.telemetry.influx_setup_v2`'s and `influx_setup_v3`'s.
"""

from typing import Final, Literal, TypeVar

import msgspec
import urllib3

from coordinator.configuration import InfluxSettings
from coordinator.errors import InfluxAwayError, InfluxDeniedError, InfluxError
from coordinator.telemetry.influx_answers import reason_in
from coordinator.telemetry.influx_credentials import TOKEN_VARIABLE, credentials_of
from coordinator.telemetry.influx_http import BoundedPool, explain, tls_context

TIMEOUT_S: Final = 30.0

T = TypeVar("T")


class InfluxApi:
    """Asks and tells a server as its administrator; `scheme` is what stands before the token.

    InfluxError (an OSError) says what is wrong with the settings, and InfluxDeniedError where more rights are needed.
    """

    def __init__(self, settings: InfluxSettings, endpoint: str, scheme: Literal["Token", "Bearer"]) -> None:
        credentials = credentials_of(settings)
        if credentials.secret is None or not credentials.is_token:
            raise InfluxDeniedError(
                endpoint,
                f"setting it up needs a token that may do everything: give --token-file, or set {TOKEN_VARIABLE}",
            )
        self.endpoint = endpoint
        self._url = settings.url.rstrip("/")
        self._headers = {
            "Authorization": f"{scheme} {credentials.secret}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        context = tls_context(settings.ca_file) if self._url.startswith("https:") else None
        self._pool = BoundedPool(num_pools=1, maxsize=1, ssl_context=context)

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()

    def find(self, path: str, kind: type[T]) -> T | None:
        """What is at `path`; None where the server says that there is nothing."""
        answer = self._request("GET", path, None)
        return None if answer.status == 404 else self._read(answer, kind)

    def send(self, method: Literal["POST", "PATCH"], path: str, body: object, kind: type[T]) -> T:
        """Tell the server something, and what it answers."""
        return self._read(self._request(method, path, msgspec.json.encode(body)), kind)

    def _request(self, method: str, path: str, body: bytes | None) -> urllib3.HTTPResponse:
        try:
            return self._pool.urlopen(
                method, self._url + path, body=body, headers=self._headers, timeout=urllib3.Timeout(total=TIMEOUT_S)
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise InfluxAwayError(self.endpoint, explain(error)) from None

    def _read(self, answer: urllib3.HTTPResponse, kind: type[T]) -> T:
        if answer.status in (401, 403):
            reason = reason_in(answer.data, answer.status)
            raise InfluxDeniedError(
                self.endpoint, f"refuses this token ({reason}): setting it up needs one that may do everything"
            )
        if not 200 <= answer.status < 300:
            raise InfluxError(self.endpoint, f"does not do what it is told ({reason_in(answer.data, answer.status)})")
        try:
            return msgspec.json.decode(answer.data or b"null", type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InfluxError(self.endpoint, "answers as no InfluxDB does: correct influxdb.url") from None
