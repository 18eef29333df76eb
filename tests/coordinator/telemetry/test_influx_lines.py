"""Samples in line protocol: what a real InfluxDB reads back is what was in them, whatever a text has."""

import time
from contextlib import closing

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.configuration import InfluxSettings
from coordinator.telemetry.influx_answers import Stored
from coordinator.telemetry.influx_lines import line_of
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.samples import Sample

NOW_NS = time.time_ns() // 1_000_000_000 * 1_000_000_000
# No lone surrogates: JSON's decoder lets none in. NUL is no text of ours either.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


def test_a_line_is_a_point() -> None:
    """Tags sorted and escaped, counts as integers, numbers as floats, the time in ns."""
    sample = Sample(
        "stage",
        (("node", "pi"), ("meter", "a b,c=d")),
        (("compute_ms", 5.0), ("start", 3), ("delivered", True), ("text", 'say "no" \\')),
        1_795_332_397_574_756_981,
    )
    assert line_of(sample) == (
        rb"stage,meter=a\ b\,c\=d,node=pi "
        rb'compute_ms=5,delivered=true,start=3i,text="say \"no\" \\" 1795332397574756981'
    )


def test_a_line_end_in_a_text_does_not_end_the_line() -> None:
    """A report of a hostile node cannot write points of its own."""
    line = line_of(Sample("inference", (), (("error", 'broken\nenergy,node=pi power_w=9 1\r\n"'),), 1))
    assert line == rb'inference error="broken energy,node=pi power_w=9 1 \"" 1'


@given(st.lists(TEXTS, min_size=1, max_size=5))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back(influx_settings: InfluxSettings, texts: list[str]) -> None:
    """But for its line ends, which are spaces then."""
    samples = [Sample("event", (("node", "pi"),), (("text", text),), NOW_NS + n) for n, text in enumerate(texts)]
    with closing(InfluxServer(influx_settings)) as server:
        assert server.write(b"\n".join(map(line_of, samples))) == Stored()
        ((series,),) = server.query(f"SELECT text FROM event WHERE time < {NOW_NS + len(texts)}", timeout_s=30.0)
    assert [row[1] for row in series.values] == [" ".join(text.splitlines()) for text in texts]
