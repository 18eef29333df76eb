"""A server is set up as its family does it: once, again without a change, and with what was changed changed.

InfluxDB 1.6 is a real one; 2 and 3 Core are told by documented requests alone.
"""

import functools
import json
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from eventually import eventually
from made_site import link_message
from managed_influxdb import ORG, ORG_ID, TOKEN, ManagedInfluxdb
from msgspec.structs import replace

from coordinator.configuration import InfluxSettings
from coordinator.errors import InfluxDeniedError, InfluxError
from coordinator.telemetry.durations import in_words
from coordinator.telemetry.influx_answers import Denied, Scalar, Stored
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.influx_setup import set_up
from coordinator.telemetry.influx_store import InfluxTelemetryStore
from coordinator.telemetry.rollups import EVERY, FOR, MINUTE, POLICY, ROLLUPS, Rollup, flux_task, kind_of, selection
from coordinator.telemetry.setup_steps import KEEP_S, RAW_S, Action, Given, Retentions, Setup
from testbed.private_influxd import PrivateInfluxd

DAY_S = 86_400
KEEP_90_DAYS = Retentions(raw=Given(90 * DAY_S, is_default=False))
# A continuous query that is new runs at the next look.
LOOK_OFTEN = '[continuous_queries]\n  run-interval = "200ms"\n'


def actions(setup: Setup) -> list[Action]:
    return [step.action for step in setup.steps]


def policies(server: InfluxServer) -> dict[Scalar, tuple[Scalar, ...]]:
    (answer,) = server.query(f'SHOW RETENTION POLICIES ON "{server.database}"')
    return {row[0]: row[1:] for series in answer for row in series.values}


@pytest.fixture
def settings(influxd: PrivateInfluxd, request: pytest.FixtureRequest) -> Iterator[InfluxSettings]:
    """A database that is not there yet, on the shared server."""
    named = replace(influxd.settings, database=f"setup-{request.node.name[:40]}")
    yield named
    with closing(InfluxServer(named)) as server:
        server.query(f'DROP DATABASE "{named.database}"', timeout_s=30.0)


def test_a_new_database_gets_policies_and_queries(settings: InfluxSettings) -> None:
    """Raw points for 30 days, minutes for two years; a write without a policy goes to the raw ones."""
    setup = set_up(settings, Retentions())
    assert (setup.family, setup.version) == ("1", "1.6.7~rc0")
    assert actions(setup) == ["made"] * (2 + len(ROLLUPS))
    with closing(InfluxServer(settings)) as server:
        assert policies(server) == {
            "autogen": ("720h0m0s", "24h0m0s", 1, True),
            POLICY: ("17520h0m0s", "168h0m0s", 1, False),
        }


def test_a_second_time_changes_nothing(settings: InfluxSettings) -> None:
    """Nor a third: what the server says of its queries is what we told it."""
    set_up(settings, Retentions())
    again = set_up(settings, Retentions())
    assert actions(again) == ["kept"] * (2 + len(ROLLUPS))
    assert not any(step.statements for step in again.steps)


def test_a_retention_that_is_given_is_set(settings: InfluxSettings) -> None:
    """Longer, shorter, for ever; shards are cut to fit, for InfluxDB refuses those that are longer than the policy."""
    set_up(settings, Retentions())
    for seconds, shown in ((90 * DAY_S, "2160h0m0s"), (3_600, "1h0m0s"), (None, "0s")):
        given = Retentions(raw=Given(seconds, is_default=False))
        assert actions(set_up(settings, given))[:2] == ["changed", "kept"]
        assert actions(set_up(settings, given))[:2] == ["kept", "kept"]
        with closing(InfluxServer(settings)) as server:
            assert policies(server)["autogen"][0] == shown


def test_a_default_deletes_nothing(settings: InfluxSettings) -> None:
    """Of a database that keeps points for ever, under whatever name, only who says so makes it forget."""
    with closing(InfluxServer(settings)) as server:
        server.query(f'CREATE DATABASE "{settings.database}" WITH DURATION INF NAME "every \\"thing"', timeout_s=30.0)
        setup = set_up(settings, Retentions())
        assert set(actions(set_up(settings, Retentions()))) == {"kept"}
        assert actions(setup) == ["kept", "made", *["made"] * len(ROLLUPS)]
        assert setup.steps[0].subject.endswith("raw points for inf")
        assert [note.partition(":")[0] for note in setup.notes] == ["it keeps every point for ever, as before"]
        assert policies(server)['every "thing'] == ("0s", "168h0m0s", 1, True)


@pytest.mark.parametrize("statement", ['DROP RETENTION POLICY "autogen"', 'ALTER RETENTION POLICY "rollup"'])
def test_raw_points_have_a_policy_of_their_own(settings: InfluxSettings, statement: str) -> None:
    """Where a database has no default policy any more, or takes that of the minutes for it."""
    set_up(settings, Retentions())
    with closing(InfluxServer(settings)) as server:
        default = " DEFAULT" if statement.startswith("ALTER") else ""
        server.query(f'{statement} ON "{settings.database}"{default}', timeout_s=30.0)
        assert actions(set_up(settings, Retentions()))[0] in ("made", "changed")
        assert {name: row[3] for name, row in policies(server).items()} == {"autogen": True, POLICY: False}
        assert set(actions(set_up(settings, Retentions()))) == {"kept"}


def test_a_query_of_another_version_is_replaced(settings: InfluxSettings) -> None:
    """What is ours by name; what is not is left."""
    set_up(settings, Retentions())
    with closing(InfluxServer(settings)) as server:
        name = settings.database
        server.query(f'DROP CONTINUOUS QUERY "splitrail_link" ON "{name}"', timeout_s=30.0)
        for query in ("splitrail_link", "mine"):
            server.query(
                f'CREATE CONTINUOUS QUERY "{query}" ON "{name}" BEGIN SELECT max("mbps") INTO "other" FROM "link"'
                " GROUP BY time(1h) END",
                timeout_s=30.0,
            )
        assert actions(set_up(settings, Retentions())) == ["kept", "kept", "kept", "kept", "kept", "changed"]
        assert actions(set_up(settings, Retentions())) == ["kept"] * 6
        (answer,) = server.query("SHOW CONTINUOUS QUERIES")
        assert "mine" in {row[0] for series in answer if series.name == name for row in series.values}


def test_a_dry_run_only_looks(settings: InfluxSettings) -> None:
    """It says every statement that would be sent."""
    setup = set_up(settings, Retentions(), is_dry=True)
    assert actions(setup) == ["made"] * 6
    assert setup.steps[0].statements == (
        f'CREATE DATABASE "{settings.database}" WITH DURATION 720h REPLICATION 1 SHARD DURATION 24h NAME "autogen"',
    )
    (query,) = setup.steps[2].statements
    assert query.startswith(f'CREATE CONTINUOUS QUERY "splitrail_energy" ON "{settings.database}" ')
    assert f'RESAMPLE EVERY {EVERY} FOR {FOR} BEGIN SELECT sum("used_j") AS "used_j", ' in query
    with closing(InfluxServer(settings)) as server:
        (answer,) = server.query("SHOW DATABASES")
        assert settings.database not in {row[0] for series in answer for row in series.values}


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """A real server that has downsampled what is in `seeded`."""
    with (
        PrivateInfluxd(tmp_path_factory.mktemp("minutes"), LOOK_OFTEN) as running,
        closing(InfluxServer(running.settings)) as server,
    ):
        server.query('CREATE DATABASE "splitrail"', timeout_s=30.0)
        assert server.write("\n".join(seeded()).encode()) == Stored()
        set_up(running.settings, Retentions())
        assert eventually(lambda: all(downsampled(server, each.measurement.name) for each in ROLLUPS))
        yield server


@functools.cache
def first_s() -> int:
    """Of two whole minutes, some ten minutes before the first test that asks."""
    return int(time.time()) // 60 * 60 - 600


POWERS_W = [3.0 + (second % 7) / 10 for second in range(120)]
LATENCIES_MS = [float((second * 37) % 101) for second in range(120)]


def seeded() -> Iterator[str]:
    for second, (power_w, latency_ms) in enumerate(zip(POWERS_W, LATENCIES_MS, strict=True)):
        time_ns = (first_s() + second) * 1_000_000_000
        yield (
            f"energy,meter=rapl,node=pi,scope=package,source=measured energy_j={second},used_j={power_w},"
            f"power_w={power_w},interval_s=1 {time_ns}"
        )
        yield (
            f"energy,emulated=yes,meter=modelled,node=pc,scope=board,source=modelled used_j=5,power_w=5,interval_s=1"
            f" {time_ns}"
        )
        outcome = "failed" if second % 60 == 0 else "answered"
        yield (
            f"inference,deployment=photos,model=net,origin=pi,outcome={outcome},route=pi>pc latency_ms={latency_ms},"
            f'origin_energy_j=2,total_energy_j={second},epoch=1i,request_id="r{second}" {time_ns}'
        )
        yield f"node,node=pi cpu=0.5,temperature_c={second},throttled={second % 3}i {time_ns}"
        yield f"link,dst=pc,method=probe,src=pi rtt_ms={second},mbps=40 {time_ns}"


def downsampled(server: InfluxServer, measurement: str) -> list[dict[str, Scalar]]:
    """What the longer policy has of a measurement."""
    (answer,) = server.query(f'SELECT * FROM "{POLICY}"."{measurement}"', timeout_s=30.0)
    return [dict(zip(series.columns, row, strict=True)) for series in answer for row in series.values]


def test_continuous_queries_sum_energy_by_meter(minutes: InfluxServer) -> None:
    """Joules of each minute are the sum of its readings', by node, meter, source and scope; nothing is mixed."""
    measured = [row for row in downsampled(minutes, "energy") if row["node"] == "pi"]
    assert [row["time"] for row in measured] == [first_s() * 10**9, (first_s() + 60) * 10**9]
    assert (measured[0]["meter"], measured[0]["source"], measured[0]["scope"]) == ("rapl", "measured", "package")
    for row, powers in zip(measured, (POWERS_W[:60], POWERS_W[60:]), strict=True):
        assert row["used_j"] == pytest.approx(math.fsum(powers))
        assert row["power_w"] == pytest.approx(statistics.mean(powers))
        assert (row["power_w_max"], row["interval_s"]) == (max(powers), 60)
    modelled = [row for row in downsampled(minutes, "energy") if row["node"] == "pc"]
    assert [(row["used_j"], row["source"], row["emulated"]) for row in modelled] == [(300, "modelled", "yes")] * 2


def test_continuous_queries_count_inferences(minutes: InfluxServer) -> None:
    """How many, how quick they were, what they took; those that failed apart."""
    rows = downsampled(minutes, "inference")
    assert [row["inferences"] for row in rows if row["outcome"] == "failed"] == [1, 1]
    answered = [row for row in rows if row["outcome"] == "answered"]
    for row, latencies_ms in zip(answered, (sorted(LATENCIES_MS[1:60]), sorted(LATENCIES_MS[61:])), strict=True):
        assert row["inferences"] == 59
        assert row["latency_ms"] == pytest.approx(statistics.mean(latencies_ms))
        assert row["latency_ms_p50"] == latencies_ms[math.floor(59 * 0.50 + 0.5) - 1]
        assert row["latency_ms_p95"] == latencies_ms[math.floor(59 * 0.95 + 0.5) - 1]
        assert row["origin_energy_j"] == 2
    assert answered[0]["total_energy_j"] == statistics.mean(range(1, 60))


def test_continuous_queries_take_means_of_nodes_and_links(minutes: InfluxServer) -> None:
    """And the worst of temperature and throttling; a field that nobody wrote is not there."""
    first, second = downsampled(minutes, "node")
    assert (first["cpu"], first["temperature_c"], second["temperature_c_max"], second["throttled"]) == (
        0.5,
        29.5,
        119,
        2,
    )
    assert first.get("load") is None
    link, _ = downsampled(minutes, "link")
    assert (link["rtt_ms"], link["mbps"], link["src"], link["dst"]) == (29.5, 40, "pi", "pc")


def test_minutes_of_what_came_late_are_made_by_hand(minutes: InfluxServer) -> None:
    """The same SELECT with a time of its own: what is older than the last hour is not looked at again by itself."""
    time_ns = (first_s() - 7_200) * 10**9
    assert minutes.write(f"link,dst=pi,method=probe,src=pc mbps=7 {time_ns}".encode()) == Stored()
    (link,) = (each for each in ROLLUPS if each.measurement.name == "link")
    select = selection(link, database="splitrail", raw_policy="autogen")
    minutes.query(select.replace(" GROUP BY", " WHERE time > now() - 30d GROUP BY"), timeout_s=30.0)
    late, *others = downsampled(minutes, "link")
    assert (late["time"], late["mbps"], late["src"]) == (time_ns, 7, "pc")
    assert [each["mbps"] for each in others] == [40, 40]


def test_each_rollup_writes_the_kinds_that_it_says(minutes: InfluxServer) -> None:
    """So that both policies, and each family, can be asked by the same names."""
    for rollup in ROLLUPS:
        (answer,) = minutes.query(f'SHOW FIELD KEYS ON "splitrail" FROM "{POLICY}"."{rollup.measurement.name}"')
        there = {row[0]: row[1] for series in answer for row in series.values}
        said = {each.name: {"number": "float", "count": "integer"}.get(kind_of(rollup, each)) for each in rollup.fields}
        assert there.items() <= said.items()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[InfluxSettings]:
    """A real server that asks who somebody is, its administrator, and the password of everybody."""
    with PrivateInfluxd(tmp_path / "guarded", "  auth-enabled = true\n") as running:
        with closing(InfluxServer(running.settings)) as server:
            server.query("CREATE USER admin WITH PASSWORD 'secret' WITH ALL PRIVILEGES", timeout_s=30.0)
        password = tmp_path / "password"
        password.write_text("secret\n")
        yield replace(running.settings, username="admin", password_file=password)


def test_least_rights_are_enough(guarded: InfluxSettings) -> None:
    """An administrator sets up; then a coordinator that may only write writes, and a Grafana that may read reads."""
    set_up(guarded, Retentions())
    with closing(InfluxServer(guarded)) as admin:
        for user, right in (("splitrail", "WRITE"), ("grafana", "READ")):
            admin.query(f"CREATE USER {user} WITH PASSWORD 'secret'", timeout_s=30.0)
            admin.query(f'GRANT {right} ON "splitrail" TO {user}', timeout_s=30.0)
    writer, reader = (replace(guarded, username=name) for name in ("splitrail", "grafana"))
    with closing(InfluxServer(writer)) as server:
        assert server.write(f"link,src=pi,dst=pc mbps=1 {time.time_ns()}".encode()) == Stored()
        with pytest.raises(InfluxError, match="splitrail not authorized"):
            server.query("SELECT * FROM link")
    with closing(InfluxServer(reader)) as server:
        assert server.query('SELECT * FROM link; SELECT * FROM "rollup".link')[0]
        assert isinstance(server.write(b"link,src=pi,dst=pc mbps=1 1"), Denied)
    with pytest.raises(InfluxDeniedError, match=r"not authorized.*setting it up needs an administrator's --username"):
        set_up(writer, KEEP_90_DAYS)
    nobody = replace(guarded, username=None, password_file=None)
    with pytest.raises(InfluxDeniedError, match="unable to parse authentication credentials"):
        set_up(nobody, Retentions())


@pytest.mark.usefixtures("nothing_left")
def test_a_coordinator_that_may_only_write_stores_all(guarded: InfluxSettings, tmp_path: Path) -> None:
    """Its status has no sums, and says that it may not ask."""
    set_up(guarded, Retentions())
    with closing(InfluxServer(guarded)) as admin:
        admin.query("CREATE USER splitrail WITH PASSWORD 'secret'", timeout_s=30.0)
        admin.query("GRANT WRITE ON splitrail TO splitrail", timeout_s=30.0)
        writer = replace(guarded, username="splitrail")
        store = InfluxTelemetryStore(tmp_path / "telemetry.sqlite", writer, coordinator="hub", retention_s=1e9)
        with closing(store):
            store.record(link_message("pi", "pc", at=time.time()), time.time())
            store.flush()
            store.summarise_power(time.time() - 60.0)
            report = store.report()
        assert (report.waiting, report.dead_letters) == (0, 0)
        assert "splitrail not authorized" in (report.obstacle or "")
        assert admin.query("SELECT count(mbps) FROM link")[0][0].values[0][1] == 1


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


def settings_of(server: ManagedInfluxdb, token_file: Path) -> InfluxSettings:
    return InfluxSettings(url=server.url, org=ORG, token_file=token_file)


def test_influxdb_2_gets_buckets_names_and_tasks(token_file: Path) -> None:
    """By the requests that its reference documents."""
    with ManagedInfluxdb("2") as server:
        settings = settings_of(server, token_file)
        setup = set_up(settings, Retentions())
        assert (setup.family, actions(setup)) == ("2", ["made"] * (4 + len(ROLLUPS)))
        kept = server.kept
        assert [(each["name"], each["orgID"], each["retentionRules"]) for each in kept.buckets] == [
            ("splitrail", ORG_ID, [{"type": "expire", "everySeconds": 30 * DAY_S}]),
            ("splitrail/rollup", ORG_ID, [{"type": "expire", "everySeconds": 2 * 365 * DAY_S}]),
        ]
        assert [
            (each["database"], each["retention_policy"], each["bucketID"], each["default"]) for each in kept.mappings
        ] == [("splitrail", "autogen", f"{0:016x}", True), ("splitrail", "rollup", f"{1:016x}", False)]
        assert [each["name"] for each in kept.tasks] == [f"splitrail_{each.measurement.name}" for each in ROLLUPS]
        kept.changes.clear()
        assert actions(set_up(settings, Retentions())) == ["kept"] * 8
        assert not kept.changes


def test_influxdb_2_changes_what_is_changed(token_file: Path) -> None:
    """A retention that is given, a task of another version; a bucket of another one's keeps its retention."""
    with ManagedInfluxdb("2") as server:
        settings = settings_of(server, token_file)
        server.kept.buckets.append({"id": f"{0:016x}", "name": "splitrail", "orgID": ORG_ID, "retentionRules": []})
        setup = set_up(settings, Retentions())
        assert (setup.steps[0].action, len(setup.notes)) == ("kept", 1)
        server.kept.tasks[0]["flux"] = "something older"
        server.kept.changes.clear()
        assert actions(set_up(settings, KEEP_90_DAYS)) == ["changed", *["kept"] * 3, "changed", *["kept"] * 3]
        assert server.kept.changes == [f"PATCH /api/v2/buckets/{0:016x}", f"PATCH /api/v2/tasks/{0:016x}"]
        assert server.kept.buckets[0]["retentionRules"] == [{"type": "expire", "everySeconds": 90 * DAY_S}]
        forever = Retentions(raw=Given(None, is_default=False))
        set_up(settings, forever)
        assert server.kept.buckets[0]["retentionRules"] == []


def test_influxdb_2_uses_names_that_it_has(token_file: Path) -> None:
    """Later ones map a bucket by themselves, and list that as a virtual mapping."""
    with ManagedInfluxdb("2") as server:
        server.kept.buckets.append({"id": "b1", "name": "splitrail", "orgID": ORG_ID, "retentionRules": []})
        server.kept.mappings.append(
            {"database": "splitrail", "retention_policy": "autogen", "bucketID": "b1", "default": True, "virtual": True}
        )
        assert actions(set_up(settings_of(server, token_file), Retentions()))[:4] == ["kept", "made", "kept", "made"]


def test_a_dry_run_tells_influxdb_2_nothing(token_file: Path) -> None:
    """It shows the requests."""
    with ManagedInfluxdb("2") as server:
        setup = set_up(settings_of(server, token_file), Retentions(), is_dry=True)
        assert (actions(setup), server.kept.changes) == (["made"] * 8, [])
        method, path, body = setup.steps[0].statements[0].split(" ", 2)
        assert (method, path, json.loads(body)["name"]) == ("POST", "/api/v2/buckets", "splitrail")


def test_influxdb_3_gets_a_database_and_no_minutes(token_file: Path) -> None:
    """Core has neither tasks nor continuous queries, and says its retention once: both are told."""
    with ManagedInfluxdb("3") as server:
        settings = settings_of(server, token_file)
        setup = set_up(settings, Retentions())
        assert (setup.family, actions(setup), server.kept.databases) == ("3", ["made"], {"splitrail": "720h"})
        assert [note.partition(":")[0] for note in setup.notes] == [
            "InfluxDB 3 Core has no tasks and no continuous queries"
        ]
        server.kept.changes.clear()
        again = set_up(settings, KEEP_90_DAYS)
        assert (actions(again), server.kept.changes) == (["kept"], [])
        assert again.notes[0].startswith("InfluxDB 3 Core sets a retention only when it makes a database")


def test_what_stands_in_the_way_is_said(token_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token, a wrong one, an organisation that is not there or not given."""
    monkeypatch.delenv("SPLITRAIL_INFLUXDB_TOKEN", raising=False)
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    with ManagedInfluxdb("2") as server:
        settings = settings_of(server, token_file)
        for changed, reason in (
            (replace(settings, token_file=None), "needs a token that may do everything: give --token-file"),
            (replace(settings, token_file=wrong), r"refuses this token \(unauthorized access\)"),
            (replace(settings, org="away"), "shows this token no organisation 'away': correct influxdb.org"),
            (replace(settings, org=None), "asks for an organisation: give influxdb.org"),
        ):
            with pytest.raises(InfluxError, match=reason):
                set_up(changed, Retentions())
        assert not server.kept.changes


def test_a_task_is_the_rollup_in_flux() -> None:
    """Whole minutes of the last hour, named as their beginning, each field by its function."""
    script = flux_task(ROLLUPS[1], bucket="splitrail", into="splitrail/rollup")
    assert f'option task = {{name: "splitrail_inference", every: {EVERY}}}' in script
    assert (
        f"range(start: date.truncate(t: -{FOR}, unit: {MINUTE}), stop: date.truncate(t: now(), unit: {MINUTE}))"
        in script
    )
    assert script.count('|> to(bucket: "splitrail/rollup")') == len(ROLLUPS[1].fields)
    assert script.count('timeSrc: "_start"') == len(ROLLUPS[1].fields)
    assert script.count("|> yield(name: ") == len({each.name for each in ROLLUPS[1].fields})


@pytest.mark.parametrize("rollup", ROLLUPS, ids=lambda each: each.measurement.name)
def test_a_rollup_is_of_fields_that_are_declared(rollup: Rollup) -> None:
    """And a name that the raw points have too means the same there."""
    declared = {field.name for field in rollup.measurement.fields}
    for field in rollup.fields:
        assert field.of in declared
        assert field.name == field.of or field.name not in declared
        assert kind_of(rollup, field) in ("number", "count")


def test_the_page_tells_what_is_kept() -> None:
    """Every rolled field has its name in docs/influxdb.md, and the times that a new database takes."""
    page = (Path(__file__).parents[3] / "docs" / "influxdb.md").read_text()
    for rollup in ROLLUPS:
        _, _, rows = page.partition(f"| `{rollup.measurement.name}` | ")
        for field in rollup.fields:
            assert f"`{field.name}`" in rows
    assert (in_words(RAW_S), in_words(KEEP_S)) == ("30d", "2y")
    assert "takes 30 days and two years" in page
