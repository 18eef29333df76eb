"""What a planning problem takes for granted, and what it refuses with which sentence."""

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_problems import problems

from coordinator.errors import ProblemError
from coordinator.problem import Codec, Objective, Problem
from coordinator.problem_file import parse_problem

Json = Any

WHOLE: Json = {
    "model": {"name": "m", "bytes": [4, 3, 2, 1], "weight_mb": [1, 2, 3]},
    "origin": "pi",
    "nodes": [
        {
            "name": "pi",
            "tier": "edge",
            "op_ms": [1, 2, 3],
            "load": 0.5,
            "memory_mb": 10,
            "idle_w": 2.7,
            "busy_w": 6.4,
            "tx_j_per_mb": 0.14,
            "rx_j_per_mb": 0.1,
        },
        {"name": "pc", "op_ms": [1, 1, 1]},
    ],
    "links": [
        {"src": "pi", "dst": "pc", "rtt_ms": 3.0, "mbps": 40.0},
        {"src": "pc", "dst": "pi", "rtt_ms": 3.0, "mbps": 40.0},
    ],
    "codecs": [{"name": "raw"}, {"name": "half", "ratio": 0.5, "encode_ms_per_mb": 1.0, "decode_ms_per_mb": 1.0}],
    "objective": {"latency": 1.0, "origin_energy": 0.5, "total_energy": 0.0},
    "deadline_ms": 100,
}


def changed(place: str, value: Any) -> bytes:
    """The whole problem with one place changed, such as `nodes.0.load`."""
    problem = copy.deepcopy(WHOLE)
    part = problem
    *way, last = (int(key) if key.isdigit() else key for key in place.split("."))
    for key in way:
        part = part[key]
    part[last] = value
    return json.dumps(problem).encode()


def test_a_problem_needs_little() -> None:
    """Left out: no load, memory bound, radio energy, weights, spread, deadline or risk; raw alone, latency alone."""
    problem = parse_problem(b'{"model": {"bytes": [4, 1]}, "origin": "pi", "nodes": [{"name": "pi", "op_ms": [2]}]}')
    node = problem.nodes[0]
    assert (node.load, node.memory_mb, node.idle_w, node.busy_w, node.tx_j_per_mb, node.rx_j_per_mb) == (
        (0.0, None, 0.0, 0.0, 0.0, 0.0)
    )
    assert problem.codecs == (Codec(name="raw", ratio=1.0, encode_ms_per_mb=0.0, decode_ms_per_mb=0.0),)
    assert problem.objective == Objective(latency=1.0, origin_energy=0.0, total_energy=0.0)
    assert (problem.links, problem.deadline_ms, problem.model.weight_mb) == ((), None, ())
    assert (node.op_ms_std, problem.risk, problem.objective.throughput) == ((), None, 0.0)


def test_a_weight_that_an_objective_leaves_out_is_0() -> None:
    """An objective that names energy alone does not weigh latency."""
    assert parse_problem(changed("objective", {"origin_energy": 1})).objective.latency == 0.0


@given(st.one_of(problems(), problems(spread=True, throughput=True)))
def test_a_problem_survives_the_way_to_json_and_back(problem: Json) -> None:
    """Encoding a problem and reading it again gives the same value."""
    parsed = parse_problem(json.dumps(problem).encode())
    assert parse_problem(msgspec.json.encode(parsed)) == parsed


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("nodes.1.op_ms", [1, 2], "nodes[1].op_ms has 2 numbers, the model has 3 ops"),
        ("nodes.0.op_ms.2", -2, "nodes[0].op_ms[2] is -2, it must be 0 or more"),
        ("nodes.0.op_ms.2", 1e16, "nodes[0].op_ms[2] is 1e+16, it must be at most 1e+15"),
        ("nodes.0.op_ms", [0, 0, 0], "nodes[0].op_ms adds up to 0 ms, but the objective is relative to running "),
        ("nodes.0.load", 1, "nodes[0].load is 1, it must be at least 0 and less than 1"),
        ("nodes.0.load", -0.1, "nodes[0].load is -0.1, it must be at least 0 and less than 1"),
        ("nodes.0.memory_mb", -1, "nodes[0].memory_mb is -1, it must be 0 or more"),
        ("nodes.0.memory_mb", "4 GB", "nodes[0].memory_mb is a text, it must be a number or null"),
        ("nodes.0.idle_w", -1, "nodes[0].idle_w is -1, it must be 0 or more"),
        ("nodes.0.tier", "mist", "nodes[0].tier is 'mist', it must be 'edge', 'fog' or 'cloud'"),
        ("nodes.1.name", "pi", "nodes[1].name is 'pi', which nodes[0] has already"),
        ("nodes.1.name", "", "nodes[1].name is empty"),
        ("nodes.1.name", "a\nb", "nodes[1].name is 'a\\nb', it must have no line breaks or control characters"),
        ("model.name", "\x1b[1m", "model.name is '\\x1b[1m', it must have no line breaks or control characters"),
        ("nodes.1.op_mss", [1], "nodes[1] has an unknown field 'op_mss'; did you mean 'op_ms'?"),
        (
            "nodes.0.busy_w",
            0,
            "objective.origin_energy is relative to running everything on the origin, which costs no",
        ),
        ("nodes", [], "origin is 'pi', which is none of the nodes (there are none)"),
        ("origin", "p", "origin is 'p', which is none of the nodes pi, pc"),
        ("origin", None, "origin is null, it must be a text"),
        ("model.bytes", [4], "model.bytes has 1 number, it needs one for each cut point"),
        ("model.bytes.1", -3, "model.bytes[1] is -3, it must be 0 or more"),
        ("model.bytes.1", "3", "model.bytes[1] is a text, it must be a number"),
        ("model.weight_mb", [1], "model.weight_mb has 1 number, the model has 3 ops"),
        ("model.forbidden_cuts", [0], "model.forbidden_cuts[0] is 0, only cut points between the ops, 1 to 2, can"),
        ("model.forbidden_cuts", [1, 3], "model.forbidden_cuts[1] is 3, only cut points between the ops, 1 to 2, can"),
        ("links.0.dst", "mars", "links[0].dst is 'mars', which is none of the nodes pi, pc"),
        ("links.0.dst", "pi", "links[0] leads from 'pi' to itself, it must join two nodes"),
        ("links.1", {**WHOLE["links"][0]}, "links[1] leads from 'pi' to 'pc', as links[0] does already"),
        ("links.0.mbps", 0, "links[0].mbps is 0, leave out a link that cannot be used"),
        ("links.0.mbps", 1e-9, "links[0].mbps is 1e-09, it must be 1e-06 or more"),
        ("links.0.rtt_ms", -1, "links[0].rtt_ms is -1, it must be 0 or more"),
        ("links.0", {"src": "pi", "dst": "pc"}, "links[0] lacks the field 'rtt_ms'"),
        ("codecs", [], "codecs is empty, leave it out for transfers as they are"),
        ("codecs.1.name", "raw", "codecs[1].name is 'raw', which codecs[0] has already"),
        ("codecs.0.ratio", 0.5, "codecs[0] is named 'raw' but changes what it sends"),
        ("codecs.1.ratio", 0, "codecs[1].ratio is 0, it must be more than 0"),
        ("codecs.1.encode_ms_per_mb", -1, "codecs[1].encode_ms_per_mb is -1, it must be 0 or more"),
        (
            "codecs.1.ratio",
            [0.5],
            "codecs[1].ratio has 1 number, it needs one number for all cut points, or one for each",
        ),
        ("codecs.1.decode_ms_per_mb", [1, -1, 1, 1], "codecs[1].decode_ms_per_mb[1] is -1, it must be 0 or more"),
        ("codecs.1.ratio", [None, 0, 1, 1], "codecs[1].ratio[1] is 0, it must be more than 0"),
        ("codecs.0.ratio", [1, 1, 1, 1], "codecs[0] is named 'raw' but changes what it sends"),
        ("nodes.1.codec_factor", -1, "nodes[1].codec_factor is -1, it must be 0 or more"),
        (
            "objective",
            {},
            "objective weighs nothing, give latency, origin_energy, total_energy, throughput a weight above 0",
        ),
        ("objective.latency", -1, "objective.latency is -1, it must be 0 or more"),
        (
            "objective.cost",
            1,
            "objective has an unknown field 'cost'; its fields are latency, origin_energy, total_ene",
        ),
        ("objective.throughput", -1, "objective.throughput is -1, it must be 0 or more"),
        ("nodes.0.op_ms_std", [1, 2], "nodes[0].op_ms_std has 2 numbers, the model has 3 ops"),
        ("nodes.0.op_ms_std", [1, -2, 0], "nodes[0].op_ms_std[1] is -2, it must be 0 or more"),
        ("nodes.0.op_ms_std", [1, None, 0], "nodes[0].op_ms_std[1] is null, it must be a number"),
        ("links.0.rtt_ms_std", -1, "links[0].rtt_ms_std is -1, it must be 0 or more"),
        ("links.0.mbps_std", -1, "links[0].mbps_std is -1, it must be 0 or more"),
        ("links.0.mbps_std", "10 %", "links[0].mbps_std is a text, it must be a number"),
        ("risk", 0.4, "risk is 0.4, it must be at least 0.5 (the median) and less than 1"),
        ("risk", 1, "risk is 1, it must be at least 0.5 (the median) and less than 1"),
        ("risk", "high", "risk is a text, it must be a number or null"),
        ("deadline_ms", -1, "deadline_ms is -1, it must be 0 or more"),
        ("deadlin_ms", 1, "the problem has an unknown field 'deadlin_ms'; did you mean 'deadline_ms'?"),
    ],
)
def test_a_mistake_is_named_with_its_place(place: str, value: Any, message: str) -> None:
    """Each sentence says where the mistake is, what is there, and what would be right."""
    with pytest.raises(ProblemError) as caught:
        parse_problem(changed(place, value))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "it is empty, it must be a planning problem in JSON"),
        (b" \n", "it is empty, it must be a planning problem in JSON"),
        (b'{"model":\n  oops}', "line 2, column 3: not JSON: invalid character"),
        (b'{"origin": "pi"', "line 1, column 16: not JSON: the text ends too early"),
        (b'{"deadline_ms": NaN}', "line 1, column 17: not JSON: invalid character"),
        (b'{"deadline_ms": 1e999}', "deadline_ms is too large a number, it must be finite"),
        (b"\xff\xfe{}", "line 1, column 1: not JSON: invalid character"),
        (b'{"origin": "\xff"}', "line 1, column 13: not UTF-8: invalid start byte"),
        (b"[1]", "the problem is a list, it must be an object"),
        (b"{}", "the problem lacks the field 'model'"),
        (b'{"x": ' + b"[" * 100_000, "the problem has an unknown field 'x'; its fields are model, origin, nodes"),
        (b'{"nodes": [' * 3_000, "nodes[0] has an unknown field 'nodes'"),
    ],
)
def test_text_that_is_no_problem_is_named_with_line_and_column(text: bytes, message: str) -> None:
    """What is not JSON at all is placed by line and column, what is JSON of another kind by its field."""
    with pytest.raises(ProblemError) as caught:
        parse_problem(text)
    assert str(caught.value).startswith(message)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_problem_or_one_sentence(text: bytes) -> None:
    """Nothing but ProblemError comes of bytes that are no problem, and its message is one line."""
    with pytest.raises(ProblemError) as caught:
        parse_problem(text)
    assert "\n" not in str(caught.value)


def test_numbers_that_json_cannot_hold_are_refused_too() -> None:
    """A problem made in Python is checked like one from a file: a NaN or an infinity is named."""
    problem = parse_problem(json.dumps(WHOLE).encode())
    for number in (float("nan"), float("inf")):
        node = msgspec.structs.replace(problem.nodes[1], op_ms=(1.0, number, 1.0))
        with pytest.raises(ProblemError, match=rf"nodes\[1\].op_ms\[1\] is {number}, it must be a finite number"):
            Problem(model=problem.model, origin="pi", nodes=(problem.nodes[0], node))
