"""Random planning problems as JSON values, small enough for the brute force to try every plan."""

from typing import Any

from hypothesis import strategies as st

Json = Any

# Nodes, ops and whether there is a second codec, such that all plans are tried in some hundredths of a second.
SHAPES = ((1, 8, False), (2, 5, True), (2, 8, False), (3, 3, True), (3, 4, False), (4, 2, True), (4, 3, False))


def eighths(least: int, most: int) -> st.SearchStrategy[float]:
    """Numbers in steps of 1/8, which sum without rounding and so make honest ties."""
    return st.integers(8 * least, 8 * most).map(lambda number: number / 8)


@st.composite
def problems(
    draw: st.DrawFn,
    shapes: tuple[tuple[int, int, bool], ...] = SHAPES,
    links: str = "any",
    *,
    spread: bool = False,
    throughput: bool = False,
) -> Json:
    """A problem in the form of the JSON file; `links` is "any", or "line" for nodes in a row.

    With `spread` it has a risk, and most times a deviation; with `throughput` the objective weighs it.
    """
    count, most_ops, second_codec = draw(st.sampled_from(shapes))
    ops = draw(st.integers(max(1, most_ops - 3), most_ops))
    names = [f"node{index}" for index in range(count)]
    pairs = [(src, dst) for src in range(count) for dst in range(count) if src != dst]
    if links == "line":
        pairs = [(src, dst) for src, dst in pairs if abs(src - dst) == 1]
    else:
        pairs = [pair for pair in pairs if draw(st.integers(0, 3))]
    sizes = st.one_of(st.just(0.0), eighths(1, 2_000), st.integers(1, 2_000_000).map(float))
    codecs = [{"name": "raw", "ratio": 1.0, "encode_ms_per_mb": 0.0, "decode_ms_per_mb": 0.0}]
    if second_codec and draw(st.booleans()):
        ratio, ms_per_mb = st.sampled_from([0.125, 0.5, 0.9]), eighths(0, 30)
        by_cut = draw(st.booleans())
        times = {
            key: draw(st.lists(ms_per_mb, min_size=ops + 1, max_size=ops + 1) if by_cut else ms_per_mb)
            for key in ("encode_ms_per_mb", "decode_ms_per_mb")
        }
        ratios = st.lists(st.one_of(st.none(), ratio), min_size=ops + 1, max_size=ops + 1)
        codecs.append({"name": "packed", "ratio": draw(ratios if by_cut or draw(st.booleans()) else ratio), **times})
    objective = {
        key: draw(st.sampled_from([0.0, 0.0, 0.25, 1.0])) for key in ("latency", "origin_energy", "total_energy")
    }
    if not any(objective.values()):
        objective["latency"] = 1.0
    if throughput:
        objective["throughput"] = draw(st.sampled_from([0.25, 1.0, 4.0]))
        if draw(st.booleans()):
            objective = {**dict.fromkeys(objective, 0.0), "throughput": 1.0}
    forbidden = draw(st.one_of(st.just([]), st.lists(st.integers(1, max(1, ops - 1)), unique=True)))
    problem: Json = {
        "model": {
            "name": "random",
            "bytes": draw(st.lists(sizes, min_size=ops + 1, max_size=ops + 1)),
            "weight_mb": draw(st.lists(eighths(0, 10), min_size=ops, max_size=ops)),
            "forbidden_cuts": forbidden if ops > 1 else [],
        },
        "origin": draw(st.sampled_from(names)),
        "nodes": [
            {
                "name": name,
                "op_ms": draw(st.lists(eighths(1, 100), min_size=ops, max_size=ops)),
                "load": draw(st.sampled_from([0.0, 0.0, 0.25, 0.5])),
                "memory_mb": draw(st.one_of(st.none(), eighths(0, 6 * ops))),
                "idle_w": draw(eighths(0, 5)),
                "busy_w": draw(eighths(5, 20)),
                "tx_j_per_mb": draw(st.one_of(st.just(0.0), eighths(0, 2))),
                "rx_j_per_mb": draw(st.one_of(st.just(0.0), eighths(0, 2))),
            }
            for name in names
        ],
        "links": [
            {
                "src": names[src],
                "dst": names[dst],
                "rtt_ms": draw(eighths(0, 20)),
                "mbps": draw(st.sampled_from([1.0, 2.0, 8.0, 64.0, 300.0])),
            }
            for src, dst in pairs
        ],
        "codecs": codecs,
        "objective": objective,
        "deadline_ms": None,
    }
    if len(codecs) > 1:
        for node in problem["nodes"]:
            node["codec_factor"] = draw(st.sampled_from([1.0, 1.0, 2.5, None]))
    if spread:
        problem["risk"] = draw(st.sampled_from([0.5, 0.75, 0.95, 0.999]))
        for node in problem["nodes"]:
            node["op_ms_std"] = draw(st.one_of(st.just([]), st.lists(eighths(0, 50), min_size=ops, max_size=ops)))
        for link in problem["links"]:
            link["rtt_ms_std"] = draw(eighths(0, 20))
            link["mbps_std"] = draw(st.sampled_from([0.0, 0.1, 0.5])) * link["mbps"]
    return problem
