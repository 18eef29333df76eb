"""The traces that the project makes itself: links like a WiFi's, each with one habit that tells planners apart.

Seeded, so that `write_traces` gives the committed files again; reading a trace is `testbed.traces`' part.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.traces import HEADER, Trace, read_trace

DIRECTORY = Path(__file__).parent / "traces" / "synthetic"

LEAST_MBPS, MOST_MBPS = 1.0, 80.0


@dataclass(frozen=True, slots=True)
class Habit:
    """A kind of link: `rates(dice, duration_s)` gives its rate in Mbit/s of each second; `words` say what it is."""

    name: str
    words: str
    duration_s: int
    rates: Callable[[random.Random, int], Iterator[float]]


def _steady(dice: random.Random, duration_s: int) -> Iterator[float]:
    for _ in range(duration_s):
        yield dice.gauss(30.0, 2.0)


def _fading_walk(dice: random.Random, duration_s: int) -> Iterator[float]:
    """A first-order autoregression of the logarithm: 0.95 from second to second, a factor of 2.2 either way."""
    memory, spread = 0.95, math.log(2.2)
    deviation = 0.0
    for _ in range(duration_s):
        deviation = memory * deviation + math.sqrt(1.0 - memory**2) * dice.gauss(0.0, spread)
        yield 16.0 * math.exp(deviation)


def _interference(dice: random.Random, duration_s: int) -> Iterator[float]:
    """Clear and disturbed spells of random length, as beside a microwave oven."""
    is_clear, left_s = True, 15
    for _ in range(duration_s):
        if left_s == 0:
            is_clear, left_s = not is_clear, dice.randint(5, 20)
        left_s -= 1
        yield dice.gauss(40.0, 3.0) if is_clear else dice.gauss(4.0, 0.8)


def _drop_and_recovery(dice: random.Random, duration_s: int) -> Iterator[float]:
    """Good, then in four seconds a twentieth of it for a third of the time, and back as fast."""
    start_s, stop_s, slope_s = duration_s // 3, 2 * duration_s // 3, 4
    for second in range(duration_s):
        depth = min(max(0.0, (second - start_s) / slope_s), max(0.0, (stop_s - second) / slope_s), 1.0)
        yield 40.0 * 0.05**depth * math.exp(dice.gauss(0.0, 0.06))


def _ramp(dice: random.Random, duration_s: int) -> Iterator[float]:
    """From far away to close by and back, each second by the same factor."""
    for second in range(duration_s):
        nearness = 1.0 - abs(2.0 * second / duration_s - 1.0)
        yield 1.5 * (70.0 / 1.5) ** nearness * math.exp(dice.gauss(0.0, 0.05))


def _oscillation(dice: random.Random, duration_s: int) -> Iterator[float]:
    """A factor of 1.5 around 7 Mbit/s every 12 s; there the best MobileNetV2 plan of Pi and laptop leaves the Pi."""
    for second in range(duration_s):
        yield 7.0 * 1.5 ** math.sin(2.0 * math.pi * second / 12.0) * math.exp(dice.gauss(0.0, 0.04))


def _bursts(dice: random.Random, duration_s: int) -> Iterator[float]:
    """A thin link that opens for two to six seconds now and then: too short to be worth a move."""
    burst_s = 0
    for _ in range(duration_s):
        if burst_s == 0 and dice.random() < 0.06:
            burst_s = dice.randint(2, 6)
        yield dice.gauss(60.0, 5.0) if burst_s else dice.gauss(6.0, 0.8)
        burst_s = max(0, burst_s - 1)


def _long_lows(dice: random.Random, duration_s: int) -> Iterator[float]:
    """Forty-five seconds of a middling link, then thirty at hardly anything, over and over."""
    for second in range(duration_s):
        is_low = second % 75 >= 45
        yield dice.gauss(1.2, 0.15) if is_low else dice.gauss(22.0, 2.5)


HABITS = (
    Habit("steady", "a good link, 30 Mbit/s with little noise: nothing to gain by moving", 120, _steady),
    Habit("fading-walk", "a walk through a building: the rate wanders slowly by a factor of two", 240, _fading_walk),
    Habit("interference", "on and off: 40 Mbit/s, and 4 in spells of 5 to 20 s", 180, _interference),
    Habit("drop-recovery", "40 Mbit/s, a third of the time a twentieth of it, and back", 180, _drop_and_recovery),
    Habit("ramp", "from 1.5 to 70 Mbit/s and back at an even pace", 240, _ramp),
    Habit(
        "oscillation",
        "swings by half around 7 Mbit/s every 12 s, a break-even point: invites flapping",
        180,
        _oscillation,
    ),
    Habit("bursts", "6 Mbit/s with openings of 2 to 6 s at 60", 180, _bursts),
    Habit("long-lows", "22 Mbit/s, and for 30 s of every 75 about 1.2: nearly an outage", 300, _long_lows),
)


def synthetic_traces() -> tuple[Trace, ...]:
    """The set, in the order of `HABITS`; each starts anew at its end, as a link of its kind would go on."""
    return tuple(
        replace(read_trace(DIRECTORY / f"{habit.name}.csv", at_the_end="loop"), name=f"synthetic-{habit.name}")
        for habit in HABITS
    )


def write_traces(directory: Path) -> None:
    """Make the files anew: one row a second, rates bounded to what a WiFi carries and rounded to 0.01 Mbit/s."""
    for habit in HABITS:
        dice = random.Random(f"splitrail {habit.name}")  # seeded by text: the same on every Python since 3.2
        rates = (min(MOST_MBPS, max(LEAST_MBPS, mbps)) for mbps in habit.rates(dice, habit.duration_s))
        rows = [",".join(HEADER), *(f"{second},{mbps:.2f}" for second, mbps in enumerate(rates))]
        (directory / f"{habit.name}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
