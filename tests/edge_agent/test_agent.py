"""What an agent tells its site of the plans that it hears."""

from pathlib import Path

from eventually import eventually
from plans import plan_of

from broker.messages import DeploymentNotice, PlanReady
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import DEPLOYMENT, PLAN, READY
from edge_agent.agent import Agent
from edge_agent.configuration import AgentSettings, TensorSettings


def test_an_agent_repeats_its_report_when_a_coordinator_gives_notice(
    tmp_path: Path, mosquitto: PrivateMosquitto
) -> None:
    """One that starts anew gets the plan from the broker and learns from the nodes who is ready for it."""
    relayed = plan_of(("pi", 0, 0), ("pc", 0, 4), way_back=("pc", "pi"))
    reports: list[PlanReady] = []
    agent = Agent(
        AgentSettings(
            site="reports",
            node="pi",
            tier="edge",
            broker=mosquitto.settings,
            cache=tmp_path,
            tensors=TensorSettings(listen="tcp://127.0.0.1:0"),
        )
    )
    try:
        agent.start()
        with Session(mosquitto.settings, site="reports", client_id="coordinator") as coordinator:
            coordinator.on(READY, lambda incoming: reports.append(incoming.message))
            coordinator.publish(PLAN, relayed, relayed.deployment)
            assert eventually(lambda: len(reports) == 1, 20)
            notice = DeploymentNotice(deployment=relayed.deployment, model=relayed.model, origin="pi")
            coordinator.publish(DEPLOYMENT, notice, notice.deployment)
            assert eventually(lambda: len(reports) == 2, 20)
    finally:
        agent.close()
    assert reports[0].ready
    assert reports == [reports[0]] * 2
