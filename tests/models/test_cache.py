"""The model cache: content-addressed, never handing out what does not match, safe between threads and processes."""

import hashlib
import multiprocessing
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from models.cache import ModelCache
from models.errors import CacheError, ModelError

CONTENT = b"a model" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"another").hexdigest()


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "cache")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(CONTENT)
    return path


def put(cache: ModelCache, tmp_path: Path, content: bytes) -> str:
    path = tmp_path / f"{len(content)}.bin"
    path.write_bytes(content)
    return cache.add(path).sha256


def used_at(path: Path, seconds: int) -> None:
    os.utime(path, (seconds, seconds))


def test_an_added_model_is_found_by_its_content(cache: ModelCache, model: Path) -> None:
    """`add` names the content's sha256 and size, and `get` finds the same bytes."""
    added = cache.add(model)
    assert (added.sha256, added.size_bytes) == (SHA256, len(CONTENT))
    assert cache.get(SHA256) == added.path
    assert added.path.read_bytes() == CONTENT


def test_what_is_not_held_is_none(cache: ModelCache) -> None:
    """A model that nobody added is None, not an error."""
    assert cache.get(SHA256) is None


def test_adding_twice_leaves_one_file(cache: ModelCache, model: Path, tmp_path: Path) -> None:
    """The same content under two names is kept once, and nothing temporary stays."""
    again = tmp_path / "again.tflite"
    again.write_bytes(CONTENT)
    assert cache.add(model) == cache.add(again) == cache.add(model)
    assert [path.name for path in (tmp_path / "cache" / "models").glob("*.tflite")] == [f"{SHA256}.tflite"]


def test_a_model_survives_its_source(cache: ModelCache, model: Path) -> None:
    """Removing or replacing the file that was added leaves the cache's."""
    cache.add(model)
    model.unlink()
    model.write_bytes(b"something else")
    held = cache.get(SHA256)
    assert held is not None
    assert held.read_bytes() == CONTENT


def test_a_model_changed_in_place_is_dropped(cache: ModelCache, model: Path) -> None:
    """A file whose content no longer has its name's sha256 is removed instead of returned."""
    held = cache.add(model).path
    held.chmod(0o644)
    held.write_bytes(CONTENT + b"!")
    assert cache.get(SHA256) is None
    assert not held.exists()


def test_another_process_verifies_for_itself(cache: ModelCache, model: Path, tmp_path: Path) -> None:
    """A cache opened anew does not trust what lies in the directory."""
    held = cache.add(model).path
    status = held.stat()
    held.write_bytes(CONTENT[:-1] + b"?")
    os.utime(held, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ModelCache(tmp_path / "cache").get(SHA256) is None


def test_a_held_model_is_hashed_once(cache: ModelCache, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking a verified model up again reads no byte of it."""
    cache.add(model)
    monkeypatch.setattr("models.cache.file_sha256", lambda path: pytest.fail("hashed again"))
    assert cache.get(SHA256) is not None


def test_a_model_on_another_file_system_is_copied(
    cache: ModelCache, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no hard link can be made, the content is copied."""

    def refuse(*names: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    added = cache.add(model)
    assert added.path.read_bytes() == CONTENT
    assert added.path.stat().st_nlink == 1


@pytest.mark.parametrize("name", ["", "abc", "../../etc/passwd", SHA256.upper(), SHA256 + "\n"])
def test_a_name_that_is_no_digest_is_refused(cache: ModelCache, name: str) -> None:
    """Names come from the network; one that is no sha256 reaches no path."""
    with pytest.raises(CacheError, match="is not a sha256"):
        cache.get(name)
    with pytest.raises(CacheError, match="is not a sha256"):
        cache.segment_path(name, 0, 1)


def test_a_missing_source_is_one_sentence(cache: ModelCache, tmp_path: Path) -> None:
    """A file that is not there is an OSError of ours that names it."""
    with pytest.raises(CacheError, match=r"cannot read the model .*absent\.tflite: No such file"):
        cache.add(tmp_path / "absent.tflite")
    assert issubclass(CacheError, ModelError)
    assert issubclass(CacheError, OSError)


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """A cache whose place is taken by a file says so."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CacheError, match=r"cannot make the directory .*: Not a directory"):
        ModelCache(tmp_path / "file" / "cache")


def test_segments_have_places_of_their_own(cache: ModelCache) -> None:
    """Each model and range has its path, in a directory that exists."""
    paths = {cache.segment_path(sha, *span) for sha in (SHA256, OTHER) for span in ((0, 3), (3, 7))}
    assert len(paths) == 4
    assert all(path.parent.is_dir() and not path.exists() for path in paths)


def test_pruning_removes_the_least_recently_used(cache: ModelCache, tmp_path: Path) -> None:
    """Files leave in the order of their last use until the rest is within the bound."""
    first, second, third = (put(cache, tmp_path, bytes(size)) for size in (100, 101, 102))
    for seconds, sha256 in enumerate((second, first, third)):
        held = cache.get(sha256)
        assert held is not None
        used_at(held, 1000 + seconds)
    assert cache.prune(max_bytes=202) == 202
    assert [cache.get(sha256) is not None for sha256 in (first, second, third)] == [True, False, True]


def test_looking_up_counts_as_use(cache: ModelCache, tmp_path: Path) -> None:
    """A model that was just looked up outlives one that was not, without being hashed again for it."""
    first, second = (put(cache, tmp_path, bytes(size)) for size in (100, 101))
    for sha256 in (first, second):
        held = cache.get(sha256)
        assert held is not None
        used_at(held, 1000)
    cache.get(first)
    cache.prune(max_bytes=150)
    assert cache.get(first) is not None
    assert cache.get(second) is None


def test_pruning_spares_what_is_kept(cache: ModelCache, tmp_path: Path) -> None:
    """A kept model and its segments stay, whatever the bound."""
    kept, other = (put(cache, tmp_path, bytes(size)) for size in (100, 101))
    for sha256 in (kept, other):
        cache.segment_path(sha256, 0, 1).write_bytes(bytes(10))
    assert cache.prune(max_bytes=0, keep={kept}) == 110
    assert cache.get(kept) is not None
    assert cache.segment_path(kept, 0, 1).exists()
    assert not cache.segment_path(other, 0, 1).exists()


def test_pruning_spares_a_download_in_progress(cache: ModelCache) -> None:
    """An unfinished download is removed only when nobody is at it."""
    with cache.partial(SHA256) as partial:
        partial.write(bytes(50))
        assert cache.prune(max_bytes=0) == 50
    assert cache.prune(max_bytes=0) == 0


def test_pruning_clears_what_killed_processes_left(cache: ModelCache, tmp_path: Path, monkeypatch: object) -> None:
    """A temporary file of an hour ago goes; one of now stays, for someone may be writing it."""
    left = tmp_path / "cache" / "models" / ".left.tmp"
    left.write_bytes(bytes(5))
    cache.prune(max_bytes=1000)
    assert left.exists()
    now = time.time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.cache.time.time", lambda: now + 7200)
        cache.prune(max_bytes=1000)
    assert not left.exists()


def test_taking_in_a_file_checks_it(cache: ModelCache, tmp_path: Path) -> None:
    """A file is moved in only as what it is."""
    path = tmp_path / "cache" / "download"
    path.write_bytes(CONTENT)
    assert cache.take(path, OTHER) is None
    taken = cache.take(path, SHA256)
    assert taken == cache.get(SHA256)
    assert not path.exists()


def test_one_download_at_a_time(cache: ModelCache) -> None:
    """A second thread waits for the unfinished download until the first lets go, and then sees its bytes."""
    seen: list[int] = []

    def second() -> None:
        with cache.partial(SHA256) as partial:
            seen.append(partial.seek(0, 2))

    thread = threading.Thread(target=second)
    with cache.partial(SHA256) as partial:
        thread.start()
        partial.write(b"12345")
        assert not seen
    thread.join(10)
    assert seen == [5]


def _add_often(directory: Path, source: Path, failures: "multiprocessing.Queue[str]") -> None:
    try:
        cache = ModelCache(directory)
        for _ in range(50):
            added = cache.add(source)
            held = cache.get(added.sha256)
            if held is not None and held.stat(follow_symlinks=False).st_size != added.size_bytes:
                failures.put("a wrong size")
            cache.prune(max_bytes=0)
    except FileNotFoundError:
        pass  # pruned by the other process between `get` and `stat`
    except Exception as error:  # whatever it is, the parent reports it
        failures.put(repr(error))


def test_processes_share_a_directory(model: Path, tmp_path: Path) -> None:
    """Processes that add and prune the same model in the same directory never fail nor see half a file."""
    context = multiprocessing.get_context("spawn")
    failures: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=_add_often, args=(tmp_path / "cache", model, failures)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert failures.empty()


def test_the_cached_model_keeps_the_mode_of_a_shared_file(cache: ModelCache, model: Path) -> None:
    """Other users' processes may read the cache as they may read the model."""
    model.chmod(0o644)
    assert stat.S_IMODE(cache.add(model).path.stat().st_mode) == 0o644


def test_a_model_that_an_earlier_run_has_looked_through_is_not_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it lies as it did: hashing takes seconds for a large model."""
    model = tmp_path / "m.tflite"
    model.write_bytes(b"a model")
    added = ModelCache(tmp_path / "cache").add(model)
    hashed: list[Path] = []

    def counted(path: Path) -> str:
        hashed.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr("models.cache.file_sha256", counted)
    assert ModelCache(tmp_path / "cache").get(added.sha256) == added.path
    assert hashed == []
    added.path.with_suffix(".record").write_text("[")
    assert ModelCache(tmp_path / "cache").get(added.sha256) == added.path
    assert ModelCache(tmp_path / "cache").get(added.sha256) == added.path
    assert hashed == [added.path]
    added.path.write_bytes(b"another")
    assert ModelCache(tmp_path / "cache").get(added.sha256) is None


def test_a_model_that_is_added_again_is_not_hashed_again(
    cache: ModelCache, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator adds its models at each start; one that was replaced meanwhile is another."""
    first = cache.add(model)
    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
        assert ModelCache(tmp_path / "cache").add(model) == first
    replacement = tmp_path / "replacement"
    replacement.write_bytes(CONTENT[:-1] + b"?")
    replacement.replace(model)
    assert ModelCache(tmp_path / "cache").add(model).sha256 != first.sha256
