"""Whether this machine's clock is set by NTP, as the kernel tells, and how far it is from the coordinator's."""

import ctypes
from collections.abc import Iterator
from typing import Final

from splitrail.doctor.finding import Finding

SHOWN_S: Final = 1.0
TRUSTED_S: Final = 60.0
"""Beyond it the coordinator takes its own time for what a node reports (coordinator.telemetry.point_time)."""
_TIME_ERROR: Final = 5  # what adjtimex(2) returns while the clock is not synchronised
_STRUCT_BYTES: Final = 512  # a `struct timex` has 208 on 64-bit machines
_FIX: Final = "timedatectl set-ntp true, and let UDP port 123 out"


def is_synchronised() -> bool | None:
    """Whether the kernel counts its clock as set by a time server; None if it does not say. Changes nothing."""
    try:
        # No mode is set in it, so this only reads.
        answer = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_STRUCT_BYTES))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else answer != _TIME_ERROR


def synchronisation_findings(synchronised: bool | None) -> Iterator[Finding]:
    """What that means."""
    match synchronised:
        case True:
            yield Finding("clock", "ok", "set by a time server")
        case False:
            yield Finding("clock", "note", "no time server sets it, so times of telemetry may be wrong", _FIX)
        case None:
            yield Finding("clock", "ok", "the system does not say whether a time server sets it")


def skew_findings(ahead_s: float, uncertainty_s: float) -> Iterator[Finding]:
    """How far this clock is ahead of the coordinator's, known to within `uncertainty_s`."""
    off_s = abs(ahead_s)
    way = "ahead of" if ahead_s > 0.0 else "behind"
    if off_s <= SHOWN_S + uncertainty_s:
        yield Finding("clock", "ok", f"agrees with the coordinator's to {max(off_s, uncertainty_s):.2g} s")
        return
    says = f"{off_s:.3g} s {way} the coordinator's"
    if off_s > TRUSTED_S:
        says += ", which therefore takes its own time for what this node reports"
    yield Finding("clock", "problem" if off_s > TRUSTED_S else "note", says, f"{_FIX}; on the coordinator too")
