"""Profiles of models: the experiments' files, ours and Scission's, and what an agent keeps of a measurement."""

import contextlib
from collections.abc import Iterator

import msgspec
from scratch_file import scratch, written

from edge_agent.profiler import MeasuredProfile, ProfileStore
from testbed.errors import ExperimentError
from testbed.machines import MACHINES
from testbed.paper.model_profile import ModelProfile, NodeTimes
from testbed.paper.profiled_model import ProfiledModel
from testbed.paper.profiles import read_profiles, save_profiles
from testbed.paper.scission import DEVICES

SHA256 = "a" * 64
MEASURED = MeasuredProfile(
    op_ms=(1.0, 2.0),
    op_ms_std=(0.1, 0.2),
    unsplit_ms=3.0,
    unsplit_ms_std=0.1,
    memory_mb=5.0,
    runtime="none 1",
    threads=1,
)


def run(data: bytes) -> None:
    """Profiles that make a problem, or a sentence."""
    with contextlib.suppress(ExperimentError):
        read_profiles(written("profiles.json", data))
    directory = scratch("kept.json").parent / "kept"
    store = ProfileStore(directory)
    store.save(SHA256, 1, by_cpu_time=True, profile=MEASURED)
    [kept] = directory.iterdir()
    kept.write_bytes(data)
    loaded = store.load(SHA256, 1, by_cpu_time=True)
    if loaded is not None:
        msgspec.json.encode(loaded.stretched(2.0))


def seeds() -> Iterator[bytes]:
    """A file of each kind."""
    profile = ModelProfile(
        model="m",
        cut_bytes=(4.0, 2.0, 1.0),
        weight_mb=(1.0, 1.0),
        forbidden_cuts=(),
        nodes=tuple(NodeTimes(node=machine.node, op_ms=(1.0, 2.0), op_ms_std=(0.0, 0.0)) for machine in MACHINES),
        source="made up",
    )
    save_profiles(scratch("seed.json"), (ProfiledModel(profile=profile, published_split=(), remarks=()),))
    yield scratch("seed.json").read_bytes()
    blocks = [
        {"input_layer": layer, "output_layer": layer + 1, "seconds": 0.1, "output_bytes": 100} for layer in range(2)
    ]
    yield msgspec.json.encode({device: {"net": blocks} for device in DEVICES.values()})
    yield msgspec.json.encode(MEASURED)
