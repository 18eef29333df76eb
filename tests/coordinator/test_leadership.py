"""Which coordinator leads: the rules, one by one."""

import pytest

from broker.messages import Leader
from coordinator.leadership import Candidate, Connected, Event, Heard, Leadership, Stop, TermSeen, Tick, apply

LEASE_S, HEARTBEAT_S = 6.0, 2.0
TICK_S = 0.25


def candidate(name: str, *, predecessor: str | None = None, jitter: float = 0.5) -> Candidate:
    return Candidate(name, f"session-{name}", f"http://{name}", HEARTBEAT_S, LEASE_S, jitter, predecessor)


def said(name: str, term: int, *, released: bool = False) -> Leader:
    return candidate(name).says(term, leading=not released)


def after(known: Leadership, *events: Event) -> tuple[Leadership, list[Leader]]:
    sent: list[Leader] = []
    for event in events:
        known, messages = apply(event, known)
        sent += messages
    return known, sent


def ticks(start: float, end: float) -> list[Event]:
    return [Tick(start + TICK_S * number, connected=True) for number in range(int((end - start) / TICK_S) + 1)]


def leading(name: str = "a", term: int = 1) -> Leadership:
    """A coordinator that leads under `term` since it was confirmed at 1 s."""
    known, sent = after(Leadership(candidate(name), term=term - 1), Connected(0.0), *ticks(0.0, 1.0))
    assert [message.term for message in sent] == [term]
    known, _ = after(known, Heard(sent[0], retained=False, at=1.0))
    assert known.leads_at(1.0)
    return known


def test_where_nobody_leads_the_next_term_is_claimed_after_listening() -> None:
    """What the broker has kept comes within a moment; then the term after the highest one is claimed, once."""
    known, sent = after(Leadership(candidate("a"), term=7), Connected(0.0), *ticks(0.0, 1.0))
    assert sent == [said("a", 8)]
    assert not known.leads_at(1.0), "it leads only when its own message has come back"


def test_whose_message_comes_first_leads() -> None:
    """The other one of the same term stands back, and does not answer."""
    known, _ = after(Leadership(candidate("a")), Connected(0.0), *ticks(0.0, 0.5))
    known, sent = after(known, Heard(said("b", 1), False, 0.6), Heard(said("a", 1), False, 0.7), *ticks(0.75, 5.0))
    assert sent == []
    assert not known.leads_at(1.0)
    assert known.leader == said("b", 1)


def test_the_winner_repeats_itself_over_a_rival() -> None:
    """The rival's message is the one that the broker now keeps; later ones must find the leader's."""
    known, sent = after(leading(), Heard(said("b", 1), False, 1.1), Tick(1.25, connected=True))
    assert sent == [said("a", 1)]
    assert known.leads_at(1.25)


def test_two_that_lead_under_one_term_leave_it() -> None:
    """A broker that forgot can bring it about; whoever claims the next term first ends it."""
    known, sent = after(leading(), Heard(said("b", 1), False, 1.1), Tick(1.25, connected=True))
    known, sent = after(known, Heard(said("b", 1), False, 1.3), *ticks(1.5, 2.0))
    assert sent == [said("a", 2)]


def test_the_leader_shows_that_it_lives() -> None:
    """Every heartbeat, and not more often."""
    known, sent = leading(), []
    for number in range(40):
        at = 1.0 + TICK_S * number
        known, messages = after(known, Tick(at, connected=True))
        for message in messages:
            known, _ = after(known, Heard(message, False, at + 0.01))
        sent += messages
    assert len(sent) == pytest.approx(10.0 / HEARTBEAT_S, abs=1)
    assert set(sent) == {said("a", 1)}


def test_a_leader_that_is_not_heard_for_its_lease_is_succeeded() -> None:
    """And not before; the successor takes the next term."""
    known, _ = after(Leadership(candidate("b")), Connected(0.0), Heard(said("a", 3), True, 0.1))
    known, sent = after(known, *ticks(0.25, 6.0))
    assert sent == []
    _, sent = after(known, *ticks(6.25, 10.0))
    assert sent[0] == said("b", 4)


def test_a_clean_stop_releases_at_once() -> None:
    """The leader says so, and who hears it does not wait for the lease."""
    _, sent = after(leading(term=3), Stop())
    assert sent == [said("a", 3, released=True)]
    known, _ = after(Leadership(candidate("b")), Connected(0.0), Heard(said("a", 3), True, 0.1))
    _, sent = after(known, *ticks(0.25, 1.0), Heard(sent[0], False, 1.1), *ticks(1.25, 2.0))
    assert sent == [said("b", 4)]


def test_a_restart_on_the_same_store_takes_over_at_once() -> None:
    """Its predecessor is surely over, so its lease need not run out."""
    known = Leadership(candidate("a2", predecessor="session-a"), term=5)
    _, sent = after(known, Connected(0.0), Heard(said("a", 5), True, 0.01), *ticks(0.1, 0.2))
    assert sent == [said("a2", 6)]


def test_a_leader_that_does_not_hear_itself_publishes_nothing() -> None:
    """Its lease counts from when it sent what it has heard, not from when it heard it."""
    known = leading()
    known, sent = after(known, *ticks(1.0, 5.0))
    assert sent
    assert known.leads_at(6.0)
    assert not known.leads_at(7.0)


def test_a_leader_that_was_stopped_listens_before_it_speaks() -> None:
    """What came meanwhile is heard first; a successor's term makes it stand by without a word."""
    known, sent = after(leading(), Tick(1.25, connected=True), Tick(60.0, connected=True))
    assert sent == []
    assert not known.leads_at(60.0)
    known, sent = after(known, Heard(said("b", 2), False, 60.1), *ticks(60.25, 62.0))
    assert sent == []
    assert known.leader == said("b", 2)


def test_a_leader_that_was_stopped_and_not_succeeded_goes_on() -> None:
    """Under its own term, once it has heard itself."""
    known, _ = after(leading(), Tick(1.25, connected=True), Tick(60.0, connected=True))
    known, sent = after(known, *ticks(60.25, 61.0))
    assert sent == [said("a", 1)]
    known, _ = after(known, Heard(sent[0], False, 61.0))
    assert known.leads_at(61.0)


def test_a_leader_that_connects_again_must_hear_itself_first() -> None:
    """It may have been succeeded while the broker was out of its reach."""
    known, sent = after(leading(), Connected(2.0), Tick(2.1, connected=True))
    assert sent == []
    assert not known.leads_at(2.1)
    known, sent = after(known, *ticks(2.25, 3.0))
    assert sent == [said("a", 1)]


def test_a_term_that_a_plan_shows_counts() -> None:
    """A leader of whom only a plan is left was there all the same."""
    known, sent = after(leading(), TermSeen(9, 1.2), *ticks(1.25, 20.0))
    assert sent[0] == said("a", 10)
    assert not known.leads_at(1.25)


def test_a_term_beyond_belief_is_ignored() -> None:
    """One node must not be able to use up the terms that are left."""
    known, _ = after(leading(), TermSeen(2**31, 1.2))
    assert known.term == 1
    assert known.leads_at(1.25)


def test_while_the_broker_is_away_nothing_is_sent() -> None:
    """Whatever waited in the queue would come out late."""
    _, sent = after(leading(), *(Tick(1.0 + number, connected=False) for number in range(60)))
    assert sent == []
