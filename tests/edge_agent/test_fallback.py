"""When tensors go through the broker: late, and back as soon as nothing is overtaken by that; and when they may not."""

from pathlib import Path

import pytest

from broker.sign_in import BrokerSettings
from edge_agent.configuration import AgentSettings, TensorSettings
from edge_agent.fallback import LONGEST_RETURN_S, Choice, State, fallback_refusal, takes_fallback

AFTER_S = 5.0


def looked(choice: Choice, at: float, *, up: bool, empty: bool = True) -> State:
    return choice.look(at, is_up=up, is_empty=empty)


def fallen_back() -> Choice:
    """The choice for a peer that could not be connected to, at the time AFTER_S."""
    choice = Choice(AFTER_S, 0.0)
    assert looked(choice, AFTER_S, up=False) == "mqtt"
    return choice


def settings(**tensors: object) -> AgentSettings:
    """Of a node whose tensors are encrypted and whose broker is elsewhere."""
    return AgentSettings(
        site="home", node="pi", tier="edge", broker=BrokerSettings(host="10.0.0.9"), tensors=TensorSettings(**tensors)
    )


def test_the_other_way_is_taken_where_none_could_be_made_for_a_while() -> None:
    """A peer that is only slow to start is waited for."""
    choice = Choice(AFTER_S, 0.0)
    assert looked(choice, AFTER_S - 0.1, up=False) == "direct"
    assert looked(choice, AFTER_S, up=False) == "mqtt"


def test_a_connection_that_comes_and_goes_is_waited_for_anew() -> None:
    """The time runs from when it was there last."""
    choice = Choice(AFTER_S, 0.0)
    assert looked(choice, 4.0, up=True) == "direct"
    assert looked(choice, 8.0, up=False) == "direct"
    assert looked(choice, 9.0, up=False) == "mqtt"


def test_the_direct_way_is_taken_again_once_nothing_is_overtaken() -> None:
    """What follows waits until the broker's way is empty."""
    choice = fallen_back()
    assert looked(choice, 10.0, up=True, empty=False) == "returning"
    assert looked(choice, 10.1, up=True, empty=False) == "returning"
    assert looked(choice, 10.2, up=True, empty=True) == "direct"


def test_a_way_that_stands_still_does_not_hold_up_the_other() -> None:
    """The broker may be away just then."""
    choice = fallen_back()
    assert looked(choice, 10.0, up=True, empty=False) == "returning"
    assert looked(choice, 10.0 + LONGEST_RETURN_S, up=True, empty=False) == "direct"


def test_a_direct_way_that_is_lost_while_returning_is_not_waited_for() -> None:
    """The broker's is still there."""
    choice = fallen_back()
    looked(choice, 10.0, up=True, empty=False)
    assert looked(choice, 10.1, up=False, empty=False) == "mqtt"


def test_encrypted_tensors_do_not_go_through_a_broker_that_is_reached_in_clear() -> None:
    """What says so names the broker and what would help."""
    refusal = fallback_refusal(settings())
    assert refusal is not None
    assert "10.0.0.9:1883" in refusal
    assert "broker.ca_file" in refusal
    assert not takes_fallback(settings())


@pytest.mark.parametrize(
    "broker",
    [
        BrokerSettings(host="10.0.0.9", tls=True),
        BrokerSettings(host="10.0.0.9", ca_file=Path("ca.crt")),
        BrokerSettings(host="127.0.0.1"),
        BrokerSettings(host="localhost"),
    ],
)
def test_a_broker_that_nobody_can_listen_to_takes_them(broker: BrokerSettings) -> None:
    """TLS, or a broker on this machine."""
    each = AgentSettings(site="home", node="pi", tier="edge", broker=broker)
    assert fallback_refusal(each) is None
    assert takes_fallback(each)


def test_open_tensors_go_through_any_broker() -> None:
    """They are on loopback, where nothing is hidden."""
    assert takes_fallback(settings(security="open", listen="tcp://127.0.0.1:0"))


def test_it_can_be_forbidden() -> None:
    """Then nothing is said about the broker."""
    forbidden = settings(fallback="none")
    assert fallback_refusal(forbidden) is None
    assert not takes_fallback(forbidden)
