"""How many agents one coordinator holds, at a reading of energy and one of a link a second each; what gives out first.

    python benchmarks/control_plane.py [--seconds 60] [--store sqlite|influxdb] [--quick] [--json FILE]

A real coordinator behind a real Mosquitto, and simulated agents, each a client of its own. What the store holds is
counted against what was sent. Then more and more agents, until readings are confirmed late, or lost; and who of all
processes and threads had no more to give. Beside them, in the same run: a bare subscriber that only counts.
"""

import argparse
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from figures import Figure, write
from simulated_site import Run, measure

AGENTS: Final = 1_000
GROWTH: Final = (100, 300, AGENTS)
STEPS: Final = (1_500, 2_000, 3_000, 4_000)
LATE_S: Final = 3.0
"""A reading that is confirmed later than this: the site is saturated."""
BEHIND_S: Final = 0.5
"""Agents that speak later than this: it is they who are."""
MUCH_QUEUED: Final = 0.3
FILES: Final = 10_000


def is_saturated(run: Run) -> bool:
    """Whether readings were confirmed late, or not at all."""
    return run.lost > 0 or run.late_s > LATE_S


def first_to_give_out(run: Run) -> str:
    """Who of a saturated site had no more to give."""
    if run.agents_late_s > BEHIND_S:
        return "the simulated agents themselves"
    if run.cores["taking"] > 0.85:
        return f"the coordinator's interpreter, most of it in its thread {next(iter(run.threads))!r}"
    if run.cores["mosquitto"] > 0.85:
        return "Mosquitto's only thread"
    if sum(run.cores.values()) > 0.85 * len(os.sched_getaffinity(0)):
        return "the machine's cores"
    if run.queued > MUCH_QUEUED:
        return "the machine's cores, which processes of others hold: this says nothing of the coordinator"
    return "none of the processors: the disk, or waiting"


def lines_of(run: Run) -> Iterator[str]:
    """What a run says."""
    cores = "  ".join(f"{name} {share:.2f}" for name, share in run.cores.items())
    yield (
        f"{run.agents:6,d} agents {run.messages / run.seconds:7,.0f} messages/s  lost {run.lost}  confirmed within "
        f"{run.late_s:.1f} s  cores: {cores}  ({run.us_per_message:.0f} us/message)"
    )
    threads = "  ".join(f"{name} {share:.2f}" for name, share in run.threads.items() if share >= 0.005)
    known = run.answer
    words = f"; {known.nodes} nodes, {known.links} links, {known.plans} plans, {known.lost} dropped" if known else ""
    yield f"       by thread: {threads}; {run.queued:.2f} threads wait for a core"
    yield f"       agents at most {run.agents_late_s:.2f} s late{words}"


def compare(seconds: float, step_s: float, growth: tuple[int, ...], steps: tuple[int, ...], store: str) -> list[Figure]:
    """Measure all, print it, and give the figures."""
    bare = measure(AGENTS, step_s, "none")
    print("a bare subscriber that only counts:")
    print(*lines_of(bare), sep="\n", flush=True)
    print(f"one coordinator, {store}:", flush=True)
    runs: dict[int, Run] = {}
    for agents in (*growth, *steps):
        runs[agents] = run = measure(agents, seconds if agents == AGENTS else step_s, store)
        print(*lines_of(run), sep="\n", flush=True)
        if is_saturated(run):
            print(f"saturated at {agents:,d} agents: {first_to_give_out(run)}")
            break
    held = max((agents for agents, run in runs.items() if not is_saturated(run)), default=0)
    print(f"{held:,d} agents are held at 1 Hz each of energy and links.")
    least, most = min(runs), max(agents for agents in runs if agents <= AGENTS)
    figures = [
        Figure("agents held", held, "agents", "higher", goal=float(AGENTS)),
        Figure(f"lost of {most} agents' readings", runs[most].lost, "", "lower", goal=0.0),
        Figure(f"longest until confirmed, {most} agents", runs[most].late_s, "s", "lower", noise=0.3),
        Figure(
            f"CPU for a message, {most} agents",
            runs[most].us_per_message,
            "us",
            "lower",
            reference=bare.us_per_message,
        ),
    ]
    if least < most:
        grown = (runs[most].cores["taking"] / most) / (runs[least].cores["taking"] / least)
        # At most linear, with the noise of a short run.
        figures.append(Figure(f"CPU of an agent at {most} beside at {least}", grown, "", "lower", goal=1.1))
    return figures


def main() -> None:
    """Print the figures, and write them where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0, help=f"how long {AGENTS} agents are measured")
    parser.add_argument("--store", choices=("sqlite", "influxdb"), default="sqlite")
    parser.add_argument("--agents", type=int, nargs="+", help="measure these numbers of agents alone")
    parser.add_argument("--quick", action="store_true", help="fewer numbers of agents, and shorter")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    # Each agent is a connection of the broker's too, which inherits the bound.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
    if options.agents:
        for agents in options.agents:
            print(*lines_of(measure(agents, options.seconds, options.store)), sep="\n", flush=True)
        return
    quick = (10.0, 5.0, (100, AGENTS), (2_000, 4_000))
    seconds, step_s, growth, steps = quick if options.quick else (options.seconds, 15.0, GROWTH, STEPS)
    figures = compare(seconds, step_s, growth, steps, options.store)
    if options.json is not None:
        write(options.json, figures)


if __name__ == "__main__":
    main()
