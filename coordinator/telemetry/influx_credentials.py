"""Who asks an InfluxDB, from the settings, files and the environment; what is secret is never shown."""

import os
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from coordinator.configuration import InfluxSettings
from coordinator.errors import InfluxError

PASSWORD_VARIABLE: Final = "SPLITRAIL_INFLUXDB_PASSWORD"
TOKEN_VARIABLE: Final = "SPLITRAIL_INFLUXDB_TOKEN"
MAX_SECRET_BYTES: Final = 4_096


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user with a password (InfluxDB 1), a token (2 and 3), or neither."""

    username: str | None = None
    secret: str | None = field(default=None, repr=False)
    is_token: bool = False

    @property
    def basic(self) -> str | None:
        """The value of an `Authorization: Basic` header, which every family takes; None without credentials."""
        if self.secret is None:
            return None
        pair = f"{self.username or 'splitrail'}:{self.secret}".encode()
        return "Basic " + b64encode(pair).decode()

    @property
    def token(self) -> str | None:
        """What goes behind `Authorization: Token` at /api/v2/write; 1.8 takes `user:password` there."""
        return self.secret if self.secret is None or self.is_token else f"{self.username}:{self.secret}"


def credentials_of(settings: InfluxSettings, environment: Mapping[str, str] = os.environ) -> Credentials:
    """The credentials that the settings name; InfluxError where they cannot be read or do not go together."""
    token = _secret(settings, settings.token_file, "token_file", environment.get(TOKEN_VARIABLE))
    password = _secret(settings, settings.password_file, "password_file", environment.get(PASSWORD_VARIABLE))
    if token is not None:
        return Credentials(settings.username, token, is_token=True)
    if settings.username is not None and password is None:
        raise InfluxError(
            settings.url,
            f"influxdb.username goes with a password: give influxdb.password_file, or set {PASSWORD_VARIABLE}",
        )
    if password is not None and settings.username is None:
        raise InfluxError(settings.url, "a password goes with a user: give influxdb.username")
    return Credentials(settings.username, password)


def _secret(settings: InfluxSettings, file: Path | None, key: str, given: str | None) -> str | None:
    """The first line of a file, else what the environment has."""
    if file is None:
        return given or None
    try:
        with file.open("rb") as source:
            content = source.read(MAX_SECRET_BYTES + 1)
        line = content.decode().partition("\n")[0].strip() if len(content) <= MAX_SECRET_BYTES else ""
    except OSError as error:
        raise InfluxError(
            settings.url, f"influxdb.{key} {file} cannot be read: {error.strerror}; give a file that can"
        ) from None
    except UnicodeDecodeError:
        line = ""
    if not line or not line.isprintable():
        raise InfluxError(settings.url, f"influxdb.{key} {file} must have the secret, as text, in its first line")
    return line
