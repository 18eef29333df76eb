"""The file of a node's tensor key: made once, whole, and for its owner alone."""

import base64
import ssl
import threading
from pathlib import Path

import msgspec
import pytest

from broker.messages import TensorKey
from edge_agent.configuration import AgentSettings, TensorSettings
from edge_agent.errors import NodeKeyError
from edge_agent.keys import NodeKey, load_or_make_key, make_key, tensor_key


def test_a_key_is_made_at_the_first_start_and_kept(tmp_path: Path) -> None:
    """The second start finds the first one's key; nobody else may read it, and nothing else is left there."""
    path = tmp_path / "keys" / "pi.pem"
    first = load_or_make_key(path)
    assert load_or_make_key(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert ssl.DER_cert_to_PEM_cert(base64.b64decode(first.public)) in path.read_text()
    msgspec.convert(first.public, TensorKey)


def test_two_starts_at_once_agree_on_one_key(tmp_path: Path) -> None:
    """Whoever comes second takes the first one's."""
    keys: list[NodeKey] = []
    threads = [threading.Thread(target=lambda: keys.append(load_or_make_key(tmp_path / "pi.pem"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 16
    assert len(set(keys)) == 1


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """As ssh does, with the command that mends it."""
    path = tmp_path / "pi.pem"
    load_or_make_key(path)
    path.chmod(0o640)
    with pytest.raises(NodeKeyError, match=r"others may read the tensor key \(mode 0640\): run chmod 600 on it"):
        load_or_make_key(path)


WHOLE, OTHER = make_key().pem, make_key().pem
BOUNDARY = WHOLE.index("-----BEGIN CERTIFICATE")
MALFORMED = {
    "empty": b"",
    "noise": b"noise",
    "secret alone": WHOLE[:BOUNDARY].encode(),
    "certificate alone": WHOLE[BOUNDARY:].encode(),
    "of two nodes": (WHOLE[:BOUNDARY] + OTHER[BOUNDARY:]).encode(),
    "damaged": WHOLE.replace("MII", "MIJ").encode(),
    "not text": b"\xff" * 3_000,
    "too long": WHOLE.encode() + b"\n" * 5_000,
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """It is not replaced either: the site may have announced it."""
    path = tmp_path / "pi.pem"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(NodeKeyError, match="is not a tensor key: remove it, and the agent makes a new one"):
        load_or_make_key(path)
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A directory in its place, or a file in the place of its directory."""
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "pi.pem"):
        with pytest.raises(NodeKeyError, match=f"{path.name}: the tensor key cannot be read or made there"):
            load_or_make_key(path)


def test_the_secret_is_in_no_log(tmp_path: Path) -> None:
    """The words of a key leave its secret out."""
    key = make_key()
    assert "PRIVATE" in key.pem
    assert "PRIVATE" not in repr(key)


def test_a_nodes_key_lies_in_its_cache_or_where_it_is_told(tmp_path: Path) -> None:
    """And a node whose tensors run open has none."""
    settings = AgentSettings(site="home", node="pi", tier="edge", cache=tmp_path)
    key = tensor_key(settings)
    assert key == load_or_make_key(tmp_path / "keys" / "pi.pem")
    told = TensorSettings(key_file=tmp_path / "elsewhere")
    assert tensor_key(AgentSettings(site="home", node="pi", tier="edge", cache=tmp_path, tensors=told)) != key
    assert (tmp_path / "elsewhere").exists()
    is_open = TensorSettings(security="open")
    assert tensor_key(AgentSettings(site="home", node="pi", tier="edge", cache=tmp_path, tensors=is_open)) is None
