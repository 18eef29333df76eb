"""Everything that Splitrail parses from a file or the network, one fuzz target for each: by name.

A target takes bytes and returns if all went as it should: the input was taken, or refused with a sentence of ours.
"""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

FOUND = Path(__file__).parent / "found"
"""Inputs that once broke something, a directory for each target."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a target is, and what of ours it runs through (these packages are instrumented for coverage)."""

    module: str
    packages: tuple[str, ...]
    summary: str

    def load(self) -> "Loaded":
        """Import what it needs."""
        module = importlib.import_module(self.module)
        return Loaded(module.run, module.seeds)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A target ready to run; its seeds are valid inputs, and nearly valid ones."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]


TARGETS = {
    "mqtt": Target("fuzz_mqtt", ("broker",), "payloads under any topic, and topics themselves"),
    "site": Target("fuzz_site", ("broker", "coordinator"), "valid messages in any order: apply, decide, report"),
    "points": Target("fuzz_points", ("broker", "coordinator"), "valid messages as points, in lines and in views"),
    "wire": Target("fuzz_wire", ("edge_agent",), "messages of the tensor plane"),
    "chunks": Target("fuzz_chunks", ("edge_agent",), "what peers say by the broker"),
    "plug": Target("fuzz_plug", ("edge_agent",), "messages of smart plugs"),
    "inbox": Target("fuzz_inbox", ("edge_agent",), "streams of many peers to one agent"),
    "tflite": Target("fuzz_tflite", ("models",), "model files of any bytes"),
    "model": Target("fuzz_model", ("models",), "valid models with wrong fields: read, cut, slice"),
    "runtime": Target("fuzz_runtime", ("models",), "the same in the real interpreter, in a process of its own"),
    "settings": Target("fuzz_settings", ("splitrail", "edge_agent", "coordinator"), "agent.yaml and coordinator.yaml"),
    "trace": Target("fuzz_trace", ("testbed",), "bandwidth traces"),
    "problem": Target("fuzz_problem", ("coordinator",), "planning problems and fleets, and planning them"),
    "profiles": Target("fuzz_profiles", ("testbed", "edge_agent"), "profiles of models, ours and Scission's"),
    "results": Target("fuzz_results", ("testbed",), "results of experiments that are resumed"),
    "site-files": Target("fuzz_site_files", ("broker", "edge_agent"), "site.json, tensor keys, loads and clocks"),
    "database": Target("fuzz_database", ("coordinator", "edge_agent"), "telemetry stores and spools"),
    "influx": Target("fuzz_influx", ("coordinator",), "answers of an InfluxDB"),
    "image": Target("fuzz_image", ("models",), "images of any format"),
    "http": Target("fuzz_http", ("coordinator",), "requests to the coordinator's HTTP interface"),
    "report": Target("fuzz_report", ("splitrail", "coordinator"), "status reports, as they are drawn"),
}
