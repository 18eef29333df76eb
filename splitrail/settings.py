"""Settings files: strict YAML read into frozen typed structs, with every error at once and its place.

What the keys mean belongs to the struct that declares them; `splitrail.settings_reference` lists them.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from splitrail.errors import SplitrailError
from splitrail.settings_values import Misfit, Node, describe, is_null, parts_of, read_scalar, type_name, unwrapped
from splitrail.terminal import printable

T = TypeVar("T", bound=msgspec.Struct)

MAX_FILE_BYTES = 1_000_000
MAX_DEPTH = 32

_FAILED = object()
"""Stands for a value that could not be read and whose error is noted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a settings file, at a line and column that count from 1."""

    file: str
    line: int
    column: int
    sentence: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.sentence}"


class SettingsError(SplitrailError, ValueError):
    """A settings file that cannot be used; the message has one line for each of its `problems`."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def load_settings(path: Path, type_: type[T]) -> T:
    """The settings in the YAML file at `path`; paths in them are relative to its directory.

    SettingsError (ValueError) has all that is wrong, each as `file:line:column: key: what, and what would be right`.
    """
    return parse_settings(_read_text(path), type_, file=str(path), directory=path.parent)


def parse_settings(text: str, type_: type[T], *, file: str, directory: Path) -> T:
    """The settings in a YAML text; `file` names it in errors, `directory` is where its relative paths begin."""
    reader = _Reader(file, directory, inspect.type_info(type_))
    value = reader.read_document(text)
    if reader.problems:
        raise SettingsError(tuple(sorted(reader.problems, key=lambda problem: (problem.line, problem.column))))
    assert isinstance(value, type_)
    return value


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as source:
            content = source.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise SettingsError((Problem(str(path), 1, 1, "there is no such file"),)) from None
    except OSError as error:
        raise SettingsError((Problem(str(path), 1, 1, f"cannot be read: {error.strerror}"),)) from None
    if len(content) > MAX_FILE_BYTES:
        raise SettingsError((Problem(str(path), 1, 1, f"larger than {MAX_FILE_BYTES} bytes: not a settings file"),))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise SettingsError((Problem(str(path), line, column, "not UTF-8 text: save it as UTF-8"),)) from None


class _Reader:
    """Walks a YAML node tree along a type and notes whatever does not fit."""

    def __init__(self, file: str, directory: Path, type_: inspect.Type) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._directory = directory
        self._type = type_

    def read_document(self, text: str) -> object:
        try:
            import yaml  # noqa: PLC0415  # commands that read no settings must not need it
        except ModuleNotFoundError:
            raise SplitrailError(
                "settings files need the package 'yaml': pip install 'splitrail[agent]' (or [coordinator])"
            ) from None
        try:
            if not self._admit_events(yaml.parse(text, Loader=yaml.SafeLoader)):
                return _FAILED
            root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            hint = "; indent with spaces, not tabs" if "'\\t'" in (error.problem or "") else ""
            sentence = f"not YAML: {error.problem or error.context}{hint}"
            self._note(mark.line if mark else 0, mark.column if mark else 0, sentence)
            return _FAILED
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position)
            column = error.position - text.rfind("\n", 0, error.position) - 1
            self._note(line, column, "not YAML: a control character")
            return _FAILED
        if root is None:
            self._note(0, 0, f"the file is empty; {_valid_keys(self._type)}")
            return _FAILED
        return self._read(root, self._type, "")

    def _admit_events(self, events: Any) -> bool:
        """Refuse what settings need not have and what can be turned against a reader: aliases, tags, depth."""
        depth = 0
        for event in events:
            mark = event.start_mark
            kind = type(event).__name__
            if kind in ("MappingStartEvent", "SequenceStartEvent"):
                depth += 1
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                depth -= 1
            if kind == "AliasEvent" or getattr(event, "anchor", None) is not None:
                self._note(mark.line, mark.column, "anchors and aliases are not allowed: write the value out")
            elif getattr(event, "tag", None) is not None:
                self._note(mark.line, mark.column, f"the tag {event.tag!r} is not allowed: leave it out")
            elif depth > MAX_DEPTH:
                self._note(mark.line, mark.column, f"nested more than {MAX_DEPTH} deep")
                break
        return not self.problems

    def _note(self, line: int, column: int, sentence: str) -> None:
        # A key or value that is quoted may have line ends and worse in it.
        self.problems.append(Problem(self._file, line + 1, column + 1, printable(sentence)))

    def _fail(self, node: Node, path: str, sentence: str) -> object:
        self._note(node.start_mark.line, node.start_mark.column, f"{path}: {sentence}" if path else sentence)
        return _FAILED

    def _read(self, node: Node, declared: inspect.Type, path: str) -> object:
        type_ = unwrapped(declared)
        match type_:
            case inspect.UnionType():
                return self._read_union(node, type_, path)
            case inspect.StructType():
                return self._read_struct(node, type_, path)
            case inspect.DictType():
                return self._read_dict(node, type_, path)
            case inspect.ListType() | inspect.VarTupleType():
                return self._read_sequence(node, type_, path)
            case _:
                return self._read_scalar(node, type_, path)

    def _read_union(self, node: Node, type_: inspect.UnionType, path: str) -> object:
        if type_.includes_none and is_null(node):
            return None
        alternatives = [each for each in type_.types if not isinstance(each, inspect.NoneType)]
        if len(alternatives) == 1:
            return self._read(node, alternatives[0], path)
        for alternative in alternatives:
            attempt = _Reader(self._file, self._directory, alternative)
            value = attempt._read(node, alternative, path)
            if not attempt.problems:
                return value
        return self._fail(node, path, f"expected {type_name(type_)}, got {describe(node)}")

    def _read_struct(self, node: Node, type_: inspect.StructType, path: str) -> object:
        entries = self._entries(node, path)
        if entries is None:
            return self._fail(node, path, f"expected keys with values, got {describe(node)}; {_valid_keys(type_)}")
        fields = {field.encode_name: field for field in type_.fields}
        values: dict[str, object] = {}
        meant: set[str] = set()
        for key, (key_node, value_node) in entries.items():
            if key in fields:
                field = fields[key]
                values[field.name] = self._read(value_node, field.type, _join(path, key))
            else:
                nearest = _nearest(key, [name for name in fields if name not in entries], self._type)
                hint = _valid_keys(type_) if nearest is None else f"did you mean {nearest!r}?"
                meant.add(nearest or "")
                self._fail(key_node, _join(path, key), f"unknown key; {hint}")
        for name, field in fields.items():
            if field.required and name not in entries and name not in meant:
                self._fail(node, _join(path, name), f"missing; give {type_name(field.type)}")
                values[field.name] = _FAILED
            elif name not in entries and isinstance(field.default, Path):
                values[field.name] = self._directory / field.default.expanduser()
        if any(value is _FAILED for value in values.values()) or meant:
            return _FAILED
        try:
            return type_.cls(**values)
        except (ValueError, TypeError) as error:
            return self._fail(node, path, str(error))

    def _read_dict(self, node: Node, type_: inspect.DictType, path: str) -> object:
        entries = self._entries(node, path)
        if entries is None:
            return self._fail(node, path, f"expected keys with values, got {describe(node)}")
        values: dict[object, object] = {}
        for key, (key_node, value_node) in entries.items():
            where = _join(path, key)
            values[self._read(key_node, type_.key_type, where)] = self._read(value_node, type_.value_type, where)
        failed = _FAILED in values or any(value is _FAILED for value in values.values())
        return _FAILED if failed or not self._fits_length(node, len(values), type_, path) else values

    def _read_sequence(self, node: Node, type_: inspect.ListType | inspect.VarTupleType, path: str) -> object:
        if node.id != "sequence":
            return self._fail(node, path, f"expected {type_name(type_)}, got {describe(node)}")
        items = [self._read(item, type_.item_type, f"{path}[{index}]") for index, item in enumerate(node.value)]
        if any(item is _FAILED for item in items) or not self._fits_length(node, len(items), type_, path):
            return _FAILED
        return tuple(items) if isinstance(type_, inspect.VarTupleType) else items

    def _entries(self, node: Node, path: str) -> dict[str, tuple[Node, Node]] | None:
        """The entries of a mapping by the text of their keys; a key that comes twice is noted."""
        if node.id != "mapping":
            return None
        entries: dict[str, tuple[Node, Node]] = {}
        for key_node, value_node in node.value:
            if key_node.id != "scalar":
                self._fail(key_node, path, "a key must be a word")
            elif key_node.value in entries:
                first = entries[key_node.value][0].start_mark.line + 1
                self._fail(key_node, _join(path, key_node.value), f"given twice, first in line {first}")
            else:
                entries[key_node.value] = (key_node, value_node)
        return entries

    def _fits_length(self, node: Node, length: int, type_: Any, path: str) -> bool:
        if type_.min_length is not None and length < type_.min_length:
            self._fail(node, path, f"expected at least {type_.min_length} entries, got {length}")
            return False
        if type_.max_length is not None and length > type_.max_length:
            self._fail(node, path, f"expected at most {type_.max_length} entries, got {length}")
            return False
        return True

    def _read_scalar(self, node: Node, type_: inspect.Type, path: str) -> object:
        if node.id != "scalar":
            return self._fail(node, path, f"expected {type_name(type_)}, got {describe(node)}")
        value = read_scalar(node, type_)
        if isinstance(value, Misfit):
            return self._fail(node, path, value.sentence)
        return self._directory / value if isinstance(value, Path) else value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _valid_keys(type_: inspect.Type) -> str:
    fields = type_.fields if isinstance(type_, inspect.StructType) else ()
    return "the valid keys are " + ", ".join(field.encode_name for field in fields)


def _nearest(key: str, free: list[str], whole: inspect.Type) -> str | None:
    """The valid key that was meant: one that looks like it here, or the very same elsewhere in the file."""
    close = difflib.get_close_matches(key, free, n=1)
    if close:
        return close[0]
    return next((path for path in _paths(whole, "") if path.rpartition(".")[2] == key), None)


def _paths(type_: inspect.Type, path: str) -> Iterator[str]:
    for part in parts_of(type_):
        if isinstance(part, inspect.StructType):
            for field in part.fields:
                where = _join(path, field.encode_name)
                yield where
                yield from _paths(field.type, where)
