"""How far the simulator's figures are from the emulated ones, where both ran the same scenario; pure."""

from collections.abc import Sequence

from testbed.paper.results import ContenderFigures, Deviation


def deviations(rows: Sequence[ContenderFigures]) -> tuple[Deviation, ...]:
    """A row for each model, trace and contender that has answered requests in both modes."""
    simulated = {(row.model, row.trace, row.contender): row for row in rows if row.mode == "simulated"}
    found = []
    for emulated in rows:
        twin = simulated.get((emulated.model, emulated.trace, emulated.contender))
        if emulated.mode == "emulated" and twin is not None:
            found += _deviation(emulated, twin)
    return tuple(found)


def _deviation(emulated: ContenderFigures, simulated: ContenderFigures) -> list[Deviation]:
    figures = (
        emulated.latency_mean_ms,
        simulated.latency_mean_ms,
        emulated.origin_energy_j,
        simulated.origin_energy_j,
        emulated.switches,
        simulated.switches,
    )
    means = [figure.mean for figure in figures if figure is not None]
    if len(means) < len(figures):
        return []
    latency_ms, simulated_ms, energy_j, simulated_j, switches, simulated_switches = means
    return [
        Deviation(
            model=emulated.model,
            trace=emulated.trace,
            contender=emulated.contender,
            emulated_latency_ms=latency_ms,
            simulated_latency_ms=simulated_ms,
            latency_percent=100.0 * (simulated_ms / latency_ms - 1.0),
            emulated_origin_energy_j=energy_j,
            simulated_origin_energy_j=simulated_j,
            origin_energy_percent=100.0 * (simulated_j / energy_j - 1.0) if energy_j else 0.0,
            emulated_switches=switches,
            simulated_switches=simulated_switches,
        )
    ]
