"""Two coordinators of one site, as real processes on a real broker: who leads, and what agents follow."""

import json
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from eventually import eventually
from fake_fleet import FakeAgent

from broker.messages import Leader, Plan
from broker.mosquitto import PrivateMosquitto, free_port
from broker.server_process import ends_with_parent
from broker.session import Incoming, Session
from broker.sign_in import BrokerSettings
from broker.terms import follows
from broker.topics import LEADER, PLAN

HEARTBEAT_S, LEASE_S = 0.5, 1.5


class Process:
    """`splitrail coordinator` as a user runs it, with a store of its own."""

    def __init__(self, name: str, site: str, broker: BrokerSettings, directory: Path, model: Path) -> None:
        self.name = name
        self.port = free_port()
        self.store = directory / f"{name}.sqlite"
        self._config = directory / f"{name}.json"
        self._log = directory / f"{name}.log"
        settings = {
            "site": site,
            "name": name,
            "broker": {"host": broker.host, "port": broker.port},
            "leadership": {"heartbeat_s": HEARTBEAT_S, "lease_s": LEASE_S},
            "store": str(self.store),
            "cache": str(directory / f"{name}-cache"),
            "http": {"port": self.port},
            "deployments": [{"name": "photos", "model": str(model), "origin": "pi"}],
        }
        self._config.write_text(json.dumps(settings))
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "splitrail", "coordinator", "--config", self._config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=ends_with_parent(),  # noqa: PLW1509  # two system calls, which take no lock
            )

    def signal(self, number: signal.Signals) -> None:
        assert self._child is not None
        self._child.send_signal(number)

    def stop(self) -> None:
        assert self._child is not None
        self._child.terminate()
        assert self._child.wait(20.0) == 0, self.log
        self._child = None

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def leadership(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/status", timeout=30.0) as answer:
            report: dict[str, Any] = json.loads(answer.read())
        leadership: dict[str, Any] = report["leadership"]
        return leadership


class Witness:
    """Hears all plans and leaders in the broker's order, and follows them as an agent does."""

    def __init__(self, broker: BrokerSettings, site: str) -> None:
        self.plans: list[Plan] = []
        self.followed: list[Plan] = []
        self.leaders: list[Leader] = []
        self._term = 0
        self._session = Session(broker, site=site, client_id=f"{site}-witness")
        self._session.on(LEADER, self._hear_leader)
        self._session.on(PLAN, self._hear_plan)

    def __enter__(self) -> Self:
        self._session.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def _hear_leader(self, incoming: Incoming[Leader]) -> None:
        self._term = max(self._term, incoming.message.term)
        self.leaders.append(incoming.message)

    def _hear_plan(self, incoming: Incoming[Plan]) -> None:
        plan = incoming.message
        self.plans.append(plan)
        if follows(plan, self.followed[-1] if self.followed else None, self._term):
            self.followed.append(plan)
        self._term = max(self._term, plan.term)

    def check(self) -> None:
        """No two leaders' plans interleave, and only one coordinator ever led under a term."""
        marks = [(plan.term, plan.epoch) for plan in self.followed]
        assert marks == sorted(marks), marks
        firsts: dict[int, str] = {}
        for leader in self.leaders:
            if leader.state == "leading":
                firsts.setdefault(leader.term, leader.coordinator)
        assert self.leaders
        assert {plan.term for plan in self.followed} <= firsts.keys()


@dataclass(frozen=True, slots=True)
class Pair:
    """`attic` leads and has made a plan on the pc; `cellar` stands by."""

    attic: Process
    cellar: Process
    pi: FakeAgent
    witness: Witness


@pytest.fixture
def pair(mosquitto: PrivateMosquitto, site: str, tmp_path: Path, zoo_model: Callable[..., Path]) -> Iterator[Pair]:
    """Both of them, with what they plan for."""
    broker, model = mosquitto.settings, zoo_model("mobilenetv2")
    with ExitStack() as opened:
        witness = opened.enter_context(Witness(broker, site))
        pi = opened.enter_context(FakeAgent(broker, site, "pi"))
        pc = opened.enter_context(FakeAgent(broker, site, "pc"))
        attic = opened.enter_context(Process("attic", site, broker, tmp_path, model))
        assert eventually(lambda: pi.notices), attic.log
        for agent in (pi, pc):
            agent.profile(pi.notices[0].model)
        pi.link("pc", 500.0)
        pc.link("pi", 500.0)
        assert eventually(lambda: witness.plans and is_on_pc(witness.plans[-1])), attic.log
        cellar = opened.enter_context(Process("cellar", site, broker, tmp_path, model))
        assert eventually(lambda: is_up(cellar) and cellar.leadership["state"] == "stands by"), cellar.log
        yield Pair(attic, cellar, pi, witness)
        witness.check()


def is_up(process: Process) -> bool:
    try:
        return bool(process.leadership)
    except OSError:
        return False


def has_taken_over(successor: Process, witness: Witness, plan: Plan) -> bool:
    """Whether the successor leads, and has said the plan again under its own term."""
    leadership = successor.leadership
    return leadership["state"] == "leads" and witness.plans[-1].term == leadership["term"] > plan.term


def is_on_pc(plan: Plan) -> bool:
    return "pc" in {stage.node for stage in plan.stages}


def is_same(one: Plan, other: Plan) -> bool:
    return (one.epoch, one.stages, one.created_at) == (other.epoch, other.stages, other.created_at)


def test_who_stands_by_follows_and_takes_over_from_one_that_was_killed(
    pair: Pair,
) -> None:
    """The plan in force stays as it is; what happens next is planned by the successor, with the next epoch."""
    attic, cellar, witness = pair.attic, pair.cellar, pair.witness
    assert cellar.leadership["leader"] == "attic"
    plan, said = witness.plans[-1], len(witness.plans)
    assert {notice.model.url.split("/models/")[0] for notice in pair.pi.notices} == {f"http://127.0.0.1:{attic.port}"}
    attic.kill()
    assert eventually(lambda: has_taken_over(cellar, witness, plan)), cellar.log
    assert all(is_same(later, plan) for later in witness.plans[said:])
    assert pair.pi.notices[-1].model.url.startswith(f"http://127.0.0.1:{cellar.port}/"), "the leader serves the model"
    pair.pi.link("pc", 0.1)
    assert eventually(lambda: not is_on_pc(witness.plans[-1]))
    assert witness.plans[-1].epoch == plan.epoch + 1
    attic.start()
    assert eventually(lambda: is_up(attic) and attic.leadership["state"] == "stands by"), attic.log
    assert attic.leadership["leader"] == "cellar"


def test_one_that_was_stopped_and_goes_on_finds_its_successor(
    pair: Pair,
) -> None:
    """Whatever it still sends is of a term that agents follow no more; then it stands by."""
    attic, cellar, witness = pair.attic, pair.cellar, pair.witness
    plan = witness.plans[-1]
    attic.signal(signal.SIGSTOP)
    assert eventually(lambda: has_taken_over(cellar, witness, plan)), cellar.log
    pair.pi.link("pc", 0.1)
    assert eventually(lambda: witness.followed[-1].epoch == plan.epoch + 1)
    attic.signal(signal.SIGCONT)
    assert eventually(lambda: attic.leadership["state"] == "stands by"), attic.log
    pair.pi.link("pc", 500.0)
    assert eventually(lambda: witness.followed[-1].epoch == plan.epoch + 2)
    assert witness.followed[-1].term == cellar.leadership["term"]
    assert eventually(lambda: witness.plans[-1] == witness.followed[-1]), "the retained plan is not the leader's"


def test_a_clean_stop_hands_over_at_once(pair: Pair) -> None:
    """The lead is released, and the successor does not wait for the lease."""
    attic, cellar, witness = pair.attic, pair.cellar, pair.witness
    plan = witness.plans[-1]
    attic.stop()
    assert eventually(lambda: has_taken_over(cellar, witness, plan)), cellar.log
    assert [(leader.coordinator, leader.state) for leader in witness.leaders if leader.state == "released"] == [
        ("attic", "released")
    ]
    assert is_same(witness.plans[-1], plan)


def test_the_lead_goes_to_and_fro_without_a_needless_plan(
    pair: Pair,
) -> None:
    """However often it changes hands, under steady conditions there is one plan, said again under each term."""
    attic, cellar, witness = pair.attic, pair.cellar, pair.witness
    plan = witness.plans[-1]
    for number in range(2):
        leader, other = (attic, cellar) if number % 2 == 0 else (cellar, attic)
        before = witness.plans[-1]
        leader.kill()
        assert eventually(lambda before=before, other=other: has_taken_over(other, witness, before)), other.log
        leader.start()
        assert eventually(lambda leader=leader: is_up(leader) and leader.leadership["state"] == "stands by")
    assert all(is_same(later, plan) for later in witness.plans if later.term > plan.term)


@pytest.mark.parametrize("restarts", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_coordinator_that_is_killed_and_restarted_changes_no_plan(
    mosquitto: PrivateMosquitto, site: str, tmp_path: Path, zoo_model: Callable[..., Path], restarts: int
) -> None:
    """Many times, at any moment; it takes over from itself at once, and says the plan again as it was."""
    broker = mosquitto.settings
    with (
        Witness(broker, site) as witness,
        FakeAgent(broker, site, "pi") as pi,
        FakeAgent(broker, site, "pc") as pc,
        Process("attic", site, broker, tmp_path, zoo_model("mobilenetv2")) as attic,
    ):
        assert eventually(lambda: pi.notices), attic.log
        for agent in (pi, pc):
            agent.profile(pi.notices[0].model)
        pi.link("pc", 500.0)
        pc.link("pi", 500.0)
        assert eventually(lambda: witness.plans and is_on_pc(witness.plans[-1])), attic.log
        plan, said = witness.plans[-1], len(witness.plans)
        for number in range(restarts):
            heard = len(witness.plans)
            attic.kill()
            attic.start()
            assert eventually(lambda heard=heard: len(witness.plans) > heard), attic.log
            threading.Event().wait(0.07 * (number % 7))
        assert all(is_same(later, plan) for later in witness.plans[said:])
        witness.check()


def test_a_plan_outlives_coordinator_and_broker(site: str, tmp_path: Path, zoo_model: Callable[..., Path]) -> None:
    """A power cut takes the broker's memory too; agents that connect one after the other find the plan as it was."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with PrivateMosquitto(tmp_path / "first") as first, ExitStack() as opened:
        broker = first.settings
        attic = opened.enter_context(Process("attic", site, broker, tmp_path, zoo_model("mobilenetv2")))
        with Witness(broker, site) as witness, FakeAgent(broker, site, "pi") as pi, FakeAgent(broker, site, "pc") as pc:
            assert eventually(lambda: pi.notices), attic.log
            for agent in (pi, pc):
                agent.profile(pi.notices[0].model)
            pi.link("pc", 500.0)
            pc.link("pi", 500.0)
            assert eventually(lambda: witness.plans and is_on_pc(witness.plans[-1])), attic.log
            plan = witness.plans[-1]
            attic.kill()
            first.kill()
            with PrivateMosquitto(tmp_path / "second", port=first.port):
                attic.start()
                with Witness(broker, site) as later:
                    assert eventually(lambda: later.plans, 60.0), attic.log
                    assert eventually(lambda: attic.leadership["state"] == "leads")
                    assert eventually(lambda: witness.plans[-1].term > plan.term, 60.0)
                    assert all(is_same(each, plan) for each in later.plans)
