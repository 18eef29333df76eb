"""The coordinator's HTTP interface: asked for its report as this member would, or from its own machine."""

import http.client
import time
import urllib.error
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.model_server import ServerAccess
from splitrail.coordinator_report import ReportSource
from splitrail.doctor.broker_access import expiry_findings
from splitrail.doctor.broker_probe import Expiry
from splitrail.doctor.clock import skew_findings
from splitrail.doctor.finding import Finding, checked
from splitrail.doctor.site_report import report_findings
from splitrail.errors import SplitrailError

if TYPE_CHECKING:
    from coordinator.configuration import HttpSettings

TIMEOUT_S: Final = 3.0
MAX_ANSWER_BYTES: Final = 4_096


def coordinator_findings(url: str, access: ServerAccess, *, option: str, node: str | None) -> Iterator[Finding]:
    """What the coordinator at `url` answers to who has this access; `option` is the key that says where it is."""
    began, began_s = time.time(), time.monotonic()
    try:
        report = ReportSource(url, access, option).report()
    except SplitrailError as error:
        says, _, fix = str(error).rpartition(": ")
        yield Finding("coordinator", "problem", says, fix)
        return
    trip_s = time.monotonic() - began_s
    yield from report_findings(report, node=node)
    # It told its time at some moment between our question and its answer.
    yield from skew_findings(began + trip_s / 2 - report.at, trip_s / 2)


def own_findings(settings: "HttpSettings", ca_file: Path | None, config: Path) -> Iterator[Finding]:
    """Of a coordinator by its settings, which are in `config`: whether it serves now, and whether it could."""
    yield from checked("http", lambda: _certificate_findings(settings))
    tokens = settings.tokens_file
    if tokens is not None:
        yield from checked("http", lambda: _token_findings(tokens))
    scheme = "http" if settings.certificate_file is None else "https"
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # compared with only
    url = settings.advertise or f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"
    yield from _readiness_findings(url, ServerAccess(None, ca_file), config)


def _token_findings(file: Path) -> Iterator[Finding]:
    from coordinator.http_tokens import Tokens  # noqa: PLC0415  # it needs the extra

    Tokens(file)
    yield Finding("http", "ok", f"the tokens in {file} can be read")


def _certificate_findings(settings: "HttpSettings") -> Iterator[Finding]:
    if settings.certificate_file is None:
        return
    from cryptography import x509  # noqa: PLC0415  # it comes with the extra

    try:
        certificate = x509.load_pem_x509_certificate(settings.certificate_file.read_bytes())
    except ValueError:
        says = f"{settings.certificate_file} holds no certificate"
        yield Finding("http", "problem", says, "give a PEM file; `splitrail site renew --server` makes one")
        return
    expires = certificate.not_valid_after_utc
    yield from expiry_findings(Expiry("the certificate for HTTP", expires), datetime.now(UTC))


def _readiness_findings(url: str, access: ServerAccess, config: Path) -> Iterator[Finding]:
    address = f"{url.rstrip('/')}/readyz"
    try:
        with access.opener(address).open(access.request(address, {}), timeout=TIMEOUT_S) as answer:
            answer.read(MAX_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            words = error.read(MAX_ANSWER_BYTES).decode("utf-8", "replace").strip()
        if error.code == http.HTTPStatus.SERVICE_UNAVAILABLE:
            yield Finding("coordinator", "problem", f"it runs and is not ready: {words}")
        else:
            fix = "stop what listens there, or choose another http.port"
            yield Finding("coordinator", "problem", f"{address} answers {error.code}, as no coordinator does", fix)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ConnectionRefusedError):
            yield Finding("coordinator", "note", f"none runs at {url}", f"splitrail coordinator --config {config}")
        else:
            yield Finding("coordinator", "problem", f"{url} cannot be asked: {reason}", "see http.advertise")
    else:
        yield Finding("coordinator", "ok", f"it runs at {url} and is ready")
