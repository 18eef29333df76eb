"""Single values of settings files: what a declared type is called, and a YAML scalar read as that type.

YAML's own guesses (`no` is false, `010` is 8, `1:30` is 90) never decide; where they differ, the user is asked.
"""

import difflib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from msgspec import inspect

_STRING_TAG = "tag:yaml.org,2002:str"
_NULL_TAG = "tag:yaml.org,2002:null"
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_PATTERN_NAMES = {
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z": "a name of letters, digits, `_`, `.` and `-` that begins with a letter or digit",
    r"^tcp://[^\s/]+:([0-9]{1,5}|\*)\Z": "an address like tcp://192.168.1.10:5757",
    r"^https?://[^\s/]+(/[^\s]*)?\Z": "a URL like http://192.168.1.10:8484",
}


class Node(Protocol):
    """What is read of a PyYAML node; `style` is that of a scalar, None where it stands without quotes."""

    id: str
    tag: str
    value: Any
    style: Any
    start_mark: Any


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a scalar is not of the declared type, and what would be right."""

    sentence: str


def unwrapped(type_: inspect.Type) -> inspect.Type:
    """A type without the metadata around it."""
    while isinstance(type_, inspect.Metadata):
        type_ = type_.type
    return type_


def parts_of(type_: inspect.Type) -> Iterator[inspect.Type]:
    """The types that a field's values may be made of: itself, each of a union, the items of a collection."""
    match unwrapped(type_):
        case inspect.UnionType(types=types):
            for each in types:
                yield from parts_of(each)
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            yield from parts_of(item)
        case inspect.DictType(value_type=value):
            yield from parts_of(value)
        case plain:
            yield plain


def type_name(type_: inspect.Type) -> str:  # noqa: PLR0911  # one line for each kind of type
    """A type in words, with its bounds: `an integer from 1 to 65535`."""
    match unwrapped(type_):
        case inspect.UnionType(types=types):
            return " or ".join(type_name(each) for each in types if not isinstance(each, inspect.NoneType))
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() as number:
            return "an integer" + _bounds(number)
        case inspect.FloatType() as number:
            return "a number" + _bounds(number)
        case inspect.StrType(pattern=pattern) if pattern is not None:
            return _PATTERN_NAMES.get(pattern, f"text like {pattern}")
        case inspect.StrType():
            return "text"
        case inspect.CustomType(cls=cls) if cls is Path:
            return "a path"
        case inspect.LiteralType() | inspect.EnumType() as choice:
            return "one of " + ", ".join(_choices(choice))
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return f"a list, each {type_name(item)}"
        case inspect.DictType(value_type=value):
            return f"names, each with {type_name(value)}"
        case inspect.StructType():
            return "keys with values"
        case other:
            raise TypeError(f"no settings field may be of type {other}")


def describe(node: Node) -> str:
    """What stands in the file, in words."""
    if node.id != "scalar":
        return "a list" if node.id == "sequence" else "keys with values"
    if is_null(node):
        return "nothing"
    text = str(node.value)
    shown = text if len(text) <= 40 else f"{text[:37]}..."
    kind = {"int": "the number ", "float": "the number ", "bool": "the truth value ", "timestamp": "the date "}
    return kind.get(node.tag.rpartition(":")[2], "") + (shown if node.style is None else repr(shown))


def is_null(node: Node) -> bool:
    """Whether a node says that there is no value: left empty, `~` or `null`."""
    return node.id == "scalar" and node.style is None and node.tag == _NULL_TAG


def read_scalar(node: Node, type_: inspect.Type) -> object:
    """The value of a scalar as the declared type, or a Misfit that says why not; a path may be relative."""
    text, plain = str(node.value), node.style is None
    unfit = Misfit(f"expected {type_name(type_)}, got {describe(node)}")
    value: object = unfit
    match type_:
        case inspect.LiteralType() | inspect.EnumType():
            value = _choose(text, type_, unfit)
        case inspect.BoolType() if plain:
            value = _BOOLEANS.get(text, unfit)
        case inspect.IntType() if plain and _INTEGER.fullmatch(text):
            value = int(text) if _is_within(int(text), type_) else unfit
        case inspect.FloatType() if plain and _NUMBER.fullmatch(text):
            value = float(text) if _is_within(float(text), type_) else unfit
        case inspect.StrType() | inspect.CustomType() if not is_null(node):
            if plain and node.tag != _STRING_TAG:
                value = Misfit(f"{unfit.sentence}; if it is meant, put it in quotes: '{text}'")
            elif isinstance(type_, inspect.StrType):
                value = _shape(text, type_, unfit)
            else:
                value = _path(text)
    return value


def _choices(type_: inspect.LiteralType | inspect.EnumType) -> dict[str, object]:
    if isinstance(type_, inspect.EnumType):
        return {str(member.value): member for member in type_.cls}
    return {str(value): value for value in type_.values}


def _choose(text: str, type_: inspect.LiteralType | inspect.EnumType, unfit: Misfit) -> object:
    choices = _choices(type_)
    if text in choices:
        return choices[text]
    nearest = difflib.get_close_matches(text, choices, n=1)
    return Misfit(f"{unfit.sentence}; did you mean {nearest[0]!r}?") if nearest else unfit


def _shape(text: str, type_: inspect.StrType, unfit: Misfit) -> object:
    if type_.min_length is not None and len(text) < type_.min_length:
        return Misfit(f"expected {type_name(type_)}, got an empty text" if not text else f"{text!r} is too short")
    if type_.max_length is not None and len(text) > type_.max_length:
        return Misfit(f"expected at most {type_.max_length} characters, got {len(text)}")
    return text if type_.pattern is None or re.search(type_.pattern, text) else unfit


def _path(text: str) -> object:
    if not text or "\0" in text:
        return Misfit("expected a path, got an empty text")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Misfit(f"{text!r} names the home of a user who is not known")


def _is_within(value: float, type_: inspect.IntType | inspect.FloatType) -> bool:
    return (
        math.isfinite(value)
        and (type_.ge is None or value >= type_.ge)
        and (type_.gt is None or value > type_.gt)
        and (type_.le is None or value <= type_.le)
        and (type_.lt is None or value < type_.lt)
        and (type_.multiple_of is None or value % type_.multiple_of == 0)
    )


def _bounds(type_: inspect.IntType | inspect.FloatType) -> str:
    """The bounds of a number in words, with a space before them, or nothing."""
    if type_.ge is not None and type_.le is not None:
        return f" from {type_.ge:g} to {type_.le:g}"
    words = [
        f"{word} {bound:g}"
        for word, bound in (
            ("of at least", type_.ge),
            ("above", type_.gt),
            ("of at most", type_.le),
            ("below", type_.lt),
            ("divisible by", type_.multiple_of),
        )
        if bound is not None
    ]
    return " " + " and ".join(words) if words else ""
