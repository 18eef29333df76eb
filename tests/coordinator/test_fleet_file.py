"""Fleet files: what is read, and what is said of one that does not fit."""

import json
from typing import Any

import pytest

from coordinator import fleet_file
from coordinator.errors import ProblemError
from coordinator.fleet_file import is_fleet, parse_fleet

Json = Any

PROBLEM: Json = {
    "model": {"bytes": [1000, 100, 10]},
    "origin": "pi",
    "nodes": [{"name": "pi", "op_ms": [5, 6]}, {"name": "fog", "op_ms": [1, 2], "load": 0.25}],
    "links": [{"src": "pi", "dst": "fog", "rtt_ms": 2, "mbps": 50}],
}


def deployment(name: str = "a", **changed: Json) -> Json:
    """A deployment of a fleet."""
    return {"name": name, "requests_per_s": 2.0, "problem": PROBLEM, **changed}


def parsed(*deployments: Json) -> Json:
    """What becomes of a fleet of these."""
    return parse_fleet(json.dumps({"deployments": deployments}).encode())


def test_a_fleet_is_read() -> None:
    """Members come in the file's order, with their problems."""
    one, other = parsed(deployment("a"), deployment("b", requests_per_s=0))
    assert (one.name, one.requests_per_s, one.problem.nodes[1].load) == ("a", 2.0, 0.25)
    assert (other.name, other.requests_per_s) == ("b", 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the fleet is not JSON: Input data was truncated"),
        (b'{"deployments": [', "the fleet is not JSON"),
        (b"[]", "must be an object with the field 'deployments'"),
        (b"{}", "lacks the field 'deployments'"),
        (b'{"deployments": [], "nodes": []}', "unknown field 'nodes'"),
        (b'{"deployments": {}}', "deployments must be a list"),
        (b'{"deployments": []}', "deployments has 0 entries, it must have 1 to"),
        (b'{"deployments": [3]}', r"deployments\[0\] must be an object"),
        (b"{3}", "the fleet is not JSON: .*byte 1"),
        (b"\xff", "the fleet is not JSON"),
    ],
)
def test_what_is_no_fleet_is_told_in_one_line(text: bytes, message: str) -> None:
    """The sentence says what is wrong and where."""
    with pytest.raises(ProblemError, match=message) as error:
        parse_fleet(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": 3}, r"deployments\[1\].name must be a text"),
        ({"name": "two\nlines"}, r"deployments\[1\].name is .* it must have no line breaks"),
        ({"name": "a"}, r"deployments\[1\].name is 'a', which deployments\[0\] has already"),
        ({"requests_per_s": "2"}, r"deployments\[1\].requests_per_s must be a number"),
        ({"requests_per_s": -1}, "requests_per_s of 'b' is -1, it must be 0 to"),
        ({"rate": 2}, r"deployments\[1\] has an unknown field 'rate'; its fields are name, requests_per_s, problem"),
        ({"problem": {**PROBLEM, "origin": "x"}}, r"deployments\[1\].problem: origin is 'x'"),
        ({"problem": {**PROBLEM, "nodes": PROBLEM["nodes"][:1]}}, r"deployments\[1\].problem: links\[0\].dst is 'fog'"),
        (
            {"problem": {**PROBLEM, "nodes": [PROBLEM["nodes"][0], {"name": "fog", "op_ms": [1, 2]}]}},
            "node 'fog' has the load 0.25 in deployment 'a' and 0 in 'b', but it is one machine",
        ),
        (
            {"problem": {**PROBLEM, "nodes": [PROBLEM["nodes"][0], {**PROBLEM["nodes"][1], "memory_mb": 3}]}},
            "node 'fog' has the memory_mb null in deployment 'a' and 3 in 'b', but it is one machine",
        ),
    ],
)
def test_a_deployment_that_does_not_fit_is_told_with_its_place(changed: Json, message: str) -> None:
    """So are those that contradict each other."""
    with pytest.raises(ProblemError, match=message) as error:
        parsed(deployment("a"), deployment(**{"name": "b", **changed}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", ["name", "requests_per_s", "problem"])
def test_every_field_is_required(field: str) -> None:
    """A deployment without one of its fields says which."""
    with pytest.raises(ProblemError, match=rf"deployments\[0\] lacks the field '{field}'"):
        parsed({key: value for key, value in deployment().items() if key != field})


def test_a_fleet_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says how long it may be."""
    monkeypatch.setattr(fleet_file, "MOST_BYTES", 1)
    with pytest.raises(ProblemError, match=r"the fleet has more than 0 MB, the most that it may have"):
        parsed(deployment())


def test_a_fleet_is_told_from_a_problem() -> None:
    """By its deployments; what is no JSON object is neither."""
    assert is_fleet(b'{"deployments": []}')
    assert not is_fleet(json.dumps(PROBLEM).encode())
    assert not is_fleet(b"[")
    assert not is_fleet(b"\xff")
