"""The report's table of simulated fleets."""

from collections.abc import Sequence

from testbed.paper.results import FleetFigures
from testbed.paper.tables import Table


def fleet_table(fleets: Sequence[FleetFigures]) -> Table:
    """A row for each model, size and policy."""
    return Table(
        title="Fleets of edge nodes that share fog and cloud, simulated",
        headings=(
            "model",
            "policy",
            "edge",
            "fog",
            "cloud",
            "requests/s each",
            "mean, ms",
            "p95, ms",
            "origin, J",
            "fog load",
            "cloud load",
            "overloaded, steps",
            "switches",
            "first plan, s",
            "later, s",
        ),
        rows=tuple(
            (
                each.model,
                each.policy,
                str(each.edges),
                str(each.fogs),
                str(each.clouds),
                f"{each.requests_per_s:.2f}",
                f"{each.latency_mean_ms:.0f}",
                f"{each.latency_p95_ms:.0f}",
                f"{each.origin_energy_j:.2f}",
                f"{each.fog_load:.0%}",
                f"{each.cloud_load:.0%}",
                f"{each.overloaded_steps} of {each.steps}",
                str(each.switched),
                f"{each.first_planning_s:.2f}",
                "-" if each.later_planning_s is None else f"{each.later_planning_s:.2f}",
            )
            for each in fleets
        ),
        notes=(
            "By the cost model, step by step: each edge node is a Pi with a link of its own that follows one of the "
            "traces from a random moment on, over laptops and PCs that all share; no request is played. An overloaded "
            "node is reckoned with a load of 99 %. Planning is this host's wall-clock time, all deployments together.",
        ),
        words=2,
    )
