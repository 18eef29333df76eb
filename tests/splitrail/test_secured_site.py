"""A site as `splitrail site` makes it, lived in by real processes: nothing is open, and a revoked node is out."""

import json
import ssl
import stat
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from eventually import eventually

from broker.messages import InferReply, InferRequest, NodeStatus, Plan
from broker.mosquitto import PrivateMosquitto, free_port
from broker.session import Session
from broker.site_directory import SiteDirectory
from broker.topics import INFER, PLAN, STATUS
from edge_agent.routes import named_nodes
from splitrail.cli import main
from testbed.processes import ChildProcess, stop_all

SITE = "home"
SLOW = "emulation: {compute_factor: 20, description: 'emulated: 20 times slower'}\n"
COORDINATOR = """\
planning: {interval_s: 1}
deployments:
  - {name: photos, model: model.tflite, origin: pi}
"""


def make_site(directory: Path, model: Path, http_port: int) -> SiteDirectory:
    """A site with two nodes and a client, all on loopback; the origin is slow, so that it sends work away."""
    arguments = ["init", str(directory), "--site", SITE, "--host", "127.0.0.1", "--port", str(free_port())]
    assert main(["site", *arguments]) == 0
    for node, tier in (("pi", "edge"), ("laptop", "fog")):
        assert main(["site", "add-node", node, "--tier", tier, "--directory", str(directory)]) == 0
        settings = directory / "nodes" / node / "agent.yaml"
        own = "cache: cache\ntensors: {listen: 'tcp://127.0.0.1:0'}\n" + (SLOW if node == "pi" else "")
        settings.write_text(settings.read_text() + own)
    assert main(["site", "add-client", "alice", "--directory", str(directory)]) == 0
    client = directory / "clients/alice/client.yaml"
    client.write_text(client.read_text().replace("8484", str(http_port)))
    settings = directory / "coordinator/coordinator.yaml"
    text = settings.read_text().replace("8484", str(http_port))
    settings.write_text(text[: text.index("deployments:")] + COORDINATOR)
    (directory / "coordinator/model.tflite").write_bytes(model.read_bytes())
    return SiteDirectory(directory)


@contextmanager
def running(site: SiteDirectory, logs: Path) -> Iterator[dict[str, ChildProcess]]:
    """The site's broker, coordinator and agents, by name, each a process of its own."""
    commands = {"coordinator": ["coordinator", "--config", str(site.path / "coordinator/coordinator.yaml")]}
    commands |= {node: ["agent", "--config", str(site.directory_of(node) / "agent.yaml")] for node in ("pi", "laptop")}
    with ExitStack() as stack:
        stack.enter_context(PrivateMosquitto(logs / "mosquitto", site=site))
        children: dict[str, ChildProcess] = {}
        stack.callback(lambda: stop_all(children.values()))
        for name, arguments in commands.items():
            children[name] = ChildProcess(name, [sys.executable, "-m", "splitrail", *arguments], logs / f"{name}.log")
        yield children


def ask(client: Session, image: bytes) -> InferReply:
    return client.request(INFER, InferRequest(request_id=uuid.uuid4().hex, image=image), "photos", timeout_s=40.0)


def connected_ports(process: ChildProcess) -> set[int]:
    """The local ports of a process's connections that are established."""
    connections = [each for each in psutil.net_connections("tcp") if each.pid == process.pid]
    return {each.laddr.port for each in connections if each.status == psutil.CONN_ESTABLISHED}


def status_by(site: SiteDirectory, port: int, token: str | None) -> int:
    """What the coordinator's HTTP interface answers to a request for the status: its code."""
    request = urllib.request.Request(f"https://127.0.0.1:{port}/v1/status")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(
            request, timeout=10, context=ssl.create_default_context(cafile=site.path / "ca.crt")
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_site_runs_with_everything_locked_and_shuts_a_node_out(
    tmp_path: Path,
    zoo_model: Callable[..., Path],
    photographs: tuple[Path, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the files that the commands made: split, encrypted, answered; then without the node that was revoked.

    What agents and coordinator write is nobody else's to read.
    """
    image = photographs[0].read_bytes()
    http_port = free_port()
    site = make_site(tmp_path / "site", zoo_model("mobilenetv2", "int8"), http_port)
    plans: list[Plan] = []
    statuses: dict[str, NodeStatus] = {}
    with running(site, tmp_path) as processes, ExitStack() as stack:
        admin = Session(site.broker_settings("admin"), site=SITE, client_id="admin")
        admin.on(PLAN, lambda incoming: plans.append(incoming.message))
        admin.on(STATUS, lambda incoming: statuses.update({incoming.message.node: incoming.message}))
        stack.enter_context(admin)
        client = stack.enter_context(Session(site.broker_settings("alice"), site=SITE, client_id="alice"))

        assert eventually(lambda: plans and "laptop" in named_nodes(plans[-1]), 60)
        announced = [status.announcement for status in statuses.values()]
        assert len({announcement.tensor_key for announcement in announced if announcement}) == 2
        assert eventually(lambda: (told := ask(client, image).report) and {"laptop"} & {s.node for s in told.stages})

        token = (site.directory_of("laptop") / "token").read_text().strip()
        assert (status_by(site, http_port, token), status_by(site, http_port, None)) == (200, 401)

        config = ["--config", str(site.directory_of("alice") / "client.yaml"), "--json"]
        capsys.readouterr()
        assert main(["infer", "photos", str(photographs[0]), *config]) == 0
        assert len(json.loads(capsys.readouterr().out)[0]["classes"]) == 5
        assert main(["status", *config]) == 0
        assert {node["name"] for node in json.loads(capsys.readouterr().out)["nodes"]} == {"pi", "laptop"}

        announcement = statuses["laptop"].announcement
        assert announcement is not None
        tensor_port = int(announcement.endpoint.rpartition(":")[2])
        assert tensor_port in connected_ports(processes["laptop"])
        assert main(["site", "revoke", "laptop", "--directory", str(site.path)]) == 0
        assert eventually(lambda: named_nodes(plans[-1]) == {"pi"})
        replies = [ask(client, image) for _ in range(3)]
        assert [reply.error for reply in replies] == [None] * 3
        assert eventually(lambda: tensor_port not in connected_ports(processes["laptop"]))
        assert eventually(lambda: status_by(site, http_port, token) == 401)
        assert processes["laptop"].running
        assert statuses["laptop"].state == "offline"
        assert statuses["pi"].state == "online"

        made = [*(site.path / "nodes/pi/cache").rglob("*"), *(site.path / "coordinator").glob("telemetry*")]
        assert {"pi.pem", "home-pi.sqlite", "telemetry.sqlite"} <= {path.name for path in made}
        assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert "its death is published" in capsys.readouterr().out
