"""`splitrail telemetry init`: sets up the InfluxDB that coordinator.yaml names."""

import argparse
from pathlib import Path

import msgspec

from coordinator.configuration import CoordinatorSettings, InfluxSettings
from coordinator.errors import DeclarationError, TimeError
from coordinator.telemetry.durations import in_words, retention_of
from coordinator.telemetry.influx_credentials import PASSWORD_VARIABLE, TOKEN_VARIABLE
from coordinator.telemetry.influx_setup import set_up
from coordinator.telemetry.setup_steps import KEEP_S, RAW_S, Given, Retentions, Setup
from splitrail.settings import load_settings
from splitrail.terminal import printable

EXAMPLE = "splitrail telemetry init --raw 30d --keep 2y --username admin --password-file admin.password"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--raw",
        type=_retention,
        metavar="TIME",
        help="how long every point is kept, from 1h on, or inf; a time that is given is set, and a shorter one deletes "
        f"({in_words(RAW_S)} where the database is new, else as it is)",
    )
    parser.add_argument(
        "--keep",
        type=_retention,
        metavar="TIME",
        help=f"how long means of minutes are kept, likewise ({in_words(KEEP_S)} where new, else as it is)",
    )
    parser.add_argument("--username", metavar="NAME", help="an administrator of InfluxDB 1 (the coordinator's user)")
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help=f"a file whose first line is the administrator's password; or give it in {PASSWORD_VARIABLE}",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="a file whose first line is a token of InfluxDB 2 or 3 that may do everything; or give it in "
        f"{TOKEN_VARIABLE}",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing: show what would be sent to the server")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Set up; 0 once the server is as it should be."""
    settings = load_settings(arguments.config, CoordinatorSettings).influxdb
    if settings is None:
        raise DeclarationError(
            f"{arguments.config}: has no `influxdb`, so telemetry is kept in `store`, which needs no setting up"
        )
    retentions = Retentions(_given(arguments.raw, RAW_S), _given(arguments.keep, KEEP_S))
    if _order(retentions.keep) < _order(retentions.raw) and not retentions.keep.is_default:
        raise TimeError(
            f"--keep {in_words(retentions.keep.seconds)} is shorter than --raw {in_words(retentions.raw.seconds)}: "
            "means of minutes are for what is older than the points"
        )
    setup = set_up(_as_administrator(settings, arguments), retentions, is_dry=arguments.dry_run)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(setup), indent=2).decode())
    else:
        _show(setup, is_dry=arguments.dry_run)
    return 0


def _retention(text: str) -> Given:
    try:
        return Given(retention_of(text), is_default=False)
    except TimeError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _given(given: Given | None, default_s: int) -> Given:
    return given if given is not None else Given(default_s, is_default=True)


def _order(given: Given) -> float:
    return float("inf") if given.seconds is None else given.seconds


def _as_administrator(settings: InfluxSettings, arguments: argparse.Namespace) -> InfluxSettings:
    """The settings with the credentials that were given in place of the coordinator's, if any were."""
    username, password_file, token_file = arguments.username, arguments.password_file, arguments.token_file
    if username is None and password_file is None and token_file is None:
        return settings
    return msgspec.structs.replace(settings, username=username, password_file=password_file, token_file=token_file)


def _show(setup: Setup, *, is_dry: bool) -> None:
    print(f"{setup.endpoint}: InfluxDB {printable(setup.version)}")
    will_be = {"made": "to make", "changed": "to change", "kept": "as it is"}
    for step in setup.steps:
        print(f"  {will_be[step.action] if is_dry else step.action:9}  {step.subject}")
        if is_dry:
            for statement in step.statements:
                print(f"             {printable(statement)}")
    for note in setup.notes:
        print(note)
