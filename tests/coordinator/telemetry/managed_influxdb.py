"""A small server with the management requests of InfluxDB 2 and 3 Core, as their references document them.

Neither can be had here: what is true of them is their documentation alone (docs/influxdb.md says so).
"""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Literal, Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "an-all-access-token=="
ORG = "home"
ORG_ID = "0123456789abcdef"


@dataclass
class Kept:
    """What the server keeps, and what it was told to change."""

    family: Literal["2", "3"]
    buckets: list[dict[str, Any]] = field(default_factory=list)
    mappings: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    databases: dict[str, str | None] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)


class ManagedInfluxdb:
    """Listens on a loopback port while its block lasts."""

    def __init__(self, family: Literal["2", "3"]) -> None:
        self.kept = Kept(family)
        handler: Any = type("Handler", (_Handler,), {"kept": self.kept})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    kept: ClassVar[Kept]
    protocol_version = "HTTP/1.1"
    timeout = 2.0

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PATCH(self) -> None:
        self._handle()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the library's name
        """Quiet."""

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body: dict[str, Any] = json.loads(content) if content else {}
        if parts.path == "/ping":
            version = {"2": "v2.7.11", "3": "3.8.0"}[self.kept.family]
            self._answer(204 if self.kept.family == "2" else 200, {"version": version}, version=version)
            return
        scheme = "Token" if self.kept.family == "2" else "Bearer"
        if self.headers.get("Authorization") != f"{scheme} {TOKEN}":
            self._answer(401, {"code": "unauthorized", "message": "unauthorized access"})
            return
        if self.command != "GET":
            self.kept.changes.append(f"{self.command} {parts.path}")
        answer = self._v2(parts.path, query, body) if self.kept.family == "2" else self._v3(parts.path, query, body)
        self._answer(*answer)

    def _v2(self, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:  # noqa: PLR0911  # one for each request
        kept = self.kept
        match self.command, path:
            case "GET", "/api/v2/orgs":
                if query["org"] != ORG:
                    return 404, {"code": "not found", "message": f'organization name "{query["org"]}" not found'}
                return 200, {"orgs": [{"id": ORG_ID, "name": ORG}]}
            case "GET", "/api/v2/buckets":
                found = [each for each in kept.buckets if each["name"] == query["name"]]
                if not found:
                    return 404, {"code": "not found", "message": f'bucket "{query["name"]}" not found'}
                return 200, {"buckets": found}
            case "POST", "/api/v2/buckets":
                bucket = {"id": f"{len(kept.buckets):016x}", **body}
                kept.buckets.append(bucket)
                return 201, bucket
            case "GET", "/api/v2/dbrps":
                return 200, {"content": [each for each in kept.mappings if each["database"] == query["db"]]}
            case "POST", "/api/v2/dbrps":
                mapping = {"id": f"{len(kept.mappings):016x}", "virtual": False, **body}
                kept.mappings.append(mapping)
                return 201, mapping
            case "GET", "/api/v2/tasks":
                return 200, {"tasks": [each for each in kept.tasks if each["name"] == query["name"]]}
            case "POST", "/api/v2/tasks":
                name = body["flux"].partition('name: "')[2].partition('"')[0]
                task = {"id": f"{len(kept.tasks):016x}", "name": name, **body}
                kept.tasks.append(task)
                return 201, task
            case "PATCH", _:
                kind, _, number = path.removeprefix("/api/v2/").partition("/")
                changed: dict[str, Any] = {"buckets": kept.buckets, "tasks": kept.tasks}[kind][int(number, 16)]
                changed |= body
                return 200, changed
        return 404, {"code": "not found", "message": "path not found"}

    def _v3(self, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        assert path == "/api/v3/configure/database"
        if self.command == "GET":
            assert query["format"] == "json"
            return 200, [{"iox::database": name} for name in self.kept.databases]
        if body["db"] in self.kept.databases:
            return 409, {"error": "attempted to create a resource that already exists"}
        self.kept.databases[body["db"]] = body.get("retention_period")
        return 200, None

    def _answer(self, status: int, body: object, *, version: str | None = None) -> None:
        content = b"" if body is None or status == 204 else json.dumps(body).encode()
        self.send_response(status)
        if version is not None:
            self.send_header("X-Influxdb-Version", version)
            self.send_header("X-Influxdb-Build", "OSS" if self.kept.family == "2" else "Core")
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
