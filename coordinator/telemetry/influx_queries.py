"""What the status asks of an InfluxDB, by InfluxQL: the same figures as of rows at hand, and never waited for long."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, get_args

from broker.messages import EnergyScope, EnergySource
from coordinator.errors import InfluxError
from coordinator.telemetry.influx_answers import Scalar, Series
from coordinator.telemetry.store import InferenceSummary, PowerSummary
from coordinator.telemetry.summarising import MAX_SUMMARISED, SummarisedInference, summary_of

WAIT_S: Final = 2.0
"""What a status waits for; name resolution, for instance, has no time limit of its own."""
PAUSE_S: Final = 5.0
"""After a failure nothing is asked for so long: the status of a site without its database stays quick."""

log = logging.getLogger("splitrail.store")

Ask = Callable[[str], tuple[tuple[Series, ...], ...]]


@dataclass(frozen=True, slots=True)
class Summaries:
    """Everything that a status asks, of one while."""

    inferences: dict[str, InferenceSummary]
    power: tuple[PowerSummary, ...]


_EMPTY: Final = Summaries({}, ())


class Queries:
    """Asks on a thread of its own, all at once, and remembers the answer until something new may be there.

    `ask` raises InfluxError where there is no answer; summaries are empty then, and `obstacle` says why.
    """

    def __init__(self, ask: Ask, *, where: str) -> None:
        self._ask = ask
        self._where = where
        self._one_at_a_time = threading.Lock()
        self._condition = threading.Condition()
        self._wanted: tuple[float, int] | None = None
        self._known: tuple[tuple[float, int], Summaries] | None = None
        self._paused_until = 0.0
        self._obstacle: str | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="splitrail-influxdb-queries", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def obstacle(self) -> str | None:
        """Why the last question was not answered; None if it was, or once another may be asked."""
        return self._obstacle if time.monotonic() < self._paused_until else None

    def summaries(self, since: float, version: int) -> Summaries:
        """The summaries of what is there since a time (s since 1970), as of at least `version` of it; 2 s at most."""
        if not self._one_at_a_time.acquire(timeout=WAIT_S):
            return _EMPTY  # who has it says why
        try:
            return self._summaries((since, version))
        finally:
            self._one_at_a_time.release()

    def close(self) -> None:
        """Stop after the question that is under way, or leave it behind."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
        self._thread.join(WAIT_S)

    def _summaries(self, wanted: tuple[float, int]) -> Summaries:
        with self._condition:
            if self._known is not None and self._known[0] == wanted:
                return self._known[1]
            if time.monotonic() < self._paused_until or self._is_closed:
                return _EMPTY
            self._wanted = wanted
            self._condition.notify_all()
            if not self._condition.wait_for(lambda: self._wanted is None, WAIT_S):
                self._fail(f"no answer within {WAIT_S:g} s")
                return _EMPTY
            return self._known[1] if self._known is not None and self._known[0] == wanted else _EMPTY

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._is_closed or self._wanted is not None)
                if self._is_closed or self._wanted is None:
                    return
                wanted = self._wanted
            try:
                found = summaries_of(self._ask(statements(wanted[0])))
            except InfluxError as error:
                with self._condition:
                    self._fail(error.reason)
                    self._finish(wanted)
            else:
                with self._condition:
                    self._known, self._obstacle = (wanted, found), None
                    self._finish(wanted)

    def _finish(self, wanted: tuple[float, int]) -> None:
        if self._wanted == wanted:
            self._wanted = None
        self._condition.notify_all()

    def _fail(self, reason: str) -> None:
        if self._obstacle is None:
            log.warning("%s: does not answer what the status asks: %s", self._where, reason)
        self._obstacle = reason
        self._paused_until = time.monotonic() + PAUSE_S


def statements(since: float) -> str:
    """What is asked in one request, of everything since a time (s since 1970)."""
    when = f"WHERE time >= {max(0, round(since * 1e6)) * 1_000}"
    meters = "GROUP BY node, meter, source, scope"
    return "; ".join(
        (
            f"SELECT latency_ms, origin_energy_j, total_energy_j FROM inference {when}"
            f" GROUP BY deployment, outcome, energy_source, energy_scope ORDER BY time DESC LIMIT {MAX_SUMMARISED}",
            f"SELECT mean(power_w) FROM energy {when} {meters}",
            f"SELECT last(energy_j) FROM energy {when} {meters}",
        )
    )


def summaries_of(answers: tuple[tuple[Series, ...], ...]) -> Summaries:
    """The summaries in the answers to these statements."""
    inferences, powers, counters = (*answers, (), (), ())[:3]
    newest = {_meter(series): series for series in counters}
    power = tuple(_power_summary(series, newest.get(_meter(series))) for series in powers)
    return Summaries(
        _inference_summaries(inferences),
        tuple(
            sorted((each for each in power if each is not None), key=lambda each: (each.node, each.scope, each.meter))
        ),
    )


def _inference_summaries(answer: tuple[Series, ...]) -> dict[str, InferenceSummary]:
    by_deployment: dict[str, list[tuple[float, SummarisedInference]]] = {}
    for series in answer:
        source, scope = _source(series), _scope(series)
        has_failed = series.tags.get("outcome") == "failed"
        into = by_deployment.setdefault(series.tags.get("deployment", ""), [])
        for row in series.values:
            time_ns, latency_ms, origin_j, total_j = _figures(row, 4)
            into.append((time_ns, SummarisedInference(latency_ms, origin_j, total_j, source, scope, has_failed)))
    return {name: summary_of(_newest(timed)) for name, timed in by_deployment.items()}


def _newest(timed: list[tuple[float, SummarisedInference]]) -> list[SummarisedInference]:
    """Those of all series together, by their times."""
    newest_first = sorted(timed, key=lambda each: each[0], reverse=True)
    return [inference for _, inference in newest_first[:MAX_SUMMARISED]]


def _power_summary(means: Series, newest: Series | None) -> PowerSummary | None:
    if not means.values or newest is None or not newest.values:
        return None
    (_, power_w), (time_ns, energy_j) = _figures(means.values[0], 2), _figures(newest.values[0], 2)
    node, meter = means.tags.get("node", ""), means.tags.get("meter", "")
    return PowerSummary(node, power_w, energy_j, meter, _source(means), _scope(means), time_ns / 1e9)


def _meter(series: Series) -> tuple[str | None, ...]:
    return tuple(series.tags.get(name) for name in ("node", "meter", "source", "scope"))


def _source(series: Series) -> EnergySource:
    tag = series.tags.get("source") or series.tags.get("energy_source")
    return "measured" if tag == "measured" else "modelled"


def _scope(series: Series) -> EnergyScope:
    tag = series.tags.get("scope") or series.tags.get("energy_scope")
    return next((scope for scope in get_args(EnergyScope) if scope == tag), "board")


def _figures(row: tuple[Scalar, ...], count: int) -> tuple[float, ...]:
    """The first figures of a row; 0 for what is none."""
    figures = [float(value) if isinstance(value, int | float) else 0.0 for value in row[:count]]
    return (*figures, *[0.0] * (count - len(figures)))
