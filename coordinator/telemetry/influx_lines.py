"""Samples in InfluxDB's line protocol, one line each, as influxdb-client's Point writes them."""

from functools import lru_cache
from typing import Any, Final

from influxdb_client.client.write.point import Point

from coordinator.telemetry.samples import Sample

SERIES_REMEMBERED: Final = 8_192
"""A site's series come again and again: escaping their tags once halves the work of a line (docs/telemetry.md)."""
_point: Any = Point  # its annotations are missing


def line_of(sample: Sample) -> bytes:
    """The sample as one line without its end, UTF-8. A text's line ends become spaces, so that a line is a point."""
    point = _point(sample.measurement)
    for name, value in sample.fields:
        point.field(name, " ".join(value.splitlines()) if isinstance(value, str) else value)
    # A Point without tags is `measurement fields time`.
    fields_and_time: str = point.time(sample.time_ns).to_line_protocol()[len(sample.measurement) :]
    return (_series(sample.measurement, sample.tags) + fields_and_time).encode(errors="replace")


@lru_cache(SERIES_REMEMBERED)
def _series(measurement: str, tags: tuple[tuple[str, str], ...]) -> str:
    """The series' key: the measurement and its tags, escaped and sorted."""
    point = _point(measurement).field("any", 1)
    for name, value in tags:
        point.tag(name, value)
    line: str = point.to_line_protocol()
    return line.removesuffix(" any=1i")
