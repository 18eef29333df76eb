"""A planning problem as frozen typed values: what a plan is made from and judged by.

Checks every number and name, wherever the problem comes from; reading it from JSON is problem_file's business.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from coordinator.errors import ProblemError
from coordinator.field_checks import check_names, check_number, check_numbers, check_printable

MIN_MBPS = 1e-6
MIN_REFERENCE = 1e-9
"""Below this many ms, or watts, running everything on the origin is nothing to compare with."""

OBJECTIVES = ("latency", "origin_energy", "total_energy", "throughput")

BYTES_PER_MB = 1e6
RAW = "raw"


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a problem; an unknown field is a mistake, since it would silently count for nothing."""


class Model(Value, frozen=True):
    """The model's cut points and weights; N is the number of ops."""

    cut_bytes: tuple[float, ...] = msgspec.field(name="bytes")
    """Bytes of the cut tensors at each cut point, N+1 of them: the input first, the output last."""
    name: str = ""
    weight_mb: tuple[float, ...] = ()
    """Weights of each op in MB of 10^6 bytes, N of them; left out, they weigh nothing."""
    forbidden_cuts: tuple[int, ...] = ()
    """Cut points between 1 and N-1 at which the model cannot be cut."""

    @property
    def ops(self) -> int:
        """The number of ops, N."""
        return len(self.cut_bytes) - 1


class Node(Value, frozen=True):
    """A machine: the time of each op on it in ms, its load in [0, 1), its memory bound and its energy figures."""

    name: str
    op_ms: tuple[float, ...]
    op_ms_std: tuple[float, ...] = ()
    """The standard deviation of each op's time in ms, N of them; left out, the times are certain."""
    tier: Literal["edge", "fog", "cloud"] | None = None
    load: float = 0.0
    memory_mb: float | None = None
    """The bound on the weights of the ops that it runs; None for no bound."""
    idle_w: float = 0.0
    busy_w: float = 0.0
    tx_j_per_mb: float = 0.0
    rx_j_per_mb: float = 0.0
    codec_factor: float | None = 1.0
    """What it multiplies the codecs' times by; None where it neither packs nor unpacks tensors."""

    @property
    def stretch(self) -> float:
        """What its load multiplies its compute by."""
        return 1.0 / (1.0 - self.load)


class Link(Value, frozen=True):
    """A directed link from one node to another."""

    src: str
    dst: str
    rtt_ms: float
    mbps: float
    rtt_ms_std: float = 0.0
    mbps_std: float = 0.0


class Codec(Value, frozen=True):
    """How tensors may be packed for one transfer; the times are per MB before encoding.

    Each figure is one number for all cut points, or N+1 numbers, one for each.
    """

    name: str
    ratio: float | tuple[float | None, ...] = 1.0
    """Bytes sent to bytes before encoding; None at a cut point where the codec is not allowed."""
    encode_ms_per_mb: float | tuple[float, ...] = 0.0
    decode_ms_per_mb: float | tuple[float, ...] = 0.0

    @property
    def is_uniform(self) -> bool:
        """Whether it is the same at all cut points."""
        return not any(isinstance(each, tuple) for each in (self.ratio, self.encode_ms_per_mb, self.decode_ms_per_mb))

    @property
    def is_free(self) -> bool:
        """Whether it changes nothing, so that every node can pack and unpack by it."""
        return (self.ratio, self.encode_ms_per_mb, self.decode_ms_per_mb) == (1.0, 0.0, 0.0)

    def at(self, cut: int) -> "Packing | None":
        """What it is at one cut point; None where it is not allowed."""
        ratio, encode_ms, decode_ms = self.ratio, self.encode_ms_per_mb, self.decode_ms_per_mb
        at_cut = ratio[cut] if isinstance(ratio, tuple) else ratio
        if at_cut is None:
            return None
        return Packing(
            self.name,
            at_cut,
            encode_ms[cut] if isinstance(encode_ms, tuple) else encode_ms,
            decode_ms[cut] if isinstance(decode_ms, tuple) else decode_ms,
            self.is_free,
        )


class Packing(NamedTuple):
    """A codec at one cut point."""

    codec: str
    ratio: float
    encode_ms_per_mb: float
    decode_ms_per_mb: float
    is_free: bool
    """Whether it changes nothing, so that every node can do it."""


class Objective(Value, frozen=True):
    """The weights of the figures, each taken relative to running everything on the origin."""

    latency: float = 0.0
    origin_energy: float = 0.0
    total_energy: float = 0.0
    throughput: float = 0.0
    """Of the period of a full pipeline: the time per inference of the node or link that it keeps busiest."""


class Problem(Value, frozen=True):
    """A model, the nodes and links that may carry it, and what a good plan is; else ProblemError."""

    model: Model
    origin: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...] = ()
    codecs: tuple[Codec, ...] = (Codec(name=RAW),)
    objective: Objective = Objective(latency=1.0)
    deadline_ms: float | None = None
    """The bound on the latency; None for no bound."""
    risk: float | None = None
    """Which quantile of the latency the objective and the deadline count, from 0.5 on; None for the mean."""

    def __post_init__(self) -> None:
        _check_model(self.model)
        _check_nodes(self.nodes, self.model.ops)
        if self.origin not in (node.name for node in self.nodes):
            raise ProblemError(f"origin is {self.origin!r}, which is none of the nodes {_listing(self.nodes)}")
        _check_links(self)
        _check_codecs(self.codecs, self.model.ops)
        if self.deadline_ms is not None:
            check_number("deadline_ms", self.deadline_ms)
        if self.risk is not None and not 0.5 <= self.risk < 1.0:
            raise ProblemError(f"risk is {self.risk:g}, it must be at least 0.5 (the median) and less than 1")
        _check_objective(self)

    @property
    def origin_index(self) -> int:
        """Where the origin stands in `nodes`."""
        return next(index for index, node in enumerate(self.nodes) if node.name == self.origin)


def _check_model(model: Model) -> None:
    check_printable("model.name", model.name)
    if len(model.cut_bytes) < 2:
        raise ProblemError(
            f"model.bytes has {_count(model.cut_bytes)}, it needs one for each cut point: at least input and output"
        )
    check_numbers("model.bytes", model.cut_bytes)
    if model.weight_mb and len(model.weight_mb) != model.ops:
        raise ProblemError(f"model.weight_mb has {_count(model.weight_mb)}, the model has {_ops(model.ops)}")
    check_numbers("model.weight_mb", model.weight_mb)
    for index, cut in enumerate(model.forbidden_cuts):
        if not 1 <= cut < model.ops:
            raise ProblemError(
                f"model.forbidden_cuts[{index}] is {cut}, only cut points between the ops, "
                f"1 to {model.ops - 1}, can be forbidden"
            )


def _check_nodes(nodes: tuple[Node, ...], ops: int) -> None:
    check_names("nodes", nodes)
    for index, node in enumerate(nodes):
        place = f"nodes[{index}]"
        if len(node.op_ms) != ops:
            raise ProblemError(f"{place}.op_ms has {_count(node.op_ms)}, the model has {_ops(ops)}")
        check_numbers(f"{place}.op_ms", node.op_ms)
        if node.op_ms_std and len(node.op_ms_std) != ops:
            raise ProblemError(f"{place}.op_ms_std has {_count(node.op_ms_std)}, the model has {_ops(ops)}")
        check_numbers(f"{place}.op_ms_std", node.op_ms_std)
        if not 0.0 <= node.load < 1.0:
            raise ProblemError(f"{place}.load is {node.load:g}, it must be at least 0 and less than 1")
        if node.memory_mb is not None:
            check_number(f"{place}.memory_mb", node.memory_mb)
        for field in ("idle_w", "busy_w", "tx_j_per_mb", "rx_j_per_mb"):
            check_number(f"{place}.{field}", getattr(node, field))
        if node.codec_factor is not None:
            check_number(f"{place}.codec_factor", node.codec_factor)


def _check_links(problem: Problem) -> None:
    names = {node.name for node in problem.nodes}
    first: dict[tuple[str, str], int] = {}
    for index, link in enumerate(problem.links):
        place = f"links[{index}]"
        for field, name in (("src", link.src), ("dst", link.dst)):
            if name not in names:
                raise ProblemError(f"{place}.{field} is {name!r}, which is none of the nodes {_listing(problem.nodes)}")
        if link.src == link.dst:
            raise ProblemError(f"{place} leads from {link.src!r} to itself, it must join two nodes")
        if (link.src, link.dst) in first:
            raise ProblemError(
                f"{place} leads from {link.src!r} to {link.dst!r}, as links[{first[link.src, link.dst]}] does already"
            )
        first[link.src, link.dst] = index
        check_number(f"{place}.rtt_ms", link.rtt_ms)
        if link.mbps == 0.0:
            raise ProblemError(f"{place}.mbps is 0, leave out a link that cannot be used")
        check_number(f"{place}.mbps", link.mbps, least=MIN_MBPS)
        check_number(f"{place}.rtt_ms_std", link.rtt_ms_std)
        check_number(f"{place}.mbps_std", link.mbps_std)


def _check_codecs(codecs: tuple[Codec, ...], ops: int) -> None:
    if not codecs:
        raise ProblemError("codecs is empty, leave it out for transfers as they are")
    check_names("codecs", codecs)
    for index, codec in enumerate(codecs):
        place = f"codecs[{index}]"
        for field in ("ratio", "encode_ms_per_mb", "decode_ms_per_mb"):
            _check_figure(f"{place}.{field}", getattr(codec, field), ops)
        ratios = codec.ratio if isinstance(codec.ratio, tuple) else (codec.ratio,)
        if 0.0 in ratios:
            at = f"[{ratios.index(0.0)}]" if isinstance(codec.ratio, tuple) else ""
            raise ProblemError(f"{place}.ratio{at} is 0, it must be more than 0: no codec sends tensors as nothing")
        if codec.name == RAW and not codec.is_free:
            raise ProblemError(f"{place} is named {RAW!r} but changes what it sends, give it another name")


def _check_figure(place: str, figure: float | tuple[float | None, ...], ops: int) -> None:
    """A number for all cut points, or one for each."""
    if not isinstance(figure, tuple):
        check_number(place, figure)
        return
    if len(figure) != ops + 1:
        raise ProblemError(
            f"{place} has {_count(figure)}, it needs one number for all cut points, or one for each of the {ops + 1}"
        )
    for cut, number in enumerate(figure):
        if number is not None:
            check_number(f"{place}[{cut}]", number)


def _check_objective(problem: Problem) -> None:
    objective = problem.objective
    weights = {field: getattr(objective, field) for field in OBJECTIVES}
    for field, weight in weights.items():
        check_number(f"objective.{field}", weight)
    if not any(weights.values()):
        raise ProblemError(f"objective weighs nothing, give {', '.join(OBJECTIVES)} a weight above 0")
    origin = problem.nodes[problem.origin_index]
    place = f"nodes[{problem.origin_index}]"
    if sum(origin.op_ms) < MIN_REFERENCE:
        raise ProblemError(
            f"{place}.op_ms adds up to {sum(origin.op_ms):g} ms, "
            "but the objective is relative to running everything on the origin"
        )
    for field in ("origin_energy", "total_energy"):
        if getattr(objective, field) and origin.busy_w < MIN_REFERENCE:
            raise ProblemError(
                f"objective.{field} is relative to running everything on the origin, which costs no energy: "
                f"{place}.busy_w must be above 0"
            )


def _count(numbers: Sequence[float | None]) -> str:
    return f"{len(numbers)} number{'' if len(numbers) == 1 else 's'}"


def _ops(ops: int) -> str:
    return f"{ops} op{'' if ops == 1 else 's'}"


def _listing(nodes: tuple[Node, ...]) -> str:
    return ", ".join(node.name for node in nodes) or "(there are none)"
