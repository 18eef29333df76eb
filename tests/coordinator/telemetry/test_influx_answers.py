"""What InfluxDB's answers mean: those of 1.6.7 as recorded, those of 1.8, 2 and 3 as their makers publish them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.telemetry.influx_answers import (
    Denied,
    Family,
    Rejected,
    Series,
    Stored,
    TooLarge,
    Unavailable,
    WriteAnswer,
    identity_of,
    reason_in,
    results_in,
    write_answer,
)


def said(**words: object) -> bytes:
    return json.dumps(words).encode()


OLD = "partial write: points beyond retention policy dropped=2"
CONFLICT = 'partial write: field type conflict: input field "x" on measurement "m" is type string, already exists as'
CONFLICT += " type float dropped=1"


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (204, b"", Stored()),
        # 1.6.7, recorded
        (400, said(error=OLD), Rejected(OLD, 2)),
        (400, said(error=CONFLICT), Rejected(CONFLICT, 1)),
        (400, said(error="field type conflict"), Rejected("field type conflict")),
        (400, said(error="unable to parse 'm x': missing fields"), Rejected("unable to parse 'm x': missing fields")),
        (413, said(error="Request Entity Too Large"), TooLarge()),
        (500, said(error="timeout"), Unavailable("timeout")),
        (503, b"", Unavailable("answers 503")),
        # 2.x: docs.influxdata.com/influxdb/v2/api, and an older 2.0
        (422, said(code="unprocessable entity", message=OLD), Rejected(OLD, 2)),
        (500, said(code="internal error", message=f"unexpected error: {OLD}"), Rejected(f"unexpected error: {OLD}", 2)),
        (429, said(code="too many requests", message="slow down"), Unavailable("slow down")),
        # 3 Core: docs.influxdata.com/influxdb3/core/write-data/troubleshoot
        (
            400,
            said(
                error="partial write of line protocol occurred", data=[{"line_number": 2, "error_message": "no field"}]
            ),
            Rejected("partial write of line protocol occurred: no field"),
        ),
        (400, said(error="parsing failed", data={"error_message": "no time"}), Rejected("parsing failed: no time")),
        (400, said(error="parsing failed", data=7), Rejected("parsing failed")),
    ],
)
def test_an_answer_to_a_write(status: int, body: bytes, answer: WriteAnswer) -> None:
    """Each says what to do with the points that were sent."""
    assert write_answer(status, body) == answer


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            401,
            said(error="authorization failed"),
            "refuses who asks (authorization failed): give username and password",
        ),
        (403, said(error='"u" user is not authorized to write'), "allows no writing"),
        (
            404,
            said(error='database not found: "x"'),
            'no such database (database not found: "x"): `splitrail telemetry',
        ),
        (400, b"Client sent an HTTP request to an HTTPS server.\n", "answers 400 as no InfluxDB does: correct"),
        (200, b"<html>Sign in to the network</html>", "answers 200 as no InfluxDB does"),
        (301, b"", "answers 301 as no InfluxDB does"),
        (405, b"", "answers 405 as no InfluxDB does"),
    ],
)
def test_what_somebody_has_to_mend_is_kept_and_said(status: int, body: bytes, words: str) -> None:
    """Nothing but 204 is taken for stored, and nothing but InfluxDB's own words for a refusal of points."""
    answer = write_answer(status, body)
    assert isinstance(answer, Denied)
    assert words in answer.reason


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT x FROM m WHERE a = 'b'", "splitrail not authorized, requires READ on splitrail"),
        ("SELECT x" * 100, "splitrail not authorized"),
    ],
)
def test_a_refused_question_is_not_repeated(statement: str, words: str) -> None:
    """InfluxDB 1 quotes the statement, which hides what its user lacks."""
    said_of_user = "error authorizing query: splitrail not authorized"
    error = f"{said_of_user} to execute statement '{statement}', requires READ on splitrail"
    assert reason_in(said(error=error), 403) == f"error authorizing query: {words}"


@pytest.mark.parametrize(
    ("retry_after", "least_s"), [("7", 7.0), ("99999999", 0.0), ("100000", 300.0), ("Wed, 21 Oct", 0.0), (None, 0.0)]
)
def test_how_long_a_busy_server_asks_to_wait_is_bounded(retry_after: str | None, least_s: float) -> None:
    """A wrong or hostile header does not stop the telemetry for days."""
    answer = write_answer(503, b"", retry_after=retry_after)
    assert isinstance(answer, Unavailable)
    assert answer.retry_after_s == least_s


@pytest.mark.parametrize(
    ("version", "family"),
    [
        ("1.6.7~rc0", "1"),  # Debian 12's, recorded
        ("1.7.11", "1"),
        ("1.8.10", "1.8"),
        ("v2.7.11", "2"),
        ("3.8.0", "3"),
        ("4.0.0", None),
        ("relay", None),
        ("", None),
    ],
)
def test_the_family_is_told_by_the_version(version: str, family: Family | None) -> None:
    """What is not known is not guessed."""
    identity = identity_of({"x-influxdb-version": version, "x-influxdb-build": "OSS"}, b"")
    assert (identity and identity.family) == family


def test_3_core_is_known_by_its_body_too() -> None:
    """Without the header, which something between may drop."""
    identity = identity_of({}, said(version="3.8.0", revision="abc"))
    assert identity is not None
    assert (identity.family, identity.writes_by_v2) == ("3", True)


def test_rows_are_read_by_statement() -> None:
    """One without rows has no series; numbers may come as integers."""
    series = {
        "name": "m",
        "tags": {"a": "b"},
        "columns": ["time", "x"],
        "values": [[1795332397574756981, 1], [2, None]],
    }
    body = said(results=[{"statement_id": 0, "series": [series]}, {"statement_id": 1}])
    assert results_in(body) == (
        (Series(("time", "x"), "m", {"a": "b"}, ((1795332397574756981, 1), (2, None))),),
        (),
    )


def test_an_error_of_any_statement_is_the_answer() -> None:
    """In the server's words."""
    body = said(results=[{"statement_id": 0, "error": "database not found: nono"}])
    assert results_in(body) == "database not found: nono"


@given(st.binary(max_size=300), st.sampled_from([200, 204, 400, 401, 404, 413, 422, 500]))
def test_whatever_a_server_sends_is_an_answer(body: bytes, status: int) -> None:
    """No byte that it may send raises, and what is shown of it is short and printable."""
    answer = write_answer(status, body)
    assert len(getattr(answer, "reason", "")) < 1_000
    assert reason_in(body, status).isprintable()
    assert isinstance(results_in(body), str | tuple)
    identity_of({"x-influxdb-version": body.decode("latin-1")}, body)


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["results", "series", "error", "message", "data", "tags", "columns", "values"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_well_formed_nonsense_is_an_answer_too(value: object) -> None:
    """JSON of another shape is no result, and no reason to stop."""
    body = json.dumps(value).encode()
    assert isinstance(results_in(body), str | tuple)
    write_answer(400, body)
