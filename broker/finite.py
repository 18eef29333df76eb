"""Finds the first NaN or infinity in a message: JSON has neither, and no figure of ours may be either."""

import math

import msgspec


def first_non_finite(value: object, path: str = "$") -> str | None:
    """The path of the first float in a message that is not finite (`$.op_ms[3]`), or None."""
    match value:
        case float():
            return None if math.isfinite(value) else path
        case tuple() | list():
            parts = ((item, f"{path}[{index}]") for index, item in enumerate(value))
        case msgspec.Struct():
            parts = ((getattr(value, name), f"{path}.{name}") for name in value.__struct_fields__)
        case _:
            return None
    return next((found for part, where in parts if (found := first_non_finite(part, where))), None)
