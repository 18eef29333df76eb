"""The continuum's own promises: a failed start explains itself and leaves nothing; nodes die and come back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from eventually import eventually

from broker.errors import ConnectionFailedError
from broker.messages import NodeStatus
from broker.mosquitto import free_port
from broker.session import Incoming, Session
from broker.sign_in import BrokerSettings
from broker.site_directory import SiteDirectory
from broker.topics import LINK, PROFILE, STATUS
from coordinator.configuration import DeploymentSettings
from edge_agent.configuration import PowerSettings
from testbed.continuum import BROKER, COORDINATOR, Continuum, EmulatedNode
from testbed.errors import ProcessFailedError, UnknownLinkError
from testbed.shaping import LinkShape
from testbed.traces import constant

PI = EmulatedNode("pi", "edge", 2.0, PowerSettings(idle_w=2.7, busy_w=6.4), "emulated: twice as slow")
LAPTOP = EmulatedNode(
    "laptop", "fog", 1.0, PowerSettings(idle_w=5.0, busy_w=20.0), "emulated: as quick as this machine"
)
SHAPES = tuple(LinkShape(src, dst, constant(100.0), 1.0) for src, dst in (("pi", "laptop"), ("laptop", "pi")))


def continuum(directory: Path, model: Path, *nodes: EmulatedNode) -> Continuum:
    deployment = DeploymentSettings(name="photos", model=model, origin="pi")
    return Continuum(nodes, SHAPES, (deployment,), directory)


def processes_below(directory: Path) -> list[str]:
    command_lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command_lines.append((process / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return [line for line in command_lines if str(directory) in line]


def test_a_failed_start_explains_itself_and_leaves_nothing(tmp_path: Path, zoo_model: Callable[..., Path]) -> None:
    """An agent that refuses its settings ends the start with the agent's own last words, and all else is stopped."""
    broken = replace(LAPTOP, power=PowerSettings(idle_w=-5.0, busy_w=20.0))
    with (
        pytest.raises(ProcessFailedError, match=r"the agent of laptop ended with exit code 2: .*idle_w"),
        continuum(tmp_path, zoo_model("mobilenetv2"), PI, broken),
    ):
        pass
    assert processes_below(tmp_path) == []


def test_a_missing_model_is_the_coordinators_word(tmp_path: Path) -> None:
    """What the coordinator cannot serve ends the start with its sentence."""
    with (
        pytest.raises(ProcessFailedError, match=r"the coordinator ended with exit code 2: .*none\.tflite"),
        continuum(tmp_path, tmp_path / "none.tflite", PI, LAPTOP),
    ):
        pass
    assert processes_below(tmp_path) == []


def test_a_node_dies_and_comes_back(tmp_path: Path, zoo_model: Callable[..., Path]) -> None:
    """A killed node is reported dead by its last will, and is born again with its cache when it is started."""
    states: list[str] = []

    def witness(incoming: Incoming[NodeStatus]) -> None:
        if states[-1:] != [incoming.message.state]:  # a birth may be told again
            states.append(incoming.message.state)

    with continuum(tmp_path, zoo_model("mobilenetv2"), PI, LAPTOP) as running:
        with running.session("witness") as session:
            session.on(STATUS, witness, levels=("laptop",))
            assert eventually(lambda: states == ["online"], 20)
            running.kill("laptop")
            running.check()
            assert eventually(lambda: states == ["online", "offline"], 20)
            running.start("laptop")
            assert eventually(lambda: states == ["online", "offline", "online"], 40), states
        with pytest.raises(UnknownLinkError, match="no node 'pc'; the nodes are: pi, laptop"):
            running.kill("pc")
    assert processes_below(tmp_path) == []


def test_a_process_is_paused_and_rivalled(tmp_path: Path, zoo_model: Callable[..., Path]) -> None:
    """A paused process is held by the kernel until it is resumed; a second one of its identity ends with code 2."""
    with continuum(tmp_path, zoo_model("mobilenetv2"), PI, LAPTOP) as running:
        pids = running.pids()
        assert set(pids) == {BROKER, COORDINATOR, "pi", "laptop"}
        for name in (BROKER, "laptop"):
            running.pause(name)
            assert eventually(lambda name=name: state_of(pids[name]) == "T")  # type: ignore[misc]  # as in the continuum
            running.resume(name)
            assert eventually(lambda name=name: state_of(pids[name]) != "T")  # type: ignore[misc]  # as above
        rivals = [running.start_rival(name) for name in ("laptop", COORDINATOR)]
        assert all(rival.wait(60) for rival in rivals)
        assert [rival.exit_code for rival in rivals] == [2, 2]
        running.pause("pi")  # the end does not wait for it
        assert running.pids() == pids
    assert processes_below(tmp_path) == []


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_continuum_with_locks(tmp_path: Path, zoo_model: Callable[..., Path]) -> None:
    """Members of a site come together over TLS alone; who is none cannot sign in."""
    locks = SiteDirectory.create(tmp_path / "site", site="testbed", hosts=("127.0.0.1",), port=free_port())
    for node in (PI, LAPTOP):
        locks.add_node(node.name, node.tier)
    deployment = DeploymentSettings(name="photos", model=zoo_model("mobilenetv2"), origin="pi")
    linked: set[tuple[str, str]] = set()
    births: list[NodeStatus] = []
    with (
        Continuum((PI, LAPTOP), SHAPES, (deployment,), tmp_path, locks=locks) as running,
        running.session("watcher") as watcher,
    ):
        watcher.on(LINK, lambda incoming: linked.add((incoming.message.src, incoming.message.dst)))
        watcher.on(STATUS, lambda incoming: births.append(incoming.message))
        assert eventually(lambda: len(linked) == 2, 60)
        assert all(birth.announcement is not None and birth.announcement.tensor_key for birth in births)
        assert {node.name for node in running.status().nodes if node.online} == {"pi", "laptop"}
        stranger = Session(BrokerSettings(host="127.0.0.1", port=locks.record.port), site="testbed", client_id="no")
        with pytest.raises(ConnectionFailedError):
            stranger.start()


def agents_logs_once_profiled(directory: Path, caches: Path, model: Path) -> list[str]:
    directory.mkdir()
    deployment = DeploymentSettings(name="photos", model=model, origin="pi")
    profiled: set[str] = set()
    with (
        Continuum((PI, LAPTOP), SHAPES, (deployment,), directory, agent_caches=caches) as running,
        running.session("watcher") as watcher,
    ):
        watcher.on(PROFILE, lambda incoming: profiled.add(incoming.message.node))
        assert eventually(lambda: profiled == {"pi", "laptop"}, 60)
        return [running.log(node).read_text() for node in ("pi", "laptop")]


def test_models_and_profiles_are_found_again(tmp_path: Path, zoo_model: Callable[..., Path]) -> None:
    """A second continuum with the same caches has its profiles from the first one's."""
    model, caches = zoo_model("mobilenetv2"), tmp_path / "caches"
    agents_logs_once_profiled(tmp_path / "first", caches, model)
    second = agents_logs_once_profiled(tmp_path / "second", caches, model)
    assert all("profile taken from the cache" in log for log in second)


@pytest.mark.parametrize("load", [-0.1, 1.0, float("nan")])
def test_a_load_is_a_share_below_one(tmp_path: Path, load: float) -> None:
    """What would stop a node for ever is refused, and so is a load for a node that is not there."""
    standing = continuum(tmp_path, tmp_path / "none.tflite", PI, LAPTOP)
    with pytest.raises(ValueError, match="a load is a share from 0 to below 1"):
        standing.set_load("pi", load)
    with pytest.raises(UnknownLinkError, match="no node 'pc'"):
        standing.set_load("pc", 0.5)


def test_links_join_known_nodes(tmp_path: Path) -> None:
    """A link to a node that is not there is refused before anything starts."""
    with pytest.raises(UnknownLinkError, match="no node 'laptop'; the nodes are: pi"):
        continuum(tmp_path, tmp_path / "none.tflite", PI)
