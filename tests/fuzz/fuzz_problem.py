"""Planning problems and fleets, planned with a small search."""

import math
from collections.abc import Iterator

import msgspec

from coordinator import exact
from coordinator.errors import CoordinatorError, ProblemError
from coordinator.fleet_file import is_fleet, parse_fleet
from coordinator.problem_file import parse_problem

MOST_LABELS = 300
MOST_OPS = 40
PROBLEM = {
    "model": {"name": "m", "bytes": [600e3, 100e3, 50e3, 4e3], "weight_mb": [1, 2, 3], "forbidden_cuts": [2]},
    "origin": "pi",
    "nodes": [
        {
            "name": "pi",
            "tier": "edge",
            "op_ms": [40, 30, 20],
            "op_ms_std": [1, 1, 1],
            "load": 0.2,
            "memory_mb": 100,
            "idle_w": 2.7,
            "busy_w": 6.4,
            "tx_j_per_mb": 0.14,
            "rx_j_per_mb": 0.1,
        },
        {"name": "pc", "op_ms": [4, 3, 2], "memory_mb": None},
    ],
    "links": [
        {"src": "pi", "dst": "pc", "rtt_ms": 3, "mbps": 40, "rtt_ms_std": 1, "mbps_std": 4},
        {"src": "pc", "dst": "pi", "rtt_ms": 3, "mbps": 40},
    ],
    "codecs": [{"name": "raw"}, {"name": "half", "ratio": 0.5, "encode_ms_per_mb": 1, "decode_ms_per_mb": 1}],
    "objective": {"latency": 1, "origin_energy": 0.5, "total_energy": 0.1, "throughput": 0},
    "deadline_ms": 500,
    "risk": 0.95,
}


def run(data: bytes) -> None:
    """A problem whose plan has finite figures, or a sentence that says why there is none."""
    try:
        if is_fleet(data):
            parse_fleet(data)
            return
        problem = parse_problem(data)
    except ProblemError as error:
        assert str(error).isprintable()
        return
    if problem.model.ops > MOST_OPS or len(problem.nodes) > 6:
        return
    try:
        plan = exact.plan(problem, most_labels=MOST_LABELS)
    except CoordinatorError as error:
        assert str(error).isprintable()
        return
    score = plan.score
    figures = (score.latency_ms, score.origin_energy_j, score.total_energy_j, score.objective)
    assert all(map(math.isfinite, figures)), figures
    assert plan.stages[0].start == 0
    assert plan.stages[-1].stop == problem.model.ops


def seeds() -> Iterator[bytes]:
    """A problem with every field, one with as few as can be, and a fleet of both."""
    small = {
        "model": {"bytes": [1e6, 1e3]},
        "origin": "pi",
        "nodes": [{"name": "pi", "op_ms": [5.0]}, {"name": "pc", "op_ms": [1.0]}],
        "links": [{"src": "pi", "dst": "pc", "rtt_ms": 1, "mbps": 10}],
    }
    yield msgspec.json.encode(PROBLEM)
    yield msgspec.json.encode(small)
    members = [{"name": "a", "requests_per_s": 2.5, "problem": small}]
    yield msgspec.json.encode({"deployments": members})
