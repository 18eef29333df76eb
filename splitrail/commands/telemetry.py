"""`splitrail telemetry`: sets InfluxDB up, exports what is kept, and shows what was refused.

Each action is a module of its own beside this one.
"""

import argparse
from pathlib import Path

from splitrail.commands import telemetry_dead_letters, telemetry_export, telemetry_init

EXAMPLE = "splitrail telemetry export --since 1h --format csv --out telemetry"

_ACTIONS = {
    "init": ("set up the InfluxDB that the settings name: database, retention, downsampling", telemetry_init),
    "export": ("write telemetry to files, from wherever it is kept", telemetry_export),
    "dead-letters": (
        "show the points that InfluxDB refused, give them back or remove them",
        telemetry_dead_letters,
    ),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (summary, module) in _ACTIONS.items():
        action = actions.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=parser.formatter_class,
        )
        action.set_defaults(act=module.run)
        action.add_argument(
            "--config",
            type=Path,
            default=Path("coordinator.yaml"),
            metavar="FILE",
            help="the coordinator's settings (coordinator.yaml)",
        )
        module.configure(action)


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; 0 once it is done."""
    return int(arguments.act(arguments))
