"""Reads a planning problem from JSON and says in one sentence what does not fit, and where.

The values' own checks are in problem.
"""

import difflib
import re

import msgspec

from coordinator.errors import ProblemError
from coordinator.problem import Codec, Link, Model, Node, Objective, Problem, Value

_PARTS: dict[str, type[Value]] = {
    "": Problem,
    "model": Model,
    "nodes": Node,
    "links": Link,
    "codecs": Codec,
    "objective": Objective,
}
_KINDS = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "array": "a list",
    "object": "an object",
    "bool": "true or false",
    "null": "null",
}
_AT = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<place>.*)`)?", re.DOTALL)
_WRONG_TYPE = re.compile(r"Expected `(?P<right>[^`]+)`, got `(?P<wrong>[^`]+)`")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<field>.*)`", re.DOTALL)
_MISSING_FIELD = re.compile(r"Object missing required field `(?P<field>.*)`")
_WRONG_CHOICE = re.compile(r"Invalid enum value (?P<value>.*)", re.DOTALL)
_BYTE = re.compile(r"(?:JSON is malformed: )?(?P<what>.*) \(byte (?P<offset>\d+)\)")

_decoder = msgspec.json.Decoder(Problem)


def parse_problem(text: bytes) -> Problem:
    """The problem in UTF-8 JSON. ProblemError, with line and column where it is not JSON at all."""
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ProblemError):
            raise ProblemError(str(error.__cause__)) from None
        raise ProblemError(_misfit(str(error))) from None
    except UnicodeDecodeError as error:
        # Its own position counts from the start of one string of the text.
        place = _line_and_column(text, text.find(error.object[error.start : error.end]))
        raise ProblemError(f"{place}: not UTF-8: {error.reason}") from None
    except msgspec.DecodeError as error:
        raise ProblemError(_not_json(text, str(error))) from None
    except RecursionError:
        raise ProblemError("it is nested far deeper than a planning problem is") from None


def _misfit(message: str) -> str:
    """What msgspec says of a value that does not fit its type, in the file's own terms."""
    found = _AT.fullmatch(message)
    what, place = (found["what"], found["place"] or "") if found else (message, "")
    subject = place or "the problem"
    if match := _WRONG_TYPE.fullmatch(what):
        right = " or ".join(_KINDS.get(kind, kind) for kind in match["right"].split(" | "))
        return f"{subject} is {_KINDS.get(match['wrong'], match['wrong'])}, it must be {right}"
    if match := _MISSING_FIELD.fullmatch(what):
        return f"{subject} lacks the field {match['field']!r}"
    if match := _UNKNOWN_FIELD.fullmatch(what):
        part = _PARTS.get(re.split(r"[.\[]", place)[0], Problem)
        known = [field.encode_name for field in msgspec.structs.fields(part)]
        near = difflib.get_close_matches(match["field"], known, n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"its fields are {', '.join(known)}"
        return f"{subject} has an unknown field {match['field'][:60]!r}; {advice}"
    if match := _WRONG_CHOICE.fullmatch(what):
        return f"{subject} is {match['value'][:60]}, it must be 'edge', 'fog' or 'cloud'"
    if what == "Number out of range":
        return f"{subject} is too large a number, it must be finite"
    return f"{subject}: {what}"


def _not_json(text: bytes, message: str) -> str:
    if not text.strip():
        return "it is empty, it must be a planning problem in JSON"
    match = _BYTE.fullmatch(message)
    what, offset = (match["what"], int(match["offset"])) if match else ("the text ends too early", len(text))
    return f"{_line_and_column(text, offset)}: not JSON: {what}"


def _line_and_column(text: bytes, offset: int) -> str:
    before = text[:offset].decode("utf-8", errors="replace")
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
