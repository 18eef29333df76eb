"""Reads a fleet, deployments to plan together, from JSON; what does not fit is told in one sentence, with its place.

Each deployment's problem is read by problem_file; what they must agree on is checked by fleet_load.
"""

from typing import TypeVar

import msgspec

from coordinator.errors import ProblemError
from coordinator.field_checks import check_names
from coordinator.fleet_load import Member, machines_of
from coordinator.problem_file import parse_problem

MOST_DEPLOYMENTS = 10_000
MOST_BYTES = 256_000_000
"""Of a file: 10,000 deployments of 155 ops on three nodes take some 150 MB."""
_FIELDS = ("name", "requests_per_s", "problem")

_Fields = dict[str, msgspec.Raw]
T = TypeVar("T")


def is_fleet(text: bytes) -> bool:
    """Whether UTF-8 JSON is meant as a fleet: an object that has `deployments`."""
    try:
        return "deployments" in msgspec.json.decode(text, type=_Fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def parse_fleet(text: bytes) -> tuple[Member, ...]:
    """The members of a fleet in UTF-8 JSON. ProblemError says what does not fit, and where."""
    if len(text) > MOST_BYTES:
        raise ProblemError(f"the fleet has more than {MOST_BYTES // 1_000_000} MB, the most that it may have")
    try:
        fields = msgspec.json.decode(text, type=_Fields)
    except msgspec.ValidationError:
        raise ProblemError("the fleet must be an object with the field 'deployments'") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(f"the fleet is not JSON: {error}") from None
    unknown = next((field for field in fields if field != "deployments"), None)
    if unknown is not None:
        raise ProblemError(f"the fleet has an unknown field {unknown[:60]!r}; its one field is deployments")
    if "deployments" not in fields:
        raise ProblemError("the fleet lacks the field 'deployments'")
    parts = _value(fields["deployments"], list[msgspec.Raw], "deployments", "a list")
    if not 1 <= len(parts) <= MOST_DEPLOYMENTS:
        raise ProblemError(f"deployments has {len(parts)} entries, it must have 1 to {MOST_DEPLOYMENTS}")
    members = tuple(_member(part, f"deployments[{index}]") for index, part in enumerate(parts))
    check_names("deployments", members)
    machines_of(members)
    return members


def _member(part: msgspec.Raw, place: str) -> Member:
    fields = _value(part, _Fields, place, "an object")
    unknown = next((field for field in fields if field not in _FIELDS), None)
    if unknown is not None:
        raise ProblemError(f"{place} has an unknown field {unknown[:60]!r}; its fields are {', '.join(_FIELDS)}")
    missing = next((field for field in _FIELDS if field not in fields), None)
    if missing is not None:
        raise ProblemError(f"{place} lacks the field {missing!r}")
    name = _value(fields["name"], str, f"{place}.name", "a text")
    requests_per_s = _value(fields["requests_per_s"], float, f"{place}.requests_per_s", "a number")
    try:
        problem = parse_problem(bytes(fields["problem"]))
    except ProblemError as error:
        raise ProblemError(f"{place}.problem: {error}") from None
    return Member(name, problem, requests_per_s)


def _value(part: msgspec.Raw, kind: type[T], place: str, right: str) -> T:
    decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(part)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProblemError(f"{place} must be {right}") from None
