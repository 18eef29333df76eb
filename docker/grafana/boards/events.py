"""What happened: drawn over time, and as a table."""

from boards.influxql import newest
from boards.layout import Annotation, Panel, Query


def plan_changes(*conditions: str, is_on: bool = True) -> Annotation:
    """A line at each plan."""
    return Annotation(
        "plan changes",
        newest(("split", "reason", "deployment", "epoch"), "plan", *conditions),
        text="split",
        tags="deployment",
        colour="purple",
        is_on=is_on,
    )


def events(*conditions: str, is_on: bool = True) -> Annotation:
    """A line at each event."""
    return Annotation(
        "events",
        newest(("text", "kind", "node"), "event", *conditions),
        text="text",
        tags="kind",
        colour="orange",
        is_on=is_on,
    )


def event_log(*conditions: str, width: int) -> Panel:
    """What happened, in words."""
    return Panel(
        kind="table",
        title="Events",
        description="Births, deaths, missed stages, refused plans, failed profiles and wrong clocks; the newest 100.",
        queries=(Query(newest(("kind", "node", "deployment", "text", "reporter"), "event", *conditions)),),
        width=width,
        height=9,
    )
