"""What an InfluxDB 2 needs to keep a site's telemetry: buckets, names for InfluxQL, tasks; by its documented HTTP API.

https://docs.influxdata.com/influxdb/v2/api/ (buckets, dbrps, orgs, tasks)
"""

from collections.abc import Iterator
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from coordinator.errors import InfluxError
from coordinator.telemetry.durations import in_words
from coordinator.telemetry.influx_api import InfluxApi
from coordinator.telemetry.rollups import POLICY, ROLLUPS, Rollup, flux_task, name_of
from coordinator.telemetry.setup_steps import Given, Retentions, Step

RAW_POLICY: Final = "autogen"
"""What InfluxQL calls the bucket that has no policy in its name."""


T = TypeVar("T")


class _Named(msgspec.Struct, frozen=True):
    id: str
    name: str = ""


class _Orgs(msgspec.Struct, frozen=True):
    orgs: tuple[_Named, ...] = ()


class _Rule(msgspec.Struct, frozen=True, rename={"every_seconds": "everySeconds"}):
    every_seconds: int = 0


class _Bucket(msgspec.Struct, frozen=True, rename={"rules": "retentionRules"}):
    id: str
    name: str
    rules: tuple[_Rule, ...] = ()


class _Buckets(msgspec.Struct, frozen=True):
    buckets: tuple[_Bucket, ...] = ()


class _Mapping(msgspec.Struct, frozen=True, rename={"bucket_id": "bucketID"}):
    database: str
    retention_policy: str
    bucket_id: str


class _Mappings(msgspec.Struct, frozen=True):
    content: tuple[_Mapping, ...] = ()


class _Task(msgspec.Struct, frozen=True):
    id: str
    name: str
    flux: str = ""
    status: str = "active"


class _Tasks(msgspec.Struct, frozen=True):
    tasks: tuple[_Task, ...] = ()


class SetupV2:
    """Sets up a bucket and what belongs to it in an organisation, step by step; with `is_dry` it only looks."""

    def __init__(self, api: InfluxApi, *, org: str | None, database: str, is_dry: bool) -> None:
        if org is None:
            raise InfluxError(api.endpoint, "InfluxDB 2 asks for an organisation: give influxdb.org")
        self._api = api
        self._database = database
        self._is_dry = is_dry
        found = api.find("/api/v2/orgs?" + urlencode({"org": org}), _Orgs) or _Orgs()
        self._org_id = next((each.id for each in found.orgs if each.name == org), None)
        if self._org_id is None:
            raise InfluxError(api.endpoint, f"shows this token no organisation {org!r}: correct influxdb.org")

    def steps(self, retentions: Retentions) -> Iterator[Step]:
        """Do what has to be done, one step after the other. InfluxError where the server does not."""
        rollup = f"{self._database}/{POLICY}"
        raw_id, step = self._bucket(self._database, retentions.raw, "raw points")
        yield step
        rollup_id, step = self._bucket(rollup, retentions.keep, "minutes")
        yield step
        yield self._name_for_influxql(RAW_POLICY, raw_id, is_default=True)
        yield self._name_for_influxql(POLICY, rollup_id, is_default=False)
        for each in ROLLUPS:
            yield self._task(each, rollup)

    def _bucket(self, name: str, given: Given, what: str) -> tuple[str | None, Step]:
        found = self._api.find("/api/v2/buckets?" + self._of_org(name=name), _Buckets) or _Buckets()
        there = next((bucket for bucket in found.buckets if bucket.name == name), None)
        if there is None:
            body = {"orgID": self._org_id, "name": name, "retentionRules": _rules(given.seconds)}
            made, statement = self._tell("POST", "/api/v2/buckets", body, _Bucket)
            subject = f"bucket {name}, {what} for {in_words(given.seconds)}"
            return None if made is None else made.id, Step(subject, "made", (statement,))
        seconds = there.rules[0].every_seconds or None if there.rules else None
        wanted = given.wanted(seconds)
        subject = f"bucket {name}, {what} for {in_words(wanted)}"
        if wanted == seconds:
            return there.id, Step(subject, "kept", is_unbounded=wanted is None)
        path = f"/api/v2/buckets/{quote(there.id, safe='')}"
        _, statement = self._tell("PATCH", path, {"retentionRules": _rules(wanted)}, _Bucket)
        return there.id, Step(subject, "changed", (statement,))

    def _name_for_influxql(self, policy: str, bucket_id: str | None, *, is_default: bool) -> Step:
        """InfluxDB 2.0 maps no bucket by itself; later ones list what they map so."""
        subject = f"InfluxQL finds it as {self._database}.{policy}"
        found = self._api.find("/api/v2/dbrps?" + self._of_org(db=self._database), _Mappings) or _Mappings()
        for each in found.content:
            if (each.database, each.retention_policy, each.bucket_id) == (self._database, policy, bucket_id):
                return Step(subject, "kept")
        body = {
            "orgID": self._org_id,
            "bucketID": bucket_id or "(that of the new bucket)",
            "database": self._database,
            "retention_policy": policy,
            "default": is_default,
        }
        _, statement = self._tell("POST", "/api/v2/dbrps", body, msgspec.Raw)
        return Step(subject, "made", (statement,))

    def _task(self, rollup: Rollup, bucket: str) -> Step:
        name, flux = name_of(rollup), flux_task(rollup, bucket=self._database, into=bucket)
        subject = f"task {name}, the minutes of {rollup.measurement.name}"
        found = self._api.find("/api/v2/tasks?" + self._of_org(name=name), _Tasks) or _Tasks()
        there = next((task for task in found.tasks if task.name == name), None)
        if there is None:
            body = {"orgID": self._org_id, "flux": flux, "status": "active"}
            _, statement = self._tell("POST", "/api/v2/tasks", body, _Task)
            return Step(subject, "made", (statement,))
        if (there.flux.split(), there.status) == (flux.split(), "active"):
            return Step(subject, "kept")
        _, statement = self._tell(
            "PATCH", f"/api/v2/tasks/{quote(there.id, safe='')}", {"flux": flux, "status": "active"}, _Task
        )
        return Step(subject, "changed", (statement,))

    def _tell(
        self, method: Literal["POST", "PATCH"], path: str, body: dict[str, Any], kind: type[T]
    ) -> tuple[T | None, str]:
        """Send a change, unless only looking: what the server answers, and the request in words."""
        statement = f"{method} {path} {msgspec.json.encode(body).decode()}"
        return None if self._is_dry else self._api.send(method, path, body, kind), statement

    def _of_org(self, **parameters: str) -> str:
        return urlencode({"orgID": self._org_id, **parameters})


def _rules(seconds: int | None) -> list[dict[str, object]]:
    """Without a rule a bucket keeps points for ever."""
    return [] if seconds is None else [{"type": "expire", "everySeconds": seconds}]
