"""Any message that the types admit, from the types themselves, so that a new field is fuzzed from its first day."""

import datetime
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

NAMES = ("pi", "laptop", "pc", "photos", "s1", "s2", "a" * 64)
SHA256 = "a" * 64
PUBLIC_KEY = "x" * 40
TEXTS = ("", "ok", "\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe", "a\r\nb", "\0", "\ud7ff\ue000\U0010ffff", "x" * 2_000)
FLOATS = (0.0, 5e-324, 1e-9, 1.0, 1e15, 1.5e15, 1e300, 1.7e308)
MOST_ITEMS = 6


def strategy(type_: inspect.Type) -> st.SearchStrategy[Any]:  # noqa: PLR0911, PLR0912  # one for each kind
    """Values of a declared type."""
    match type_:
        case inspect.Metadata():
            return strategy(type_.type)
        case inspect.StructType() | inspect.DataclassType():
            fields = {field.name: strategy(field.type) for field in type_.fields}
            return st.builds(type_.cls, **fields)
        case inspect.UnionType():
            return st.one_of([strategy(each) for each in type_.types])
        case inspect.LiteralType():
            return st.sampled_from(type_.values)
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.StrType():
            return _texts(type_)
        case inspect.FloatType():
            return _floats(type_)
        case inspect.IntType():
            return _integers(type_)
        case inspect.BytesType():
            return st.binary(max_size=64)
        case inspect.VarTupleType():
            return st.lists(
                strategy(type_.item_type), min_size=type_.min_length or 0, max_size=type_.max_length and MOST_ITEMS
            ).map(lambda items: tuple(items[:MOST_ITEMS]))
        case inspect.DictType():
            return st.dictionaries(strategy(type_.key_type), strategy(type_.value_type), max_size=MOST_ITEMS)
        case _:
            raise NotImplementedError(type_)


def messages(type_: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Values of a message type."""
    return strategy(inspect.type_info(type_))


def _texts(type_: inspect.StrType) -> st.SearchStrategy[str]:
    pattern = type_.pattern or ""
    if "0-9a-f" in pattern:
        return st.sampled_from((SHA256, "b" * 64))
    if "{40}" in pattern:
        return st.just(PUBLIC_KEY)
    if pattern:
        return st.sampled_from(NAMES)
    return st.one_of(st.sampled_from(TEXTS), st.text(max_size=20))


def _floats(type_: inspect.FloatType) -> st.SearchStrategy[float]:
    least = type_.ge if type_.ge is not None else type_.gt
    most = type_.le if type_.le is not None else type_.lt
    fits = [
        value
        for value in (*FLOATS, -1.0, -1e300)
        if (least is None or value > least or value == type_.ge) and (most is None or value < most or value == type_.le)
    ]
    drawn = st.floats(
        least,
        most,
        exclude_min=type_.gt is not None,
        exclude_max=type_.lt is not None,
        allow_nan=False,
        allow_infinity=False,
    )
    return st.one_of(st.sampled_from(fits), drawn)


def _integers(type_: inspect.IntType) -> st.SearchStrategy[int]:
    least = type_.ge if type_.ge is not None else -(2**63)
    most = type_.le if type_.le is not None else type_.lt - 1 if type_.lt is not None else 2**63 - 1
    small = st.integers(max(least, 0), min(max(least, 0) + 5, most))
    return st.one_of(small, st.integers(least, most))


def examples(type_: type[msgspec.Struct]) -> list[msgspec.Struct]:
    """A few values of a type: one with all its fields, and one with as little as it admits."""
    return [_example(inspect.type_info(type_), full=full) for full in (True, False)]


def _example(type_: inspect.Type, *, full: bool) -> Any:  # noqa: PLR0911, PLR0912  # as above
    match type_:
        case inspect.Metadata():
            return _example(type_.type, full=full)
        case inspect.StructType() | inspect.DataclassType():
            given = [field for field in type_.fields if full or field.required]
            return type_.cls(**{field.name: _example(field.type, full=full) for field in given})
        case inspect.UnionType():
            return _example(next(each for each in type_.types if not isinstance(each, inspect.NoneType)), full=full)
        case inspect.LiteralType():
            return type_.values[0]
        case inspect.BoolType():
            return full
        case inspect.DateTimeType():
            return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        case inspect.StrType() if "0-9a-f" in (type_.pattern or ""):
            return SHA256
        case inspect.StrType():
            return PUBLIC_KEY if "{40}" in (type_.pattern or "") else "pi"
        case inspect.FloatType():
            return 0.5
        case inspect.IntType():
            return 1
        case inspect.BytesType():
            return b"image"
        case inspect.VarTupleType():
            return (_example(type_.item_type, full=full),) * (type_.min_length or (2 if full else 0))
        case inspect.DictType():
            return {_example(type_.key_type, full=full): _example(type_.value_type, full=full)}
        case _:
            raise NotImplementedError(type_)
