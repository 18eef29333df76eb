"""Settings files: the first byte picks whose."""

from collections.abc import Iterator
from pathlib import Path

from scratch_file import written

from coordinator.configuration import CoordinatorSettings
from edge_agent.configuration import AgentSettings
from splitrail.settings import SettingsError, load_settings

TYPES = (AgentSettings, CoordinatorSettings)
AGENT = b"""site: home
node: pi
tier: edge
broker: {host: broker.local, port: 1883, username: pi, password_file: pi.password}
cache: ~/.cache/splitrail
memory_mb: 512
tensors:
  listen: tcp://0.0.0.0:5757
  peers:
    pc: tcp://10.0.0.1:5757
power: {idle_w: 2.7, busy_w: 6.4}
energy: {meter: auto, interval_s: 1.5}
emulation: {compute_factor: 3.0, description: "a slower machine"}
"""


def run(data: bytes) -> None:
    """Settings of the declared types, or sentences with their places."""
    if not data:
        return
    path = written("settings.yaml", data[1:])
    try:
        loaded = load_settings(path, TYPES[data[0] % len(TYPES)])
    except SettingsError as error:
        assert error.problems
        assert all(problem.line >= 1 and problem.column >= 1 for problem in error.problems)
        assert all(str(problem).isprintable() for problem in error.problems)
        return
    assert isinstance(loaded, TYPES)


def seeds() -> Iterator[bytes]:
    """The example that ships, and an agent's with most of its keys."""
    yield b"\0" + AGENT
    yield b"\1" + (Path(__file__).parents[2] / "docs" / "coordinator.yaml").read_bytes()
    yield b"\0site: {a: [1, 2, {b: c}]}\nnode: &x 1\ntier: *x\n"
