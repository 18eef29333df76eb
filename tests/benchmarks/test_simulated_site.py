"""A site of simulated agents: a real broker, and a real coordinator or a bare subscriber that takes what they say."""

import pytest
import simulated_site
from simulated_site import measure

AGENTS = 5


@pytest.fixture(autouse=True)
def soon_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few agents are soon known to all."""
    monkeypatch.setattr(simulated_site, "SETTLE_S", 0.2)


def test_a_coordinator_knows_all_agents_and_has_stored_what_they_said() -> None:
    """What is counted at the end is what they sent, by then and until they fell silent."""
    run = measure(AGENTS, 2.0, "sqlite")
    assert run.lost == 0
    assert run.messages > 0
    assert run.answer is not None
    assert run.answer.nodes == AGENTS
    assert set(run.cores) == {"mosquitto", "taking", "agents"}


def test_a_bare_subscriber_only_counts() -> None:
    """It is the reference: it knows of no agents, and misses nothing either."""
    run = measure(AGENTS, 2.0, "none")
    assert run.lost == 0
    assert run.messages > 0
    assert run.answer is None
