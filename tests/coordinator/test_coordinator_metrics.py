"""What a coordinator tells Prometheus, and a supervisor that asks whether it is ready."""

import dataclasses
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from eventually import eventually
from fake_fleet import FakeAgent, coordinating
from made_site import birth_message, declared, folded, inference_message, link_message, load_message, offline, received
from messages_to_count import plan, reading
from prometheus_client.parser import text_string_to_metric_families

from broker.drops import DroppedCounts
from broker.messages import MachineReading, SpoolMark, SpoolReport
from broker.mosquitto import PrivateMosquitto
from coordinator.configuration import CoordinatorSettings, DeploymentSettings, HttpSettings
from coordinator.metrics import FAMILIES, Moment, figures
from coordinator.readiness import unreadiness
from coordinator.status_report import LeadershipReport
from coordinator.tally import Tally
from coordinator.telemetry.store import StoreReport
from splitrail.metric_families import PROCESS, Exposition

LEADS = LeadershipReport(coordinator="c1", state="leads", term=7, leader="c1", leader_url=None, heard_s=0.0)
STORE = StoreReport(kind="influxdb", where="db", waiting=12, dead_letters=2, lost=3, obstacle=None)

Samples = dict[str, dict[tuple[str, ...], float]]


def machine(*, at: float, cpu: float = 0.25) -> MachineReading:
    return MachineReading(
        node="pi",
        session="s1",
        at=at,
        cpu=cpu,
        memory_used_mb=512.0,
        memory_total_mb=4_000.0,
        agent_memory_mb=100.0,
        temperature_c=61.5,
        throttled=("under-voltage",),
        mark=SpoolMark(session="s1", sequence=1, oldest=1, age_s=0.0),
    )


def moment(tally: Tally, *, now: float = 10.0, **changes: object) -> Moment:
    spool = SpoolReport(node="pi", session="s1", waiting=4, waiting_bytes=9, dropped=1)
    state = folded(
        [
            declared(),
            *received(
                birth_message("pi"),
                birth_message("pc"),
                link_message("pi", "pc"),
                plan(3),
                spool,
                load_message("pi", 0.25),
            ),
            *received(machine(at=6.0, cpu=0.5), at=1.0),
            *received(machine(at=25.0), at=20.0),
        ]
    )
    made = Moment(
        site="home",
        now=now,
        state=state,
        counts=tally.counts(),
        store=STORE,
        lost_events=1,
        connected=True,
        dropped=DroppedCounts(malformed=5),
        leadership=LEADS,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]  # a test's own


def told(text: str) -> Samples:
    """By the name of the sample and its labels' values, in the order of the labels' names: its value."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def page(made: Moment) -> Samples:
    return told(Exposition(lambda: figures(made)).text().decode())


def busy_tally() -> Tally:
    tally = Tally(["photos"])
    tally.count(inference_message(latency_ms=80.0), 9.0)
    tally.count(inference_message(error="late"), 9.0)
    tally.count(reading("pi", "rapl", sequence=1), 9.0)
    tally.count(reading("pi", "model", sequence=2, power_w=3.0, source="modelled", emulated=True), 9.0)
    tally.count_plan(plan(2))
    tally.count_plan(plan(3))
    return tally


def test_a_site_is_told_in_base_units() -> None:
    """Seconds, bytes, joules and watts; source, scope and emulation beside every figure of energy."""
    found = page(moment(busy_tally()))
    assert found["splitrail_node_online"] == {("false", "pi", "edge"): 1.0, ("false", "pc", "cloud"): 1.0}
    assert found["splitrail_node_power_watts"] == {
        ("false", "rapl", "pi", "board", "measured"): 2.5,
        ("true", "model", "pi", "board", "modelled"): 3.0,
    }
    assert found["splitrail_node_energy_joules_total"][("false", "rapl", "pi", "board", "measured")] == 102.5
    assert found["splitrail_inferences_total"] == {
        ("photos", "answered"): 1.0,
        ("photos", "failed"): 1.0,
        ("photos", "rescued"): 0.0,
    }
    buckets = found["splitrail_inference_latency_seconds_bucket"]
    assert (buckets["photos", "false", "0.05"], buckets["photos", "false", "0.1"]) == (0.0, 1.0)
    assert found["splitrail_inference_latency_seconds_sum"] == {("photos", "false"): pytest.approx(0.08)}
    assert found["splitrail_plan_epoch"] == {("photos",): 3.0}
    assert found["splitrail_plan_changes_total"] == {("photos",): 1.0}
    assert found["splitrail_plan_predicted_latency_seconds"] == {("photos",): pytest.approx(0.08)}
    assert found["splitrail_link_rtt_seconds"] == {("pc", "pi"): pytest.approx(0.002)}
    assert found["splitrail_link_bandwidth_bytes_per_second"] == {("pc", "pi"): pytest.approx(12.5e6)}
    assert found["splitrail_node_spool_waiting_messages"] == {("pi",): 4.0}
    assert found["splitrail_node_spool_dropped_total"] == {("pi",): 1.0}


def test_a_machine_is_told_as_its_operating_system_tells_it() -> None:
    """The newest state, memory in bytes, and each cause of throttling; its clock once that was looked at for long."""
    found = page(moment(Tally([])))
    assert found["splitrail_node_cpu_busy_ratio"] == {("false", "pi"): 0.25}
    assert found["splitrail_node_memory_used_bytes"] == {("false", "pi"): 512e6}
    assert found["splitrail_node_temperature_celsius"] == {("false", "pi"): 61.5}
    throttled = {cause for cause, value in found["splitrail_node_throttled"].items() if value}
    assert (throttled, len(found["splitrail_node_throttled"])) == ({("under-voltage", "pi")}, 4)
    assert found["splitrail_node_clock_ahead_seconds"] == {("pi",): pytest.approx(5.0)}


def test_its_own_state_is_told() -> None:
    """Store, broker, leadership; what the store lost and what never got there are one loss."""
    found = page(moment(Tally(["photos"])))
    assert found["splitrail_store_up"] == {("influxdb",): 1.0}
    assert found["splitrail_store_waiting"] == {("influxdb",): 12.0}
    assert found["splitrail_store_dead_letters"] == {("influxdb",): 2.0}
    assert found["splitrail_telemetry_lost_total"] == {(): 4.0}
    assert found["splitrail_broker_connected"] == {(): 1.0}
    assert found["splitrail_broker_dropped_total"][("malformed",)] == 5.0
    assert set(found["splitrail_broker_dropped_total"]) == {
        ("malformed",),
        ("unknown",),
        ("oversized",),
        ("unsent",),
    }
    assert (found["splitrail_leader"], found["splitrail_leadership_term"]) == ({(): 1.0}, {(): 7.0})
    away = page(moment(Tally([]), connected=False, store=dataclasses.replace(STORE, obstacle="it is away")))
    assert (away["splitrail_broker_connected"], away["splitrail_store_up"]) == ({(): 0.0}, {("influxdb",): 0.0})


def test_every_family_that_is_told_is_declared_and_the_other_way_round() -> None:
    """The reference, which is made of the declarations, leaves nothing out and promises nothing."""
    made = moment(busy_tally())
    text = Exposition(lambda: figures(made)).text().decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    declared_names = {family.name.removesuffix("_total") for family in (*FAMILIES, *PROCESS)}
    assert names == declared_names


def test_a_family_is_named_as_prometheus_asks() -> None:
    """A prefix, base units, `_total` for counters alone."""
    for family in FAMILIES:
        assert family.name.startswith("splitrail_")
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert not any(unit in family.name for unit in ("_ms", "_mb", "mbps", "_kwh"))
        assert family.summary.endswith(".")


@pytest.mark.parametrize(
    ("interval_s", "now", "is_told"), [(1.0, 68.0, True), (1.0, 70.0, False), (300.0, 70.0, True), (300.0, 1e4, False)]
)
def test_a_meter_that_went_silent_is_told_no_more(interval_s: float, now: float, is_told: bool) -> None:
    """After a minute, or three intervals of a slow one: an old figure is not passed off as the present."""
    tally = Tally([])
    tally.count(reading("pi", "plug", interval_s=interval_s), 9.0)
    assert ("splitrail_node_power_watts" in page(moment(tally, now=now))) == is_told


def test_a_meter_of_an_earlier_session_or_a_dead_node_is_told_no_more() -> None:
    """Its counter has begun anew, or is nobody's."""
    tally = Tally([])
    tally.count(reading("pi", "rapl", session="earlier"), 9.0)
    tally.count(reading("laptop", "rapl"), 9.0)
    tally.count(reading("pc", "rapl"), 9.0)
    dead = folded(received(birth_message("pi"), birth_message("pc"), offline("pc")))
    assert "splitrail_node_power_watts" not in page(moment(tally, state=dead))


def test_it_is_ready_where_it_leads_or_stands_by() -> None:
    """And says why not: the broker, its own disk, or nobody who leads."""
    sqlite = dataclasses.replace(STORE, kind="sqlite", obstacle="the disk is full")
    waiting = LeadershipReport(coordinator="c1", state="waits", term=0, leader=None, leader_url=None, heard_s=None)
    standing_by = LeadershipReport(coordinator="c1", state="stands by", term=1, leader="c2", leader_url="", heard_s=1.0)
    assert unreadiness(connected=True, store=STORE, leadership=LEADS) is None
    assert unreadiness(connected=True, store=STORE, leadership=standing_by) is None
    assert unreadiness(connected=False, store=STORE, leadership=LEADS) == "the MQTT broker is away"
    assert unreadiness(connected=True, store=sqlite, leadership=LEADS) == "the disk is full"
    assert unreadiness(connected=True, store=STORE, leadership=waiting) == "nobody is known to lead the site yet"


def test_an_influxdb_that_is_away_makes_it_no_less_ready() -> None:
    """What comes meanwhile waits on its own disk; a restart would help nobody."""
    away = dataclasses.replace(STORE, obstacle="it does not answer")
    assert unreadiness(connected=True, store=away, leadership=LEADS) is None


@pytest.mark.usefixtures("nothing_left")
def test_a_running_coordinator_is_scraped(
    site: str,
    tmp_path: Path,
    zoo_model: Callable[..., Path],
    mosquitto: PrivateMosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over HTTP, with what real messages made of it; not ready before it leads, and alive while it turns."""
    settings = CoordinatorSettings(
        site=site,
        broker=mosquitto.settings,
        store=tmp_path / "telemetry.sqlite",
        cache=tmp_path / "cache",
        http=HttpSettings(port=0),
        deployments=(DeploymentSettings(name="photos", model=zoo_model("mobilenetv2"), origin="pi"),),
    )
    with coordinating(settings) as coordinator, FakeAgent(mosquitto.settings, site, "pi") as pi:

        def ask(path: str) -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"{coordinator.url}{path}") as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        assert ask("/readyz") in ((503, "nobody is known to lead the site yet\n"), (200, "ok\n"))
        assert eventually(lambda: ask("/readyz") == (200, "ok\n"))
        pi.energy(1, 3.5)
        for _ in range(2):
            pi.inference("r1", 80.0, age_s=0.0)
        pi.inference("r2", 80.0, error="late")

        def both_are_counted() -> bool:
            counts = told(ask("/metrics")[1])["splitrail_inferences_total"]
            return (counts["photos", "answered"], counts["photos", "failed"]) == (1.0, 1.0)

        assert eventually(both_are_counted)
        found = told(ask("/metrics")[1])
        assert found["splitrail_node_power_watts"] == {("false", "model", "pi", "board", "modelled"): 3.5}
        assert found["splitrail_leader"] == {(): 1.0}
        assert found["process_resident_memory_bytes"][()] > 1e6
        assert ask("/healthz") == (200, "ok\n")
        monkeypatch.setattr("splitrail.standstill.LONGEST_TURN_S", -1.0)
        assert ask("/healthz")[0] == 503
