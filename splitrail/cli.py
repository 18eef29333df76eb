"""The `splitrail` command: finds the sub-command, imports only its module, and turns errors into one line."""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

from splitrail import __version__
from splitrail.errors import SplitrailError
from splitrail.shadowing import PACKAGES, refuse_shadowed_packages
from splitrail.terminal import printable_lines

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class Command(NamedTuple):
    """A sub-command: its one-line summary, the module that holds it and the extra that this module needs."""

    summary: str
    module: str
    extra: str | None


# A module offers EXAMPLE, configure(parser) and run(arguments) -> exit code.
COMMANDS = {
    "demo": Command("run the whole system, emulated, on this machine", "splitrail.commands.demo", "experiments"),
    "agent": Command("run the agent of this node", "splitrail.commands.agent", "agent"),
    "coordinator": Command("run the coordinator of a site", "splitrail.commands.coordinator", "coordinator"),
    "site": Command("decide who is let in: certificates, passwords, access", "splitrail.commands.site", "coordinator"),
    "telemetry": Command("set up InfluxDB, export telemetry", "splitrail.commands.telemetry", "coordinator"),
    "infer": Command("send images through a deployment", "splitrail.commands.infer", "agent"),
    "status": Command("show nodes, links, deployments and plans", "splitrail.commands.status", None),
    "convert": Command("make a .tflite from a zoo model, Keras or SavedModel", "splitrail.commands.convert", "convert"),
    "cuts": Command("list the cut points of a .tflite", "splitrail.commands.cuts", None),
    "slice": Command("cut a segment out of a .tflite", "splitrail.commands.slice", None),
    "profile": Command("measure the ops of a .tflite on this machine", "splitrail.commands.profile", "agent"),
    "plan": Command("solve a planning problem", "splitrail.commands.plan", None),
    "doctor": Command("say what is wrong with this machine or site, and the fix", "splitrail.commands.doctor", None),
    "experiment": Command("repeat a published experiment", "splitrail.commands.experiment", "experiments"),
}


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Names an option's value once, as Python 3.13 does, on every Python: so the documentation is the same on all."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"


class _OneLineParser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def _front_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items())
    parser = _OneLineParser(
        prog="splitrail",
        description="Runs one neural network across edge, fog and cloud, and moves the split while it runs.",
        epilog=f"commands:\n{listing}\n\n`splitrail COMMAND --help` shows its options and an example.",
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"splitrail {__version__}")
    parser.add_argument("command", nargs="?", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


@contextlib.contextmanager
def _missing_packages_named(name: str) -> Iterator[None]:
    """Turn a package that is not installed into the extra that brings it; a command may import as late as it likes."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = COMMANDS[name].extra
        if extra is None or (error.name or "").split(".")[0] in PACKAGES:
            raise
        raise SplitrailError(
            f"`splitrail {name}` needs the package {error.name!r}: pip install 'splitrail[{extra}]'"
        ) from None


def command_parser(name: str) -> tuple[argparse.ArgumentParser, Any]:
    """The parser of one sub-command and the module that carries it out (typed loosely: it is found by name)."""
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    parser = _OneLineParser(
        prog=f"splitrail {name}",
        description=command.summary[0].upper() + command.summary[1:] + ".",
        epilog=f"example:\n  {module.EXAMPLE}",
        formatter_class=_HelpFormatter,
    )
    module.configure(parser)
    return parser, module


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `splitrail` command and return its exit code: 0 done, 2 bad usage or input, 130 interrupted."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        refuse_shadowed_packages()
        front = _front_parser()
        chosen = front.parse_args(arguments)
        if chosen.command is None:
            front.error("which command")
        with _missing_packages_named(chosen.command):
            parser, module = command_parser(chosen.command)
            return int(module.run(parser.parse_args(chosen.arguments)))
    except SplitrailError as error:
        # A message may quote a file, a path or another machine.
        print(f"splitrail: {printable_lines(str(error))}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except PermissionError as error:
        print(f"splitrail: {error.filename}: permission denied; change its mode, or run as its owner", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has gone; keep the interpreter from failing again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
