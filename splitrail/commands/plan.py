"""`splitrail plan`: solves a planning problem in a file, or a fleet of them, and needs nothing else."""

import argparse
import sys
from pathlib import Path

import msgspec

from coordinator import exact
from coordinator.cost import PartitionPlan
from coordinator.errors import ProblemError
from coordinator.fleet_file import MOST_BYTES, is_fleet, parse_fleet
from coordinator.fleet_load import Member
from coordinator.problem import Problem
from coordinator.problem_file import parse_problem
from coordinator.reap_energy import with_reap_energy
from coordinator.strategies import STRATEGIES, strategy
from splitrail.commands.needed_package import package_needed
from splitrail.commands.plan_figures import PlanFigures, plan_figures, print_json, timed
from splitrail.commands.plan_stages import FORM, plan_by_hand, read_stages
from splitrail.errors import SplitrailError
from splitrail.option_types import whole_number

EXAMPLE = "splitrail plan problem.json --strategy exact --json"
MOST_LABELS = 1_000_000_000
SEARCHES = ("exact", "static")
"""The strategies that search, and can be told when to stop."""
PICTURE_ENDINGS = (".png", ".svg")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("problem", metavar="PROBLEM", help="a problem or a fleet in JSON; - reads standard input")
    parser.add_argument("--strategy", choices=STRATEGIES, help="how to decide (default: exact)")
    parser.add_argument(
        "--stages", type=read_stages, metavar=FORM, help="judge this split in place of finding one: pi:0-24,pc:24-65"
    )
    parser.add_argument(
        "--most-labels",
        type=whole_number(1, MOST_LABELS),
        metavar="N",
        help="end a search after N partial plans, with the best plan found and how far from the best it may be",
    )
    parser.add_argument(
        "--energy-model", choices=["reap"], help="reckon energy as reap does: 12 W while the origin computes, no radio"
    )
    parser.add_argument(
        "--pareto",
        action="store_true",
        help="print every plan that no other beats in latency, origin energy and total energy at once",
    )
    parser.add_argument(
        "--plot", type=_picture, metavar="FILE", help="draw these plans into a .png or .svg; implies --pareto"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan, the front or the fleet's plans.

    ProblemError if the problem cannot be read, PlanError if given stages are no plan, PlanInfeasibleError if no plan
    keeps the bounds.
    """
    _check_options(arguments)
    problem = _read(arguments.problem)
    if not isinstance(problem, Problem):
        for option in ("--strategy", "--stages", "--most-labels", "--pareto", "--plot"):
            if getattr(arguments, option.strip("-").replace("-", "_")):
                raise SplitrailError(f"{option} is for one problem, {arguments.problem} has a fleet: leave it out")
        with package_needed("a fleet", "coordinator"):
            from splitrail.commands.plan_fleet import plan_together  # noqa: PLC0415  # numpy is slow, or missing

        plan_together(problem, energy_model=arguments.energy_model, json=arguments.json)
        return 0
    if arguments.energy_model:
        problem = with_reap_energy(problem)
    if arguments.pareto or arguments.plot:
        with package_needed("--pareto", "coordinator"):
            from splitrail.commands.plan_front import plan_front  # noqa: PLC0415  # as above

        plan_front(problem, energy_model=arguments.energy_model, picture=arguments.plot, json=arguments.json)
    else:
        _plan_one(arguments, problem)
    return 0


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in PICTURE_ENDINGS:
        raise argparse.ArgumentTypeError(f"{text!r} must end in {' or '.join(PICTURE_ENDINGS)}")
    return path


def _check_options(arguments: argparse.Namespace) -> None:
    """SplitrailError where options contradict each other."""
    name = arguments.strategy
    if arguments.stages and name not in (None, "static"):
        raise SplitrailError(f"--stages is a static split, --strategy {name} decides for itself: give one of them")
    if arguments.most_labels and (arguments.stages or name not in (None, *SEARCHES)):
        without = "--stages" if arguments.stages else f"--strategy {name}"
        raise SplitrailError(f"--most-labels ends the search of exact, {without} has none: leave out one of them")
    if arguments.pareto or arguments.plot:
        front = "--pareto" if arguments.pareto else "--plot"
        if name not in (None, "exact"):
            raise SplitrailError(f"{front} finds exact plans: leave out --strategy {name}")
        for option, given in (("--stages", arguments.stages), ("--most-labels", arguments.most_labels)):
            if given:
                raise SplitrailError(f"{front} finds all plans that no other beats: leave out {option}")


def _read(source: str) -> Problem | tuple[Member, ...]:
    """The problem or the fleet in a file, or on standard input. ProblemError if it is neither."""
    try:
        if source == "-":
            text = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ProblemError(f"{source}: {error.strerror or error}") from None
    try:
        # What has been cut off above is told to be too long.
        return parse_fleet(text) if len(text) > MOST_BYTES or is_fleet(text) else parse_problem(text)
    except ProblemError as error:
        raise ProblemError(str(error) if source == "-" else f"{source}: {error}") from None


def _plan_one(arguments: argparse.Namespace, problem: Problem) -> None:
    name = arguments.strategy or ("static" if arguments.stages else "exact")

    def decide() -> PartitionPlan:
        if arguments.stages:
            return plan_by_hand(problem, arguments.stages)
        if arguments.most_labels:
            return exact.plan(problem, most_labels=arguments.most_labels)
        return strategy(name)(problem)

    def infeasible(planning_ms: float, reason: str) -> PlanFigures:
        return PlanFigures(strategy=name, feasible=False, planning_ms=planning_ms, reason=reason)

    with timed(json=arguments.json, infeasible=infeasible) as clock:
        plan = decide()
        planning_ms = clock()
    if arguments.json:
        figures = plan_figures(name, problem, plan, planning_ms, arguments.energy_model)
        print_json(msgspec.structs.replace(figures, gap=plan.gap) if arguments.most_labels else figures)
        return
    from splitrail.commands.plan_tables import print_plan  # noqa: PLC0415  # rich is a quarter of the command's time

    print_plan(name, problem, plan, planning_ms, arguments.energy_model)
