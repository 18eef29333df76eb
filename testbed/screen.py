"""How the demo looks in a terminal: lines that stay, and below them, where the output is one, a picture that moves.

What to show comes in as a `Scene`; nothing is decided here.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from broker.messages import NodeProfile, Plan
from splitrail.percentile import percentile
from splitrail.strip import plan_strip
from testbed.comparison import Comparison, StrategyFigures
from testbed.scene import Pair, Scene
from testbed.traces import Trace

SPARKS = "▁▂▃▄▅▆▇█"
STRIP_COLUMNS = 64
TRACE_COLUMNS = 60
RECENT_S = 10.0
PLAIN_INTERVAL_S = 5.0
TOP_OPS = 3
LABEL_COLUMNS = 12
PLAIN_COLUMNS = 120


@dataclass(frozen=True, slots=True)
class Cast:
    """What stays the same throughout a demo: its strategies, nodes in order, the model's size and the traced link."""

    strategies: tuple[str, ...]
    adaptive: str
    nodes: tuple[str, ...]
    ops: int
    link: Pair
    trace: Trace
    duration_s: float


class Screen:
    """The demo's output. Lines carry the seconds since the start; in a terminal a moving picture stays below them."""

    def __init__(self, *, colour: bool) -> None:
        self.console = Console(no_color=not colour, highlight=False)
        if not self.console.is_terminal:
            self.console = Console(no_color=True, highlight=False, width=PLAIN_COLUMNS)
        self._start_s = time.monotonic()
        self._live: Live | None = None
        self._last_plain_s = 0.0

    def say(self, words: str | Text) -> None:
        """A line that stays, stamped with the time."""
        stamp = Text(f"{time.monotonic() - self._start_s:6.1f} s  ", style="dim")
        self.console.print(stamp.append_text(Text(words) if isinstance(words, str) else words), soft_wrap=True)

    def show(self, picture: RenderableType) -> None:
        """Something that stays, below the lines so far."""
        self.console.print(picture)

    @contextlib.contextmanager
    def step(self, words: str) -> Iterator[None]:
        """A step that may take more than a second: it is named at once, turns while it lasts, and its time is said."""
        start_s = time.monotonic()
        self.say(f"{words} ...")
        with self.console.status(words) if self.console.is_terminal else contextlib.nullcontext():
            yield
        took_s = time.monotonic() - start_s
        if took_s >= 1.0:
            self.say(f"{words}: done in {took_s:.1f} s")

    @contextlib.contextmanager
    def moving(self) -> Iterator[None]:
        """While this lasts, `update` draws in a terminal; elsewhere it writes a line every few seconds."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def update(self, cast: Cast, scene: Scene, now_s: float) -> None:
        """Bring the picture up to date; `now_s` is the run's time."""
        if self._live is not None:
            self._live.update(picture(cast, scene, now_s), refresh=True)
        elif now_s - self._last_plain_s >= PLAIN_INTERVAL_S:
            self._last_plain_s = now_s
            self.say(status_line(cast, scene, now_s))


def picture(cast: Cast, scene: Scene, now_s: float) -> RenderableType:
    """The moving part: the link, the adaptive plan, and each strategy's last seconds."""
    rows = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    rows.add_column("strategy")
    rows.add_column("last, ms", justify="right")
    rows.add_column(f"p50 of {RECENT_S:g} s", justify="right")
    rows.add_column("")
    rows.add_column("plan")
    medians = {name: _recent_median(scene, name, now_s) for name in cast.strategies}
    longest = max((ms for ms in medians.values() if ms is not None), default=1.0)
    for name in cast.strategies:
        style = "bold" if name == cast.adaptive else ""
        last = scene.last_sample(name)
        median = medians[name]
        bar = "█" * max(1, round(16 * median / longest)) if median is not None else ""
        plan = scene.plans.get(name)
        rows.add_row(
            Text(name, style=style),
            _ms(last.latency_ms if last else None),
            _ms(median),
            Text(bar, style=style or "dim"),
            plan_words(plan) if plan else "none yet",
        )
    plan = scene.plans.get(cast.adaptive)
    strip = plan_strip(plan.stages, cast.ops, STRIP_COLUMNS, nodes=cast.nodes) if plan else Text("no plan yet")
    return Panel(
        Group(_link_line(cast, scene, now_s), trace_line(cast, now_s), Text(), strip, Text(), rows),
        title=f"{now_s:.0f} of {cast.duration_s:.0f} s: machines and links are emulated",
        title_align="left",
    )


def status_line(cast: Cast, scene: Scene, now_s: float) -> str:
    """The same in one line, for an output that is no terminal."""
    medians = ", ".join(f"{name} {_ms(_recent_median(scene, name, now_s))}" for name in cast.strategies)
    link = f"link {cast.trace.mbps_at(now_s):.3g} Mbit/s"
    return f"run {now_s:.0f} s, {link}; p50 of the last {RECENT_S:g} s in ms: {medians}"


def trace_line(cast: Cast, now_s: float) -> Text:
    """The trace over the run as a row of sparks, with what has passed in bright."""
    best = max(cast.trace.mbps) * cast.trace.scale
    line = Text()
    for column in range(TRACE_COLUMNS):
        at_s = cast.duration_s * column / TRACE_COLUMNS
        height = cast.trace.mbps_at(at_s) / best if best > 0 else 0.0
        line.append(SPARKS[min(len(SPARKS) - 1, int(height * len(SPARKS)))], style="cyan" if at_s <= now_s else "dim")
    return line


def plan_words(plan: Plan) -> str:
    """A plan in a few words: `pi 0-24, laptop 24-65`."""
    return ", ".join(
        f"{stage.node} {stage.start}-{stage.stop}" if stage.start < stage.stop else f"over {stage.node}"
        for stage in plan.stages
    )


def plan_line(cast: Cast, plan: Plan, columns: int) -> Text:
    """A deployment's plan as a strip, with what the cost model predicts of it, in about `columns` columns."""
    label, prediction = f"{plan.deployment:{LABEL_COLUMNS}} ", f"  {plan.prediction.latency_ms:.0f} ms (modelled)"
    strip_columns = min(STRIP_COLUMNS, columns - len(label) - len(prediction))
    strip = plan_strip(plan.stages, cast.ops, strip_columns, nodes=cast.nodes)
    return Text(label).append_text(strip).append(prediction)


def profile_table(profiles: Sequence[NodeProfile], kinds: Sequence[str]) -> Table:
    """Per node: the unsplit time, its spread, and the dearest ops; `kinds` are the model's ops in order."""
    table = Table(title="profile (emulated)", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column("node")
    table.add_column("unsplit, ms", justify="right")
    table.add_column("memory, MB", justify="right")
    table.add_column("dearest ops")
    for profile in profiles:
        dearest = sorted(range(len(profile.op_ms)), key=lambda op: -profile.op_ms[op])[:TOP_OPS]
        table.add_row(
            profile.node,
            f"{profile.unsplit_ms:.1f} ± {profile.unsplit_ms_std:.1f}",
            f"{profile.memory_mb:.0f}",
            ", ".join(f"{op} {kinds[op]} {profile.op_ms[op]:.1f} ms" for op in dearest),
        )
    return table


def comparison_table(comparison: Comparison, adaptive: str) -> Table:
    """The run's end: every strategy's figures in one row."""
    table = Table(
        title="per inference; machines and links emulated, energy modelled (whole boards);\n"
        "tensors and broker run open, on loopback only",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        title_justify="left",
        title_style="bold",
    )
    for heading in (
        "\nstrategy",
        "mean\nms",
        "p95\nms",
        "p50 ms,\ngood link",
        "p50 ms,\nbad link",
        "origin J,\nmodelled",
        "total J,\nmodelled",
        "\nsent",
        "\nlost",
    ):
        table.add_column(heading, justify="left" if "strategy" in heading else "right")
    for row in comparison.strategies:
        table.add_row(*_cells(row), style="bold" if row.strategy == adaptive else "")
    return table


def _cells(row: StrategyFigures) -> tuple[str, ...]:
    return (
        row.strategy,
        _ms(row.latency_mean_ms),
        _ms(row.latency_p95_ms),
        _ms(row.good_link_p50_ms),
        _ms(row.bad_link_p50_ms),
        _joules(row.origin_energy_j),
        _joules(row.total_energy_j),
        str(row.answered + row.lost),
        str(row.lost),
    )


def _link_line(cast: Cast, scene: Scene, now_s: float) -> Text:
    src, dst = cast.link
    line = Text(f"link {src} → {dst}: {cast.trace.mbps_at(now_s):.3g} Mbit/s ordered ({cast.trace.label})")
    reading = scene.links.get(cast.link)
    if reading is not None:
        line.append(f", {reading.mbps:.3g} ± {reading.mbps_std:.2g} estimated, round trip {reading.rtt_ms:.1f} ms")
    return line


def _recent_median(scene: Scene, strategy: str, now_s: float) -> float | None:
    recent = scene.recent(strategy, now_s - RECENT_S)
    return percentile([sample.latency_ms for sample in recent if sample.latency_ms is not None], 50)


def _ms(latency_ms: float | None) -> str:
    return "-" if latency_ms is None else f"{latency_ms:.0f}"


def _joules(energy_j: float | None) -> str:
    return "-" if energy_j is None else f"{energy_j:.2f}"
