"""`splitrail status` against a live coordinator, and against what is none."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from decisions import carry_out
from eventually import eventually
from fake_fleet import FakeAgent, coordinating
from made_site import SiteMessage, declared, folded, load_message, plan_message, received, whole_site
from rich.console import Console

from broker.messages import MachineReading, SpoolReport, StageMiss
from broker.mosquitto import PrivateMosquitto
from coordinator.configuration import CoordinatorSettings, DeploymentSettings, HttpSettings
from coordinator.service import Coordinator
from coordinator.status_report import LeadershipReport, NodeReport, StatusReport, status_report
from coordinator.telemetry.store import PowerSummary, StoreReport
from coordinator.telemetry.summarising import NOTHING
from splitrail.cli import main
from splitrail.commands.status import rendered


def made_report(*messages: SiteMessage) -> StatusReport:
    plan = plan_message(3, ("pi", 0, 1), ("pc", 1, 4))
    state = folded([declared(), *whole_site(at=100.0), *received(plan, *messages, at=100.0)])
    power = (PowerSummary("pi", 3.25, 100.0, "model", "modelled", "board", 100.0),)
    return status_report("lab", state, now=105.0, power=power, inferences={"photos": NOTHING}, lost_telemetry=0)


def drawn(report: StatusReport, width: int = 120) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(rendered(report, width))
    return capture.get()


@pytest.fixture
def coordinator(
    mosquitto: PrivateMosquitto, site: str, tmp_path: Path, zoo_model: Callable[..., Path]
) -> Iterator[Coordinator]:
    settings = CoordinatorSettings(
        site=site,
        broker=mosquitto.settings,
        store=tmp_path / "telemetry.sqlite",
        cache=tmp_path / "cache",
        http=HttpSettings(port=0),
        deployments=(DeploymentSettings(name="photos", model=zoo_model("mobilenetv2"), origin="pi"),),
    )
    with coordinating(settings) as running:
        yield running


def test_a_live_site_is_shown(
    coordinator: Coordinator, mosquitto: PrivateMosquitto, site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nodes, links, plan and the last minute come from the running coordinator."""
    with FakeAgent(mosquitto.settings, site, "pi") as pi:
        assert eventually(lambda: pi.notices)
        pi.profile(pi.notices[0].model)
        pi.link("pc", 5.0)
        pi.inference("r1", 80.0)
        pi.energy(1, 4.0)
        assert eventually(lambda: pi.plans)
        assert eventually(lambda: coordinator.status().deployments[0].last_minute.count)
        assert main(["status", "--coordinator", coordinator.url]) == 0
        text = capsys.readouterr().out
        assert "pi → pc" in text
        assert "first plan" in text
        assert "80.0 ms p50" in text
        assert main(["status", "--coordinator", coordinator.url, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["site"] == site
        assert report["deployments"][0]["plan"]["epoch"] == 1


def test_a_plan_tells_what_travels_packed() -> None:
    """By codec, with the node that takes it in and the op; a relay takes nothing in."""
    plan = plan_message(3, ("pi", 0, 1), ("laptop", 1, 1), ("pc", 1, 4))
    packed = tuple(msgspec.structs.replace(stage, codec="int8+zstd") for stage in plan.stages[1:])
    message = msgspec.structs.replace(plan, stages=(plan.stages[0], *packed))
    state = folded([declared(), *whole_site(at=100.0), *received(message, at=100.0)])
    report = status_report("lab", state, now=105.0, power=(), inferences={"photos": NOTHING}, lost_telemetry=0)
    text = drawn(report)
    assert "packed: int8+zstd to pc at 1" in text
    assert "laptop at" not in text


def test_a_plan_is_drawn_with_its_reason() -> None:
    """The strip, the age and the reason of the plan in force are shown."""
    text = drawn(made_report())
    assert "photos  net, 4 ops, from pi, exact, plan 3" in text
    assert "made up" in text
    assert any(" pi " in line and " pc " in line and line.strip().startswith("0━") for line in text.splitlines())


def test_who_leads_is_said() -> None:
    """The coordinator that answers may stand by, and nobody may lead at all."""
    leads = LeadershipReport(
        coordinator="attic", state="leads", term=7, leader="attic", leader_url="http://attic", heard_s=0.5
    )
    report = msgspec.structs.replace(made_report(), leadership=leads)
    assert "attic leads, term 7" in drawn(report)
    by = msgspec.structs.replace(leads, state="stands by", leader="cellar", leader_url="http://cellar", heard_s=1.0)
    text = drawn(msgspec.structs.replace(report, leadership=by))
    assert "attic stands by: cellar at http://cellar leads, term 7, heard 1 s ago" in text
    waits = msgspec.structs.replace(by, state="waits")
    text = drawn(msgspec.structs.replace(report, leadership=waits))
    assert "attic waits: nobody is known to lead under term 7, the last was cellar" in text


def test_what_a_spool_cannot_get_stored_is_said() -> None:
    """A backlog and what was dropped, with the reason; what is on its way is not worth a line."""
    spool = SpoolReport(node="pi", session="s1", waiting=3, waiting_bytes=900, dropped=0)
    assert "wait to be stored" not in drawn(made_report(spool))
    full = msgspec.structs.replace(spool, waiting=4_000, waiting_bytes=1_200_000, dropped=12, reason="the disk is full")
    text = drawn(made_report(full))
    assert "pi: 4000 messages (1.2 MB) wait to be stored" in text
    assert "pi: 12 messages were dropped from its spool: the disk is full" in text


def with_first_node(report: StatusReport, **changes: object) -> StatusReport:
    return msgspec.structs.replace(
        report, nodes=(msgspec.structs.replace(report.nodes[0], **changes), *report.nodes[1:])
    )


def test_a_clock_that_is_off_is_said() -> None:
    """By more than a second, either way; without it the report of an older coordinator is drawn too."""
    report = made_report()
    name = report.nodes[0].name
    for skew_s in (None, 0.0, 0.9, -1.0):
        assert "its clock is" not in drawn(with_first_node(report, clock_skew_s=skew_s))
    assert f"{name}: its clock is 3.4 s ahead of the coordinator's" in drawn(with_first_node(report, clock_skew_s=3.4))
    assert f"{name}: its clock is 7200 s behind" in drawn(with_first_node(report, clock_skew_s=-7_200.0))


def test_where_all_clocks_are_off_alike_it_may_be_the_coordinator_s() -> None:
    """One line then; where they are not alike, one for each."""
    report = made_report()

    def with_skews(*skews_s: float) -> str:
        nodes = [
            msgspec.structs.replace(node, clock_skew_s=skew_s)
            for node, skew_s in zip(report.nodes, skews_s, strict=True)
        ]
        return drawn(msgspec.structs.replace(report, nodes=tuple(nodes)))

    assert "all clocks differ from the coordinator's by 40 s: is its own right?" in with_skews(40.0, 40.2, 39.9)
    assert with_skews(40.0, 40.2, 12.0).count("its clock is") == 3
    assert with_skews(40.0, 40.2, 0.0).count("its clock is") == 2


def test_what_holds_a_processor_back_is_said() -> None:
    """With its temperature, beside the node's state; a node that is well has no such line."""
    reading = MachineReading(
        node="pi",
        session="s1",
        at=1.0,
        cpu=0.5,
        memory_used_mb=1.0,
        memory_total_mb=2.0,
        agent_memory_mb=0.5,
        temperature_c=81.4,
        throttled=("under-voltage", "throttled"),
    )
    assert "under-voltage, throttled, 81 °C" in drawn(made_report(reading), width=200)
    well = msgspec.structs.replace(reading, throttled=())
    assert "81 °C" not in drawn(made_report(well), width=200)


def test_what_keeps_telemetry_from_its_store_is_said() -> None:
    """What stands in the way, what waits then, and what was refused; a store that is well has no line."""
    well = StoreReport("influxdb", "http://db:8086 database splitrail", 40, 0, 0, None)
    report = msgspec.structs.replace(made_report(), store=well)
    assert "telemetry:" not in drawn(report)
    assert "last minute  no inference" in drawn(report)
    away = StoreReport("influxdb", well.where, 40, 2, 0, "http://db:8086: no answer within 2 s")
    text = drawn(msgspec.structs.replace(report, store=away), width=200)
    assert "no inference" not in text, "what a store that does not answer holds is unknown"
    assert "last minute  unknown, see telemetry below" in text
    assert "telemetry: http://db:8086: no answer within 2 s" in text
    assert "telemetry: 40 points wait for http://db:8086 database splitrail" in text
    assert "has refused 2 points: `splitrail doctor --config coordinator.yaml` says why" in text
    one = msgspec.structs.replace(report, store=StoreReport("influxdb", well.where, 0, 1, 0, None))
    assert "has refused 1 point:" in drawn(one, width=200)


def test_a_suspect_is_named_with_what_it_missed() -> None:
    """Nodes and links that are left out because they did not do their part in time, and why."""
    miss = StageMiss(
        node="pi",
        deployment="photos",
        epoch=3,
        at=0.0,
        src="pi",
        suspect="pc",
        delivered=False,
        waited_ms=310.0,
        allowed_ms=120.0,
        outcome="finished at the origin",
    )
    plan = plan_message(3, ("pi", 0, 1), ("pc", 1, 4))
    state = folded([declared(), *whole_site(at=100.0), *received(plan, miss, at=100.0)])
    state, _ = carry_out(state, 100.0)
    report = status_report("lab", state, now=105.0, power=(), inferences={"photos": NOTHING}, lost_telemetry=0)
    text = drawn(report, width=160)
    assert "left out: pc: pi waited 310 ms for pc to take tensors from pi, 120 ms allowed" in text
    assert "left out: link pi → pc: pi waited 310 ms for pc to take tensors from pi, 120 ms allowed" in text


def test_who_is_not_ready_is_named() -> None:
    """While a plan is being taken up, the nodes that have not reported are named."""
    report = made_report()
    (deployment,) = report.deployments
    plan = deployment.plan
    assert plan is not None
    half = msgspec.structs.replace(deployment, plan=msgspec.structs.replace(plan, ready=("pi",)))
    assert "not ready yet: pc" in drawn(msgspec.structs.replace(report, deployments=(half,)))
    assert "not ready yet" not in drawn(report)


def test_what_is_believed_of_links_and_loads_is_shown() -> None:
    """With its spread and age; an emulated load says so."""
    text = drawn(made_report(load_message("pc", 0.5, emulated=True)), width=200)
    assert re.search(r"(49|50)% ± \d% emulated, 5 s", text)
    assert any("pi → pc" in line and "100 ±" in line and line.rstrip().endswith("5 s") for line in text.splitlines())


def test_a_link_through_the_broker_is_told_from_a_direct_one() -> None:
    """It costs more, and somebody may want to mend that."""
    report = made_report()
    by_mqtt = msgspec.structs.replace(report.links[0], way="mqtt")
    assert "by MQTT" not in drawn(report)
    assert "by MQTT" in drawn(msgspec.structs.replace(report, links=(by_mqtt, *report.links[1:])))


def test_it_needs_neither_mqtt_nor_a_web_server() -> None:
    """The command works wherever splitrail is installed, without any extra."""
    script = "import sys, splitrail.commands.status; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert not {"paho", "uvicorn", "starlette", "numpy", "yaml", "sqlite3"} & set(loaded)


def test_every_power_figure_says_what_it_is() -> None:
    """Watts never stand without their source and scope."""
    assert "3.25 W modelled, board" in drawn(made_report())


def test_text_from_the_network_cannot_steer_the_terminal() -> None:
    """Escape sequences and markup in a node's words are shown, not obeyed."""
    report = made_report()
    hostile = [with_words(node, "\x1b[2J[bold red]gone\n") for node in report.nodes]
    text = drawn(msgspec.structs.replace(report, nodes=tuple(hostile)), width=200)
    assert "\x1b" not in text
    assert "?[2J[bold red]gone?" in text


def with_words(node: NodeReport, words: str) -> NodeReport:
    return msgspec.structs.replace(node, emulated=words)


def test_no_coordinator_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing listens the command says so and how to go on."""
    assert main(["status", "--coordinator", "http://127.0.0.1:1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("splitrail: no coordinator answers at http://127.0.0.1:1 ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("url", ["127.0.0.1:8484", "file:///etc/passwd", "nonsense", "http://[bad", "http://"])
def test_what_is_no_url_is_one_line(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Only http and https are asked."""
    assert main(["status", "--coordinator", url]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_json_and_watch_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """A stream of JSON objects is not offered."""
    assert main(["status", "--json", "--watch"]) == 2
    assert "choose one of them" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.parametrize("body", [b"<html>hello</html>", b"{}", b'{"site": 3}', b"\xff\xfe", b'{"more":' * 100_000])
def test_another_server_is_recognised(body: bytes, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever else answers there is not taken for a coordinator."""

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert main(["status", "--coordinator", f"http://127.0.0.1:{server.server_port}", *flags]) == 2
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "not as a coordinator of this version would" in capsys.readouterr().err
