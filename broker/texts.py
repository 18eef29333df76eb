"""Cuts the texts of a message to what its type admits: whoever hears it would otherwise drop the whole of it.

Reasons quote one another, a plan's that of a node which refused the one before, and so grow beyond any bound.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

ELLIPSIS = "…"

M = TypeVar("M", bound=msgspec.Struct)


class _Parts(NamedTuple):
    """The fields of a type that hold text, with their bounds, and those that hold other structs."""

    texts: tuple[tuple[str, int], ...]
    structs: tuple[str, ...]


def with_bounded_texts(message: M) -> M:
    """The message itself where all its texts fit, or else one with the longest cut, and a sign that they were."""
    parts = _parts(type(message))
    changes: dict[str, Any] = {}
    for name, most in parts.texts:
        text = getattr(message, name)
        if text is not None and len(text) > most:
            changes[name] = text[: most - 1] + ELLIPSIS
    for name in parts.structs:
        held = getattr(message, name)
        bounded = tuple(map(_bounded, held)) if isinstance(held, tuple) else _bounded(held)
        if bounded != held:
            changes[name] = bounded
    return msgspec.structs.replace(message, **changes) if changes else message


def _bounded(value: Any) -> Any:
    return with_bounded_texts(value) if isinstance(value, msgspec.Struct) else value


@cache
def _parts(type_: type[msgspec.Struct]) -> _Parts:
    texts: list[tuple[str, int]] = []
    structs: list[str] = []
    for field in inspect.type_info(type_).fields:  # type: ignore[attr-defined]  # a struct's info has fields
        for part in _members(field.type):
            if isinstance(part, inspect.StructType):
                structs.append(field.name)
            elif isinstance(part, inspect.StrType) and part.max_length is not None and part.pattern is None:
                texts.append((field.name, part.max_length))
    return _Parts(tuple(texts), tuple(structs))


def _members(type_: inspect.Type) -> Iterator[inspect.Type]:
    match type_:
        case inspect.Metadata():
            yield from _members(type_.type)
        case inspect.UnionType():
            for each in type_.types:
                yield from _members(each)
        case inspect.VarTupleType():
            yield from _members(type_.item_type)
        case _:
            yield type_
