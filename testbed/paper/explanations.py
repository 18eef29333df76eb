"""Where the regret of one contender comes from: simulated with each cause of it switched off in turn."""

from collections.abc import Callable, Iterable
from typing import Final

from testbed.paper.contenders import CONTENDERS, Contender
from testbed.paper.intervals import estimate
from testbed.paper.records import RunRecord
from testbed.paper.results import Explanation
from testbed.paper.scenario import Scenario
from testbed.paper.statistics import CLAIRVOYANT, run_figures
from testbed.simulation.settings import AS_IT_IS, Ablation

EXPLAINED: Final = "latency"
CAUSES: Final = (
    (None, AS_IT_IS),
    ("estimation: told the true rates and loads", Ablation(perfect_estimates=True)),
    ("reaction time: weighed before each request, in force at once", Ablation(no_reaction_time=True)),
    ("hysteresis: any better plan is taken", Ablation(no_hysteresis=True)),
    ("all three", Ablation(perfect_estimates=True, no_reaction_time=True, no_hysteresis=True)),
)

Simulate = Callable[[Scenario, Contender, Ablation], RunRecord]


def explanations(scenarios: Iterable[Scenario], simulate: Simulate) -> tuple[Explanation, ...]:
    """For each model and cause, the regret over the scenarios; `simulate` gives the run of one of them."""
    named = {contender.name: contender for contender in CONTENDERS}
    regrets: dict[tuple[str, str | None], list[float]] = {}
    for scenario in scenarios:
        best_ms = run_figures(simulate(scenario, named[CLAIRVOYANT], AS_IT_IS)).latency_mean_ms
        for cause, ablation in CAUSES:
            own_ms = run_figures(simulate(scenario, named[EXPLAINED], ablation)).latency_mean_ms
            known = regrets.setdefault((scenario.model, cause), [])
            if own_ms is not None and best_ms:
                known.append(100.0 * (own_ms / best_ms - 1.0))
    return tuple(
        Explanation(
            contender=EXPLAINED, model=model, switched_off=cause, regret_percent=estimate(values), pairs=len(values)
        )
        for (model, cause), values in regrets.items()
    )
