"""The published gains of `reap` over its static split, and ours beside them, under its own energy model; pure.

Figures: arXiv 2605.09623 (a Raspberry Pi 5, an i7-10510U laptop and a PC with an RTX 4070 Ti).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from testbed.machines import PI
from testbed.paper.records import Mode, RunRecord
from testbed.paper.results import Average, PublishedGain
from testbed.paper.statistics import STATIC

REAP = "reap"


@dataclass(frozen=True, slots=True)
class Gain:
    """A change against the static split, in percent."""

    energy_percent: float
    latency_percent: float


PUBLISHED: Mapping[str, Gain] = {
    "vgg16": Gain(-35.82, -6.34),
    "alexnet": Gain(-35.70, -22.92),
    "mobilenetv2": Gain(-27.09, -14.20),
}


def published_gains(records: Sequence[RunRecord], averages: Iterable[Average]) -> tuple[PublishedGain, ...]:
    """For each published model that `reap` and the static split ran: its gain here, what was published, and both plans.

    The plans and the Pi's compute are what tells why the sizes differ.
    """
    gains = []
    for average in averages:
        published = PUBLISHED.get(average.model or "")
        if average.contender != REAP or average.model is None or published is None:
            continue
        static = _of(records, average.mode, average.model, STATIC)
        if not static:
            continue
        reap = _of(records, average.mode, average.model, REAP)
        gains.append(
            PublishedGain(
                mode=average.mode,
                model=average.model,
                energy_percent=average.against_static.paper_origin_energy_percent,
                total_energy_percent=average.against_static.paper_total_energy_percent,
                latency_percent=average.against_static.latency_percent,
                published_energy_percent=published.energy_percent,
                published_latency_percent=published.latency_percent,
                reap_plan=_usual_plan(reap),
                static_plan=_usual_plan(static),
                reap_origin_compute_ms=_origin_compute_ms(reap),
                static_origin_compute_ms=_origin_compute_ms(static),
            )
        )
    return tuple(gains)


def _of(records: Iterable[RunRecord], mode: Mode, model: str, contender: str) -> list[RunRecord]:
    return [
        record
        for record in records
        if (record.key.mode, record.key.model, record.key.contender) == (mode, model, contender)
    ]


def _usual_plan(records: Iterable[RunRecord]) -> str:
    """The plan under which most requests ran, in words."""
    used: Counter[str] = Counter()
    for record in records:
        words = {plan.epoch: plan.words for plan in record.plans}
        used.update(words[request.epoch] for request in record.requests if request.epoch in words)
    return used.most_common(1)[0][0] if used else "none"


def _origin_compute_ms(records: Iterable[RunRecord]) -> float | None:
    """How long the origin computed for an answered request, on average."""
    times = [
        sum(each.compute_ms for each in request.compute if each.node == PI.node)
        for record in records
        for request in record.requests
        if request.latency_ms is not None
    ]
    return sum(times) / len(times) if times else None
