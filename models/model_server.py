"""How a client stands towards the server of models: its token, which goes to that server alone, and whom it trusts.

Downloads are `models.fetch`'s; the status is asked for in the same way.
"""

import http.client
import ipaddress
import ssl
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from models.errors import FetchError, ServerAccessError

MAX_TOKEN_BYTES = 1_000
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """The file whose first line is the token, and the authority that signed the server's certificate (PEM).

    Both are read at each request, so that what is renewed counts at once. Without an authority the system's count.
    `token_option` is what the user calls the token's file, for errors.
    """

    token_file: Path | None = None
    ca_file: Path | None = None
    token_option: str = "models.token_file"

    def opener(self, url: str) -> urllib.request.OpenerDirector:
        """An opener for this address, without urllib's file, ftp and data addresses; ServerAccessError."""
        opener = urllib.request.OpenerDirector()
        handlers: list[urllib.request.BaseHandler] = [
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=self._trust()),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _SafeRedirects(),
        ]
        if not _is_loopback(url):
            # A proxy has another loopback, and would read what is sent there.
            handlers.append(urllib.request.ProxyHandler())
        for handler in handlers:
            opener.add_handler(handler)
        return opener

    def request(self, url: str, headers: dict[str, str]) -> urllib.request.Request:
        """A request that bears the token where nobody else can read it; ServerAccessError."""
        request = urllib.request.Request(url, headers=headers)
        if self.token_file is not None and _keeps_secrets(url):
            # Of this kind urllib itself sends none along a redirect.
            request.add_unredirected_header("Authorization", f"Bearer {_read_token(self.token_file)}")
        return request

    def refusal(self, url: str) -> str:
        """Why the server may have answered 401 or 403, and what would be right."""
        if self.token_file is None:
            return f"the coordinator wants a token: give {self.token_option}"
        if not _keeps_secrets(url):
            return (
                "the coordinator wants a token, and none is sent over plain http to another machine: "
                "give it http.certificate_file and http.key_file"
            )
        return (
            f"the coordinator refuses this token: {self.token_option} {self.token_file} is of another site, or was "
            "renewed or shut out (`splitrail site list`)"
        )

    def distrust(self, error: ssl.SSLCertVerificationError) -> str:
        """Why the server's certificate does not count, and what would be right."""
        trusted = "the system's authorities" if self.ca_file is None else f"the authority in {self.ca_file}"
        return f"its certificate does not hold by {trusted} ({error.verify_message})"

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        except OSError as error:
            reason = error.strerror if error.errno is not None and not isinstance(error, ssl.SSLError) else "not PEM"
            raise ServerAccessError(f"the authority in {self.ca_file} cannot be used: {reason}") from None


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to http or https, never from https down to http; the token stays with its server."""

    def redirect_request(  # noqa: PLR0917  # the signature is urllib's
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request that follows, or FetchError where the redirect leads elsewhere."""
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise FetchError(req.full_url, f"it redirects to {newurl}, which is not as safe an address")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if following is not None and token is not None and _server(newurl) == _server(req.full_url):
            following.add_unredirected_header("Authorization", token)
        return following


def _keeps_secrets(url: str) -> bool:
    return urllib.parse.urlsplit(url).scheme == "https" or _is_loopback(url)


def _is_loopback(url: str) -> bool:
    """By number, or `localhost`: what another name stands for is not for us to say."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _server(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _read_token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            first = file.read(MAX_TOKEN_BYTES + 1).split(b"\n", 1)[0].strip()
        token = first.decode("ascii")
    except OSError as error:
        raise ServerAccessError(f"the token in {path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        token = ""
    if not token or len(token) > MAX_TOKEN_BYTES or not token.isprintable() or " " in token:
        raise ServerAccessError(f"the first line of {path} holds no token")
    return token
