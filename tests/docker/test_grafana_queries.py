"""What dashboards ask, asked of a real InfluxDB with a made-up site's telemetry, through Grafana's substitutions."""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import msgspec
import pytest
from grafana_files import DASHBOARDS, Statement, panels_of, statement, statements
from grafana_macros import TimeRange, legends_of, substituted, with_period
from influxd_fixture import make_database
from seeded_site import EMULATED, HOUR_S, LAPTOP, NOON, PI, samples

from coordinator.configuration import InfluxSettings
from coordinator.telemetry.influx_answers import Denied, Scalar, Series, Stored
from coordinator.telemetry.influx_lines import line_of
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.rollups import POLICY, ROLLUPS, selection
from testbed.private_influxd import PrivateInfluxd

LAST_HOUR = TimeRange(NOON - HOUR_S, NOON)
ALL: dict[str, tuple[str, ...]] = {
    "node": (EMULATED, LAPTOP, PI),
    "deployment": ("faces", "photos"),
    "model": ("faces-net", "photos-net"),
    "src": (LAPTOP, PI),
    "dst": (EMULATED, LAPTOP, PI),
}
"""Every value of every variable, which `All` stands for."""
ASKED = [each for each in statements() if each.place != "variable"]
SEEDED_TAGS: dict[str, set[tuple[str, str]]] = {}
for seeded in samples():
    SEEDED_TAGS.setdefault(seeded.measurement, set()).update(seeded.tags)


@pytest.fixture(scope="module")
def server(influxd: PrivateInfluxd) -> Iterator[InfluxServer]:
    """An InfluxDB that has the made-up site's telemetry."""
    settings = msgspec.structs.replace(influxd.settings, database="grafana")
    make_database(settings)
    with closing(InfluxServer(settings)) as opened:
        fill(opened)
        yield opened


def fill(server: InfluxServer) -> None:
    """Store the made-up site's telemetry."""
    lines = [line_of(each) for each in samples()]
    for start in range(0, len(lines), 1_000):
        assert server.write(b"\n".join(lines[start : start + 1_000])) == Stored()
    server.query(
        f'CREATE RETENTION POLICY "{POLICY}" ON "{server.database}" DURATION INF REPLICATION 1', timeout_s=20.0
    )
    for rollup in ROLLUPS:
        # What a continuous query asks, of all times at once.
        selected, _, groups = selection(rollup, database=server.database, raw_policy="autogen").partition(" GROUP BY ")
        week = f"time >= {round(NOON - 7 * 24 * HOUR_S)}s AND time <= {round(NOON)}s"
        server.query(f"{selected} WHERE {week} GROUP BY {groups}", timeout_s=20.0)


def ask(
    server: InfluxServer, asked: Statement, chosen: TimeRange = LAST_HOUR, **variables: Sequence[str]
) -> tuple[Series, ...]:
    """The answer to a statement as Grafana posts it, with all values of the variables that are not given."""
    text = substituted(asked.text, with_period(chosen, asked.period), {**ALL, **variables})
    assert not re.search(r"\$[\w{]", text)
    (answer,) = server.query(text, timeout_s=20.0)
    return answer


def what_is_missing(asked: Statement, answer: tuple[Series, ...]) -> list[str]:
    """Why an answer shows less than it should: InfluxDB says nothing of a misspelt name, it answers without values."""
    if not any(series.values for series in answer):
        return ["no rows"]
    missing = []
    for place, column in enumerate(answer[0].columns[1:], 1):
        if all(row[place] is None for series in answer for row in series.values):
            missing.append(f"column {column} is empty")
    for tag in asked.groups:
        if not any(series.tags.get(tag) for series in answer):
            missing.append(f"tag {tag} is empty")
    return missing


def figures(answer: tuple[Series, ...], *tags: str) -> dict[tuple[str, ...], Scalar]:
    """The first figure of each group, rounded, by some of its tags."""
    return {
        tuple(series.tags[tag] for tag in tags): (
            round(value, 6) if isinstance(value := series.values[0][1], float) else value
        )
        for series in answer
    }


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_statement_finds_what_it_shows(server: InfluxServer, asked: Statement) -> None:
    """Each column has values, and each tag that names a series too."""
    assert what_is_missing(asked, ask(server, asked)) == []


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_misspelt_name_would_be_noticed(server: InfluxServer, asked: Statement) -> None:
    """Of each field that is selected and each tag that is grouped by; what conditions name is held to the schema."""
    selected = asked.text.rpartition("SELECT ")[2].partition(" FROM ")[0]
    fields = {name for name in re.findall(r'"(\w+)"', selected) if name in asked.fields}
    tags = set(asked.groups)
    assert fields | tags
    for name in fields | tags:
        misspelt = asked.text.replace(f'"{name}"', f'"{name}x"')
        # What a condition names stays as it is, since no rows at all would be noticed anyway.
        misspelt = re.sub(rf'(AND|WHERE \$timeFilter AND) "{name}x"', rf'\1 "{name}"', misspelt)
        assert what_is_missing(asked, ask(server, replace(asked, text=misspelt))) != [], name


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_statement_can_be_asked_of_a_single_choice(server: InfluxServer, asked: Statement) -> None:
    """Also of a name with a dot and a dash, and over a week."""
    week = TimeRange(NOON - 7 * 24 * HOUR_S, NOON)
    chosen = {"node": (PI,), "deployment": ("photos",), "model": ("photos-net",), "src": (PI,), "dst": (LAPTOP,)}
    answer = ask(server, asked, week, **chosen)
    assert [why for why in what_is_missing(asked, answer) if "emulated is empty" not in why] == []
    points = [len(series.values) for series in answer]
    assert max(points) <= 2_000  # no more than a panel can show


@pytest.mark.parametrize("asked", [each for each in statements() if each.place == "variable"], ids=str)
def test_a_variable_offers_what_there_is(server: InfluxServer, asked: Statement) -> None:
    """All values of its tag."""
    (series,) = ask(server, asked)
    assert series.columns == ("key", "value")
    assert tuple(sorted(str(value) for _, value in series.values)) == ALL[asked.owner]


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_no_two_lines_of_a_panel_have_one_name(server: InfluxServer, uid: str) -> None:
    """Each line says what it is, over all statements of its panel."""
    names: dict[str, list[str]] = {}
    for asked in ASKED:
        if asked.dashboard == uid and asked.alias is not None:
            for series in ask(server, asked):
                names.setdefault(asked.owner, []).extend(legends_of(asked.alias, series.columns, series.tags))
    assert names
    for owner, legends in names.items():
        assert len(set(legends)) == len(legends), owner


def test_energy_today_is_summed_by_meter_and_never_over_sources(server: InfluxServer) -> None:
    """An hour at 4 W and at 10 W; what was used yesterday evening is not in it, nor is what is modelled or emulated."""
    measured = ask(server, statement("fleet", "Energy today, measured"))
    assert figures(measured, "meter", "scope") == {("hwmon", "board"): 4.0, ("rapl", "package"): 10.0}
    modelled = ask(server, statement("fleet", "Energy today, modelled"))
    assert figures(modelled, "scope", "emulated") == {("board", ""): 25.0, ("board", "yes"): 3.0}


def test_energy_of_one_node_is_its_own(server: InfluxServer) -> None:
    """The node's dashboard leaves out the others."""
    measured = ask(server, statement("node", "Energy today, measured"), node=(PI,))
    assert figures(measured, "meter") == {("hwmon",): 4.0}
    (series,) = ask(server, statement("node", "Energy since the time range began"), node=(EMULATED,))
    assert series.values[-1][1] == pytest.approx(3.0)


def test_power_now_is_the_sum_over_nodes_of_each_meter(server: InfluxServer) -> None:
    """Emulated watts apart."""
    measured = ask(server, statement("fleet", "Power now, measured"))
    assert figures(measured, "meter") == {("hwmon",): 4.0, ("rapl",): 10.0}
    modelled = ask(server, statement("fleet", "Power now, modelled"))
    assert figures(modelled, "scope", "emulated") == {("board", ""): 25.0, ("board", "yes"): 3.0}


def test_latency_p95_is_that_of_the_inferences_that_did_not_fail(server: InfluxServer) -> None:
    """Of 1 to 100 ms, with a rescued one of 900 ms; a failed one does not count."""
    answer = ask(server, statement("fleet", "Latency p50 and p95"))
    found = {(series.tags["deployment"], series.tags["emulated"]): series.values[0][1:] for series in answer}
    assert found == {("photos", ""): (51.0, 96.0), ("faces", "yes"): (102.0, 192.0)}


def test_inferences_are_counted_by_outcome(server: InfluxServer) -> None:
    """Per second they sum up to as many."""
    answer = ask(server, statement("fleet", "Inferences by outcome"), deployment=("photos",))
    assert figures(answer, "outcome") == {("answered",): 100, ("failed",): 1, ("rescued",): 1}
    rates = ask(server, statement("fleet", "Inferences per second"), deployment=("photos",))
    answered = next(series for series in rates if series.tags["outcome"] == "answered")
    assert sum(float(rate) * 10 for _, rate in answered.values if isinstance(rate, int | float)) == pytest.approx(100)


def test_joules_of_an_inference_come_by_model_and_route_with_their_source(server: InfluxServer) -> None:
    """What meters and model together say is `mixed`, what the cost model says is `modelled`."""
    compute = ask(server, statement("energy", "Compute of an inference, by model and route"))
    assert figures(compute, "model", "route", "compute_energy_source", "compute_energy_scope", "emulated") == {
        ("photos-net", f"{PI}>{LAPTOP}", "mixed", "mixed", ""): 0.8,
        ("faces-net", f"{PI}>{EMULATED}", "mixed", "board", "yes"): 0.8,
    }
    total = ask(server, statement("energy", "All of an inference, by model and route"))
    assert figures(total, "model", "energy_source", "energy_scope") == {
        ("photos-net", "modelled", "board"): 0.9,
        ("faces-net", "modelled", "board"): 0.9,
    }


def test_origin_and_total_stand_against_each_other(server: InfluxServer) -> None:
    """Two lines of one deployment."""
    (series,) = ask(server, statement("energy", "Origin against total"), deployment=("photos",))
    assert series.columns == ("time", "origin", "all nodes")
    assert {row[1:] for row in series.values} == {(0.4, 0.9)}


def test_history_sums_days_from_minutes(server: InfluxServer) -> None:
    """Yesterday's half an hour and today's hour at 4 W; a hundred inferences that were answered today."""
    week = TimeRange(NOON - 7 * 24 * HOUR_S, NOON)
    (series,) = ask(server, statement("history", "Energy by day, measured"), week, node=(PI,))
    assert [row[1] for row in series.values] == [pytest.approx(2.0), pytest.approx(4.0)]
    counted = ask(server, statement("history", "Inferences by day"), week, deployment=("photos",))
    assert figures(counted, "outcome") == {("answered",): 100, ("failed",): 1, ("rescued",): 1}


def test_nodes_heard_from_are_counted_with_the_emulated_ones_apart(server: InfluxServer) -> None:
    """Two machines and one that is emulated."""
    assert figures(ask(server, statement("fleet", "Nodes heard from")), "emulated") == {("",): 2, ("yes",): 1}


def test_the_split_over_time_shows_the_ops_of_each_stage(server: InfluxServer) -> None:
    """Three and one under the first plan, one and three under the second; empty where nobody asked."""
    answer = ask(server, statement("deployment", "The split over time"), deployment=("photos",))
    ops = {
        (series.tags["position"], series.tags["node"]): [row[1] for row in series.values if row[1] is not None]
        for series in answer
    }
    assert {key: (values[0], values[-1]) for key, values in ops.items()} == {
        ("000", PI): (3, 1),
        ("001", LAPTOP): (1, 3),
    }
    assert any(row[1] is None for row in answer[0].values)


def test_a_plan_is_held_against_what_was_measured(server: InfluxServer) -> None:
    """From the change of plan on its promise holds to the end of the time range; the tile has the newest one."""
    promised = next(each for each in statements() if "fill(previous)" in each.text)
    (series,) = ask(server, promised, deployment=("photos",))
    expected = [row[1] for row in series.values]
    assert expected[-1] == 50.0
    assert expected.count(50.0) == pytest.approx(180, abs=1)  # the second half of an hour by 10 s
    assert figures(ask(server, statement("deployment", "Latency that the newest plan promises"))) == {(): 50.0}


def test_each_plan_is_held_against_what_was_measured_under_it(server: InfluxServer) -> None:
    """By epoch, as Grafana joins the two statements; the columns that it is told to reduce are there."""
    title = "What each plan promised, and what was measured under it"
    (panel,) = [each for each in panels_of(DASHBOARDS["splitrail-deployment"]) if each["title"] == title]
    reduced, joined = (each["options"] for each in panel["transformations"])
    assert joined == {"byField": "epoch", "mode": "outer"}
    ((plans,), (measured,)) = [ask(server, each, deployment=("faces",)) for each in ASKED if each.owner == title]
    assert set(reduced["fields"]) == {*plans.columns[1:], *measured.columns[1:]}
    promised = {row[1]: row[3] for row in plans.values}
    assert promised == {1: 70.0, 2: 50.0}
    means = {epoch: fmean(float(row[2] or 0) for row in measured.values if row[1] == epoch) for epoch in promised}
    assert means[1] < means[2]
    assert fmean(float(row[2] or 0) for row in measured.values) == pytest.approx(101.0)


def test_estimates_stand_against_what_transfers_took(server: InfluxServer) -> None:
    """100 kB in 50 ms are 16 Mbit/s; the estimates are 40 and 20."""
    pair = {"src": (PI,), "dst": (LAPTOP,)}
    estimates, took = [each for each in statements() if each.owner.startswith("Bandwidth: estimates against")]
    assert figures(ask(server, estimates, **pair), "method") == {("probe",): 40.0, ("transfer",): 20.0}
    assert set(figures(ask(server, took, **pair), "src", "dst").values()) == {16.0}


def test_plan_changes_are_drawn_over_time(server: InfluxServer) -> None:
    """The split in words, at the time of the plan."""
    (series,) = ask(server, statement("deployment", "plan changes"), deployment=("photos",))
    assert [(row[0], row[1]) for row in series.values] == [((NOON - 0.5 * HOUR_S) * 1e9, f"{PI} 0-0, {LAPTOP} 1-3")]


def test_a_table_of_nodes_says_what_is_emulated(server: InfluxServer) -> None:
    """In the words of its birth."""
    answer = ask(server, statement("fleet", "Nodes"))
    emulated = {series.tags["node"]: series.values[0][series.columns.index("emulated")] for series in answer}
    assert emulated == {PI: None, LAPTOP: None, EMULATED: "a Pi on this machine"}


def test_a_user_who_may_only_read_is_enough(tmp_path: Path) -> None:
    """Of an InfluxDB that asks for passwords, for every panel, annotation and variable; it can store nothing."""
    with PrivateInfluxd(tmp_path, "  auth-enabled = true\n") as locked:
        with closing(InfluxServer(locked.settings)) as nobody:
            nobody.query("CREATE USER admin WITH PASSWORD 'a' WITH ALL PRIVILEGES", timeout_s=20.0)
        with closing(InfluxServer(as_user(locked, "admin", tmp_path))) as admin:
            for line in ("CREATE DATABASE splitrail", "CREATE USER grafana WITH PASSWORD 'g'"):
                admin.query(line, timeout_s=20.0)
            admin.query("GRANT READ ON splitrail TO grafana", timeout_s=20.0)
            fill(admin)
        with closing(InfluxServer(as_user(locked, "grafana", tmp_path))) as reader:
            for asked in statements():
                assert ask(reader, asked), asked
            assert isinstance(reader.write(b"energy,node=pi used_j=1 1"), Denied)


def as_user(locked: PrivateInfluxd, name: str, directory: Path) -> InfluxSettings:
    """The settings of a user whose password is the name's first letter."""
    password_file = directory / f"{name}.password"
    password_file.write_text(name[0])
    return msgspec.structs.replace(locked.settings, username=name, password_file=password_file)


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_condition_asks_for_what_there_can_be(asked: Statement) -> None:
    """The value of a tag is one that points have: a misspelt one would leave out nothing, or everything."""
    assert set(re.findall(r"\"(\w+)\" !?= '([^']*)'", asked.text)) <= SEEDED_TAGS[asked.measurement.name]


def test_every_dashboard_is_asked() -> None:
    """None is left out of these tests."""
    assert {each.dashboard for each in ASKED} == set(DASHBOARDS)
