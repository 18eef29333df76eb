"""One InfluxDB, 1.6 to 3, as its settings name it: which it is, writing points to it and asking it by InfluxQL.

What answers mean is `coordinator.telemetry.influx_answers`'s; what waits, and when it is sent, the shipper's.
"""

from functools import cached_property
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from coordinator.configuration import InfluxSettings
from coordinator.errors import InfluxAwayError, InfluxDeniedError, InfluxError, InfluxQueryError
from coordinator.telemetry.influx_answers import (
    Denied,
    Identity,
    Series,
    Unavailable,
    WriteAnswer,
    identity_of,
    reason_in,
    results_in,
    write_answer,
)
from coordinator.telemetry.influx_credentials import credentials_of
from coordinator.telemetry.influx_http import BoundedPool, explain, tls_context

CONNECT_TIMEOUT_S: Final = 5.0
WRITE_TIMEOUT_S: Final = 30.0
"""InfluxDB 1 itself gives a write up after 10 s (its `write-timeout`)."""
QUERY_TIMEOUT_S: Final = 2.0
_WRITES: Final = "text/plain; charset=utf-8"
_ASKS: Final = "application/x-www-form-urlencoded"


class InfluxServer:
    """An InfluxDB behind HTTP; any thread may call. InfluxError (an OSError) says what of the settings is wrong.

    Nothing is asked before the first call. Redirections are not followed, certificates are always checked, and no
    answer is read beyond 16 MB.
    """

    def __init__(self, settings: InfluxSettings) -> None:
        self._settings = settings
        self._credentials = credentials_of(settings)
        self._url = settings.url.rstrip("/")
        try:
            context = tls_context(settings.ca_file) if self._url.startswith("https:") else None
            self._pool = BoundedPool(num_pools=1, maxsize=3, ssl_context=context)
        except OSError as error:
            raise InfluxError(
                self.endpoint, f"influxdb.ca_file {settings.ca_file} cannot be used: {error}; give a PEM file"
            ) from None
        self._identity: Identity | None = None

    @property
    def endpoint(self) -> str:
        """The URL without what may be secret in it."""
        parts = urlsplit(self._url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @property
    def database(self) -> str:
        """The database, or bucket, that is written to."""
        return self._settings.database

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def identify(self, timeout_s: float = CONNECT_TIMEOUT_S) -> Identity:
        """Which InfluxDB it is, asked anew. InfluxAwayError or InfluxDeniedError if it cannot be told."""
        self._identity = None
        answer = self.request("GET", "/ping", timeout_s=timeout_s)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        identity = identity_of(headers, answer.data)
        if answer.status in (401, 403):
            raise InfluxDeniedError(
                self.endpoint, f"refuses who asks ({reason_in(answer.data, answer.status)}): give credentials"
            )
        if identity is None or answer.status not in (200, 204):
            raise InfluxAwayError(self.endpoint, "what answers there is no InfluxDB 1, 2 or 3: correct influxdb.url")
        self._identity = identity
        return identity

    def write(self, lines: bytes) -> WriteAnswer:
        """Write points in line protocol, with times in ns; never raises, for each answer means something to do."""
        try:
            identity = self._identity or self.identify()
        except InfluxDeniedError as error:
            return Denied(error.reason)
        except InfluxAwayError as error:
            return Unavailable(error.reason)
        answer = self._write_by_v2(identity, lines) if identity.writes_by_v2 else self._write_by_v1(lines)
        if isinstance(answer, Unavailable | Denied):
            # It may come back as another version.
            self._identity = None
        return answer

    def query(self, statements: str, *, timeout_s: float = QUERY_TIMEOUT_S) -> tuple[tuple[Series, ...], ...]:
        """The series of each of some InfluxQL statements, separated by semicolons; times are in ns since 1970.

        InfluxAwayError, InfluxDeniedError or InfluxQueryError where there is no answer to read.
        """
        answer = self.request(
            "POST",
            "/query",
            urlencode({"db": self.database, "epoch": "ns", "q": statements}).encode(),
            content_type=_ASKS,
            timeout_s=timeout_s,
        )
        match answer.status:
            case 200:
                results = results_in(answer.data)
                if isinstance(results, str):
                    raise InfluxQueryError(self.endpoint, results)
                return results
            case 401 | 403 | 404:
                raise InfluxDeniedError(self.endpoint, reason_in(answer.data, answer.status))
            case status if status == 429 or status >= 500:
                raise InfluxAwayError(self.endpoint, reason_in(answer.data, status))
            case status:
                raise InfluxQueryError(self.endpoint, reason_in(answer.data, status))

    def request(
        self, method: str, path: str, body: bytes | None = None, *, content_type: str = _WRITES, timeout_s: float
    ) -> urllib3.HTTPResponse:
        """The answer to one request with our credentials, whatever its status; InfluxAwayError if none came."""
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        if self._credentials.basic is not None:
            headers["Authorization"] = self._credentials.basic
        try:
            return self._pool.urlopen(
                method,
                self._url + path,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s), total=timeout_s),
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise InfluxAwayError(self.endpoint, explain(error)) from None

    def _write_by_v1(self, lines: bytes) -> WriteAnswer:
        # 1.6 takes an unknown precision for 1970, so it is always said (measured with 1.6.7).
        path = "/write?" + urlencode({"db": self.database, "precision": "ns"})
        try:
            answer = self.request("POST", path, lines, timeout_s=WRITE_TIMEOUT_S)
        except InfluxAwayError as error:
            return Unavailable(error.reason)
        return write_answer(answer.status, answer.data, retry_after=answer.headers.get("Retry-After"))

    def _write_by_v2(self, identity: Identity, lines: bytes) -> WriteAnswer:
        if identity.family == "2" and self._settings.org is None:
            return Denied("InfluxDB 2 asks for an organisation: give influxdb.org")
        try:
            self._client.write_api(write_options=SYNCHRONOUS).write(bucket=self.database, record=lines)
        except ApiException as error:
            if not error.status:
                return Unavailable(explain(error))
            retry_after = None if error.headers is None else error.headers.get("Retry-After")
            return write_answer(error.status, _bytes(error.body), retry_after=retry_after)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            return Unavailable(explain(error))
        # The library takes every 2xx for success.
        return write_answer(self._client.api_client.last_response.status, b"")

    @cached_property
    def _client(self) -> Any:  # its own annotations deny the token that may be None, and our pool
        client: Any = InfluxDBClient
        opened = client(
            self._url,
            token=self._credentials.token,
            org=self._settings.org or "-",  # 1.8 and 3 do not read it
            timeout=round(WRITE_TIMEOUT_S * 1e3),
        )
        # Its own pool would read an error of any size.
        opened.api_client.rest_client.pool_manager = self._pool
        return opened


def _bytes(body: object) -> bytes:
    """The body of an error, which the library has decoded or not."""
    return body if isinstance(body, bytes) else str(body or "").encode()
