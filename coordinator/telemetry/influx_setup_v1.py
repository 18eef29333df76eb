"""What an InfluxDB 1 needs to keep a site's telemetry: database, retention policies, continuous queries. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from coordinator.telemetry.durations import UNITS_S, in_words
from coordinator.telemetry.influx_answers import Series
from coordinator.telemetry.rollups import POLICY, ROLLUPS, Rollup, continuous_query, identifier, name_of
from coordinator.telemetry.setup_steps import Action, Given, Retentions, Step

FIRST_POLICY: Final = "autogen"
"""What InfluxDB 1 calls the default policy of a database that it makes by itself."""
_GO_DURATION: Final = re.compile(r"(?:(\d{1,9})h)?(?:(\d{1,4})m)?(?:(\d{1,4})s)?")


@dataclass(frozen=True, slots=True)
class Policy:
    """A retention policy: how long it keeps points, None for ever, and how much time a shard of it covers; in s."""

    duration_s: int | None
    shard_s: int
    is_default: bool


@dataclass(frozen=True, slots=True)
class Database:
    """A database as it is there: its policies and continuous queries by name."""

    policies: Mapping[str, Policy]
    queries: Mapping[str, str]


def questions(database: str) -> str:
    """What tells a Database."""
    return f'SHOW RETENTION POLICIES ON "{database}"; SHOW CONTINUOUS QUERIES'


def database_in(answers: tuple[tuple[Series, ...], ...], database: str) -> Database:
    """The database in the answers to these questions. ValueError if they are others."""
    policies, queries = answers
    return Database(
        {
            str(name): Policy(_seconds(str(duration)), _seconds(str(shard)) or 0, bool(is_default))
            for series in policies
            for name, duration, shard, _, is_default in series.values
        },
        {str(name): str(query) for series in queries if series.name == database for name, query in series.values},
    )


def steps_v1(there: Database | None, name: str, retentions: Retentions) -> tuple[Step, ...]:
    """What has to be done to a database; None is one that is not there.

    Raw points stay in the database's default policy, whatever its name: that is where a write goes that names none. It
    is never the policy of the minutes, for they would be made of themselves.
    """
    if there is None:
        raw_policy, there = FIRST_POLICY, Database({}, {})
        raw_s = retentions.raw.seconds
        made = f'CREATE DATABASE "{name}" WITH {_terms(raw_s, replication=True)} NAME "{raw_policy}"'
        raw = Step(f"database {name}, raw points for {in_words(raw_s)}", "made", (made,))
    else:
        raw_policy = next((each for each, policy in there.policies.items() if policy.is_default), POLICY)
        has_default = raw_policy != POLICY
        raw_policy = raw_policy if has_default else FIRST_POLICY
        policy = there.policies.get(raw_policy)
        raw_s = _wanted(retentions.raw, policy)
        action, statements = _policy_change(
            policy, f'{identifier(raw_policy)} ON "{name}"', raw_s, becomes_default=not has_default
        )
        subject = f"database {name}, raw points for {in_words(raw_s)}"
        raw = Step(subject, action, statements, is_unbounded=raw_s is None)
    keep_s = _wanted(retentions.keep, there.policies.get(POLICY))
    subject = f"policy {POLICY}, minutes for {in_words(keep_s)}"
    keep = Step(subject, *_policy_change(there.policies.get(POLICY), f'"{POLICY}" ON "{name}"', keep_s))
    return (raw, keep, *(_query_step(there, name, raw_policy, rollup) for rollup in ROLLUPS))


def shard_s(duration_s: int | None) -> int:
    """How much time a shard covers, by InfluxDB's own rule; one that is longer than the policy is refused."""
    if duration_s is None or duration_s > 180 * UNITS_S["d"]:
        return UNITS_S["w"]
    return UNITS_S["d"] if duration_s >= 2 * UNITS_S["d"] else UNITS_S["h"]


def _wanted(given: Given, there: Policy | None) -> int | None:
    return given.seconds if there is None else given.wanted(there.duration_s)


def _policy_change(
    there: Policy | None, policy: str, duration_s: int | None, *, becomes_default: bool = False
) -> tuple[Action, tuple[str, ...]]:
    """What makes a policy keep points for so long; how its shards are cut stays as it is where it does already."""
    default = " DEFAULT" if becomes_default else ""
    if there is None:
        return "made", (f"CREATE RETENTION POLICY {policy} {_terms(duration_s, replication=True)}{default}",)
    if there.duration_s == duration_s and not becomes_default:
        return "kept", ()
    return "changed", (f"ALTER RETENTION POLICY {policy} {_terms(duration_s, replication=False)}{default}",)


def _terms(duration_s: int | None, *, replication: bool) -> str:
    """Hours are what InfluxDB says itself; it knows no years."""
    duration = "INF" if duration_s is None else _hours(duration_s)
    return f"DURATION {duration} {'REPLICATION 1 ' if replication else ''}SHARD DURATION {_hours(shard_s(duration_s))}"


def _hours(seconds: int) -> str:
    return f"{seconds // 3_600}h" if seconds % 3_600 == 0 else f"{seconds}s"


def _query_step(there: Database, database: str, raw_policy: str, rollup: Rollup) -> Step:
    query, name = continuous_query(rollup, database=database, raw_policy=raw_policy), name_of(rollup)
    subject = f"continuous query {name}, the minutes of {rollup.measurement.name}"
    known = there.queries.get(name)
    if known is None:
        return Step(subject, "made", (query,))
    if _bare(known) == _bare(query):
        return Step(subject, "kept")
    return Step(subject, "changed", (f'DROP CONTINUOUS QUERY "{name}" ON "{database}"', query))


def _bare(query: str) -> str:
    """A query without what InfluxDB writes in its own way: it leaves out the quotes that a name does not need."""
    return " ".join(query.replace('"', "").split()).lower()


def _seconds(duration: str) -> int | None:
    """A duration as Go writes it, such as 720h0m0s; None for 0s, which is for ever."""
    found = _GO_DURATION.fullmatch(duration)
    if not found:
        raise ValueError(duration)
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3_600 + minutes * 60 + seconds or None
