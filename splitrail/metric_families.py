"""Metrics as declared values, and the text that Prometheus scrapes; what they count is told by whoever serves them.

Part of the floor. Needs prometheus-client; nothing is kept in that library's own global registry.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

MAX_SERIES: Final = 2_000
"""Of one family at one scrape; the first are told, and how many were left out."""
MAX_LABEL: Final = 200
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with its labels, as Prometheus names it: base units, and `_total` at the end of a counter."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    summary: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a histogram has counted: below or at each bound, the last of which is infinite, and the sum of all."""

    cumulative: tuple[tuple[float, int], ...]
    sum: float


@dataclass(frozen=True, slots=True)
class Figure:
    """The value of one series of a family; the labels' values are in the family's order."""

    family: Family
    value: float | Distribution
    labels: tuple[str, ...] = ()


OMITTED: Final = Family(
    "splitrail_omitted_series",
    "gauge",
    f"Series left out of this answer, beyond {MAX_SERIES} of a family.",
    ("family",),
)
PROCESS: Final = (
    Family("process_cpu_seconds_total", "counter", "Processor time of this process."),
    Family("process_max_fds", "gauge", "Files and sockets that it may have open."),
    Family("process_open_fds", "gauge", "Files and sockets that it has open."),
    Family("process_resident_memory_bytes", "gauge", "Its memory in RAM."),
    Family("process_start_time_seconds", "gauge", "When it was started, since 1970."),
    Family("process_virtual_memory_bytes", "gauge", "Its address space."),
)
"""What prometheus-client tells of the process, in Prometheus' own names."""


class Exposition:
    """The page of one process: `figures` is asked at each scrape, from whichever thread scrapes."""

    def __init__(self, figures: Callable[[], Iterable[Figure]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(figures))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """The page, of CONTENT_TYPE."""
        return generate_latest(self._registry)


class _Figures(Collector):
    def __init__(self, figures: Callable[[], Iterable[Figure]]) -> None:
        self._figures = figures

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        by_family: dict[Family, list[Figure]] = defaultdict(list)
        for figure in self._figures():
            by_family[figure.family].append(figure)
        omitted = [
            Figure(OMITTED, len(figures) - MAX_SERIES, (family.name,))
            for family, figures in by_family.items()
            if len(figures) > MAX_SERIES
        ]
        for family, figures in (*by_family.items(), *([(OMITTED, omitted)] if omitted else [])):
            yield _metric(family, figures[:MAX_SERIES])


def _metric(family: Family, figures: Iterable[Figure]) -> Metric:
    match family.kind:
        case "gauge":
            gauge = GaugeMetricFamily(family.name, family.summary, labels=family.labels)
            for figure in figures:
                gauge.add_metric(_bounded(figure.labels), _number(figure.value))
            return gauge
        case "counter":
            counter = CounterMetricFamily(family.name, family.summary, labels=family.labels)
            for figure in figures:
                counter.add_metric(_bounded(figure.labels), _number(figure.value))
            return counter
        case "histogram":
            histogram = HistogramMetricFamily(family.name, family.summary, labels=family.labels)
            for figure in figures:
                assert isinstance(figure.value, Distribution)  # what its family declares
                buckets = [(_bound(bound), count) for bound, count in figure.value.cumulative]
                histogram.add_metric(_bounded(figure.labels), buckets, figure.value.sum)
            return histogram


def _number(value: float | Distribution) -> float:
    assert not isinstance(value, Distribution)  # as above
    return value


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else str(bound)


def _bounded(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(label[:MAX_LABEL] for label in labels)
