"""What the doctor makes of a coordinator's report and HTTP interface, and of an InfluxDB and what waits for it."""

from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from certificates_for_tests import write_certificate
from made_site import birth_message, declared, folded, received, whole_site

from broker.messages import SpoolReport
from broker.mosquitto import free_port
from coordinator.configuration import HttpSettings, InfluxSettings
from coordinator.http_server import HttpServer, application
from coordinator.status_report import LeadershipReport, StatusReport, status_report
from coordinator.telemetry.influx_shipping import Refused
from coordinator.telemetry.influx_spool import Spool
from coordinator.telemetry.sqlite_file import connect_to_read, prepare
from coordinator.telemetry.store import InferenceSummary, StoreReport
from models.model_server import ServerAccess
from splitrail.doctor.coordinator_http import coordinator_findings, own_findings
from splitrail.doctor.finding import Finding, checked
from splitrail.doctor.influx import Waiting, influx_findings, waiting_findings, waiting_in
from splitrail.doctor.site_report import report_findings
from testbed.private_influxd import PrivateInfluxd

CONFIG = Path("coordinator.yaml")
NONE_YET = InferenceSummary(0, 0, None, None, None, None, None, None)
FOLLOWS = LeadershipReport(coordinator="attic", state="leads", term=1, leader="attic", leader_url=None, heard_s=0.1)


def made_report(now: float = 100.0) -> StatusReport:
    state = folded([declared(), *whole_site(at=now)])
    return status_report("lab", state, now=now, power=(), inferences={"photos": NONE_YET}, lost_telemetry=0)


def wrong(report: StatusReport, node: str | None = "pi") -> list[tuple[str, str]]:
    return [(each.verdict, each.says) for each in report_findings(report, node=node) if each.verdict != "ok"]


# --- the report


def test_a_site_that_is_well_has_no_note() -> None:
    """And the node is seen."""
    assert wrong(msgspec.structs.replace(made_report(), leadership=FOLLOWS)) == []
    assert any(finding.says == "the coordinator sees it" for finding in report_findings(made_report(), node="pi"))


@pytest.mark.parametrize(
    ("changes", "verdict", "says"),
    [
        ({"version": "0.0.1"}, "note", "it runs splitrail 0.0.1, this is"),
        ({"lost_telemetry": 3}, "note", "3 messages could not be kept"),
        ({"leadership": msgspec.structs.replace(FOLLOWS, state="waits")}, "problem", "nobody is known to lead"),
        (
            {"store": StoreReport("influxdb", "http://db:8086", 40, 0, 0, "http://db:8086: no answer")},
            "problem",
            "http://db:8086: no answer",
        ),
    ],
)
def test_what_the_coordinator_says_of_itself_is_passed_on(changes: dict[str, object], verdict: str, says: str) -> None:
    """Each in one finding."""
    ((found_verdict, found_says),) = wrong(msgspec.structs.replace(made_report(), **changes))
    assert found_verdict == verdict
    assert found_says.startswith(says)


def test_what_it_says_of_this_node_is_passed_on() -> None:
    """Not seen, refused for its protocol, left out of plans, telemetry dropped."""
    report = made_report()
    assert wrong(report, "attic") == [("note", "the coordinator does not see it")]
    state = folded([declared(), *received(birth_message("pi", protocol=0), at=100.0)])
    refused = status_report("lab", state, now=101.0, power=(), inferences={"photos": NONE_YET}, lost_telemetry=0)
    ((verdict, says),) = wrong(refused)
    assert verdict == "problem"
    assert says.startswith("the coordinator refuses it: it runs splitrail 0.3 (protocol 0)")
    (deployment,) = report.deployments
    out = msgspec.structs.replace(deployment, left_out={"pi": "it has no profile yet"})
    ((_, says),) = wrong(msgspec.structs.replace(report, deployments=(out,)))
    assert says == "left out of the plans of photos: it has no profile yet"
    spool = SpoolReport(node="pi", session="s1", waiting=0, waiting_bytes=0, dropped=7, reason="the disk is full")
    state = folded([declared(), *whole_site(at=100.0), *received(spool, at=100.0)])
    dropped = status_report("lab", state, now=101.0, power=(), inferences={"photos": NONE_YET}, lost_telemetry=0)
    assert wrong(dropped) == [("note", "7 messages were dropped from its spool: the disk is full")]


# --- HTTP


def serving(settings: HttpSettings, report: StatusReport, unreadiness: str | None = None) -> HttpServer:
    server = HttpServer(settings)
    server.start(
        application({}, lambda: report, metrics=bytes, standstill=lambda: None, unreadiness=lambda: unreadiness)
    )
    return server


def test_a_coordinator_s_clock_is_compared(tmp_path: Path) -> None:
    """By what it says when it answers."""
    with closing(serving(HttpSettings(port=0), made_report(now=100.0))) as server:
        findings = list(coordinator_findings(server.url, ServerAccess(), option="coordinator", node=None))
    (clock,) = [finding for finding in findings if finding.subject == "clock"]
    assert clock.verdict == "problem"
    assert "ahead of the coordinator's" in clock.says


def test_a_coordinator_that_cannot_be_asked_is_a_problem(tmp_path: Path) -> None:
    """Not there, or with another token; the sentence is that of `splitrail status`."""
    url = f"http://127.0.0.1:{free_port()}"
    (finding,) = coordinator_findings(url, ServerAccess(), option="coordinator", node=None)
    assert finding.verdict == "problem"
    assert finding.says.startswith(f"no coordinator answers at {url} (")
    assert finding.fix == "start one with `splitrail coordinator`, or correct coordinator"
    (tmp_path / "tokens").write_text(f"ann {'0' * 64}\n")
    (tmp_path / "token").write_text("wrong\n")
    settings = HttpSettings(port=0, tokens_file=tmp_path / "tokens")
    with closing(serving(settings, made_report())) as server:
        (finding,) = coordinator_findings(server.url, ServerAccess(tmp_path / "token"), option="x", node=None)
    assert finding.says.endswith("the coordinator refuses this token")
    assert "`splitrail site list`" in finding.fix


def test_a_coordinator_s_own_interface_is_looked_at(tmp_path: Path) -> None:
    """Whether it runs, is ready, and its certificate and tokens can be used."""
    certificate, key = write_certificate(tmp_path, "127.0.0.1")
    (tmp_path / "tokens").write_text(f"ann {'0' * 64}\n")
    port = free_port()
    settings = HttpSettings(port=port, certificate_file=certificate, key_file=key, tokens_file=tmp_path / "tokens")
    findings = list(own_findings(settings, certificate, CONFIG))
    # The test's certificate is made for a day.
    assert [finding.verdict for finding in findings] == ["note", "ok", "note"]
    assert findings[-1].says == f"none runs at https://127.0.0.1:{port}"
    with closing(serving(settings, made_report())):
        (*_, finding) = own_findings(settings, certificate, CONFIG)
        assert finding == Finding("coordinator", "ok", f"it runs at https://127.0.0.1:{port} and is ready")
    with closing(serving(settings, made_report(), "the MQTT broker is away")):
        (*_, finding) = own_findings(settings, certificate, CONFIG)
        assert finding == Finding("coordinator", "problem", "it runs and is not ready: the MQTT broker is away")
        (*_, finding) = own_findings(settings, None, CONFIG)
        assert "cannot be asked" in finding.says
    (tmp_path / "tokens").write_text("nonsense\n")
    certificate.unlink()
    (missing, tokens, none) = own_findings(settings, certificate, CONFIG)
    assert missing.says == f"{certificate}: No such file or directory"
    assert "not a token's line" in tokens.says
    assert "cannot be asked" in none.says


def test_another_program_on_the_port_is_found(tmp_path: Path) -> None:
    """One that has no such page."""
    certificate, _ = write_certificate(tmp_path, "127.0.0.1")
    with closing(serving(HttpSettings(port=0), made_report())) as server:
        settings = HttpSettings(advertise=f"{server.url}/somewhere/else")
        (finding,) = own_findings(settings, certificate, CONFIG)
    assert finding.verdict == "problem"
    assert "answers 404, as no coordinator does" in finding.says


# --- InfluxDB


def spooled(path: Path) -> Spool:
    """A store's file with two points that wait."""
    prepare(path)
    spool = Spool(path, max_bytes=1_000_000)
    with closing(connect_to_read(path)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        spool.begin(connection)
        spool.add([b"energy,node=pi power_w=1 1", b"energy,node=pi power_w=2 2"])
        spool.finish(connection)
    return spool


def test_what_waits_and_what_was_refused_is_read(tmp_path: Path) -> None:
    """From the coordinator's file, by reason, while the coordinator writes to it."""
    store = tmp_path / "telemetry.sqlite"
    assert waiting_in(store) is None
    prepare(store)
    assert waiting_in(store) is None
    spool = spooled(store)
    assert waiting_in(store) == Waiting(2, 0, ())
    with closing(connect_to_read(store)) as connection:
        early = Refused(b"energy,node=pi power_w=1 1", "field type conflict")
        late = Refused(b"node,node=pi cpu=1 1", "field type conflict")
        other = Refused(b"link,src=pi mbps=1 1", "points beyond retention policy")
        spool.bury(connection, (early, other, late), 1.0)
        connection.execute("BEGIN IMMEDIATE")  # a coordinator that commits just now
        waiting = waiting_in(store)
        connection.rollback()
    assert waiting is not None
    assert [(each.reason, each.count, each.line) for each in waiting.refusals] == [
        ("field type conflict", 2, "node,node=pi cpu=1 1"),
        ("points beyond retention policy", 1, "link,src=pi mbps=1 1"),
    ]
    findings = list(waiting_findings(waiting, store))
    assert [finding.verdict for finding in findings] == ["ok", "problem", "problem"]
    assert "splitrail telemetry dead-letters" in findings[1].fix


def test_reading_the_file_leaves_it_as_it_was(tmp_path: Path) -> None:
    """Also without a coordinator, which would have made the files of its log."""
    store = tmp_path / "telemetry.sqlite"
    spooled(store)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert waiting_in(store) == Waiting(2, 0, ())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_file_of_something_else_is_a_problem(tmp_path: Path) -> None:
    """In one sentence."""
    store = tmp_path / "telemetry.sqlite"
    store.write_bytes(b"nonsense" * 1_000)
    (finding,) = checked("influxdb", lambda: waiting_findings(waiting_in(store), store))
    assert (finding.verdict, finding.says) == ("problem", f"{store} cannot be read: file is not a database")


def influx(settings: InfluxSettings, store: Path) -> list[tuple[str, str, str]]:
    findings = checked("influxdb", lambda: influx_findings(settings, store))
    return [(each.verdict, each.says, each.fix) for each in findings]


def test_a_real_influxdb_is_known_by_its_version(influx_settings: InfluxSettings, tmp_path: Path) -> None:
    """And that its database answers us."""
    (known, answers, spool) = influx(influx_settings, tmp_path / "telemetry.sqlite")
    assert known[0] == answers[0] == spool[0] == "ok"
    assert known[1].startswith("InfluxDB 1.")
    assert answers[1] == f"it lets us ask the database {influx_settings.database}"


def test_a_database_that_is_not_there_is_a_problem(influx_settings: InfluxSettings, tmp_path: Path) -> None:
    """With the command that makes it."""
    nowhere = msgspec.structs.replace(influx_settings, database="nowhere")
    (_, missing, _) = influx(nowhere, tmp_path / "telemetry.sqlite")
    assert missing == (
        "problem",
        "it has no database nowhere",
        "splitrail telemetry init --config coordinator.yaml",
    )


def test_an_influxdb_that_is_away_is_a_problem(tmp_path: Path) -> None:
    """Or is another server; what waits is told all the same."""
    spooled(tmp_path / "telemetry.sqlite")
    away = InfluxSettings(url=f"http://127.0.0.1:{free_port()}")
    (gone, waits) = influx(away, tmp_path / "telemetry.sqlite")
    assert (gone[0], gone[2]) == ("problem", "start it, or correct influxdb.url")
    assert waits == ("ok", "2 points are on their way, or wait for it", "")
    with closing(serving(HttpSettings(port=0), made_report())) as server:
        (other, _) = influx(InfluxSettings(url=server.url), tmp_path / "telemetry.sqlite")
    assert "what answers there is no InfluxDB" in other[1]


def test_credentials_that_are_refused_are_a_problem(tmp_path: Path) -> None:
    """Told as what they are, with what to correct."""
    with PrivateInfluxd(tmp_path, "  auth-enabled = true\n") as locked:
        (known, refused, _) = influx(locked.settings, tmp_path / "telemetry.sqlite")
    assert known[0] == "ok"
    assert refused[0] == "problem"
    assert "it does not let us ask the database splitrail (" in refused[1]
    assert refused[2].startswith("correct influxdb.username and influxdb.password_file")


def test_credentials_that_cannot_be_read_are_a_problem(tmp_path: Path) -> None:
    """Before anybody is asked."""
    settings = InfluxSettings(url="http://127.0.0.1:1", token_file=tmp_path / "none")
    ((verdict, says, _),) = influx(settings, tmp_path / "telemetry.sqlite")
    assert verdict == "problem"
    assert "influxdb.token_file" in says
