"""The adaptive splitting of Deng et al. 2026 (arXiv 2605.09623): what it chooses, and when it changes.

Checked against its public code, AlfredsLapkovskis/EdgeCloudAIPartitioning, adaptive-framework, at b7b55f8.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from coordinator.cost import PartitionPlan, Score, Stage, evaluate
from coordinator.errors import PlanInfeasibleError
from coordinator.first_within_bounds import first_within_bounds
from coordinator.prices import within
from coordinator.problem import Problem
from coordinator.reap_chains import Chain, Split, SplitFigures, chains_of, cuts_of, with_own_figures

ORIGIN_ENERGY_WEIGHT = 0.6  # `weights` in its config_vgg16.yaml; the other models' are the same
TOTAL_ENERGY_WEIGHT = 0.3  # as above
LATENCY_WEIGHT = 0.1  # as above
WARM_UP = 3  # `warmup` in its config_vgg16.yaml: inferences at the start of a window that do not count
SWITCH_GAIN = 0.03  # `switch_threshold` in its config_vgg16.yaml
LEAST_UNIT = 1e-9  # `score` in its split_infer.py: what a unit is at least


@dataclass(frozen=True, slots=True)
class Units:
    """What reap divides its three figures by: their means over its probe splits."""

    latency_ms: float
    origin_energy_j: float
    total_energy_j: float

    def value(self, figures: SplitFigures | Score) -> float:
        """Reap's own objective, for figures under its own model; less is better."""
        return (
            ORIGIN_ENERGY_WEIGHT * figures.origin_energy_j / max(self.origin_energy_j, LEAST_UNIT)
            + TOTAL_ENERGY_WEIGHT * figures.total_energy_j / max(self.total_energy_j, LEAST_UNIT)
            + LATENCY_WEIGHT * figures.latency_ms / max(self.latency_ms, LEAST_UNIT)
        )


_Valued = tuple[float, Chain, Split]
"""A split of a chain after its value."""


def plan(problem: Problem) -> PartitionPlan:
    """The split that reap chooses at its start. PlanInfeasibleError if the problem has none, or none keeps its bounds.

    As published: the origin, of the tier edge, runs the layers 0..i, a fog node i+1..j and a cloud node the rest, none
    of them empty; every (i, j) is tried; its own weights count, whatever the problem's objective is; energy is that of
    `reap_energy`; a split whose estimated latency misses the deadline is passed over.
    Mapped: layers are the parts between the cuts that the model allows, and the last of them is what the published code
    calls the head. Times are the problem's, in place of its fit of one node's time shares. Tensors go over the two
    direct links; the result's return counts, by the quickest way, as its measured latencies and its probes of both
    directions count it. Of several fog and cloud nodes the pair with the best split is taken. Memory bounds count.
    Dropped, in its favour: a split need not beat the score that a hand-picked split had at the start.
    Not checked: the paper's text beyond its abstract.
    """
    chains = chains_of(problem)
    return _best(problem, chains, _units(problem, chains))


def units_of(problem: Problem) -> Units:
    """The units of this problem's probe splits; the published code makes them once, at the start, and keeps them.

    PlanInfeasibleError if reap cannot split the problem's model over its nodes. The probes are three splits at fifths
    of the layers, as published; the cost model's figures stand in for running them. Where there are several fog or
    cloud nodes, the mean is over every chain's probes.
    """
    return _units(problem, chains_of(problem))


def reap_changes(
    problem: Problem, standing: Sequence[Stage], window_ms: float | None, units: Units
) -> PartitionPlan | None:
    """The plan that reap changes to at the end of a window of inferences, 100 as published; None where it holds.

    `problem` has the times, links and loads as they are now believed. `window_ms` is the mean latency of the window's
    inferences but the first WARM_UP; None if there were none. `units` are those of the start. PlanError if the standing
    plan is none for the problem.
    As published: it changes to the best other split if that is better by SWITCH_GAIN; or whatever it gains, if the
    window missed the deadline. The deadline is looked at only here, at a window's end.
    Dropped: its way out to the hand-picked split where no split keeps the deadline; the standing one is held instead.
    """
    own = with_own_figures(problem)
    before = units.value(evaluate(own, standing))
    try:
        found = _best(problem, chains_of(problem), units, other_than=standing)
    except PlanInfeasibleError:
        return None
    gain = 1.0 - units.value(evaluate(own, found.stages)) / max(before, LEAST_UNIT)
    missed = window_ms is not None and not within(window_ms, problem.deadline_ms)
    return found if missed or gain >= SWITCH_GAIN else None


def _units(problem: Problem, chains: Sequence[Chain]) -> Units:
    figures = [chain.figures(split) for chain in chains for split in _probes(cuts_of(problem))]
    return Units(
        latency_ms=sum(each.latency_ms for each in figures) / len(figures),
        origin_energy_j=sum(each.origin_energy_j for each in figures) / len(figures),
        total_energy_j=sum(each.total_energy_j for each in figures) / len(figures),
    )


def _probes(cuts: Sequence[int]) -> list[Split]:
    """Splits after the layers at one and two, two and three, three and four fifths of all but the last layer.

    So the published code's `probe_splits_for_model` has it; with few layers, fewer than three are left.
    """
    fifths = [fifth * len(cuts) // 5 for fifth in range(1, 5)]
    layers = dict.fromkeys((i, j) for i, j in itertools.pairwise(fifths) if i < j)
    return [(cuts[i], cuts[j]) for i, j in layers]


def _best(problem: Problem, chains: Sequence[Chain], units: Units, other_than: Sequence[Stage] = ()) -> PartitionPlan:
    """The split of least value that keeps the bounds and is not `other_than`; PlanInfeasibleError if there is none."""
    pairs = list(itertools.combinations(cuts_of(problem), 2))
    work = [stage for stage in other_than if stage.start < stage.stop]
    avoided = [stage.node for stage in work], tuple(stage.start for stage in work[1:])
    splits: list[_Valued] = []
    for chain in chains:
        names = [node.name for node in chain.nodes]
        of_first, of_second = list(map(units.value, chain.of_first)), list(map(units.value, chain.of_second))
        splits += (
            (of_first[split[0]] + of_second[split[1]], chain, split) for split in pairs if (names, split) != avoided
        )
    if not splits:
        raise PlanInfeasibleError("tier", "reap has no other split of this model than the one that is to be replaced")
    return first_within_bounds(
        problem,
        itertools.chain(_promising(problem, splits), _quickest(splits)),
        "no split over an edge, a fog and a cloud node, as reap makes them, keeps the bounds",
    )


def _promising(problem: Problem, splits: Sequence[_Valued]) -> Iterator[tuple[Stage, ...]]:
    """The splits that keep the bounds by reap's estimate, the one of least value first."""
    for _, chain, split in sorted(splits, key=itemgetter(0)):
        if chain.holds(split) and within(chain.figures(split).latency_ms, problem.deadline_ms):
            yield chain.stages(split)


def _quickest(splits: Sequence[_Valued]) -> Iterator[tuple[Stage, ...]]:
    """The quickest split that fits in memory, or of all if none does: it tells by how much a bound is missed."""
    _, chain, split = min(splits, key=lambda it: (not it[1].holds(it[2]), it[1].figures(it[2]).latency_ms))
    yield chain.stages(split)
