"""The text that Prometheus scrapes, read back by Prometheus' own parser."""

import math

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from splitrail.metric_families import MAX_LABEL, MAX_SERIES, PROCESS, Distribution, Exposition, Family, Figure

POWER = Family("test_power_watts", "gauge", "Power.", ("node",))
JOULES = Family("test_energy_joules_total", "counter", "Energy.", ("node",))
LATENCY = Family("test_latency_seconds", "histogram", "Latency.", ("deployment",))
UP = Family("test_up", "gauge", "Up.")


def read(*figures: Figure) -> dict[str, list[tuple[str, dict[str, str], float]]]:
    """Name, labels and value of each sample, by family."""
    text = Exposition(lambda: figures).text().decode()
    return {
        family.name: [(sample.name, sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(text)
    }


def test_each_kind_is_read_as_what_it_is() -> None:
    """Gauges, counters and histograms come back with their labels and values, in whichever order they were told."""
    told = read(
        Figure(POWER, 2.5, ("pi",)),
        Figure(JOULES, 10.0, ("pi",)),
        Figure(POWER, 40.0, ("pc",)),
        Figure(LATENCY, Distribution(((0.1, 2), (math.inf, 3)), 0.75), ("photos",)),
        Figure(UP, 1.0),
    )
    assert told["test_power_watts"] == [
        ("test_power_watts", {"node": "pi"}, 2.5),
        ("test_power_watts", {"node": "pc"}, 40.0),
    ]
    assert told["test_energy_joules"] == [("test_energy_joules_total", {"node": "pi"}, 10.0)]
    assert told["test_latency_seconds"] == [
        ("test_latency_seconds_bucket", {"deployment": "photos", "le": "0.1"}, 2.0),
        ("test_latency_seconds_bucket", {"deployment": "photos", "le": "+Inf"}, 3.0),
        ("test_latency_seconds_count", {"deployment": "photos"}, 3.0),
        ("test_latency_seconds_sum", {"deployment": "photos"}, 0.75),
    ]
    assert told["test_up"] == [("test_up", {}, 1.0)]


def test_the_process_is_told_in_prometheus_own_names() -> None:
    """What the reference lists is there, and nothing of the library's other collectors."""
    assert {family.name.removesuffix("_total") for family in PROCESS} == set(read())


@pytest.mark.parametrize("label", ['a"b\\c', "line\nbreak", "ü" * 300, ""])
def test_no_label_breaks_the_page(label: str) -> None:
    """Whatever a node calls its meter; what is too long is cut."""
    assert read(Figure(POWER, 1.0, (label,)))["test_power_watts"][0][1] == {"node": label[:MAX_LABEL]}


def test_there_is_a_bound_on_series_and_what_is_left_out_is_told() -> None:
    """A site that grows beyond it does not drown who scrapes it."""
    told = read(*(Figure(POWER, 1.0, (str(number),)) for number in range(MAX_SERIES + 3)))
    assert len(told["test_power_watts"]) == MAX_SERIES
    assert told["splitrail_omitted_series"] == [("splitrail_omitted_series", {"family": "test_power_watts"}, 3.0)]


def test_figures_are_told_as_of_each_scrape_and_leave_nothing_behind() -> None:
    """The page follows its source; the library's global registry knows nothing of it."""
    figures = [Figure(UP, 1.0)]
    page = Exposition(lambda: figures)
    assert b"test_up 1.0" in page.text()
    figures[:] = [Figure(UP, 0.0)]
    assert b"test_up 0.0" in page.text()
    assert b"test_up" not in prometheus_client.generate_latest()
