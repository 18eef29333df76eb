"""Dashboards hold together by themselves: their form, their places, the names in them, and where energy comes from.

What their statements find is test_grafana_queries.py's; no Grafana is started anywhere.
"""

import re
import subprocess
import sys
from itertools import combinations, pairwise
from typing import Any

import pytest
import yaml
from grafana_files import DASHBOARDS, GRAFANA, SCHEMA, Statement, panels_of, statements

from coordinator.telemetry.rollups import ROLLUPS

PANELS = [(uid, panel) for uid, dashboard in DASHBOARDS.items() for panel in panels_of(dashboard)]
PANEL_IDS = [f"{uid.removeprefix('splitrail-')}: {panel['title']}" for uid, panel in PANELS]
ASKED = [each for each in statements() if each.place != "variable"]
SERIES = [each for each in ASKED if each.alias is not None]
MACROS = {"timeFilter", "__interval", "__interval_ms"}
# Of Grafana's unit ids (its documentation, "Standard options: unit").
UNITS = {
    "short",
    "ms",
    "s",
    "watt",
    "watth",
    "joule",
    "celsius",
    "percentunit",
    "decbytes",
    "decmbytes",
    "Bps",
    "Mbits",
    "reqps",
}
# What the plugins of Grafana 10 and later cannot do without.
OPTIONS = {
    "timeseries": {"legend", "tooltip"},
    "stat": {"reduceOptions", "textMode", "colorMode", "graphMode", "orientation"},
    "bargauge": {"reduceOptions", "displayMode", "orientation"},
    "table": {"showHeader", "cellHeight", "footer"},
    "state-timeline": {"mergeValues", "showValue", "rowHeight", "legend", "tooltip"},
}
# A joule or watt of these fields is told apart by these tags.
ENERGY_TAGS = {
    ("energy", "used_j"): ("source", "scope"),
    ("energy", "power_w"): ("source", "scope"),
    ("energy", "power_w_max"): ("source", "scope"),
    ("inference", "origin_energy_j"): ("energy_source", "energy_scope"),
    ("inference", "total_energy_j"): ("energy_source", "energy_scope"),
    ("inference", "compute_energy_j"): ("compute_energy_source", "compute_energy_scope"),
    ("inference", "compute_energy_j_std"): ("compute_energy_source", "compute_energy_scope"),
    ("stage", "energy_j"): ("energy_source", "energy_scope"),
    ("stage", "energy_j_std"): ("energy_source", "energy_scope"),
}


def test_the_files_are_what_the_code_says() -> None:
    """generate.py was run after the last change."""
    command = [sys.executable, GRAFANA / "generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_there_is_a_dashboard_for_each_question() -> None:
    """Who is there, how one deployment fares, one machine, the links, the joules, and what was long ago."""
    names = ("fleet", "deployment", "node", "links", "energy", "history")
    assert set(DASHBOARDS) == {f"splitrail-{name}" for name in names}


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_a_dashboard_has_the_form_that_grafana_reads(uid: str) -> None:
    """Schema version 39, a uid of its own that fits, no id of a database."""
    dashboard = DASHBOARDS[uid]
    assert dashboard["uid"] == uid
    assert len(uid) <= 40  # Grafana refuses longer ones
    assert dashboard["schemaVersion"] == 39
    assert dashboard["id"] is None
    assert dashboard["description"]
    assert dashboard["title"].startswith("Splitrail: ")


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_a_dashboard_leads_to_the_others(uid: str) -> None:
    """With what is chosen where that is one value, for `All` is none where one is asked; hours stay hours."""
    dashboard = DASHBOARDS[uid]
    chosen = [variable for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    assert {link["url"] for link in dashboard["links"]} == {f"/d/{other}" for other in DASHBOARDS if other != uid}
    for link in dashboard["links"]:
        assert link["title"]
        assert link["includeVars"] == all(not variable["multi"] for variable in chosen)
        there = DASHBOARDS[link["url"].removeprefix("/d/")]
        assert link["keepTime"] == (there["time"] == dashboard["time"])


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_panels_have_their_own_numbers_and_places(uid: str) -> None:
    """Within 24 columns, none over another, rows as full as they can be."""
    panels = DASHBOARDS[uid]["panels"]
    numbers = [panel["id"] for panel in panels]
    assert len(set(numbers)) == len(numbers)
    places = [panel["gridPos"] for panel in panels]
    for place in places:
        assert place["x"] >= 0
        assert place["w"] > 0
        assert place["h"] > 0
        assert place["x"] + place["w"] <= 24
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
    for y in {place["y"] for place in places}:
        row = [place for place in places if place["y"] == y]
        assert sum(place["w"] for place in row) == 24
        assert len({place["h"] for place in row}) == 1


@pytest.mark.parametrize(("uid", "panel"), PANELS, ids=PANEL_IDS)
def test_a_panel_is_whole(uid: str, panel: dict[str, Any]) -> None:
    """Title, description, unit, thresholds in order, and what its kind needs."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    # Grafana gives a panel its own time only while the dashboard's is a relative one.
    assert ("absolute time range" in panel["description"]) == ("timeFrom" in panel)
    defaults = panel["fieldConfig"]["defaults"]
    units = [defaults["unit"]]
    for override in panel["fieldConfig"]["overrides"]:
        assert override["matcher"]["id"] == "byRegexp"
        # Without slashes Grafana takes the expression for the whole name.
        assert re.fullmatch(r"/.+/", override["matcher"]["options"])
        units += [each["value"] for each in override["properties"] if each["id"] == "unit"]
    assert set(units) <= UNITS
    steps = [step["value"] for step in defaults["thresholds"]["steps"]]
    assert steps[0] is None
    assert all(low < high for low, high in pairwise(steps[1:]))
    # A table would show it in each empty cell.
    assert panel["type"] != "table" or "noValue" not in defaults
    assert set(panel["options"]) >= OPTIONS[panel["type"]]
    letters = [target["refId"] for target in panel["targets"]]
    assert letters == sorted(set(letters))
    assert letters
    formats = {target["resultFormat"] for target in panel["targets"]}
    assert formats == ({"table"} if panel["type"] == "table" else {"time_series"})


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_everything_is_asked_of_the_chosen_datasource(uid: str) -> None:
    """By a variable, since file provisioning fills in no inputs; it begins with the provisioned one."""
    dashboard = DASHBOARDS[uid]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "influxdb"
    (provisioned,) = yaml.safe_load((GRAFANA / "provisioning/datasources/influxdb.yaml").read_text())["datasources"]
    assert variables["datasource"]["current"]["value"] == provisioned["uid"]
    askers = [
        *panels_of(dashboard),
        *(target for panel in panels_of(dashboard) for target in panel["targets"]),
        *dashboard["annotations"]["list"],
        *(variable for name, variable in variables.items() if name != "datasource"),
    ]
    assert {(asker["datasource"]["type"], asker["datasource"]["uid"]) for asker in askers} == {
        ("influxdb", "${datasource}")
    }


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_variables_are_declared_and_used(uid: str) -> None:
    """What a statement leaves to be chosen can be chosen, and what can be chosen matters."""
    texts = [each.text for each in statements() if each.dashboard == uid]
    used = {name for text in texts for name in re.findall(r"\$([A-Za-z_]\w*)", text)} - MACROS
    declared = {variable["name"] for variable in DASHBOARDS[uid]["templating"]["list"]} - {"datasource"}
    assert used == declared
    for text in texts:
        for name in declared:
            # Grafana joins several values with `|`, of old without brackets.
            assert text.count(f"${name}") == text.count(f"=~ /^(${name})$/")


@pytest.mark.parametrize("asked", statements(), ids=str)
def test_every_name_is_in_the_schema(asked: Statement) -> None:
    """A misspelt one would only show nothing; names of the statement's own are told by AS."""
    of_its_own = set(re.findall(r'AS "([^"]+)"', asked.text))
    known = {tag.name for tag in asked.measurement.tags} | asked.fields
    quoted = set(re.findall(r'"([^"]+)"', re.sub(r'AS "[^"]+"', "", asked.text)))
    assert quoted - of_its_own - {asked.measurement.name, "rollup"} <= known


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_what_a_statement_costs_is_bounded(asked: Statement) -> None:
    """Each SELECT keeps to the time range; rows are as many as intervals, or groups, or a limit."""
    assert asked.text.count("$timeFilter") == asked.text.count("SELECT")
    if asked.place in ("timeseries", "state-timeline"):
        assert re.search(r"GROUP BY time\((\$__interval|1d)\)", asked.text)
    else:
        assert "time(" not in asked.text
    if re.match(r'SELECT "', asked.text):
        assert re.search(r" ORDER BY time DESC LIMIT \d{1,4}$", asked.text)


@pytest.mark.parametrize("asked", [each for each in ASKED if each.alias is None], ids=str)
def test_a_table_groups_by_one_tag_at_most(asked: Statement) -> None:
    """Grafana's backend walks the tags of a group in random order, and mixes up the columns of several."""
    assert len(asked.groups) <= 1


@pytest.mark.parametrize("asked", SERIES, ids=str)
def test_a_legend_names_what_a_line_is(asked: Statement) -> None:
    """Every tag that is grouped by is in it, no other, and the column where there are several."""
    assert asked.alias is not None
    assert set(re.findall(r"\$tag_(\w+)", asked.alias)) == set(asked.groups)
    selected = asked.text.split(" FROM ")[0]
    assert ("$col" in asked.alias) == (" AS " in selected)


@pytest.mark.parametrize("asked", SERIES, ids=str)
def test_emulated_figures_stand_apart_and_say_so(asked: Statement) -> None:
    """In the legend; only what meters measure is never emulated."""
    if any(tag.name == "emulated" for tag in asked.measurement.tags) and "\"source\" = 'measured'" not in asked.text:
        assert asked.groups[-1] == "emulated"
        assert asked.alias is not None
        assert asked.alias.endswith("; emulated: $tag_emulated")
        (panel,) = {
            str(panel["transformations"])
            for panel in panels_of(DASHBOARDS[asked.dashboard])
            if panel["title"] == asked.owner
        }
        assert panel.count("renameByRegex") == 2


@pytest.mark.parametrize(
    ("name", "legend"),
    [
        ("pi computes; emulated: yes", "pi computes (emulated)"),
        ("pi; emulated: ", "pi"),
        ("a; emulated: $tag_emulated", "a"),
    ],
)
def test_the_mark_becomes_words(name: str, legend: str) -> None:
    """By the two renamings that follow a statement, also where InfluxDB leaves out an empty tag."""
    renamings = next(panel["transformations"] for _, panel in PANELS if panel["transformations"])
    for renaming in renamings:
        pattern = renaming["options"]["regex"].removeprefix("/").removesuffix("/")
        name = re.sub(pattern, renaming["options"]["renamePattern"].replace("$1", r"\1"), name)
    assert name == legend


@pytest.mark.parametrize("asked", SERIES, ids=str)
def test_energy_is_never_summed_over_sources_or_scopes(asked: Statement) -> None:
    """A figure in J or W is of one source and one scope: by its group, or by its condition."""
    selected = asked.text.rpartition("SELECT ")[2].partition(" FROM ")[0]
    for field in re.findall(r'"(\w+)"', selected):
        for tag in ENERGY_TAGS.get((asked.measurement.name, field), ()):
            assert tag in asked.groups or f'"{tag}" = \'' in asked.text
    if asked.measurement.name in ("plan", "plan_stage"):
        assert asked.alias is not None
        assert "modelled" in asked.alias


def test_the_rule_knows_every_joule_of_the_schema() -> None:
    """A new field in J or W has to be told apart too; a plan's are all modelled, and a meter's counter is not shown."""
    joules = {
        (measurement.name, field.name)
        for measurement in SCHEMA.values()
        for field in measurement.fields
        if field.unit in ("J", "W") and measurement.name != "plan"
    }
    joules |= {
        (rollup.measurement.name, field.name)
        for rollup in ROLLUPS
        for field in rollup.fields
        if (rollup.measurement.name, field.of) in joules
    }
    counters = {("energy", "energy_j"), ("energy", "resolution_j")}
    assert joules - counters == set(ENERGY_TAGS)
    shown = {(each.measurement.name, name) for each in ASKED for name in re.findall(r'"(\w+)"', each.text)}
    assert not shown & counters


@pytest.mark.parametrize(("uid", "panel"), PANELS, ids=PANEL_IDS)
def test_a_panel_that_shows_what_is_modelled_says_so(uid: str, panel: dict[str, Any]) -> None:
    """In its words, besides the legend."""
    text = " ".join(target["query"] for target in panel["targets"])
    if "modelled" in text:
        assert "odelled" in panel["title"] + panel["description"]


def test_what_is_clicked_leads_somewhere() -> None:
    """The links of table cells are to dashboards that there are, with variables that they have."""
    links = re.findall(r"/d/([\w-]+)\?var-(\w+)=", str(DASHBOARDS))
    assert links
    for uid, name in links:
        assert name in {variable["name"] for variable in DASHBOARDS[uid]["templating"]["list"]}


def test_the_datasource_speaks_influxql_by_basic_authentication() -> None:
    """Which InfluxDB 1.6 to 3 all answer; what is secret comes from the environment."""
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/influxdb.yaml").read_text())["datasources"]
    assert (source["type"], source["access"], source["basicAuth"]) == ("influxdb", "proxy", True)
    assert source["jsonData"]["version"] == "InfluxQL"
    assert source["jsonData"]["httpMode"] == "POST"
    assert source["secureJsonData"] == {"basicAuthPassword": "${SPLITRAIL_INFLUXDB_READER_PASSWORD}"}


def test_docker_starts_pinned_images_with_these_files_and_no_secret_of_ours() -> None:
    """Grafana finds the dashboards where the provider looks, and every variable that the datasource needs."""
    compose = yaml.safe_load((GRAFANA / "docker-compose.yaml").read_text())
    services = compose["services"]
    for service in services.values():
        assert re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for name, value in service["environment"].items():
            assert "PASSWORD" not in name or re.fullmatch(r"\$\{\w+:\?[\w .]+/?[\w .]+\}", value)
    mounted = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/splitrail.yaml").read_text())["providers"]
    assert mounted["./dashboards"] == provider["options"]["path"]
    assert mounted["./provisioning"] == "/etc/grafana/provisioning"
    source = (GRAFANA / "provisioning/datasources/influxdb.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+)\}", source)) <= set(services["grafana"]["environment"])
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (GRAFANA / "dashboards" / home.rpartition("/")[2]).is_file()
    assert "/.env" in (GRAFANA / ".gitignore").read_text().split()
