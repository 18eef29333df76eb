"""What must hold after a fault, as pure functions from what was seen to what is wrong; "" where nothing is."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from broker.messages import ClassScore, Plan
from testbed.chaos.census import Holdings
from testbed.chaos.client import Exchange
from testbed.chaos.stored import Stored
from testbed.chaos.witness import Heard

MOST_TOLD = 3
KEPT_SEGMENTS = 4
"""Of the plan in force, of the one that drains, and a fallback for each."""

Answer = tuple[tuple[int, float], ...]
"""The classes of an answer with their scores, best first."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must hold, and what is wrong with it, in words; "" where it holds."""

    name: str
    fault: str

    @property
    def passed(self) -> bool:
        """Whether it holds."""
        return not self.fault


def answer(classes: Sequence[ClassScore]) -> Answer:
    """What an answer says, without its labels."""
    return tuple((each.index, each.score) for each in classes)


def answered_once(exchanges: Sequence[Exchange], heard: Heard) -> str:
    """Every request has one reply or a reason for none, and nobody saw a second reply to it that says otherwise."""
    faults = [f"{each.request_id} failed without a reason" for each in exchanges if each.failure == ""]
    faults += [f"{each.request_id} ended twice" for each in _repeated(exchanges)]
    for each in exchanges:
        answers = heard.answers.get(each.request_id, frozenset())
        if len(answers) > 1:
            faults.append(f"{each.request_id} was answered by {', '.join(sorted(answers))}")
    return _told(faults)


def answered_rightly(exchanges: Iterable[Exchange], expected: Sequence[Answer]) -> str:
    """Every result is, to the bit, the unsplit model's."""
    return _told(
        f"{each.request_id} got {answer(each.reply.classes)}, not {expected[each.image]}"
        for each in exchanges
        if each.reply is not None and each.failure is None and answer(each.reply.classes) != expected[each.image]
    )


def reported_once(exchanges: Iterable[Exchange], stored: Stored) -> str:
    """Every inference that a client was told of stands in the store, once."""
    faults = []
    for each in exchanges:
        report = each.reply.report if each.reply is not None else None
        if report is not None and (count := stored.inferences.get(report.request_id, 0)) != 1:
            faults.append(f"the report {report.request_id} of {each.request_id} is stored {count} times")
    return _told(faults)


def telemetry_complete(heard: Heard, stored: Stored) -> str:
    """No number of a run is missing from the stores but what the run counted as dropped, and none is doubled."""
    faults = list(stored.miscounted)
    for run, number in sorted(heard.marks.items()):
        if stored.settled.get(run, 0) < number:
            faults.append(f"of {'/'.join(run)} {stored.settled.get(run, 0)} of {number} are stored")
    for run, numbers in sorted(stored.readings.items()):
        missing = max(numbers) - min(numbers) + 1 - len(numbers)
        if missing > heard.dropped.get(run, 0):
            faults.append(f"{missing} energy readings of {'/'.join(run)} are missing")
    return _told(faults)


def in_order_of_terms(plans: Sequence[Plan]) -> str:
    """Once a leader has published, nobody publishes under an earlier term, and epochs only rise."""
    faults = []
    for before, after in pairwise(plans):
        if after.term < before.term or (after.epoch < before.epoch and after.term == before.term):
            faults.append(f"plan {after.epoch} of term {after.term} came after {before.epoch} of term {before.term}")
    return _told(faults)


def nothing_held(before: Mapping[str, Holdings], after: Mapping[str, Holdings], agents: Collection[str]) -> str:
    """No process holds more threads or descriptors than before the first fault, or segments of plans that are gone.

    Agents are one program: each is held to the most that any of them held, as its part in the plan may have changed.
    """
    faults = []
    for name, held in sorted(after.items()):
        alike = [before[each] for each in (agents if name in agents else (name,)) if each in before]
        for what in ("threads", "descriptors"):
            most = max((getattr(each, what) for each in alike), default=None)
            if most is not None and getattr(held, what) > most:
                faults.append(f"{name} has {getattr(held, what)} {what}, had {most}")
        if held.segments > KEPT_SEGMENTS:
            faults.append(f"{name} holds {held.segments} segments")
    return _told(faults)


def nobody_left(own: Mapping[str, int], seen: Iterable[int]) -> str:
    """Only the processes of the site run, each once."""
    strangers = sorted(set(seen) - set(own.values()))
    return f"processes {', '.join(map(str, strangers))} are left" if strangers else ""


def _repeated(exchanges: Sequence[Exchange]) -> list[Exchange]:
    counts = Counter(each.request_id for each in exchanges)
    return [each for each in exchanges if counts[each.request_id] > 1]


def _told(faults: Iterable[str]) -> str:
    """The first few of them, and how many more there are."""
    listed = list(faults)
    more = f"; and {len(listed) - MOST_TOLD} more" if len(listed) > MOST_TOLD else ""
    return "; ".join(listed[:MOST_TOLD]) + more
