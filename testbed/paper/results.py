"""The experiment's figures as typed values: what `results.json` holds and the report shows; how they come about is
`testbed.paper.statistics`' part. Machines and links are emulated or simulated, and every energy figure is modelled.
"""

import msgspec

from testbed.paper.intervals import Estimate
from testbed.paper.records import Mode
from testbed.paper.settings import ExperimentSettings


class _Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one kind; None where no answered request or no counterpart gives them."""


class Change(_Figures, frozen=True, kw_only=True):
    """How much more than another's a contender's figures are, in percent of the other's; below 0 is less.

    Paired: within a repetition, so that both saw the same trace.
    """

    latency_percent: Estimate | None
    """Of the mean over requests."""
    latency_over_time_percent: Estimate | None
    """Of the mean over time."""
    origin_energy_percent: Estimate | None
    paper_origin_energy_percent: Estimate | None
    paper_total_energy_percent: Estimate | None


class ContenderFigures(_Figures, frozen=True, kw_only=True):
    """One contender over one trace with one model: means over the repetitions of each run's own figure."""

    mode: Mode
    model: str
    trace: str
    contender: str
    requests: int
    """In all repetitions together, lost ones included."""
    lost: int
    switches: Estimate | None
    """Plans per run that came into force after the trace began."""
    latency_mean_ms: Estimate | None
    """Over requests. Who asks again once answered asks less often in bad moments, which flatters the slow."""
    latency_over_time_ms: Estimate | None
    """Over the moments of the run: each request counts for as long as it took, so that all see the same trace."""
    latency_p50_ms: Estimate | None
    latency_p95_ms: Estimate | None
    origin_energy_j: Estimate | None
    """Per inference, whole board, by our cost model."""
    total_energy_j: Estimate | None
    paper_origin_energy_j: Estimate | None
    """Per inference, by the published model: the Pi's 12 W while it computes, and nothing else."""
    paper_total_energy_j: Estimate | None
    """The same with the other nodes' busy power while they compute."""
    regret_percent: Estimate | None
    """Latency above the clairvoyant plan's, in percent of it."""
    regret_over_time_percent: Estimate | None
    gain_percent: float | None
    """Latency below the best fixed plan's, in percent of it."""
    possible_gain_percent: float | None
    """The same for the clairvoyant plan."""
    gain_over_time_percent: float | None
    possible_gain_over_time_percent: float | None
    against_static: Change
    """Against the published static split."""


class Average(_Figures, frozen=True, kw_only=True):
    """A contender on average over pairs of a model and a trace; arithmetic means of percentages, each pair counts once.

    An interval's values are the pairs: it says how far another choice of traces might have led.
    """

    mode: Mode
    contender: str
    model: str | None
    """None for all models together."""
    pairs: int
    lost: int
    regret_percent: Estimate | None
    regret_over_time_percent: Estimate | None
    captured_percent: Estimate | None
    """The share of the clairvoyant gain over the best fixed plan that was made, where that gain is 1 % or more."""
    captured_over_time_percent: Estimate | None
    pooled_captured_percent: float | None
    """All gains together over all possible gains together."""
    against_static: Change
    slower_than_static: tuple[str, ...]
    """The pairs on which its latency is above the static split's by more than the interval over repetitions."""
    slower_within_noise: tuple[str, ...]
    """Those on which it is above by less, or where a single repetition cannot tell."""


class Deviation(_Figures, frozen=True, kw_only=True):
    """How far the simulator's figures are from the emulated ones on the same scenario, in percent of those."""

    model: str
    trace: str
    contender: str
    emulated_latency_ms: float
    simulated_latency_ms: float
    latency_percent: float
    emulated_origin_energy_j: float
    simulated_origin_energy_j: float
    origin_energy_percent: float
    emulated_switches: float
    simulated_switches: float


class Explanation(_Figures, frozen=True, kw_only=True):
    """The simulated regret of one contender with one cause of it switched off; None switches nothing off."""

    contender: str
    model: str
    switched_off: str | None
    regret_percent: Estimate | None
    """Latency above the clairvoyant plan's, over the traces."""
    pairs: int


class PublishedGain(_Figures, frozen=True, kw_only=True):
    """`reap` against the static split under the published energy model, beside what was published; percentages."""

    mode: Mode
    model: str
    energy_percent: Estimate | None
    """The origin's."""
    total_energy_percent: Estimate | None
    latency_percent: Estimate | None
    published_energy_percent: float
    published_latency_percent: float
    reap_plan: str
    """The plan under which most of its requests ran."""
    static_plan: str
    reap_origin_compute_ms: float | None
    static_origin_compute_ms: float | None

    @property
    def same_direction(self) -> bool:
        """Whether energy and latency both moved as published."""
        pairs = (
            (self.energy_percent, self.published_energy_percent),
            (self.latency_percent, self.published_latency_percent),
        )
        return all(own is not None and own.mean * published > 0 for own, published in pairs)


class FleetFigures(_Figures, frozen=True, kw_only=True):
    """A simulated fleet under one policy: means over its steps; energies modelled, per request."""

    model: str
    edges: int
    fogs: int
    clouds: int
    requests_per_s: float
    """Of each edge node."""
    policy: str
    latency_mean_ms: float
    latency_p95_ms: float
    origin_energy_j: float
    fog_load: float
    cloud_load: float
    overloaded_steps: int
    """Steps in which a fog or cloud node was asked for more than it can do."""
    steps: int
    switched: int
    """Changes of plans, over all edge nodes and steps."""
    first_planning_s: float
    later_planning_s: float | None
    """Wall-clock time of a step's planning, all deployments together, after the first."""


class CodecUse(_Figures, frozen=True, kw_only=True):
    """How many of a contender's requests with a model had a transfer that was packed by a codec at a cut point."""

    mode: Mode
    model: str
    contender: str
    codec: str
    """`raw` stands for requests of which nothing was packed; their `cut` is 0."""
    cut: int
    requests_percent: float


class ModelFacts(_Figures, frozen=True, kw_only=True):
    """A model that took part: whose weights it has, and what its machines are and how their times came about."""

    model: str
    weights: str
    profile: str
    machines: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    """What of its published split could not be taken literally."""


class Results(_Figures, frozen=True, kw_only=True):
    """All of the experiment's figures, and what they rest on."""

    settings: ExperimentSettings
    models: tuple[ModelFacts, ...]
    runs: int
    took_s: float
    contenders: tuple[ContenderFigures, ...]
    averages: tuple[Average, ...]
    deviations: tuple[Deviation, ...]
    explanations: tuple[Explanation, ...]
    published: tuple[PublishedGain, ...]
    fleets: tuple[FleetFigures, ...] = ()
    codecs: tuple[CodecUse, ...] = ()
