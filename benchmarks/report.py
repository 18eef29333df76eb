"""What a whole run of benchmarks found, on which machine: as a typed value, in JSON.

Leaves to `comparison.py` what of it has changed, and to `page.py` how it reads.
"""

import os
import platform
from pathlib import Path
from typing import Self

import msgspec
from figures import Figure


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run ran on; absolute figures of two machines say nothing of each other."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    python: str

    @classmethod
    def this(cls) -> Self:
        """The one that this runs on."""
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return cls(
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)),
            memory_gb=round(pages / 1e9, 1),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
        )

    def is_like(self, other: "Machine") -> bool:
        """Whether times that were measured on one can be expected on the other."""
        return (self.processor, self.cores) == (other.processor, other.cores)


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One benchmark: what it took of the time that it had, and its figures, or why there are none."""

    benchmark: str
    seconds: float
    limit_s: float
    figures: tuple[Figure, ...] = ()
    failure: str | None = None


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole run; `at` in s since 1970."""

    at: float
    machine: Machine
    outcomes: tuple[Outcome, ...]

    def figures(self) -> dict[tuple[str, str], Figure]:
        """All figures by benchmark and name."""
        return {(outcome.benchmark, figure.name): figure for outcome in self.outcomes for figure in outcome.figures}

    def to_json(self) -> bytes:
        """The report as it is committed."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """What `to_json` gave; msgspec.DecodeError for anything else."""
        return msgspec.json.decode(text, type=cls)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(named, platform.processor() or platform.machine())
