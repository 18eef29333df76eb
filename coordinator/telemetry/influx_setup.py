"""Sets up the InfluxDB that the settings name, as its family does such things: `splitrail telemetry init`.

What has to be there is `coordinator.telemetry.rollups`'s and the families' own modules' to say.
"""

from contextlib import closing
from typing import Any, Final

import msgspec

from coordinator.configuration import InfluxSettings
from coordinator.errors import InfluxDeniedError, InfluxError, InfluxQueryError
from coordinator.telemetry.durations import in_words
from coordinator.telemetry.influx_api import InfluxApi
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.influx_setup_v1 import Database, database_in, questions, steps_v1
from coordinator.telemetry.influx_setup_v2 import SetupV2
from coordinator.telemetry.setup_steps import RAW_S, Given, Retentions, Setup, Step

TIMEOUT_S: Final = 30.0
_NO_TASKS: Final = (
    "InfluxDB 3 Core has no tasks and no continuous queries: means of minutes are not kept, `--keep` says nothing to it"
)

_FOREVER: Final = (
    f"it keeps every point for ever, as before: `--raw {in_words(RAW_S)}` would delete what is older, from now on"
)


class _Listed(msgspec.Struct, frozen=True, rename={"name": "iox::database"}):
    """A database, as InfluxDB 3 lists it in rows; its reference shows the other form."""

    name: str


class _Names(msgspec.Struct, frozen=True):
    databases: tuple[str, ...]


_LISTING: Any = tuple[_Listed, ...] | _Names


def set_up(settings: InfluxSettings, retentions: Retentions, *, is_dry: bool = False) -> Setup:
    """See to it that the server keeps telemetry so; what is so already is left alone. With `is_dry` it only looks.

    InfluxError where it cannot: what was done before stays, and a second attempt goes on from there.
    """
    with closing(InfluxServer(settings)) as server:
        identity = server.identify()
        notes: tuple[str, ...] = ()
        match identity.family:
            case "1" | "1.8":
                try:
                    steps = _set_up_v1(server, retentions, is_dry=is_dry)
                except (InfluxDeniedError, InfluxQueryError) as error:
                    reason = f"{error.reason}: setting it up needs an administrator's --username and --password-file"
                    raise InfluxDeniedError(server.endpoint, reason) from None
            case "2":
                with closing(InfluxApi(settings, server.endpoint, "Token")) as api:
                    setup = SetupV2(api, org=settings.org, database=settings.database, is_dry=is_dry)
                    steps = tuple(setup.steps(retentions))
            case "3":
                with closing(InfluxApi(settings, server.endpoint, "Bearer")) as api:
                    step, note = _set_up_v3(api, settings.database, retentions.raw, is_dry=is_dry)
                steps, notes = (step,), (*note, _NO_TASKS)
        if retentions.raw.is_default and steps[0].is_unbounded:
            notes = (*notes, _FOREVER)
        return Setup(server.endpoint, identity.family, identity.version, steps, notes)


def _set_up_v1(server: InfluxServer, retentions: Retentions, *, is_dry: bool) -> tuple[Step, ...]:
    steps = steps_v1(_database_v1(server), server.database, retentions)
    if not is_dry:
        for step in steps:
            for statement in step.statements:
                server.query(statement, timeout_s=TIMEOUT_S)
    return steps


def _database_v1(server: InfluxServer) -> Database | None:
    (databases,) = server.query("SHOW DATABASES", timeout_s=TIMEOUT_S)
    if not any(server.database in row for series in databases for row in series.values):
        return None
    try:
        return database_in(server.query(questions(server.database), timeout_s=TIMEOUT_S), server.database)
    except (ValueError, TypeError) as error:
        if isinstance(error, InfluxError):
            raise
        raise InfluxQueryError(server.endpoint, "describes its database as no InfluxDB 1 does") from None


def _set_up_v3(api: InfluxApi, database: str, raw: Given, *, is_dry: bool) -> tuple[Step, tuple[str, ...]]:
    """The database of an InfluxDB 3 Core, with its retention, which cannot be changed afterwards.

    https://docs.influxdata.com/influxdb3/core/api/database/
    """
    path = "/api/v3/configure/database"
    listed: tuple[_Listed, ...] | _Names = api.find(f"{path}?format=json", _LISTING) or ()
    if database in (listed.databases if isinstance(listed, _Names) else [each.name for each in listed]):
        note = f"InfluxDB 3 Core sets a retention only when it makes a database: that of {database} stays as it is"
        return Step(f"database {database}", "kept"), () if raw.is_default else (note,)
    body = {"db": database}
    if raw.seconds is not None:
        body["retention_period"] = f"{raw.seconds // 3_600}h" if raw.seconds % 3_600 == 0 else f"{raw.seconds}s"
    statement = f"POST {path} {msgspec.json.encode(body).decode()}"
    if not is_dry:
        api.send("POST", path, body, msgspec.Raw)
    return Step(f"database {database}, points for {in_words(raw.seconds)}", "made", (statement,)), ()
