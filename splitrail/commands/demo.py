"""`splitrail demo`: the whole system, emulated, on this machine; a thin shell around `testbed.demo`."""

import argparse
import signal
from pathlib import Path
from types import FrameType

import msgspec

from splitrail.option_types import number_above_zero
from testbed.errors import DemoError
from testbed.traces import DEMO_TRACE

EXAMPLE = "splitrail demo --trace my-link.csv --scale 10 --seconds 60"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--trace", type=Path, default=DEMO_TRACE, metavar="FILE", help="the link over time, `seconds,mbps` (CSV)"
    )
    parser.add_argument(
        "--scale", type=number_above_zero, default=1.0, metavar="X", help="multiply the trace's rates by X"
    )
    parser.add_argument(
        "--seconds", type=number_above_zero, metavar="S", help="how long requests are sent (the trace, or 80)"
    )
    parser.add_argument("--model", type=Path, metavar="FILE", help="your own .tflite image classifier")
    parser.add_argument(
        "--weights",
        choices=("imagenet", "random"),
        help="MobileNetV2's weights (imagenet where they can be fetched, else random)",
    )
    parser.add_argument(
        "--images", type=Path, nargs="+", metavar="IMAGE", help="photographs (by default two from scikit-learn's wheel)"
    )
    parser.add_argument("--no-color", action="store_true", help="no colours")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; whatever ends it, nothing is left running."""
    from models.images import sample_photographs  # noqa: PLC0415  # `--help` stays quick
    from testbed.demo import DemoOptions, run_demo  # noqa: PLC0415  # as above
    from testbed.screen import Screen  # noqa: PLC0415  # as above
    from testbed.traces import read_trace  # noqa: PLC0415  # as above

    options = DemoOptions(
        trace=read_trace(arguments.trace, scale=arguments.scale),
        seconds=arguments.seconds,
        model=arguments.model,
        weights=arguments.weights,
        photographs=tuple(arguments.images or sample_photographs()),
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    if arguments.json is not None:
        if arguments.json.is_dir():
            raise DemoError(f"--json {arguments.json}: is a directory, it must be a file to write")
        if not arguments.json.absolute().parent.is_dir():
            raise DemoError(f"--json {arguments.json}: the directory {arguments.json.parent} does not exist")
    result = run_demo(options, Screen(colour=not arguments.no_color))
    if arguments.json is not None:
        try:
            arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
        except OSError as error:
            raise DemoError(f"--json {arguments.json}: cannot be written: {error.strerror or error}") from None
    return 0


def _leave(number: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does, through every `with`, so that the children are stopped."""
    raise SystemExit(128 + number)
