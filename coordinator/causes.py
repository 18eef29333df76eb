"""Why a deployment's plan is to be weighed now: what has changed clearly since the last time, in words.

How a plan then fares is `coordinator.deciding`'s part.
"""

from collections.abc import Iterator

from coordinator.configuration import PlanningSettings
from coordinator.evaluation import Circumstances, LinkFigures
from coordinator.membership import Admission
from coordinator.significant_digits import significant
from coordinator.site import DeploymentState, Pair

LEAST_RTT_CHANGE_MS = 2.0
"""Round trips jitter by this much on an idle wireless link; a change below it is never clear."""


def cause_to_weigh(
    deployment: DeploymentState, around: Circumstances, admission: Admission, now: float, settings: PlanningSettings
) -> str | None:
    """Why the deployment is to be weighed now, in words; None if it is not."""
    last = deployment.evaluation
    if last is None:
        return "start"
    joined = sorted(name for name, _ in admission.members - last.admitted)
    if joined:
        return f"{', '.join(joined)} joined"
    if deployment.declared.strategy == "reap" and deployment.traffic.window.inferences >= settings.reap_every:
        return f"{settings.reap_every} inferences"
    change = clear_change(last.circumstances, around, settings.link_change)
    if change is not None:
        return change
    # A clock that was set back must not put the next evaluation off.
    if now >= last.look_at or not 0.0 <= now - last.at < settings.interval_s:
        return f"estimates of the last {max(0.0, now - last.at):.2g} s"
    return None


def clear_change(before: Circumstances, after: Circumstances, share: float) -> str | None:
    """The first thing that a plan may hang on and that changed clearly, in words; None if nothing did.

    `share` is that by which a link, or a node's time for its ops, has to change.
    """
    return next(_changes(before, after, share), None)


def _changes(before: Circumstances, after: Circumstances, share: float) -> Iterator[str]:
    yield from (f"{name} left" for name in before.sessions if name not in after.sessions)
    yield from (f"{name} joined" for name, session in after.sessions.items() if before.sessions.get(name) != session)
    for name, reason in after.refused.items():
        if before.refused.get(name) != reason:
            yield f"{name} could not take its part: {reason}"
    yield from (f"{name} is tried again" for name in before.refused if name not in after.refused)
    yield from (reason for name, reason in after.suspects.items() if name not in before.suspects)
    yield from (reason for pair, reason in after.suspect_links.items() if pair not in before.suspect_links)
    yield from (f"{name} is heard again" for name in before.suspects if name not in after.suspects)
    yield from (
        f"link {src} → {dst} is heard of again"
        for src, dst in before.suspect_links
        if (src, dst) not in after.suspect_links
    )
    yield from (f"{name} has profiled the model" for name in sorted(after.profiled - before.profiled))
    for pair, figures in after.links.items():
        link_change = _link_change(pair, before.links.get(pair), figures, share)
        if link_change is not None:
            yield link_change
    for name, load in after.loads.items():
        load_change = _load_change(name, before.loads.get(name, 0.0), load, share)
        if load_change is not None:
            yield load_change


def _link_change(pair: Pair, before: LinkFigures | None, after: LinkFigures, share: float) -> str | None:
    link = f"link {pair[0]} → {pair[1]}"
    if before is None:
        return f"{link} measured: {significant(after.mbps, 3)} Mbit/s, {significant(after.rtt_ms, 3)} ms"
    if after.way != before.way:
        way = "goes through the broker" if after.way == "mqtt" else "is direct again"
        return f"{link} {way}: {significant(after.mbps, 3)} Mbit/s, {significant(after.rtt_ms, 3)} ms"
    if abs(after.mbps - before.mbps) > share * before.mbps:
        verb = "rose" if after.mbps > before.mbps else "fell"
        return f"{link} {verb} from {significant(before.mbps, 3)} to {significant(after.mbps, 3)} Mbit/s"
    if abs(after.rtt_ms - before.rtt_ms) > max(share * before.rtt_ms, LEAST_RTT_CHANGE_MS):
        verb = "rose" if after.rtt_ms > before.rtt_ms else "fell"
        return f"{link}: round trip {verb} from {significant(before.rtt_ms, 3)} to {significant(after.rtt_ms, 3)} ms"
    return None


def _load_change(name: str, before: float, after: float, share: float) -> str | None:
    # Compute takes 1 / (1 - load) times as long.
    if abs((1.0 - before) / (1.0 - after) - 1.0) <= share:
        return None
    verb = "rose" if after > before else "fell"
    return f"load of {name} {verb} from {before:.0%} to {after:.0%}"
