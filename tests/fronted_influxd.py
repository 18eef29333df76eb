"""A small server that answers as InfluxDB 1.8, 2 and 3 Core document it, in front of a real InfluxDB 1.6 that stores.

None of those three can be had here: what is true of them is their published forms alone (docs/telemetry.md says so).
"""

import base64
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import urllib3

from coordinator.telemetry.influx_answers import Family

TOKEN = "a-token-of-some-length=="
ORG = "home"
# docs.influxdata.com, `/ping` of each: 1.8 and 2 answer 204 without a body, 3 Core 200 with its version as JSON.
VERSIONS: Mapping[Family, str] = {"1.8": "1.8.10", "2": "v2.7.11", "3": "3.8.0"}
BUILDS: Mapping[Family, str] = {"1.8": "OSS", "2": "OSS", "3": "Core"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    authorization: str | None
    body: bytes


@dataclass
class Script:
    """What the server is to do: whose form its answers take, and what it answers instead of what it should."""

    family: Family
    behind: str
    asked: list[Asked] = field(default_factory=list)
    instead: list[tuple[int, Mapping[str, str], bytes]] = field(default_factory=list)
    """Answers for the next writes, one each."""
    largest_body: int = 25_000_000
    pool: urllib3.PoolManager = field(default_factory=urllib3.PoolManager)


class FrontedInfluxd:
    """Listens on a loopback port while its block lasts."""

    def __init__(self, family: Family, behind: str) -> None:
        self.script = Script(family, behind)
        handler: Any = type("Handler", (_Handler,), {"script": self.script})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def writes(self) -> list[Asked]:
        return [asked for asked in self.script.asked if asked.path.endswith("/write")]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.script.pool.clear()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    script: ClassVar[Script]
    protocol_version = "HTTP/1.1"
    # Without it a kept connection outlives its test.
    timeout = 2.0

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the library's name
        """Quiet."""

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        asked = Asked(
            self.command,
            parts.path,
            {name: values[0] for name, values in parse_qs(parts.query).items()},
            self.headers.get("Authorization"),
            self.rfile.read(int(self.headers.get("Content-Length", 0))),
        )
        self.script.asked.append(asked)
        match asked.path:
            case "/ping":
                self._ping()
            case "/api/v2/write":
                self._write(asked)
            case "/query":
                self._query(asked)
            case _:
                self._answer(404, b"404 page not found")

    def _ping(self) -> None:
        family = self.script.family
        if family == "3":
            body = {"version": VERSIONS[family], "revision": "0123456789", "process_id": "4d3f"}
            self._answer(200, json.dumps(body).encode())
        else:
            self._answer(204)

    def _write(self, asked: Asked) -> None:
        if self.script.instead:
            status, headers, body = self.script.instead.pop(0)
            self._answer(status, body, headers)
            return
        if asked.authorization != f"Token {TOKEN}":
            self._refuse(401, "unauthorized", "unauthorized access")
        elif self.script.family == "2" and asked.query.get("org") != ORG:
            self._refuse(404, "not found", f'organization name "{asked.query.get("org")}" not found')
        elif len(asked.body) > self.script.largest_body:
            self._refuse(413, "request too large", "unable to read data: points batch is too large")
        else:
            path = "/write?" + urlencode({"db": asked.query["bucket"], "precision": asked.query["precision"]})
            self._forward(path, asked.body)

    def _query(self, asked: Asked) -> None:
        expected = "Basic " + base64.b64encode(f"splitrail:{TOKEN}".encode()).decode()
        if asked.authorization != expected:
            self._refuse(401, "unauthorized", "Unauthorized")
        else:
            answer = self.script.pool.request(
                "POST", f"{self.script.behind}/query", body=asked.body, headers=_FORM, retries=False
            )
            self._answer(answer.status, answer.data)

    def _forward(self, path: str, body: bytes) -> None:
        answer = self.script.pool.request("POST", self.script.behind + path, body=body, retries=False)
        if answer.status == 204:
            self._answer(204)
            return
        said = json.loads(answer.data)["error"]
        if answer.status == 404:
            self._refuse(404, "not found", 'bucket "nowhere" not found')
        elif "partial write" in said and self.script.family == "2":
            self._refuse(422, "unprocessable entity", f"failure writing points to database: {said}")
        else:
            self._refuse(400, "invalid", said)

    def _refuse(self, status: int, code: str, message: str) -> None:
        body: dict[str, object] = {"code": code, "message": message}
        if self.script.family == "3":
            rejected = [{"original_line": "…", "line_number": 1, "error_message": message}]
            body = {"error": "partial write of line protocol occurred", "data": rejected}
        self._answer(status, json.dumps(body).encode())

    def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] = {}) -> None:
        self.send_response(status)
        family = self.script.family
        own = {"X-Influxdb-Version": VERSIONS[family], "X-Influxdb-Build": BUILDS[family]}
        for name, value in {**own, "Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)


_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
