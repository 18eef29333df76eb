"""What spooling costs: the time of one publication, and the messages per second through the whole path.

    python benchmarks/spool.py [--seconds 5] [--quick] [--json FILE]

Three ways in turns, each through the same real Mosquitto into the same kind of store in another process: published
without a spool, spooled and published, and as a backlog that was recorded while the broker was away.
"""

import argparse
import contextlib
import itertools
import math
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from figures import Figure, repeated, write
from parts import process
from telemetry_load import inference

from broker.messages import InferenceReport
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import INFERENCE
from edge_agent.spool import Kept, Spool
from edge_agent.telemetry_kinds import encode
from edge_agent.telemetry_outbox import TelemetryOutbox

PEERS = Path(__file__).parent.parent / "tests" / "testbed" / "telemetry_peers.py"
SITE = "surviving"
NODE = "pi"
RATE_PER_S = 100.0
ROUNDS = 3
BACKLOG = 5_000
MAX_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class Latencies:
    """Times of single publications, in ms."""

    p50_ms: float
    p99_ms: float
    longest_ms: float


def latencies(publish: Callable[[InferenceReport], object], name: str, seconds: float) -> Latencies:
    """Publish at a steady rate, and time each publication."""
    took_ms = []
    started = time.perf_counter()
    for number in range(round(seconds * RATE_PER_S)):
        time.sleep(max(0.0, started + number / RATE_PER_S - time.perf_counter()))
        message = inference(NODE, f"{name}-{number}")
        before = time.perf_counter()
        publish(message)
        took_ms.append((time.perf_counter() - before) * 1e3)
    ordered = sorted(took_ms)
    return Latencies(statistics.median(ordered), ordered[math.ceil(0.99 * len(ordered)) - 1], ordered[-1])


def writing(file: Path, seconds: float) -> Latencies:
    """The time of one message into the file, without threads or a broker."""
    with contextlib.closing(Spool(file, session="writing", max_bytes=MAX_BYTES)) as spool:
        numbers = itertools.count(1)
        return latencies(
            lambda message: spool.append(next(numbers), [Kept("inference", encode(message), 0.0, 0.0)]), "w", seconds
        )


@contextlib.contextmanager
def storing(port: int, file: Path) -> Iterator[Callable[[], int]]:
    """A process that stores and confirms; how many inferences it has."""

    def count() -> int:
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(file)) as connection:
            return int(connection.execute("SELECT count(*) FROM inference").fetchone()[0])
        return 0

    with process(PEERS, "store", str(port), file):
        wait_for(file.exists)
        yield count


def wait_for(condition: Callable[[], object]) -> None:
    """Return once the condition holds."""
    while not condition():
        time.sleep(0.01)


def throughput(
    publish: Callable[[InferenceReport], object], count: Callable[[], int], messages: int, name: str
) -> float:
    """Messages per s, from the first publication until the last is stored. Paced by what the store has."""
    before, started = count(), time.perf_counter()
    stored = 0
    for number in range(messages):
        publish(inference(NODE, f"{name}-{number}"))
        # A bare publication drops what exceeds paho's queue of 1,000: neither way may run further ahead than that.
        while number - stored > 900:
            stored = count() - before
            time.sleep(0.002)
    wait_for(lambda: count() - before >= messages)
    return messages / (time.perf_counter() - started)


def backlog(mosquitto: PrivateMosquitto, directory: Path, count: Callable[[], int]) -> float:
    """Messages per s of a backlog, from the moment that the broker is back until the last is stored."""
    before = count()
    session = Session(mosquitto.settings, site=SITE, client_id="benchmark-backlog")
    outbox = TelemetryOutbox(session, node=NODE, session_id="backlog", file=directory / "backlog", max_bytes=MAX_BYTES)
    session.start()
    outbox.start()
    mosquitto.kill()
    wait_for(lambda: not session.connected)
    for number in range(BACKLOG):
        outbox.publish(inference(NODE, f"backlog-{number}"))
    mosquitto.start()
    wait_for(lambda: session.connected and count() - before > 0)
    first, started = count() - before, time.perf_counter()
    wait_for(lambda: count() - before >= BACKLOG)
    per_s = (BACKLOG - first) / (time.perf_counter() - started)
    outbox.close()
    session.close()
    return per_s


def lines(seconds: float, found_figures: list[Figure]) -> Iterator[str]:
    """Measure, say what was found, and add the figures."""
    size = len(encode(inference(NODE, "x")))
    yield f"Telemetry through a real Mosquitto into SQLite; reports of {size} bytes, {os.cpu_count()} cores."
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with (
            PrivateMosquitto(directory / "mosquitto") as mosquitto,
            storing(mosquitto.port, directory / "store") as count,
        ):
            session = Session(mosquitto.settings, site=SITE, client_id="benchmark")
            outbox = TelemetryOutbox(
                session, node=NODE, session_id="spooled", file=directory / "spool", max_bytes=MAX_BYTES
            )
            session.start()
            outbox.start()
            ways: dict[str, Callable[[InferenceReport], object]] = {
                "bare": lambda message: session.publish(INFERENCE, message, message.deployment, message.origin),
                "spooled": outbox.publish,
            }
            found: dict[str, list[Latencies]] = {way: [] for way in (*ways, "writing")}
            rates: dict[str, list[float]] = {way: [] for way in ways}
            for turn in range(ROUNDS):
                for way, publish in ways.items():
                    found[way].append(latencies(publish, f"{way}-{turn}", seconds / ROUNDS))
                    rates[way].append(throughput(publish, count, 2_000, f"{way}-rate-{turn}"))
                found["writing"].append(writing(directory / f"writing-{turn}", seconds / ROUNDS))
            outbox.close()
            session.close()
            backlog_per_s = backlog(mosquitto, directory, count)
    yield f"One publication at {RATE_PER_S:g} a second, in ms (median of {ROUNDS} turns):"
    yield "             p50     p99   longest"
    for way, times in found.items():
        p50, p99 = (statistics.median(values) for values in zip(*((t.p50_ms, t.p99_ms) for t in times), strict=True))
        yield f"  {way:8} {p50:6.3f}  {p99:6.3f}  {max(t.longest_ms for t in times):8.3f}"
    ratio = statistics.median(t.p50_ms for t in found["spooled"]) / statistics.median(t.p50_ms for t in found["bare"])
    yield f"  A spooled publication takes {ratio:.1f} times a bare one, of which `writing` is the spool's file alone."
    yield f"Through the whole path until stored, in messages a second (median of {ROUNDS} turns):"
    for way, per_s in rates.items():
        yield f"  {way:8} {statistics.median(per_s):6.0f}"
    yield f"  {'backlog':8} {backlog_per_s:6.0f}   (recorded while the broker was away)"
    bare_ms, spooled_ms = ([times.p50_ms for times in found[way]] for way in ("bare", "spooled"))
    bare_per_s, spooled_per_s = (statistics.median(rates[way]) for way in ("bare", "spooled"))
    found_figures += [
        repeated("one publication", spooled_ms, "ms", "lower", reference=statistics.median(bare_ms)),
        repeated("throughput until stored", rates["spooled"], "messages/s", "higher", reference=bare_per_s),
        Figure("backlog until stored", backlog_per_s, "messages/s", "higher", reference=spooled_per_s),
    ]


def main() -> None:
    """Print the figures, and write them where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long single publications are timed, each way")
    parser.add_argument("--quick", action="store_true", help="3 s each way")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    figures: list[Figure] = []
    for line in lines(3.0 if options.quick else options.seconds, figures):
        print(line, flush=True)
    if options.json is not None:
        write(options.json, figures)


if __name__ == "__main__":
    main()
