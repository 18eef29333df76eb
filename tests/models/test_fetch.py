"""Fetching a model: resumed after a break, verified, bounded by what was promised, and clear about what went wrong."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.cache import ModelCache
from models.errors import FetchError
from models.fetch import Retries, fetch_model

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)
QUICK = Retries(attempts=4, first_wait_s=0.001, longest_wait_s=0.01)

Answer = Callable[["Handler", int], None]


@dataclass
class Origin:
    """An HTTP server on loopback whose answers a test chooses; `requests` are the ranges that were asked for."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    requests: list[str | None] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """Gives the test's next answer, the last one again and again."""

    origin: Origin

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.origin.requests.append(asked)
        answers = self.origin.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        match = re.fullmatch(r"bytes=(\d+)-", asked or "")
        answer(self, int(match[1]) if match else 0)

    def log_message(self, format: str, *arguments: object) -> None: ...  # noqa: A002  # the signature is the library's


@pytest.fixture
def origin() -> Iterator[Origin]:
    handler = type("OwnHandler", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    origin = Origin(f"http://127.0.0.1:{server.server_port}/model")
    handler.origin = origin  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield origin
    origin.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "cache")


def send(handler: Handler, status: int, body: bytes, **headers: object) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": len(body), **headers}.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def whole(handler: Handler, offset: int) -> None:
    """A server that knows ranges."""
    if offset:
        send(handler, 206, CONTENT[offset:], Content_Range=f"bytes {offset}-{SIZE - 1}/{SIZE}")
    else:
        send(handler, 200, CONTENT)


def without_ranges(handler: Handler, offset: int) -> None:
    send(handler, 200, CONTENT)


def breaking_off(after: int, known_ranges: bool = True) -> Answer:
    """A server that drops the connection after so many bytes."""

    def answer(handler: Handler, offset: int) -> None:
        start = offset if known_ranges else 0
        body = CONTENT[start : start + after]
        partly = {"Content_Range": f"bytes {start}-{SIZE - 1}/{SIZE}"} if start else {}
        send(handler, 206 if start else 200, body, Content_Length=SIZE - start, **partly)

    return answer


def stalling(handler: Handler, offset: int) -> None:
    """A server that sends a little and then nothing more."""
    send(handler, 200, CONTENT[:1000], Content_Length=SIZE)
    handler.wfile.flush()
    handler.origin.released.wait(20)


def lying(handler: Handler, offset: int) -> None:
    send(handler, 200, bytes(SIZE))


def endless(handler: Handler, offset: int) -> None:
    """A body without an announced length, longer than was promised."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(CONTENT + b"and more")


def refusing(status: int) -> Answer:
    return lambda handler, offset: send(handler, status, b"")


def redirecting(target: str) -> Answer:
    return lambda handler, offset: send(handler, 302, b"", Location=target)


def fetch(origin: Origin, cache: ModelCache, *answers: Answer, **options: object) -> Path:
    origin.answers = list(answers)
    options.setdefault("retries", QUICK)
    return fetch_model(origin.url, SHA256, SIZE, cache, **options)  # type: ignore[arg-type]


def partial_bytes(tmp_path: Path) -> int:
    return sum(path.stat().st_size for path in (tmp_path / "cache" / "partial").iterdir())


def test_a_model_is_fetched_once(origin: Origin, cache: ModelCache, tmp_path: Path) -> None:
    """The model lands in the cache, progress runs up to its size, and a second call asks nobody."""
    steps: list[tuple[int, int]] = []
    path = fetch(origin, cache, whole, progress=lambda done, size: steps.append((done, size)))
    assert path.read_bytes() == CONTENT
    assert steps[-1] == (SIZE, SIZE)
    assert steps == sorted(steps)
    assert fetch(origin, cache, whole) == path
    assert origin.requests == [None]
    assert list((tmp_path / "cache" / "partial").iterdir()) == []


def test_a_broken_download_is_resumed(origin: Origin, cache: ModelCache) -> None:
    """After the connection drops, only what is missing is asked for."""
    path = fetch(origin, cache, breaking_off(100_000), breaking_off(50_000), whole)
    assert path.read_bytes() == CONTENT
    assert origin.requests == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_resumes(origin: Origin, cache: ModelCache) -> None:
    """What arrived before a download was given up is not fetched again."""
    with pytest.raises(FetchError, match="100000 of 512000 bytes are kept"):
        fetch(origin, cache, breaking_off(100_000), refusing(503))
    origin.requests.clear()
    assert fetch(origin, cache, whole).read_bytes() == CONTENT
    assert origin.requests == ["bytes=100000-"]


def test_a_server_without_ranges_starts_again(origin: Origin, cache: ModelCache) -> None:
    """A whole answer to a request for the rest replaces what had arrived."""
    path = fetch(origin, cache, breaking_off(100_000), without_ranges)
    assert path.read_bytes() == CONTENT


def test_a_complete_partial_needs_no_request(origin: Origin, cache: ModelCache) -> None:
    """A download that ended just before it was verified is verified, not fetched."""
    with cache.partial(SHA256) as partial:
        partial.write(CONTENT)
    assert fetch(origin, cache, whole).read_bytes() == CONTENT
    assert origin.requests == []


@pytest.mark.parametrize("left", [b"rubbish", bytes(SIZE), bytes(SIZE + 1)])
def test_a_spoilt_partial_is_replaced(origin: Origin, cache: ModelCache, left: bytes) -> None:
    """What an earlier download left is not believed: where the whole does not fit, it is fetched from the start."""
    with cache.partial(SHA256) as partial:
        partial.write(left)
    assert fetch(origin, cache, whole).read_bytes() == CONTENT
    assert origin.requests[-1] is None


def test_a_refused_range_starts_again(origin: Origin, cache: ModelCache) -> None:
    """A server that answers 416 is asked for everything."""
    assert fetch(origin, cache, breaking_off(1000), refusing(416), whole).read_bytes() == CONTENT
    assert origin.requests == [None, "bytes=1000-", None]


def test_a_wrong_range_is_not_appended(origin: Origin, cache: ModelCache) -> None:
    """A part that starts elsewhere than was asked is thrown away."""

    def elsewhere(handler: Handler, offset: int) -> None:
        send(handler, 206, CONTENT[5:], Content_Range=f"bytes 5-{SIZE - 1}/{SIZE}")

    assert fetch(origin, cache, breaking_off(1000), elsewhere, whole).read_bytes() == CONTENT


def test_false_content_is_an_error_and_leaves_nothing(origin: Origin, cache: ModelCache, tmp_path: Path) -> None:
    """Bytes of another sha256 never reach the cache, and are not kept."""
    with pytest.raises(FetchError, match="does not have the sha256") as caught:
        fetch(origin, cache, lying)
    assert caught.value.url == origin.url
    assert isinstance(caught.value, OSError)
    assert cache.get(SHA256) is None
    assert partial_bytes(tmp_path) == 0
    assert len(origin.requests) == 1


def test_a_wrong_announced_size_is_refused_at_once(origin: Origin, cache: ModelCache, tmp_path: Path) -> None:
    """A server that has another size than was promised is not read."""
    with pytest.raises(FetchError, match="the server has 3 bytes, where 512000 were promised"):
        fetch(origin, cache, lambda handler, offset: send(handler, 200, b"abc"))
    assert partial_bytes(tmp_path) == 0


def test_a_body_that_is_too_long_is_cut_off(origin: Origin, cache: ModelCache, tmp_path: Path) -> None:
    """No byte beyond the promised size is written, and what came is thrown away."""
    with pytest.raises(FetchError, match="sends more than the 512000 bytes promised"):
        fetch(origin, cache, endless)
    assert partial_bytes(tmp_path) == 0


def test_a_stalled_server_is_left_and_resumed(origin: Origin, cache: ModelCache) -> None:
    """A server that goes silent is given up after the timeout, and the next attempt goes on."""
    path = fetch(origin, cache, stalling, whole, timeout_s=0.3)
    assert path.read_bytes() == CONTENT
    assert origin.requests == [None, "bytes=1000-"]


def test_a_silent_server_is_an_error(origin: Origin, cache: ModelCache) -> None:
    """A server that never answers is an error that says so, after a bounded number of attempts."""
    with pytest.raises(FetchError, match="did not answer in time, at the last of 2 attempts"):
        fetch(
            origin,
            cache,
            lambda handler, offset: handler.origin.released.wait(20) and None,  # type: ignore[func-returns-value]
            timeout_s=0.2,
            retries=Retries(attempts=2, first_wait_s=0.001),
        )


@pytest.mark.parametrize("status", [400, 403, 404, 410, 501])
def test_a_refusal_is_final(origin: Origin, cache: ModelCache, status: int) -> None:
    """An answer that will not change is not asked for again."""
    with pytest.raises(FetchError, match=f"the server answered {status}"):
        fetch(origin, cache, refusing(status))
    assert len(origin.requests) == 1


def test_trouble_is_tried_again_within_bounds(origin: Origin, cache: ModelCache) -> None:
    """A server in trouble is asked again, as often as was said and no more."""
    assert fetch(origin, cache, refusing(503), refusing(500), whole).read_bytes() == CONTENT
    (cache.get(SHA256) or Path()).unlink()
    origin.requests.clear()
    with pytest.raises(FetchError, match=r"answered 503 .*at the last of 4 attempts"):
        fetch(origin, cache, refusing(503))
    assert len(origin.requests) == 4


def test_progress_renews_the_attempts(origin: Origin, cache: ModelCache) -> None:
    """A link that breaks often gets the model all the same, as long as every attempt brings something."""
    retries = Retries(attempts=2, first_wait_s=0.001, renewing_bytes=50_000)
    assert fetch(origin, cache, breaking_off(50_000), retries=retries).read_bytes() == CONTENT
    assert len(origin.requests) == 11


def test_nobody_there_is_one_sentence(cache: ModelCache) -> None:
    """A port where nobody listens is an error that names the address and the reason."""
    with pytest.raises(FetchError, match=r"http://127\.0\.0\.1:9/model: connection refused, at the last of 4 attempts"):
        fetch_model("http://127.0.0.1:9/model", SHA256, SIZE, cache, retries=QUICK)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://host/x", "model.tflite", "http://", "http://h:x/", "http://[::1"]
)
def test_only_http_addresses_are_opened(cache: ModelCache, url: str) -> None:
    """An address of another scheme, or of none, is refused before anything is opened."""
    with pytest.raises(FetchError, match="must begin with http:// or https://"):
        fetch_model(url, SHA256, SIZE, cache)


def test_a_redirect_to_http_is_followed(origin: Origin, cache: ModelCache) -> None:
    """A server may send us to another address of the same kind."""
    assert fetch(origin, cache, redirecting(origin.url + "2"), whole).read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_a_redirect_to_another_scheme_is_refused(origin: Origin, cache: ModelCache, target: str) -> None:
    """A server cannot make us open a file or another kind of address."""
    with pytest.raises(FetchError, match=r"(?i)redirect"):
        fetch(origin, cache, redirecting(target))


def test_progress_may_stop_the_download(origin: Origin, cache: ModelCache, tmp_path: Path) -> None:
    """What the caller raises comes out as it is, and what has arrived stays for later."""

    class StoppedError(Exception):
        pass

    def stop(done: int, size: int) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        fetch(origin, cache, whole, progress=stop)
    assert 0 < partial_bytes(tmp_path) <= SIZE


def test_two_at_once_fetch_once(origin: Origin, cache: ModelCache) -> None:
    """Threads that want the same model share one download."""
    origin.answers = [whole]
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch_model(origin.url, SHA256, SIZE, cache))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert origin.requests == [None]


def test_waits_are_random_and_bounded() -> None:
    """The wait lies between nothing and a doubling bound that ends at the longest."""
    retries = Retries(first_wait_s=1.0, longest_wait_s=5.0)
    for failures, bound in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (50, 5.0)):
        waits = [retries.wait_s(failures) for _ in range(50)]
        assert 0.0 <= min(waits) <= max(waits) <= bound
        assert len(set(waits)) > 1
