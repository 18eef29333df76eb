"""When nodes are told up to where their telemetry is stored."""

from coordinator.confirmations import MANY, MOST_AT_ONCE, PAUSE_S, Confirmations
from coordinator.telemetry.store import StoredUpTo


class Ears:
    """Nodes that hear, by a clock of their own; `is_full` while nothing more can be said."""

    def __init__(self) -> None:
        self.heard: list[StoredUpTo] = []
        self.now_s = 0.0
        self.is_full = False
        self.confirmations = Confirmations(self.tell, clock_s=lambda: self.now_s)

    def tell(self, stored: StoredUpTo) -> bool:
        """One confirmation."""
        if not self.is_full:
            self.heard.append(stored)
        return not self.is_full

    def store(self, sequence: int, node: str = "pi") -> None:
        """A commit that holds a node's telemetry up to here."""
        self.confirmations.note([StoredUpTo(node, "s", sequence)])
        self.confirmations.tell_due()


def test_a_node_that_was_not_told_lately_is_told_at_once() -> None:
    """So nobody waits who says little."""
    ears = Ears()
    ears.store(1)
    ears.now_s += PAUSE_S
    ears.store(2)
    assert [each.sequence for each in ears.heard] == [1, 2]


def test_within_the_pause_only_the_newest_is_kept_and_told_after_it() -> None:
    """Each confirmation counts for all before."""
    ears = Ears()
    for sequence in (1, 2, 3):
        ears.store(sequence)
    assert [each.sequence for each in ears.heard] == [1]
    ears.now_s += PAUSE_S
    ears.confirmations.tell_due()
    ears.confirmations.tell_due()
    assert [each.sequence for each in ears.heard] == [1, 3]


def test_a_backlog_is_confirmed_without_a_pause() -> None:
    """A node may have only so much of one under way."""
    ears = Ears()
    ears.store(1)
    ears.store(1 + MANY)
    assert [each.sequence for each in ears.heard] == [1, 1 + MANY]


def test_nodes_are_told_apart() -> None:
    """The pause of one is not another's."""
    ears = Ears()
    ears.store(1, "pi")
    ears.store(5, "pc")
    assert [(each.node, each.sequence) for each in ears.heard] == [("pi", 1), ("pc", 5)]


def test_what_cannot_be_said_now_is_said_later() -> None:
    """The queue to the broker was full."""
    ears = Ears()
    ears.is_full = True
    ears.store(1)
    ears.is_full = False
    ears.confirmations.tell_due()
    assert [each.sequence for each in ears.heard] == [1]


def test_what_is_forgotten_is_not_said() -> None:
    """Whoever leads now confirms what the node sends again."""
    ears = Ears()
    ears.is_full = True
    ears.store(1)
    ears.is_full = False
    ears.confirmations.forget()
    ears.confirmations.tell_due()
    assert ears.heard == []


def test_a_crowd_is_told_in_turns() -> None:
    """Not all of it fits into what may wait for the broker."""
    ears = Ears()
    ears.confirmations.note(StoredUpTo(f"n{number}", "s", 1) for number in range(MOST_AT_ONCE + 1))
    ears.confirmations.tell_due()
    assert len(ears.heard) == MOST_AT_ONCE
    ears.confirmations.tell_due()
    assert len(ears.heard) == MOST_AT_ONCE + 1
