"""What the doctor makes of files, disks, ports, keys, the clock and the processor."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from made_site import birth_message, offline

from broker.messages import NodeStatus, Throttling
from broker.sign_in import BrokerSettings
from coordinator.configuration import CoordinatorSettings, DeploymentSettings, HttpSettings, InfluxSettings
from edge_agent.configuration import AgentSettings, TensorSettings
from edge_agent.keys import load_or_make_key
from splitrail.doctor.clock import is_synchronised, skew_findings, synchronisation_findings
from splitrail.doctor.files import Place, Secret, room_findings, secret_findings, secrets_in
from splitrail.doctor.finding import Finding
from splitrail.doctor.processor import temperature_findings, throttling_findings
from splitrail.doctor.tensors import listening_ports, port_findings, tensor_findings


def verdicts(findings: Iterable[Finding]) -> list[str]:
    return [finding.verdict for finding in findings]


# --- files


def test_every_secret_of_the_settings_is_found() -> None:
    """At any depth, by the names of their keys."""
    agent = AgentSettings(
        site="home",
        node="pi",
        tier="edge",
        broker=BrokerSettings(username="pi", password_file=Path("a")),
        tensors=TensorSettings(key_file=Path("b")),
    )
    assert [(each.key, str(each.file)) for each in secrets_in(agent)] == [
        ("broker.password_file", "a"),
        ("tensors.key_file", "b"),
    ]
    coordinator = CoordinatorSettings(
        site="home",
        http=HttpSettings(certificate_file=Path("c"), key_file=Path("d"), tokens_file=Path("e")),
        influxdb=InfluxSettings(url="http://x:8086", token_file=Path("f")),
        deployments=(DeploymentSettings(name="photos", model=Path("m"), origin="pi"),),
    )
    assert [each.key for each in secrets_in(coordinator)] == ["influxdb.token_file", "http.key_file"]


@pytest.mark.parametrize(("mode", "verdict"), [(0o600, "ok"), (0o400, "ok"), (0o640, "note"), (0o644, "problem")])
def test_who_may_read_a_secret_is_told(tmp_path: Path, mode: int, verdict: str) -> None:
    """Everybody is a problem, the group a note."""
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(mode)
    (finding,) = secret_findings((Secret("broker.password_file", file),))
    assert finding.verdict == verdict
    assert verdict == "ok" or finding.fix == f"chmod 600 {file}"


def test_a_secret_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    """By the key that names it."""
    (finding,) = secret_findings((Secret("broker.password_file", tmp_path / "none"),))
    assert (finding.verdict, finding.fix) == ("problem", "correct broker.password_file, or copy it there")


def test_room_on_a_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a place that is not made yet too; a bound that the disk cannot hold is a note."""
    place = Place("cache", tmp_path / "not/yet/there", 1.0)
    assert verdicts(room_findings(place)) == ["ok"]
    assert not (tmp_path / "not").exists()
    assert verdicts(room_findings(Place("cache", tmp_path, 1e12))) == ["note"]
    monkeypatch.setattr("shutil.disk_usage", lambda path: _Full())
    assert verdicts(room_findings(place)) == ["problem"]


@dataclass
class _Full:
    """A disk with next to nothing left."""

    free: int = 5_000_000


def test_a_place_that_cannot_be_written_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a card that the kernel has made read-only."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    (finding,) = room_findings(Place("spool", tmp_path / "spool", 1.0))
    assert finding.verdict == "problem"
    assert finding.says == f"{tmp_path} cannot be written by this user"


# --- tensors

TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:167D 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 12346 1 0000 100 0 0 10 0
"""
TCP6 = """  sl  local_address                         remote_address                        st tx_queue rx_queue tr
   0: 00000000000000000000000000000000:075B 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
"""


def test_who_listens_is_read_from_the_kernel(tmp_path: Path) -> None:
    """Ports of connections, ours or others', are none that somebody listens on."""
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/tcp").write_text(TCP)
    assert listening_ports(tmp_path) == {5757}
    (tmp_path / "proc/net/tcp6").write_text(TCP6)
    assert listening_ports(tmp_path) == {5757, 1883}
    (tmp_path / "proc/net/tcp").write_text("garbage")
    assert listening_ports(tmp_path) == {1883}
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] in listening_ports()


@pytest.mark.parametrize(
    ("listen", "status", "ports", "verdict"),
    [
        ("tcp://0.0.0.0:5757", None, (), "ok"),
        ("tcp://0.0.0.0:5757", offline("pi"), (), "ok"),
        ("tcp://0.0.0.0:5757", birth_message("pi"), (5757,), "ok"),
        ("tcp://0.0.0.0:5757", None, (5757,), "problem"),
        ("tcp://0.0.0.0:5757", offline("pi"), (5757,), "problem"),
        ("tcp://0.0.0.0:5757", birth_message("pi"), (), "note"),  # a cloned card, perhaps
        ("tcp://0.0.0.0:0", None, (5757,), "ok"),
        ("tcp://*:*", None, (5757,), "ok"),
    ],
)
def test_whether_the_port_of_tensors_is_ours(
    listen: str, status: NodeStatus | None, ports: tuple[int, ...], verdict: str
) -> None:
    """Free, or this node's own agent's, as far as the site knows one."""
    assert verdicts(port_findings(listen, status, frozenset(ports), was_asked=True)) == [verdict]


def test_whose_the_port_is_cannot_be_said_without_the_broker() -> None:
    """The agent itself may be up, and nobody should be sent to stop it."""
    (finding,) = port_findings("tcp://0.0.0.0:5757", None, frozenset({5757}), was_asked=False)
    assert finding.verdict == "note"
    assert "this node's own agent" in finding.says
    assert verdicts(port_findings("tcp://0.0.0.0:5757", None, frozenset(), was_asked=False)) == ["ok"]


def test_the_key_of_tensors_is_for_its_owner_alone(tmp_path: Path) -> None:
    """One that is not there yet is made at the first start, and not by the doctor."""
    settings = AgentSettings(site="home", node="pi", tier="edge", cache=tmp_path)
    file = tmp_path / "keys/pi.pem"
    assert verdicts(tensor_findings(settings, None, frozenset(), was_asked=True)) == ["ok", "ok", "ok"]
    assert not file.exists()
    load_or_make_key(file)
    assert verdicts(tensor_findings(settings, None, frozenset(), was_asked=True)) == ["ok", "ok", "ok"]
    file.chmod(0o644)
    (_, finding, _) = tensor_findings(settings, None, frozenset(), was_asked=True)
    assert (finding.verdict, finding.fix) == ("problem", "run chmod 600 on it")
    file.chmod(0o600)
    file.write_text("nonsense")
    (_, finding, _) = tensor_findings(settings, None, frozenset(), was_asked=True)
    assert finding.verdict == "problem"
    is_open = msgspec.structs.replace(settings, tensors=TensorSettings(security="open"))
    assert verdicts(tensor_findings(is_open, None, frozenset(), was_asked=True)) == ["ok", "note", "ok"]


def test_tensors_go_through_a_broker_only_where_that_is_no_disclosure(tmp_path: Path) -> None:
    """What keeps them from it has its remedy; who does not want it is left alone."""
    settings = AgentSettings(site="home", node="pi", tier="edge", cache=tmp_path)
    in_clear = msgspec.structs.replace(settings, broker=BrokerSettings(host="10.0.0.9"))
    *_, finding = tensor_findings(in_clear, None, frozenset(), was_asked=True)
    assert (finding.subject, finding.verdict) == ("tensor fallback", "note")
    assert "broker.ca_file" in finding.fix
    forbidden = msgspec.structs.replace(in_clear, tensors=TensorSettings(fallback="none"))
    assert verdicts(tensor_findings(forbidden, None, frozenset(), was_asked=True)) == ["ok", "ok", "ok"]


# --- clock and processor


def test_the_kernel_is_asked_whether_a_time_server_sets_the_clock() -> None:
    """It answers yes, no, or nothing; each means something else."""
    assert is_synchronised() in (True, False, None)
    assert verdicts(synchronisation_findings(True)) == ["ok"]
    assert verdicts(synchronisation_findings(False)) == ["note"]
    assert verdicts(synchronisation_findings(None)) == ["ok"]


@pytest.mark.parametrize(
    ("ahead_s", "uncertainty_s", "verdict"),
    [
        (0.2, 0.01, "ok"),
        (-0.9, 0.01, "ok"),
        (3.0, 2.5, "ok"),
        (3.0, 0.5, "note"),
        (-30.0, 0.5, "note"),
        (61.0, 0.1, "problem"),
    ],
)
def test_how_far_the_clock_is_off_is_told(ahead_s: float, uncertainty_s: float, verdict: str) -> None:
    """What the way to the coordinator and back may explain is nothing; beyond a minute no time of ours is believed."""
    (finding,) = skew_findings(ahead_s, uncertainty_s)
    assert finding.verdict == verdict
    assert verdict == "ok" or ("ahead of" if ahead_s > 0 else "behind") in finding.says


def test_heat_is_told() -> None:
    """From 80 °C on, at which a Raspberry Pi slows down."""
    assert verdicts(temperature_findings(None)) == ["ok"]
    assert verdicts(temperature_findings(79.4)) == ["ok"]
    assert verdicts(temperature_findings(80.0)) == ["note"]


def test_every_cause_of_throttling_has_a_fix() -> None:
    """And each is a problem."""
    causes = get_args(Throttling)
    findings = list(throttling_findings(causes))
    assert verdicts(findings) == ["problem"] * len(causes)
    assert all(finding.fix for finding in findings)
    assert "power supply" in findings[causes.index("under-voltage")].fix
    assert verdicts(throttling_findings(())) == verdicts(throttling_findings(None)) == ["ok"]
