"""`splitrail doctor`: looks at this machine, or at what a settings file names, and says what is wrong and the fix."""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from splitrail import __version__
from splitrail.doctor.examination import examine
from splitrail.doctor.finding import Finding, Verdict
from splitrail.terminal import printable

EXAMPLE = "splitrail doctor --config agent.yaml"
EXIT_PROBLEM = 1
_STYLES: dict[Verdict, str] = {"ok": "green", "note": "yellow", "problem": "red"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="an agent.yaml, coordinator.yaml or client.yaml, whose site is looked at too",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Look and tell; 0 if nothing is a problem, else 1."""
    # What fails is a finding; the libraries' own warnings would only be in the way.
    logging.getLogger("splitrail").addHandler(logging.NullHandler())
    if arguments.json:
        findings = tuple(examine(arguments.config))
        answer = msgspec.json.encode({"version": __version__, "findings": findings})
        sys.stdout.write(msgspec.json.format(answer, indent=2).decode() + "\n")
    else:
        with Console(stderr=True).status("looking"):
            findings = tuple(examine(arguments.config))
        console = Console()
        console.print(drawn(findings))
        console.print(summary(findings))
    return EXIT_PROBLEM if any(finding.verdict == "problem" for finding in findings) else 0


def drawn(findings: Iterable[Finding]) -> Table:
    """A row for each finding, with the fix below what is wrong."""
    table = Table("", "check", "what is so", box=None, padding=(0, 2, 0, 0))
    for finding in findings:
        style = _STYLES[finding.verdict]
        words = Text(printable(finding.says), "" if finding.verdict == "ok" else style)
        if finding.fix:
            words.append(f"\n→ {printable(finding.fix)}", "dim" if finding.verdict == "ok" else "")
        table.add_row(Text(finding.verdict, style), Text(printable(finding.subject), "bold"), words)
    return table


def summary(findings: Iterable[Finding]) -> str:
    """How many problems and notes there are, in a line."""
    counts = Counter(finding.verdict for finding in findings)
    if not counts["problem"] and not counts["note"]:
        return "nothing is wrong"
    return ", ".join(
        f"{counts[verdict]} {verdict}{'s' if counts[verdict] != 1 else ''}" for verdict in ("problem", "note")
    )
