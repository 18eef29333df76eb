"""A table of words, shown in a terminal or written as Markdown; what stands in it is the report's part."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable

from testbed.paper.intervals import Estimate


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of as many cells as there are headings; `notes` are sentences that belong below it."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    words: int = 1
    """How many of the first columns hold words; the others hold figures."""


def show(table: Table, console: Console) -> None:
    """Print it."""
    drawn = RichTable(
        title=table.title,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        title_justify="left",
        title_style="bold",
    )
    for column, heading in enumerate(table.headings):
        drawn.add_column(heading, justify="left" if column < table.words else "right")
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)
    for note in table.notes:
        console.print(note, style="dim", soft_wrap=True)
    console.print()


def markdown(tables: Iterable[Table]) -> str:
    """The tables as sections of a Markdown document."""
    return "\n\n".join(map(_section, tables))


def _section(table: Table) -> str:
    rule = ["---" if column < table.words else "---:" for column in range(len(table.headings))]
    lines = [_line(table.headings), _line(rule), *map(_line, table.rows)]
    notes = "".join(f"\n\n{note}" for note in table.notes)
    return f"## {table.title}\n\n" + "\n".join(lines) + notes


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def figure(estimate: Estimate | None, digits: int = 0, *, signed: bool = False) -> str:
    """A mean with its interval where there is one; `-` where there is no mean."""
    if estimate is None:
        return "-"
    mean = f"{estimate.mean:{'+' if signed else ''}.{digits}f}"
    if mean.strip("+-0.") == "":
        mean = mean.lstrip("+-")  # no sign before a zero
    return mean if estimate.half_width is None else f"{mean} ± {estimate.half_width:.{digits}f}"
