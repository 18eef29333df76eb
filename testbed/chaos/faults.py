"""Every fault that the experiment knows: what is done to a running site, how it is undone, and what must come of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from broker.messages import Leader
from broker.site_broker import await_exclusion, clear_traces, reload_broker
from broker.site_directory import SiteDirectory
from testbed.chaos.scene import LAST, MIDDLE, ORIGIN, SHAPES
from testbed.chaos.spool_disk import SpoolDisk
from testbed.continuum import BROKER, COORDINATOR, STANDBY, Continuum
from testbed.errors import ExperimentError
from testbed.processes import ChildProcess, last_line

HOUR_S = 3_600.0
RIVAL_TIMEOUT_S = 30.0
BAD_INPUT = 2
"""The exit code of a process that may not go on, and says why in one line."""
_ROLES = ((ORIGIN, "the origin"), (MIDDLE, "a node in the middle"), (LAST, "the last node"))


@dataclass(frozen=True, slots=True)
class Victim:
    """What a fault may be done to; `leader` tells who leads, as last heard."""

    continuum: Continuum
    disk: SpoolDisk
    leader: Callable[[], Leader | None]


Deed = Callable[[Victim], None]


def _nothing(_victim: Victim) -> None:
    """Nothing has to be done."""


def _no_wrong(_victim: Victim) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Fault:
    """`prepare` before the load, `strike` under it, `mend` some seconds later, `restore` once the site has converged.

    `verdict` says, once it is mended, what has not come of it as it should; "" where all has.
    """

    name: str
    words: str
    strike: Deed
    mend: Deed
    prepare: Deed = _nothing
    restore: Deed = _nothing
    verdict: Callable[[Victim], str] = _no_wrong
    emulated: str = ""
    """What of it is not real, in words."""


def faults(*, secured: bool) -> tuple[Fault, ...]:
    """All of them, in the order in which they are played; some need a site that lets in its members alone."""
    everywhere = (*_deaths(), *_pauses(), *_cuts(), *_disks(), *_clocks(), *_identities(), *_successions())
    return (*everywhere, _revocation()) if secured else everywhere


def _deaths() -> Iterator[Fault]:
    for name, role in (*_ROLES, (COORDINATOR, "the coordinator"), (BROKER, "the broker")):
        yield Fault(
            f"kill-{name}",
            f"kill -9 of {role}, started again",
            _kill(name),
            _start(name),
        )

    yield Fault(
        "kill-coordinator-and-broker",
        "kill -9 of coordinator and broker, started again",
        _one_by_one(_kill(COORDINATOR), _kill(BROKER)),
        _one_by_one(_start(BROKER), _start(COORDINATOR)),
    )


def _pauses() -> Iterator[Fault]:
    for name, role in (*_ROLES, (COORDINATOR, "the coordinator"), (BROKER, "the broker")):
        yield Fault(
            f"pause-{name}",
            f"SIGSTOP of {role}, then SIGCONT",
            _pause(name),
            _resume(name),
        )


def _cuts() -> Iterator[Fault]:
    pairs = [(shape.src, shape.dst) for shape in SHAPES]
    for src, dst in pairs:
        yield _cut(f"cut-{src}-to-{dst}", f"nothing passes from {src} to {dst}", ((src, dst),))
    for src, dst in pairs[::2]:
        yield _cut(
            f"cut-{src}-and-{dst}", f"nothing passes between {src} and {dst}, either way", ((src, dst), (dst, src))
        )


def _cut(name: str, words: str, pairs: tuple[tuple[str, str], ...]) -> Fault:
    def strike(victim: Victim) -> None:
        for src, dst in pairs:
            victim.continuum.links.cut(src, dst)

    def mend(victim: Victim) -> None:
        for src, dst in pairs:
            victim.continuum.links.restore(src, dst)

    return Fault(name, words, strike, mend, emulated="a link of the testbed's proxy")


def _disks() -> Iterator[Fault]:
    yield Fault(
        "fill-spool-disk",
        "the disk of the origin's spool is full",
        lambda victim: victim.disk.fill(),
        lambda victim: victim.disk.free(),
    )


def _clocks() -> Iterator[Fault]:
    for name, words, wrong_by_s in (("ahead", "an hour ahead", HOUR_S), ("back", "an hour back", -HOUR_S)):
        yield Fault(
            f"clocks-{name}",
            f"the clocks of origin and middle jump {words}, and later right again",
            _one_by_one(_set_clock(ORIGIN, wrong_by_s), _set_clock(MIDDLE, wrong_by_s)),
            _one_by_one(_set_clock(ORIGIN, 0.0), _set_clock(MIDDLE, 0.0)),
            emulated="the clock is an offset in the agent",
        )


def _identities() -> Iterator[Fault]:
    for name, role in ((ORIGIN, "the origin"), (MIDDLE, "a node in the middle")):
        yield _rivalry(f"second-agent-{name}", f"a second agent with the name of {role} is started", name)
    yield _rivalry("second-coordinator", "the coordinator is started a second time on its store", COORDINATOR)


def _rivalry(name: str, words: str, identity: str) -> Fault:
    rivals: list[ChildProcess] = []

    def verdict(victim: Victim) -> str:
        rival = rivals.pop()
        if not rival.wait(RIVAL_TIMEOUT_S):
            rival.kill()
            return f"the second {identity} runs on"
        if rival.exit_code != BAD_INPUT:
            return f"the second {identity} ended with exit code {rival.exit_code}: {last_line(rival.log)}"
        if identity not in victim.continuum.pids():
            return f"the first {identity} has ended: {last_line(victim.continuum.log(identity))}"
        return ""

    return Fault(
        name, words, lambda victim: rivals.append(victim.continuum.start_rival(identity)), _nothing, verdict=verdict
    )


def _successions() -> Iterator[Fault]:
    def start_standby(victim: Victim) -> None:
        victim.continuum.start(STANDBY)
        victim.continuum.wait_for_coordinator(STANDBY)

    def succeeded(victim: Victim) -> str:
        leader = victim.leader()
        return "" if leader is not None and leader.coordinator == STANDBY else "the standby has not taken over"

    for deed, words, strike, mend in (
        ("kill", "kill -9 of the coordinator that leads, beside a standby; started again", _kill, _start),
        ("pause", "SIGSTOP of the coordinator that leads, beside a standby; then SIGCONT", _pause, _resume),
        ("stop", "clean stop of the coordinator that leads, beside a standby; started again", _stop, _start),
    ):
        yield Fault(
            f"{deed}-leader",
            words,
            strike(COORDINATOR),
            mend(COORDINATOR),
            prepare=start_standby,
            restore=_stop(STANDBY),
            verdict=succeeded,
        )


def _revocation() -> Fault:
    def shut_out(victim: Victim) -> None:
        locks = _locks(victim)
        locks.revoke(MIDDLE)
        reload_broker(locks, victim.continuum.pids()[BROKER])
        await_exclusion(locks, MIDDLE)
        clear_traces(locks, MIDDLE)

    def let_in(victim: Victim) -> None:
        locks = _locks(victim)
        locks.forget(MIDDLE)
        locks.add_node(MIDDLE, "fog")
        reload_broker(locks, victim.continuum.pids()[BROKER])
        victim.continuum.kill(MIDDLE)
        victim.continuum.start(MIDDLE)

    def verdict(victim: Victim) -> str:
        report = victim.continuum.status()
        named = {stage.node for each in report.deployments if each.plan is not None for stage in each.plan.stages}
        online = {node.name for node in report.nodes if node.online}
        return "the node that was shut out is still counted upon" if MIDDLE in named | online else ""

    return Fault(
        "revoke-node", "a node in the middle is shut out, and later let in as new", shut_out, let_in, verdict=verdict
    )


def _locks(victim: Victim) -> SiteDirectory:
    locks = victim.continuum.locks
    if locks is None:
        raise ExperimentError("revoke-node: an open site shuts nobody out; add --secured")
    return locks


def _kill(name: str) -> Deed:
    return lambda victim: victim.continuum.kill(name)


def _stop(name: str) -> Deed:
    return lambda victim: victim.continuum.stop(name)


def _start(name: str) -> Deed:
    return lambda victim: victim.continuum.start(name)


def _pause(name: str) -> Deed:
    return lambda victim: victim.continuum.pause(name)


def _resume(name: str) -> Deed:
    return lambda victim: victim.continuum.resume(name)


def _set_clock(node: str, wrong_by_s: float) -> Deed:
    return lambda victim: victim.continuum.set_clock(node, wrong_by_s)


def _one_by_one(*deeds: Deed) -> Deed:
    def do_all(victim: Victim) -> None:
        for deed in deeds:
            deed(victim)

    return do_all
