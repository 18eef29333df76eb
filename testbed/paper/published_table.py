"""The report's table of `reap` under its own energy model, beside what was published of it, and why they differ."""

from collections.abc import Sequence

from testbed.paper.results import PublishedGain
from testbed.paper.tables import Table, figure


def published_table(gains: Sequence[PublishedGain]) -> Table:
    """A row for each model and mode, and a sentence on each."""
    return Table(
        title="`reap` against the static split under its own energy model",
        headings=(
            "model",
            "",
            "Pi energy, %",
            "all nodes, %",
            "published, %",
            "latency, %",
            "published, %",
            "Pi computes, ms",
            "reap's usual plan",
        ),
        rows=tuple(
            (
                gain.model,
                gain.mode,
                figure(gain.energy_percent, 1, signed=True),
                figure(gain.total_energy_percent, 1, signed=True),
                f"{gain.published_energy_percent:+.1f}",
                figure(gain.latency_percent, 1, signed=True),
                f"{gain.published_latency_percent:+.1f}",
                f"{_ms(gain.static_origin_compute_ms)} to {_ms(gain.reap_origin_compute_ms)}",
                gain.reap_plan,
            )
            for gain in gains
        ),
        notes=(
            "By that model the Pi draws 12 W while it computes and nothing else, the others their busy power; "
            "published: arXiv 2605.09623.",
            *(_why(gain) for gain in gains),
        ),
        words=2,
    )


def _why(gain: PublishedGain) -> str:
    """One sentence on whether direction and size are those that were published, and what is behind it."""
    kept = "moved as published" if gain.same_direction else "did not both move as published"
    return (
        f"{gain.model}, {gain.mode}: energy and latency {kept}. The static split is {gain.static_plan}, reap mostly "
        f"ran {gain.reap_plan}: with waiting and radio free of charge, its model rewards every op that leaves the Pi. "
        "Published on a Pi 5, a laptop and a PC with a graphics card over a link of their own, so sizes cannot agree "
        "closely."
    )


def _ms(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.0f}"
