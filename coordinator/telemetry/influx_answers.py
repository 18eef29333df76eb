"""What an InfluxDB's answers mean, as typed values: of a write, of a query and of a ping. Pure.

Asking is `coordinator.telemetry.influx_server`'s; what to do next is `coordinator.telemetry.influx_shipping`'s.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

MAX_REASON: Final = 500
"""Bound on what is kept and shown of a server's words, in characters."""
MAX_RETRY_AFTER_S: Final = 300.0

Family = Literal["1", "1.8", "2", "3"]
"""What a server speaks: 1.0 to 1.7, 1.8 (which knows /api/v2/write too), 2.x, and 3 Core."""
Scalar = float | int | str | bool | None


@dataclass(frozen=True, slots=True)
class Identity:
    """Which InfluxDB it is, by its own word."""

    family: Family
    version: str
    build: str

    @property
    def writes_by_v2(self) -> bool:
        """Whether it takes points at /api/v2/write."""
        return self.family != "1"


@dataclass(frozen=True, slots=True)
class Stored:
    """All points of a write are on the server's disk (204)."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Some points are not taken, now or ever; the others may be stored or not."""

    reason: str
    dropped: int | None = None
    """How many, as the server says; None or 0 where it does not."""


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The server takes no body of this size (413)."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Nothing is taken until somebody changes something: credentials, the database, the URL."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The server does not answer or is busy; the same write may do later, not before `retry_after_s`."""

    reason: str
    retry_after_s: float = 0.0


WriteAnswer = Stored | Rejected | TooLarge | Denied | Unavailable


class Series(msgspec.Struct, frozen=True):
    """One group of an InfluxQL answer: rows of values in the order of `columns`, times in ns since 1970."""

    columns: tuple[str, ...]
    name: str = ""
    tags: Mapping[str, str] = {}
    values: tuple[tuple[Scalar, ...], ...] = ()


class _Result(msgspec.Struct, frozen=True):
    """What came of one statement."""

    series: tuple[Series, ...] = ()
    error: str | None = None


class _Results(msgspec.Struct, frozen=True):
    """What came of all of them."""

    results: tuple[_Result, ...] = ()
    error: str | None = None


class _Refusal(msgspec.Struct, frozen=True):
    """How the families word an error: 1.x and 3 say `error`, 2.x `message`; 3 adds what is wrong with each line."""

    error: str | None = None
    message: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"[]")


class _RefusedLine(msgspec.Struct, frozen=True):
    error_message: str = ""


class _Version(msgspec.Struct, frozen=True):
    """What 3 Core says to a ping, in the body too."""

    version: str = ""


_RESULTS = msgspec.json.Decoder(_Results)
_REFUSAL = msgspec.json.Decoder(_Refusal)
_REFUSED_LINES = msgspec.json.Decoder(tuple[_RefusedLine, ...] | _RefusedLine)
_VERSION = msgspec.json.Decoder(_Version)
_DROPPED = re.compile(r"\bdropped=(\d{1,9})\b")
_STATEMENT = re.compile(r" to execute statement '.*?(?:'(?=, requires)|$)")
_MAJOR_MINOR = re.compile(r"v?(\d{1,4})\.(\d{1,4})")


def identity_of(headers: Mapping[str, str], body: bytes) -> Identity | None:
    """Which InfluxDB answers a ping so; None if it is none that is known here. `headers` by lower-case name."""
    version = headers.get("x-influxdb-version") or _version_in(body)
    found = _MAJOR_MINOR.match(version)
    if found is None:
        return None
    family: Family
    match (int(found[1]), int(found[2])):
        case (1, minor):
            family = "1.8" if minor >= 8 else "1"
        case (2, _):
            family = "2"
        case (3, _):
            family = "3"
        case _:
            return None
    return Identity(family, _bounded(version), _bounded(headers.get("x-influxdb-build", "")))


def write_answer(status: int, body: bytes, *, retry_after: str | None = None) -> WriteAnswer:
    """What the answer to a write means."""
    if status == 204:
        return Stored()
    refusal = _refusal_in(body)
    # 2.0 says a partial write with 500 (github.com/dojot/dojot/issues/2216), later ones with 422.
    if refusal is not None and (status in (400, 422) or (status >= 500 and "partial write" in refusal)):
        return _rejected(refusal)
    if status == 413:
        return TooLarge()
    if status in (408, 429) or status >= 500:
        return Unavailable(refusal or f"answers {status}", _seconds(retry_after))
    return Denied(_denial(status, refusal))


def results_in(body: bytes) -> tuple[tuple[Series, ...], ...] | str:
    """The series of each statement of a query; or, as a text, why there are none."""
    try:
        answer = _RESULTS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "the answer is no InfluxQL result: correct influxdb.url"
    error = answer.error or next((result.error for result in answer.results if result.error), None)
    return tuple(result.series for result in answer.results) if error is None else _bounded(error)


def reason_in(body: bytes, status: int) -> str:
    """An error in the server's own words, without the statement that was asked, or its status."""
    return _STATEMENT.sub("", _refusal_in(body) or f"answers {status}")


def _denial(status: int, refusal: str | None) -> str:
    words = f" ({refusal})" if refusal else ""
    match status:
        case 401:
            return f"refuses who asks{words}: give username and password, or a token"
        case 403:
            return f"allows no writing{words}: grant it"
        case 404:
            return f"has no such database{words}: `splitrail telemetry init` makes it"
        case _:
            # A 400 in other words than InfluxDB's comes from something between, such as a port that wants TLS.
            return f"answers {status} as no InfluxDB does: correct influxdb.url"


def _rejected(reason: str) -> Rejected:
    found = _DROPPED.search(reason)
    return Rejected(reason, int(found[1]) if found else None)


def _refusal_in(body: bytes) -> str | None:
    try:
        refusal = _REFUSAL.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return _bounded(": ".join(filter(None, (refusal.error or refusal.message, _first_line_in(refusal.data))))) or None


def _first_line_in(data: bytes) -> str:
    try:
        lines = _REFUSED_LINES.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    first = lines if isinstance(lines, _RefusedLine) else next(iter(lines), _RefusedLine())
    return first.error_message


def _version_in(body: bytes) -> str:
    try:
        return _VERSION.decode(body).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _seconds(retry_after: str | None) -> float:
    """`Retry-After` as seconds; the form with a date is not waited for."""
    if retry_after is None or not retry_after.isdecimal() or len(retry_after) > 6:
        return 0.0
    return min(float(retry_after), MAX_RETRY_AFTER_S)


def _bounded(words: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in words[:MAX_REASON])
    return printable.strip()
