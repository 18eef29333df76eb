"""The coordinator's report, as `splitrail status` reads and draws it: nothing in it may steer a terminal."""

import io
from collections.abc import Iterator

import msgspec
from hypothesis import given
from messages_to_fuzz import messages
from rich.console import Console

from coordinator.status_report import StatusReport
from splitrail.commands.status import rendered

WIDTH = 100


@given(messages(StatusReport))
def drawn(report: StatusReport) -> None:
    """Whatever a coordinator says is shown without control characters."""
    decoded = msgspec.json.decode(msgspec.json.encode(report), type=StatusReport)
    out = io.StringIO()
    Console(file=out, width=WIDTH, force_terminal=False, color_system=None).print(rendered(decoded, WIDTH))
    shown = out.getvalue().replace("\n", "")
    assert shown.isprintable(), [character for character in shown if not character.isprintable()]


def run(data: bytes) -> None:
    """One report, drawn from the bytes."""
    drawn.hypothesis.fuzz_one_input(data)


def seeds() -> Iterator[bytes]:
    """Hypothesis draws from any bytes."""
    yield from (bytes(range(256)) * 4, bytes(2_000), b"\xff" * 500)
