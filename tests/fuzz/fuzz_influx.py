"""What an InfluxDB answers: the first byte chooses the status, the rest is the body."""

from collections.abc import Iterator

from coordinator.telemetry.influx_answers import identity_of, reason_in, results_in, write_answer
from coordinator.telemetry.influx_queries import summaries_of

STATUSES = (200, 204, 301, 400, 401, 404, 413, 422, 429, 500, 503)


def run(data: bytes) -> None:
    """Every answer means something, and what is shown of it is short and printable."""
    if not data:
        return
    status, body = STATUSES[data[0] % len(STATUSES)], data[1:]
    answer = write_answer(status, body, retry_after=body[:20].decode("latin-1"))
    for reason in (getattr(answer, "reason", ""), reason_in(body, status)):
        assert len(reason) < 1_000
        assert reason.isprintable()
    identity_of({"x-influxdb-version": body[:40].decode("latin-1")}, body)
    results = results_in(body)
    if not isinstance(results, str):
        summaries_of(results)


def seeds() -> Iterator[bytes]:
    """Answers of each family."""
    yield b'\x03{"error":"partial write: points beyond retention policy dropped=2"}'
    yield b'\x07{"code":"unprocessable entity","message":"failure writing points to database: dropped=1"}'
    yield b'\x03{"error":"partial write of line protocol occurred","data":[{"error_message":"no field"}]}'
    yield b'\x00{"version":"3.8.0","revision":"abc"}'
    yield b'\x00{"results":[{"statement_id":0,"error":"database not found: x"}]}'
    yield (
        b'\x00{"results":[{"series":[{"name":"inference","tags":{"deployment":"photos","outcome":"answered"},'
        b'"columns":["time","latency_ms"],"values":[[1795332397574756981,4.5,1,2]]}]},'
        b'{"series":[{"name":"energy","tags":{"node":"pi"},"columns":["time","mean"],"values":[[0,3.5]]}]},'
        b'{"series":[{"name":"energy","tags":{"node":"pi"},"columns":["time","last"],"values":[[1,7]]}]}]}'
    )
