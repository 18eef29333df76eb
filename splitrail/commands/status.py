"""`splitrail status`: asks the coordinator for its report and draws nodes, links, deployments and plans."""

import argparse
import os
import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from coordinator.significant_digits import significant
from coordinator.status_report import DeploymentReport, LeadershipReport, LinkReport, NodeReport, StatusReport
from coordinator.telemetry.store import StoreReport
from models.model_server import ServerAccess
from splitrail.coordinator_report import ReportSource
from splitrail.errors import SplitrailError
from splitrail.strip import plan_strip
from splitrail.terminal import printable

EXAMPLE = "splitrail status --coordinator http://127.0.0.1:8484 --watch"
DEFAULT_URL = "http://127.0.0.1:8484"
URL_VARIABLE = "SPLITRAIL_COORDINATOR"
TOKEN_VARIABLE = "SPLITRAIL_TOKEN_FILE"
CA_VARIABLE = "SPLITRAIL_CA_FILE"
WATCH_INTERVAL_S = 1.0
STALE_S = 60.0
BACKLOG = 50
"""So many messages that wait to be stored are shown; fewer are on their way."""
STORE_BACKLOG = 5_000
"""So many points that wait for their store are shown though nothing stands in the way."""
WRONG_CLOCK_S = 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--coordinator", metavar="URL", help=f"where it serves (or ${URL_VARIABLE}; default: {DEFAULT_URL})"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="a client.yaml that says the same, and more")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"file whose first line is your token (or ${TOKEN_VARIABLE})"
    )
    parser.add_argument(
        "--ca-file", type=Path, metavar="FILE", help=f"authority that signed its certificate (or ${CA_VARIABLE})"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON, with every figure")
    parser.add_argument("--watch", action="store_true", help="draw anew every second until interrupted")


def run(arguments: argparse.Namespace) -> int:
    """Print the status once, or until interrupted; SplitrailError if the coordinator does not answer."""
    if arguments.json:
        if arguments.watch:
            raise SplitrailError("--watch draws a screen and --json prints once: choose one of them")
        figures = msgspec.json.encode(_source(arguments).report())
        sys.stdout.write(msgspec.json.format(figures, indent=2).decode() + "\n")
        return 0
    source = _source(arguments)
    report = source.report()
    console = Console()
    if not arguments.watch:
        console.print(rendered(report, console.width))
        return 0
    with Live(rendered(report, console.width), console=console, screen=console.is_terminal) as live:
        while True:
            time.sleep(WATCH_INTERVAL_S)
            live.update(_watched(source, console.width))


def _source(arguments: argparse.Namespace) -> ReportSource:
    """What the options say, else the environment, else the file, else the default."""
    url, token_file, ca_file = DEFAULT_URL, None, None
    if arguments.config is not None:
        from splitrail.client_settings import ClientSettings  # noqa: PLC0415  # it needs packages that a status does not
        from splitrail.settings import load_settings  # noqa: PLC0415  # as above

        settings = load_settings(arguments.config, ClientSettings)
        url, token_file, ca_file = settings.coordinator, settings.token_file, settings.ca_file
    return ReportSource(
        arguments.coordinator or os.environ.get(URL_VARIABLE) or url,
        ServerAccess(
            arguments.token_file or _path_in(TOKEN_VARIABLE) or token_file,
            arguments.ca_file or _path_in(CA_VARIABLE) or ca_file,
            token_option="--token-file",
        ),
        "--coordinator",
    )


def _path_in(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def _watched(source: ReportSource, width: int) -> RenderableType:
    """The status, or the reason why there is none just now: a watcher sits out the coordinator's restarts."""
    try:
        return rendered(source.report(), width)
    except SplitrailError as error:
        return _text(str(error), "red")


def rendered(report: StatusReport, width: int) -> RenderableType:
    """The whole report for a terminal of `width` columns."""
    parts: list[RenderableType] = [
        Text.assemble(("site ", "dim"), _text(report.site, "bold"), _text(f"  splitrail {report.version}", "dim"))
    ]
    if report.leadership is not None:
        parts.append(_leadership(report.leadership))
    parts += [_nodes(report), _links(report.links)] if report.nodes else [Text("No node has announced itself yet.")]
    parts += [*_clocks(report.nodes), *_spools(report.nodes)]
    names = [node.name for node in report.nodes]
    answers = report.store is None or report.store.obstacle is None
    for deployment in report.deployments:
        parts.append(_deployment(deployment, report.at, width, names, store_answers=answers))
    if report.lost_telemetry:
        parts.append(Text(f"{report.lost_telemetry} messages could not be kept: see the coordinator's log", "yellow"))
    parts += _store(report.store)
    return Group(*parts)


def _leadership(leadership: LeadershipReport) -> Text:
    own, term = leadership.coordinator, leadership.term
    if leadership.state == "leads":
        return _text(f"{own} leads, term {term}", "dim")
    if leadership.state == "stands by":
        heard = _age(leadership.heard_s or 0.0)
        where = f" at {leadership.leader_url}" if leadership.leader_url else ""
        return _text(f"{own} stands by: {leadership.leader}{where} leads, term {term}, heard {heard} ago", "yellow")
    last = f", the last was {leadership.leader}" if leadership.leader else ""
    return _text(f"{own} waits: nobody is known to lead under term {term}{last}; plans stay as they are", "yellow")


def _spools(nodes: tuple[NodeReport, ...]) -> list[Text]:
    """What nodes could not get stored, where that is more than what is on its way."""
    lines: list[Text] = []
    for node in nodes:
        spool = node.spool
        if spool is not None and spool.waiting >= BACKLOG:
            megabytes = significant(spool.waiting_bytes / 1e6, 2)
            lines.append(_text(f"{node.name}: {spool.waiting} messages ({megabytes} MB) wait to be stored", "yellow"))
        if spool is not None and spool.dropped:
            why = f": {spool.reason}" if spool.reason else ""
            lines.append(_text(f"{node.name}: {spool.dropped} messages were dropped from its spool{why}", "yellow"))
    return lines


def _clocks(nodes: tuple[NodeReport, ...]) -> list[Text]:
    """The nodes whose clocks are off: what they report is then stored by the coordinator's clock, or at wrong times."""
    lines: list[Text] = []
    for node in nodes:
        skew_s = node.clock_skew_s
        if skew_s is not None and abs(skew_s) > WRONG_CLOCK_S:
            way = "ahead of" if skew_s > 0.0 else "behind"
            off = f"{node.name}: its clock is {significant(abs(skew_s), 3)} s {way} the coordinator's"
            lines.append(_text(f"{off}: `splitrail doctor` there says whether it is set by NTP", "yellow"))
    skews_s = [node.clock_skew_s for node in nodes if node.clock_skew_s is not None]
    if len(lines) > 1 and len(lines) == len(skews_s) and max(skews_s) - min(skews_s) < WRONG_CLOCK_S:
        return [
            _text(
                f"all clocks differ from the coordinator's by {significant(skews_s[0], 3)} s: is its own right?",
                "yellow",
            )
        ]
    return lines


def _store(store: StoreReport | None) -> list[Text]:
    """What keeps telemetry from its store."""
    if store is None:
        return []
    lines: list[Text] = []
    if store.obstacle:
        lines.append(_text(f"telemetry: {store.obstacle}", "yellow"))
    if store.waiting >= STORE_BACKLOG or (store.waiting and store.obstacle):
        lines.append(_text(f"telemetry: {store.waiting} points wait for {store.where}", "yellow"))
    if store.dead_letters:
        points = "1 point" if store.dead_letters == 1 else f"{store.dead_letters} points"
        refused = f"telemetry: {store.where} has refused {points}"
        lines.append(_text(f"{refused}: `splitrail doctor --config coordinator.yaml` says why", "yellow"))
    return lines


def _nodes(report: StatusReport) -> Table:
    table = Table(
        "node", "tier", "state", "load", "hardware", "runtime", "power, last minute", box=None, padding=(0, 2, 0, 0)
    )
    for node in report.nodes:
        hardware = node.hardware
        table.add_row(
            _text(node.name, "bold"),
            node.tier,
            Text("\n").join([_node_state(node, report.at), *_throttling(node)]),
            _load(node),
            Text("\n").join(
                [
                    _text(f"{hardware.cpu_model}, {hardware.architecture}, {hardware.cores} cores"),
                    *([_text(f"emulated: {node.emulated}", "italic")] if node.emulated else []),
                ]
            ),
            _text(f"{hardware.runtime} {hardware.runtime_version}"),
            Text("\n").join(_text(f"{power.power_w:.2f} W {power.source}, {power.scope}") for power in node.power)
            if node.power
            else "-",
        )
    return table


def _node_state(node: NodeReport, now: float) -> Text:
    if not node.online:
        return Text(f"down {_age(now - node.since)}", style="red")
    if node.refused:
        return _text(f"refused: it {node.refused}", "red")
    return Text(f"up {_age(now - node.since)}", style="green")


def _throttling(node: NodeReport) -> list[Text]:
    if not node.throttled:
        return []
    degrees = f", {node.temperature_c:.0f} °C" if node.temperature_c is not None else ""
    return [_text(f"{', '.join(node.throttled)}{degrees}", "yellow")]


def _load(node: NodeReport) -> str:
    if not node.online or node.load_age_s is None:
        return "-"
    return f"{node.load:.0%} ± {node.load_std:.0%}{' emulated' if node.load_emulated else ''}, {_age(node.load_age_s)}"


def _links(links: tuple[LinkReport, ...]) -> Table:
    table = Table("link", "way", "round trip", "bandwidth", "age", box=None, padding=(0, 2, 0, 0))
    for link in links:
        table.add_row(
            _text(f"{link.src} → {link.dst}"),
            Text("by MQTT" if link.way == "mqtt" else "direct", style="yellow" if link.way == "mqtt" else ""),
            f"{significant(link.rtt_ms, 3)} ± {significant(link.rtt_ms_std, 2)} ms",
            f"{significant(link.mbps, 3)} ± {significant(link.mbps_std, 2)} Mbit/s",
            Text(_age(link.age_s), style="yellow" if link.age_s > STALE_S else ""),
        )
    return table


def _deployment(
    deployment: DeploymentReport, now: float, width: int, nodes: list[str], *, store_answers: bool
) -> RenderableType:
    title = Text.assemble(
        _text(deployment.name, "bold"),
        _text(f"  {deployment.model}, {deployment.ops} ops, from {deployment.origin}, {deployment.strategy}"),
    )
    lines: list[RenderableType] = []
    plan = deployment.plan
    if plan is not None:
        title.append(f", plan {plan.epoch}, {_age(now - plan.created_at)} old")
        lines.append(plan_strip(plan.stages, deployment.ops, max(20, width - 4), nodes=nodes))
        packed = [
            f"{stage.codec} to {stage.node} at {stage.start}"
            for stage in plan.stages
            if stage.codec != "raw" and stage.start < stage.stop
        ]
        if packed:
            lines.append(_text(f"packed: {', '.join(packed)}"))
        lines.append(_text(plan.reason, "dim"))
        # Nobody is known to be ready right after a plan was published, or right after the coordinator was started.
        waiting = {stage.node for stage in plan.stages} - set(plan.ready)
        if plan.ready and waiting:
            lines.append(_text(f"not ready yet: {', '.join(sorted(waiting))}", "yellow"))
    lines += [_text(line) for line in _figures(deployment, store_answers=store_answers)]
    if deployment.obstacle:
        lines.append(_text(f"{'no new plan' if plan else 'no plan'}: {deployment.obstacle}", "yellow"))
    lines += [_text(f"left out: {node}: {reason}", "yellow") for node, reason in sorted(deployment.left_out.items())]
    lines += [_text(f"left out: link {link}: {reason}", "yellow") for link, reason in deployment.suspect_links.items()]
    if deployment.last_failure:
        lines.append(_text(f"last failure: {deployment.last_failure}", "red"))
    return Group(Text(), title, Padding(Group(*lines), (0, 0, 0, 2)))


def _figures(deployment: DeploymentReport, *, store_answers: bool) -> list[str]:
    figures: list[str] = []
    predicted = deployment.prediction
    if predicted is not None:
        figures.append(
            f"predicted    {predicted.latency_ms:.1f} ms, {predicted.origin_energy_j:.3g} J at the origin, "
            f"{predicted.total_energy_j:.3g} J in all (modelled)"
        )
    last = deployment.last_minute
    if not last.count:
        return [*figures, "last minute  no inference" if store_answers else "last minute  unknown, see telemetry below"]
    counts = f"{last.count} inferences, {last.errors} failed"
    # All of them are there, or none; only a coordinator of other making could leave some out.
    if None in (last.latency_p50_ms, last.latency_p95_ms, last.origin_energy_j, last.total_energy_j):
        return [*figures, f"last minute  {counts}"]
    return [
        *figures,
        f"last minute  {last.latency_p50_ms:.1f} ms p50, {last.latency_p95_ms:.1f} ms p95, "
        f"{last.origin_energy_j:.3g} J at the origin, {last.total_energy_j:.3g} J in all "
        f"({last.energy_source}, {last.energy_scope}); {counts}",
    ]


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style)


def _age(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
