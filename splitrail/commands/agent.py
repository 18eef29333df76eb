"""`splitrail agent`: the agent of this node, until it is told to stop."""

import argparse
import os
from pathlib import Path

EXAMPLE = "splitrail agent --config agent.yaml"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the agent's settings (YAML)")


def run(arguments: argparse.Namespace) -> int:
    """Run the agent until SIGINT or SIGTERM."""
    from edge_agent.agent import run_agent  # noqa: PLC0415  # `--help` stays quick without the runtime
    from edge_agent.configuration import AgentSettings  # noqa: PLC0415  # as above
    from splitrail.settings import load_settings  # noqa: PLC0415  # as above

    settings = load_settings(arguments.config, AgentSettings)
    os.umask(0o077)  # models, segments and telemetry that waits are nobody else's to read
    run_agent(settings)
    return 0
