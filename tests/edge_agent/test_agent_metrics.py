"""What an agent tells Prometheus, and a supervisor that asks whether it is ready."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from eventually import eventually
from prometheus_client.parser import text_string_to_metric_families

from broker.drops import DroppedCounts
from broker.messages import EnergyReading, InferenceReport, SpoolReport
from broker.mosquitto import PrivateMosquitto
from edge_agent.agent import Agent
from edge_agent.configuration import AgentSettings, EnergySettings, MetricsSettings, TensorSettings
from edge_agent.errors import MetricsError
from edge_agent.metrics import FAMILIES, Moment, figures
from edge_agent.metrics_counts import MAX_DEPLOYMENTS, MAX_METERS, TelemetryCounts
from edge_agent.transport import TransportCounters
from splitrail.metric_families import PROCESS, Exposition

Samples = dict[str, dict[tuple[str, ...], float]]


def reading(meter: str, energy_j: float = 10.0) -> EnergyReading:
    return EnergyReading(
        node="pi",
        session="s1",
        sequence=1,
        at=0.0,
        energy_j=energy_j,
        power_w=2.5,
        interval_s=1.0,
        meter=meter,
        source="measured",
        scope="board",
    )


def inference(deployment: str = "photos", *, error: str | None = None, fallback: str | None = None) -> InferenceReport:
    return InferenceReport(
        deployment=deployment,
        epoch=1,
        request_id="r",
        origin="pi",
        at=0.0,
        latency_ms=250.0,
        error=error,
        fallback=fallback,
    )


def told(text: str) -> Samples:
    """By the name of the sample and its labels' values, in the order of the labels' names: its value."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def page(counts: TelemetryCounts) -> str:
    moment = Moment(
        site="home",
        node="pi",
        tier="edge",
        emulated=False,
        counts=counts.counts(),
        backlog_s=0.5,
        busy_s=12.0,
        tensors=TransportCounters(sent_bytes=100, received_bytes=200, malformed=1, undelivered=2, refused=3, cut=4),
        peers=2,
        spool=SpoolReport(node="pi", session="s1", waiting=5, waiting_bytes=600, dropped=7),
        connected=True,
        dropped=DroppedCounts(unsent=9),
    )
    return Exposition(lambda: figures(moment)).text().decode()


def test_a_node_is_told_in_base_units() -> None:
    """Joules and watts with their source and scope, seconds, bytes; every family that is declared, and no other."""
    counts = TelemetryCounts()
    for telemetry in (reading("rapl"), reading("rapl", 20.0), inference(), inference(error="late")):
        counts.count(telemetry)
    counts.count(inference(fallback="laptop is silent"))
    for _ in range(3):
        counts.count_dropped("photos")
    text = page(counts)
    found = told(text)
    assert found["splitrail_agent_energy_joules_total"] == {("false", "rapl", "board", "measured"): 20.0}
    assert found["splitrail_agent_power_watts"] == {("false", "rapl", "board", "measured"): 2.5}
    assert found["splitrail_agent_inferences_total"] == {
        ("photos", "answered"): 1.0,
        ("photos", "failed"): 1.0,
        ("photos", "rescued"): 1.0,
    }
    assert found["splitrail_agent_inference_latency_seconds_total"] == {("photos",): 0.5}
    assert found["splitrail_agent_frames_dropped_total"] == {("photos",): 3.0}
    assert found["splitrail_agent_tensor_dropped_total"] == {
        ("malformed",): 1.0,
        ("undelivered",): 2.0,
        ("refused",): 3.0,
        ("cut",): 4.0,
    }
    assert found["splitrail_agent_spool_waiting_bytes"] == {(): 600.0}
    assert found["splitrail_agent_broker_dropped_total"][("unsent",)] == 9.0
    names = {family.name for family in text_string_to_metric_families(text)}
    assert names == {family.name.removesuffix("_total") for family in (*FAMILIES, *PROCESS)}


def test_a_meter_that_fell_silent_is_told_no_more() -> None:
    """An old figure would look like a new one."""
    now_s = 0.0
    counts = TelemetryCounts(lambda: now_s)
    counts.count(reading("plug"))
    now_s = 50.0
    counts.count(reading("model"))
    assert [each.meter for each in counts.counts().readings] == ["model", "plug"]
    now_s = 70.0
    assert [each.meter for each in counts.counts().readings] == ["model"]


def test_a_family_is_named_as_prometheus_asks() -> None:
    """A prefix of the agent's own, `_total` for counters alone."""
    for family in FAMILIES:
        assert family.name.startswith("splitrail_agent_")
        assert family.name.endswith("_total") == (family.kind == "counter")


def test_what_is_counted_is_bounded() -> None:
    """However many deployments and meters there come to be."""
    counts = TelemetryCounts()
    for number in range(MAX_DEPLOYMENTS + 5):
        counts.count(inference(f"d{number}"))
        counts.count(reading(f"meter {number}"))
    made = counts.counts()
    assert len(made.readings) == MAX_METERS
    assert dict(made.inferences)["other", "answered"] == 5
    assert len(made.inferences) == MAX_DEPLOYMENTS + 1


def settings(mosquitto: PrivateMosquitto, site: str, cache: Path, metrics: MetricsSettings) -> AgentSettings:
    return AgentSettings(
        site=site,
        node="pi",
        tier="edge",
        broker=mosquitto.settings,
        cache=cache,
        tensors=TensorSettings(listen="tcp://127.0.0.1:0"),
        energy=EnergySettings(meter="modelled", interval_s=0.1),
        metrics=metrics,
    )


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.usefixtures("nothing_left")
def test_a_running_agent_is_scraped(
    tmp_path: Path, own_mosquitto: PrivateMosquitto, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It becomes ready by joining, says so when the broker goes, and is alive for as long as it is ticked."""
    agent = Agent(settings(own_mosquitto, site, tmp_path / "cache", MetricsSettings(port=0)))
    assert agent.unreadiness() == "pi has not joined its site yet"
    try:
        agent.start()
        assert agent._metrics is not None
        url = agent._metrics.url
        assert ask(f"{url}/readyz") == (200, "ok\n")

        def is_metered() -> bool:
            agent.tick()
            return "splitrail_agent_energy_joules_total" in told(ask(f"{url}/metrics")[1])

        assert eventually(is_metered)
        found = told(ask(f"{url}/metrics")[1])
        assert found["splitrail_agent_broker_connected"] == {(): 1.0}
        assert found["splitrail_agent_spool_dropped_total"] == {(): 0.0}
        own_mosquitto.stop()
        assert eventually(lambda: ask(f"{url}/readyz") == (503, "the MQTT broker is away\n"))
        assert ask(f"{url}/healthz") == (200, "ok\n")
        monkeypatch.setattr("splitrail.standstill.LONGEST_TURN_S", -1.0)
        assert ask(f"{url}/healthz")[0] == 503
    finally:
        agent.close()


@pytest.mark.usefixtures("nothing_left")
def test_an_agent_that_may_not_serve_its_metrics_says_so(
    mosquitto: PrivateMosquitto, site: str, tmp_path: Path
) -> None:
    """Before it joins anything."""
    agent = Agent(settings(mosquitto, site, tmp_path, MetricsSettings(host="0.0.0.0", port=0)))
    try:
        with pytest.raises(MetricsError, match="serves more than this machine"):
            agent.start()
    finally:
        agent.close()
