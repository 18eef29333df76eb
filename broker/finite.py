"""Finds the first NaN or infinity in a message: JSON has neither, and no figure of ours may be either."""

import math

import msgspec


def first_non_finite(value: object, path: str = "$") -> str | None:
    """The path of the first float in a message that is not finite (`$.op_ms[3]`), or None."""
    # Paths are made for the rare message that has one: it takes three times as long as to look.
    return None if _is_finite(value) else _first_path(value, path)


def _is_finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str) or value is None:
        return True
    if isinstance(value, tuple | list):
        return all(map(_is_finite, value))
    if isinstance(value, msgspec.Struct):
        return all(map(_is_finite, msgspec.structs.astuple(value)))
    return True


def _first_path(value: object, path: str) -> str | None:
    match value:
        case float():
            return None if math.isfinite(value) else path
        case tuple() | list():
            parts = ((item, f"{path}[{index}]") for index, item in enumerate(value))
        case msgspec.Struct():
            parts = ((getattr(value, name), f"{path}.{name}") for name in value.__struct_fields__)
        case _:
            return None
    return next((found for part, where in parts if (found := _first_path(part, where))), None)
