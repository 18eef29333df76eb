"""What a check finds, and how a check is run: within a bounded time, and whatever it meets."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, TypeVar

import msgspec

from splitrail.errors import SplitrailError

CHECK_TIMEOUT_S: Final = 10.0
"""Each probe has its own bound, of 5 s at most; this one is for what does not keep it, such as a dead NFS mount."""

Verdict = Literal["ok", "note", "problem"]
T = TypeVar("T")


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at: `says` what is so, `fix` what would help, each a clause without a full stop."""

    subject: str
    verdict: Verdict
    says: str
    fix: str = ""


def split_advice(subject: str, verdict: Verdict, sentence: str) -> Finding:
    """A finding of a sentence in the manner of our errors, `what is wrong: what would be right`."""
    says, _, fix = sentence.partition(": ")
    return Finding(subject, verdict, says, fix)


def checked(
    subject: str, check: Callable[[], Iterable[Finding]], timeout_s: float = CHECK_TIMEOUT_S
) -> Iterator[Finding]:
    """The findings of a check, and a problem where it then fails or takes too long."""
    findings: list[Finding] = []
    failure = looked(subject, lambda: findings.extend(check()), timeout_s)
    yield from tuple(findings)
    yield from failure or ()


def looked(subject: str, look: Callable[[], T], timeout_s: float = CHECK_TIMEOUT_S) -> "T | tuple[Finding, ...]":
    """What a probe sees; one problem in a tuple where it fails or takes too long."""
    seen: list[T | tuple[Finding, ...]] = []
    thread = threading.Thread(
        target=lambda: seen.append(_guarded(subject, look)), name=f"doctor-{subject}", daemon=True
    )
    thread.start()
    thread.join(timeout_s)
    if not seen:
        return (Finding(subject, "problem", f"it did not answer within {timeout_s:g} s", "look at what it waits for"),)
    return seen[0]


def _guarded(subject: str, look: Callable[[], T]) -> "T | tuple[Finding, ...]":
    try:
        return look()
    except ModuleNotFoundError as error:
        missing = f"not looked at, for the Python package {error.name!r} is missing"
        return (Finding(subject, "note", missing, "see packages"),)
    except SplitrailError as error:
        return (Finding(subject, "problem", str(error)),)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return (Finding(subject, "problem", f"{where}{error.strerror or error}"),)
    except Exception as error:
        # The other checks may still tell what somebody came for.
        says = f"the check itself failed: {type(error).__name__}: {error}"
        return (Finding(subject, "problem", says, "tell Splitrail's makers"),)
