"""The keys of a settings struct as a Markdown table, so that the documentation cannot differ from the code."""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

import msgspec
from msgspec import inspect

from splitrail.settings_values import parts_of, type_name, unwrapped


class Key(NamedTuple):
    """One key of a settings file; `default` is None where it must be given."""

    path: str
    type_name: str
    default: str | None
    description: str


def reference(type_: type[msgspec.Struct]) -> str:
    """A Markdown table of every key: dotted path (`[]` for each of a list), type, default, description."""
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key in keys(type_):
        default = "required" if key.default is None else f"`{key.default}`"
        cells = (f"`{key.path}`", key.type_name, default, key.description)
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def keys(type_: type[msgspec.Struct]) -> Iterator[Key]:
    """Every key of a settings struct, in the order of its declaration, nested ones after their parent."""
    yield from _keys(inspect.type_info(type_), "", msgspec.NODEFAULT)


def _keys(type_: inspect.Type, prefix: str, defaults: object) -> Iterator[Key]:
    if not isinstance(type_, inspect.StructType):
        return
    for field in type_.fields:
        path = f"{prefix}{field.encode_name}"
        default = _default(field, defaults)
        nested = [part for part in parts_of(field.type) if isinstance(part, inspect.StructType)]
        is_group = isinstance(unwrapped(field.type), inspect.StructType)
        if not is_group:
            yield Key(path, type_name(field.type), _text(default), _description(field.type))
        for part in nested:
            yield from _keys(part, f"{path}{_item_sign(field.type)}.", default if is_group else msgspec.NODEFAULT)


def _item_sign(type_: inspect.Type) -> str:
    match unwrapped(type_):
        case inspect.ListType() | inspect.VarTupleType():
            return "[]"
        case inspect.DictType():
            return ".NAME"
        case _:
            return ""


def _default(field: inspect.Field, defaults: object) -> object:
    if isinstance(defaults, msgspec.Struct):
        return getattr(defaults, field.name)
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return msgspec.NODEFAULT if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _text(default: object) -> str | None:
    """A default as it would be written in the file."""
    if default is msgspec.NODEFAULT:
        return None
    if default is None:
        return "none"
    if isinstance(default, Enum):
        return str(default.value)
    return msgspec.json.encode(default, enc_hook=str).decode().strip('"')


def _description(type_: inspect.Type) -> str:
    found = ""
    while isinstance(type_, inspect.Metadata):
        found = found or (type_.extra_json_schema or {}).get("description", "")
        type_ = type_.type
    if not found and isinstance(type_, inspect.UnionType):
        return next((text for each in type_.types if (text := _description(each))), "")
    return found
