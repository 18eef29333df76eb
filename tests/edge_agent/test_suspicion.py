"""Whom the origin avoids after a miss."""

from edge_agent.suspicion import FIRST_HOLD_S, LONGEST_HOLD_S, NODES_KEPT, Suspects


def test_a_suspect_is_avoided_until_it_is_heard_from() -> None:
    """Silence alone clears nobody."""
    suspects = Suspects()
    suspects.missed("pc", 0.0)
    assert suspects.avoided == {"pc"}
    suspects.heard("laptop", 60.0)
    assert suspects.avoided == {"pc"}
    suspects.heard("pc", 60.0)
    assert not suspects.avoided


def test_a_sign_of_life_right_after_a_miss_is_not_enough() -> None:
    """A node whose executor hangs answers pings all the while."""
    suspects = Suspects()
    suspects.missed("pc", 0.0)
    suspects.heard("pc", FIRST_HOLD_S / 2)
    assert suspects.avoided == {"pc"}
    suspects.heard("pc", FIRST_HOLD_S)
    assert not suspects.avoided


def test_misses_in_a_row_are_held_against_it_for_longer_up_to_a_bound() -> None:
    """A link that is too slow is tried ever more rarely."""
    suspects, at_s, holds = Suspects(), 0.0, []
    for _ in range(8):
        suspects.missed("pc", at_s)
        began_s = at_s
        while suspects.avoided:
            at_s += 0.25
            suspects.heard("pc", at_s)
        holds.append(at_s - began_s)
    assert holds[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(holds) == LONGEST_HOLD_S


def test_several_requests_that_miss_it_at_once_are_one_fault() -> None:
    """Else a burst would shut a node out for long."""
    suspects = Suspects()
    for _ in range(10):
        suspects.missed("pc", 0.0)
    suspects.heard("pc", FIRST_HOLD_S)
    assert not suspects.avoided


def test_an_answer_ends_the_row() -> None:
    """The next miss counts as the first."""
    suspects = Suspects()
    for at_s in (0.0, 10.0, 20.0):
        suspects.missed("pc", at_s)
        suspects.heard("pc", at_s + 9.0)
    suspects.answered("pc")
    suspects.missed("pc", 30.0)
    suspects.heard("pc", 30.0 + FIRST_HOLD_S)
    assert not suspects.avoided


def test_what_is_remembered_is_bounded() -> None:
    """However many names are told."""
    suspects = Suspects()
    for number in range(2 * NODES_KEPT):
        suspects.missed(f"node{number}", 0.0)
    assert len(suspects.avoided) == NODES_KEPT
