"""Asks a coordinator for its report over HTTP, with a bound on what it may answer and how long it may take.

What is drawn of it is `splitrail status`' part.
"""

import http.client
import ssl
import urllib.error
from dataclasses import dataclass
from typing import Final

import msgspec

from coordinator.status_report import StatusReport
from models.model_server import ServerAccess
from splitrail.errors import SplitrailError

MAX_REPORT_BYTES: Final = 16_000_000
TIMEOUT_S: Final = 5.0

_decoder = msgspec.json.Decoder(StatusReport)


@dataclass(frozen=True, slots=True)
class ReportSource:
    """A coordinator's base URL, and how we stand towards it; `option` is what the user calls the URL, for errors."""

    url: str
    access: ServerAccess
    option: str

    def report(self) -> StatusReport:
        """The site's report; SplitrailError says why there is none."""
        try:
            return _decoder.decode(self._fetch())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SplitrailError(
                f"{self.url} answers, but not as a coordinator of this version would: {error}"
            ) from None

    def _fetch(self) -> bytes:
        url, access = self.url, self.access
        address = f"{url.rstrip('/')}/v1/status"
        if not address.startswith(("http://", "https://")):
            raise SplitrailError(f"{self.option} {url!r} is no URL: it must begin with http:// or https://")
        try:
            with access.opener(address).open(access.request(address, {}), timeout=TIMEOUT_S) as answer:
                body: bytes = answer.read(MAX_REPORT_BYTES + 1)
        except SplitrailError:
            raise
        except urllib.error.HTTPError as error:
            with error:
                if error.code == http.HTTPStatus.UNAUTHORIZED:
                    raise SplitrailError(f"{address}: {access.refusal(address)}") from None
                raise SplitrailError(
                    f"{address} answers {error.code} {error.reason}: is a coordinator there?"
                ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise SplitrailError(f"{address}: {access.distrust(reason)}: give the site's ca.crt") from None
            raise SplitrailError(
                f"no coordinator answers at {url} ({reason}): start one with `splitrail coordinator`, "
                f"or correct {self.option}"
            ) from None
        if len(body) > MAX_REPORT_BYTES:
            raise SplitrailError(f"{address} answers with more than {MAX_REPORT_BYTES} bytes: no coordinator does")
        return body
