"""Fuzzes every target for a while, one after the other, and prints a table (`campaign.py --seconds 60`).

What is found is told on standard error, with the file that holds the input; the exit code is then 1.
"""

import argparse
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from targets import TARGETS

_INPUTS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_COVERED = re.compile(r"cov: (\d+) ft: (\d+)")
STARTING_S = 120.0
"""For imports, and the last input that began within the time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one target."""

    name: str
    inputs: int
    seconds: float
    edges: int
    features: int
    finding: str | None

    def row(self) -> str:
        """Its line of the table."""
        found = "none" if self.finding is None else self.finding
        return (
            f"{self.name:10} {self.inputs:>10,} {self.seconds:>8.0f} {self.inputs / self.seconds:>9,.0f} "
            f"{self.edges:>7,} {self.features:>9,}  {found}"
        )


def fuzzed(name: str, seconds: int) -> Outcome:
    """Fuzz one target in a process of its own."""
    command = [sys.executable, str(Path(__file__).parent / "run.py"), name, "--seconds", str(seconds)]
    begun = time.monotonic()
    ended = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=seconds + STARTING_S, check=False
    )
    covered = _COVERED.findall(ended.stderr)
    inputs = _INPUTS.search(ended.stderr)
    finding = None
    if ended.returncode != 0:
        finding = f"exit code {ended.returncode}"
        print(f"{name}: {finding}\n{ended.stdout[-3_000:]}\n{ended.stderr[-3_000:]}", file=sys.stderr)
    return Outcome(
        name,
        int(inputs[1]) if inputs else 0,
        min(time.monotonic() - begun, float(seconds)),
        *((int(covered[-1][0]), int(covered[-1][1])) if covered else (0, 0)),
        finding,
    )


def main() -> int:
    """Print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which targets (default: all)")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for each (default: %(default)s)")
    arguments = parser.parse_args()
    print(
        f"{'target':10} {'inputs':>10} {'seconds':>8} {'a second':>9} {'edges':>7} {'features':>9}  found", flush=True
    )
    found = False
    for name in arguments.names or TARGETS:
        outcome = fuzzed(name, arguments.seconds)
        found = found or outcome.finding is not None
        print(outcome.row(), flush=True)
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
