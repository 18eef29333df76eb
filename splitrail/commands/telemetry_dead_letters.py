"""`splitrail telemetry dead-letters`: the points that InfluxDB refused, and what becomes of them."""

import argparse
import datetime

import msgspec

from coordinator.configuration import CoordinatorSettings
from coordinator.errors import DeclarationError
from coordinator.telemetry.dead_letters import DeadLetter, dead_letters, discard_dead_letters, retry_dead_letters
from splitrail.settings import load_settings
from splitrail.terminal import printable

EXAMPLE = "splitrail telemetry dead-letters --retry"


class DeadLetterReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints: those that there are, or how many were given back or removed."""

    dead_letters: tuple[DeadLetter, ...] = ()
    retried: int = 0
    discarded: int = 0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--retry", action="store_true", help="give them back, for the next coordinator to send; while none runs"
    )
    choice.add_argument("--discard", action="store_true", help="remove them; while no coordinator runs")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Show them, or do with them what is asked; 0 once it is done."""
    settings = load_settings(arguments.config, CoordinatorSettings)
    report = DeadLetterReport()
    if arguments.retry:
        if settings.influxdb is None:
            raise DeclarationError(f"{arguments.config}: has no `influxdb` to give points to; --discard removes them")
        retried = retry_dead_letters(settings.store, max_bytes=round(settings.influxdb.spool_mb * 1e6))
        report = DeadLetterReport(retried=retried)
        words = f"given back: {_points(retried)}; the next coordinator sends them"
    elif arguments.discard:
        report = DeadLetterReport(discarded=discard_dead_letters(settings.store))
        words = f"removed: {_points(report.discarded)}"
    else:
        report = DeadLetterReport(dead_letters=dead_letters(settings.store))
        words = _listing(report.dead_letters)
    print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode() if arguments.json else words)
    return 0


def _listing(letters: tuple[DeadLetter, ...]) -> str:
    """Each reason once for as many points in a row as it holds for, each point in its own line."""
    lines = [f"refused: {_points(len(letters))}"]
    reason = None
    for letter in letters:
        if letter.reason != reason:
            reason = letter.reason
            at = datetime.datetime.fromtimestamp(letter.at, datetime.UTC)
            lines.append(f"{at:%Y-%m-%d %H:%M:%S}Z  {printable(reason)}")
        lines.append(f"    {printable(letter.line)}")
    return "\n".join(lines)


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count or 'no'} points"
