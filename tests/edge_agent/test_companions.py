"""The links of one node: what they share is learned, and a sample of one tells of the others."""

import math
import random

import pytest

from edge_agent.companions import SharedMoves, WatchedLinks
from edge_agent.deliveries import Delivery
from edge_agent.probes import LinkSettings, LinkWatch
from edge_agent.wire import Route

ROUTE = Route("d", 1, bytes(16), 1)


def sample(watch: LinkWatch, mbps: float, at: float) -> None:
    """A real transfer over an idle line with a round trip of 4 ms."""
    watch.delivered(Delivery("x", ROUTE, 600_000, 4.0 + 8 * 600_000 / (1_000 * mbps), None), at)


def known(watch: LinkWatch) -> float:
    """The bandwidth that the watch believes in."""
    estimate = watch.estimate()
    assert estimate is not None
    return estimate.mbps


def links(*names: str, mbps: float = 20.0) -> WatchedLinks:
    """Links that have been sampled for a while and are alike."""
    watched = WatchedLinks(LinkSettings())
    for name in names:
        watched.of(name).round_trip(4.0)
    for at in range(10):
        for name in names:
            sample(watched.of(name), mbps, float(at))
            watched.of(name).due(float(at), None)
    return watched


def move_together(watched: WatchedLinks, one: str, other: str, *, shared: bool) -> float:
    """Let links rise and fall for a minute, as one or each for itself; returns the time."""
    dice = random.Random(1)
    at = 10.0
    for _ in range(30):
        first, second = (20 * math.exp(dice.uniform(-1, 1)) for _ in range(2))
        for moment in (at, at + 0.5):  # the second sample confirms what looks like a jump
            sample(watched.of(one), first, moment)
            sample(watched.of(other), first if shared else second, moment + 0.1)
        at += 2.0
    return at


def test_a_shared_move_is_known_before_it_is_sampled() -> None:
    """Links that always moved as one: a drop of the one that is in use is a drop of the other too, and news."""
    watched = links("fog", "cloud")
    at = move_together(watched, "fog", "cloud", shared=True)
    for moment in (at, at + 0.5):
        sample(watched.of("fog"), 20.0, moment)
        sample(watched.of("cloud"), 20.0, moment)
    watched.of("cloud").due(at + 0.5, None)
    assert watched.of("cloud").news(at + 0.5) is not None
    for moment in (at + 1.0, at + 1.5):
        sample(watched.of("fog"), 5.0, moment)
    assert known(watched.of("fog")) == pytest.approx(5.0, rel=0.1)
    assert known(watched.of("cloud")) == pytest.approx(5.0, rel=0.25)
    assert watched.of("cloud").news(at + 1.5) is not None


def test_links_of_their_own_do_not_move_each_other() -> None:
    """Where one was never seen to follow the other, a fourfold drop of one hardly moves the other."""
    watched = links("fog", "wire")
    at = move_together(watched, "fog", "wire", shared=False)
    for moment in (at, at + 0.5):
        sample(watched.of("fog"), 20.0, moment)
        sample(watched.of("wire"), 20.0, moment)
    for moment in (at + 1.0, at + 1.5):
        sample(watched.of("fog"), 5.0, moment)
    assert known(watched.of("wire")) > 20.0 / 4**0.4


def test_a_link_that_went_along_is_probed_soon() -> None:
    """It is presumed to have moved, so its own probe does not wait for the usual interval."""
    watched = links("fog", "cloud")
    cloud = watched.of("cloud")
    assert cloud.due(9.4, None).probe is None
    for at in (9.5, 9.6):
        sample(watched.of("fog"), 5.0, at)
    assert cloud.due(10.0, None).probe is not None


def test_a_peer_that_is_silent_is_not_told_of_again() -> None:
    """Its link moves along with the others, but what nobody answers over is no news."""
    watched = links("fog", "cloud")
    cloud = watched.of("cloud")
    assert cloud.news(9.0) is not None
    for at in (100.0, 100.1, 100.2):
        cloud.due(at, None)
        sample(watched.of("fog"), 5.0, at)
    assert cloud.news(100.3) is None


def test_a_link_that_is_gone_is_forgotten() -> None:
    """And starts anew when its peer comes back."""
    watched = links("fog", "cloud")
    watched.keep_only(["fog"])
    assert watched.known("cloud") is None
    assert watched.known("fog") is not None
    assert watched.of("cloud").estimate() is None


def test_a_link_that_is_not_paced_has_all_of_its_bandwidth() -> None:
    """The others have what their pace leaves them."""
    watched = WatchedLinks(LinkSettings(), pacing=0.5)
    watched.keep_only([], unpaced=["cloud"])
    for dst in ("fog", "cloud"):
        watched.of(dst).round_trip(1.0)
        for at in (1.0, 2.0, 3.0):
            sample(watched.of(dst), 20.0, at)
    assert watched.of("cloud").pace_mbps() is None
    fog_mbps = watched.of("fog").pace_mbps()
    assert fog_mbps is not None
    assert fog_mbps < 15.0


def test_how_much_is_shared_is_learned_from_both_ends() -> None:
    """From a guess of most of it, towards what is seen; never against the other, and never much more than it."""
    moves = SharedMoves()
    assert 0.5 < moves.share < 1.0
    for _ in range(20):
        moves.other_moved(1.0)
        moves.sampled(0.3)
    assert moves.share == pytest.approx(0.3, abs=0.02)
    for _ in range(40):
        moves.other_moved(1.0)
        moves.sampled(-1.0)
    assert moves.share == 0.0
    for _ in range(40):
        moves.other_moved(-0.5)
        moves.sampled(-2.0)
    assert moves.share < 1.2
