"""One fault on a running site under load: strike, mend, wait until all is well again, and check what must hold."""

import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from testbed.chaos import checks
from testbed.chaos.census import Holdings, census, least, processes_with, unfinished_files
from testbed.chaos.checks import Answer, Check
from testbed.chaos.client import Exchange, SteadyClient
from testbed.chaos.convergence import Truth, unsettled
from testbed.chaos.faults import Fault, Victim
from testbed.chaos.results import Recovery, Requests, Trial
from testbed.chaos.stored import Stored, read_store, together
from testbed.chaos.witness import Heard, Witness
from testbed.continuum import COORDINATOR, STANDBY, Continuum
from testbed.errors import ProcessFailedError

CONVERGENCE_TIMEOUT_S = 90.0
TELEMETRY_TIMEOUT_S = 40.0
HOLDINGS_TIMEOUT_S = 60.0
LOOK_S = 0.2
STEADY_LOOKS = 4
CENSUS_LOOKS = 5
_FIGURES = re.compile(r"\b[0-9a-f]{32}\b|\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds: when a fault comes after the first request and how long it lasts, both drawn from these ranges."""

    after_s: tuple[float, float]
    held_s: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Site:
    """All that a trial needs of a running site."""

    victim: Victim
    client: SteadyClient
    witness: Witness
    truth: Truth
    expected: Sequence[Answer]
    before: dict[str, Holdings]
    """What each process held before the first fault."""


def wait_until_converged(site: Site) -> tuple[float | None, str]:
    """When all was as it should be, on the monotonic clock, and stayed so for a few looks; or None, and what is not."""
    deadline_s = time.monotonic() + CONVERGENCE_TIMEOUT_S
    since_s, looks, wrong = 0.0, 0, ""
    while time.monotonic() < deadline_s:
        found = _unsettled(site)
        if found:
            looks, wrong = 0, found
        else:
            since_s, looks = (time.monotonic(), 1) if looks == 0 else (since_s, looks + 1)
            if looks == STEADY_LOOKS:
                return since_s, ""
        time.sleep(LOOK_S)
    return None, wrong


def look_around(continuum: Continuum) -> dict[str, Holdings]:
    """What each process holds at least, over a few looks."""
    looks = []
    for _ in range(CENSUS_LOOKS):
        looks.append(census(continuum.pids()))
        time.sleep(LOOK_S / 2)
    return least(looks)


def run_trial(site: Site, fault: Fault, number: int, timing: Timing, draw: random.Random) -> Trial:
    """Play one fault; `number` is the round's."""
    victim, earlier = site.victim, site.witness.heard()
    fault.prepare(victim)
    site.client.begin()
    began_s = time.monotonic()
    time.sleep(draw.uniform(*timing.after_s))
    struck_s = time.monotonic()
    fault.strike(victim)
    time.sleep(draw.uniform(*timing.held_s))
    verdict = fault.verdict(victim)
    fault.mend(victim)
    mended_s = time.monotonic()
    converged_s, wrong = wait_until_converged(site)
    fault.restore(victim)
    if not wrong:
        _, wrong = wait_until_converged(site)
    exchanges = site.client.finish()
    ended_s = time.monotonic()
    heard, stored = _complete(site, exchanges)
    reported, complete = checks.reported_once(exchanges, stored), checks.telemetry_complete(heard, stored)
    stored_s = time.monotonic()
    holdings, held = _lean(site)
    released_s = time.monotonic()
    return Trial(
        fault=fault.name,
        round=number,
        words=fault.words,
        emulated=fault.emulated,
        after_s=round(struck_s - began_s, 3),
        held_s=round(mended_s - struck_s, 3),
        requests=requests_of(exchanges),
        recovery=recovery_of(
            exchanges,
            struck_s,
            converged_s=_span(mended_s, converged_s),
            telemetry_s=_span(ended_s, None if reported or complete else stored_s),
            released_s=_span(stored_s, None if held else released_s),
        ),
        plans=len(heard.plans) - len(earlier.plans),
        misses=len(heard.misses) - len(earlier.misses),
        dropped=sum(heard.dropped.values()) - sum(earlier.dropped.values()),
        checks=(
            Check(name="answered once", fault=checks.answered_once(exchanges, heard)),
            Check(name="answered rightly", fault=checks.answered_rightly(exchanges, site.expected)),
            Check(name="reported once", fault=reported),
            Check(name="telemetry complete", fault=complete),
            Check(name="converged", fault=wrong),
            Check(name="plans in order", fault=checks.in_order_of_terms(heard.plans)),
            Check(name="nothing leaked", fault=held),
            Check(name="as foreseen", fault=verdict),
        ),
        holdings=holdings,
    )


def requests_of(exchanges: Sequence[Exchange]) -> Requests:
    """What became of the requests."""
    answered = [each for each in exchanges if each.failure is None]
    reasons = Counter(_FIGURES.sub("N", each.failure) for each in exchanges if each.failure is not None)
    return Requests(
        sent=len(exchanges),
        answered=len(answered),
        fallback=sum(each.fallback is not None for each in answered),
        failed=len(exchanges) - len(answered),
        reasons=dict(reasons.most_common()),
        slowest_s=max((round(each.ended_s - each.sent_s, 3) for each in answered), default=None),
    )


def recovery_of(
    exchanges: Sequence[Exchange],
    struck_s: float,
    *,
    converged_s: float | None,
    telemetry_s: float | None,
    released_s: float | None,
) -> Recovery:
    """How soon after the fault at `struck_s` requests were answered that were sent after it; the rest as given."""
    answered = [each for each in exchanges if each.failure is None]
    afterwards = [each for each in answered if each.sent_s >= struck_s]
    moments_s = [struck_s, *sorted(each.ended_s for each in answered if each.ended_s >= struck_s)]
    return Recovery(
        first_answer_s=_first(afterwards, struck_s),
        first_whole_s=_first([each for each in afterwards if each.fallback is None], struck_s),
        longest_gap_s=max((round(after - before, 3) for before, after in pairwise(moments_s)), default=None),
        converged_s=converged_s,
        telemetry_s=telemetry_s,
        released_s=released_s,
    )


def _span(since_s: float, until_s: float | None) -> float | None:
    return None if until_s is None else round(max(0.0, until_s - since_s), 3)


def _first(exchanges: Sequence[Exchange], since_s: float) -> float | None:
    return min((round(each.ended_s - since_s, 3) for each in exchanges), default=None)


def _unsettled(site: Site) -> str:
    """What is not as it should be, by the word of the coordinator that leads; "" where all is."""
    continuum, heard = site.victim.continuum, site.witness.heard()
    if heard.leader is None or heard.leader.state != "leading":
        return "no coordinator leads"
    if heard.leader.coordinator not in continuum.coordinators:
        return f"{heard.leader.coordinator} leads, which does not run"
    try:
        continuum.check()
        return unsettled(continuum.status(heard.leader.coordinator), heard.profiles, site.truth) or ""
    except ProcessFailedError as error:
        return str(error)


def _complete(site: Site, exchanges: Sequence[Exchange]) -> tuple[Heard, Stored]:
    """What had been heard when nothing of it was missing any more in the stores, or when it was too late for that."""
    deadline_s = time.monotonic() + TELEMETRY_TIMEOUT_S
    while True:
        heard = site.witness.heard()
        stored = _stored(site.victim.continuum, heard)
        missing = checks.reported_once(exchanges, stored) or checks.telemetry_complete(heard, stored)
        if not missing or time.monotonic() > deadline_s:
            return heard, stored
        time.sleep(LOOK_S)


def _stored(continuum: Continuum, heard: Heard) -> Stored:
    dropped = sum(heard.dropped.values())
    stores = (continuum.store(name) for name in (COORDINATOR, STANDBY))
    return together(read_store(store, dropped) for store in stores if store.exists())


def _lean(site: Site) -> tuple[dict[str, Holdings], str]:
    """What is held once nothing too much is, or when it is too late for that; and what is too much."""
    continuum = site.victim.continuum
    deadline_s = time.monotonic() + HOLDINGS_TIMEOUT_S
    while True:
        holdings = look_around(continuum)
        left = checks.nobody_left(continuum.pids(), processes_with(str(continuum.directory)))
        files = unfinished_files(continuum.caches)
        held = [
            checks.nothing_held(site.before, holdings, continuum.nodes),
            left,
            f"left in the caches: {', '.join(files)}" * bool(files),
        ]
        wrong = "; ".join(filter(None, held))
        if not wrong or time.monotonic() > deadline_s:
            return holdings, wrong
        time.sleep(LOOK_S)
