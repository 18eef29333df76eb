"""What a coordinator's own report means for whoever asks: versions, who leads, what it says of us, its store."""

from collections.abc import Iterator

from coordinator.status_report import NodeReport, StatusReport
from splitrail import __version__
from splitrail.doctor.finding import Finding


def report_findings(report: StatusReport, *, node: str | None) -> Iterator[Finding]:
    """What the report says of the coordinator and, where `node` is given, of that node."""
    subject = "coordinator"
    yield Finding(subject, "ok", f"answers for the site {report.site}")
    if report.version != __version__:
        fix = "install the same version on all machines"
        yield Finding(subject, "note", f"it runs splitrail {report.version}, this is {__version__}", fix)
    leadership = report.leadership
    if leadership is not None and leadership.state == "waits":
        fix = "see whether it reaches the broker; a lease that runs out takes seconds"
        yield Finding(subject, "problem", "nobody is known to lead the site, so plans stay as they are", fix)
    if report.lost_telemetry:
        yield Finding(subject, "note", f"{report.lost_telemetry} messages could not be kept", "see its log")
    if report.store is not None and report.store.obstacle is not None:
        fix = "`splitrail doctor --config coordinator.yaml` there says more"
        yield Finding("telemetry", "problem", report.store.obstacle, fix)
    if node is not None:
        known = next((each for each in report.nodes if each.name == node), None)
        yield from _node_findings(node, known)
        for deployment in report.deployments:
            if node in deployment.left_out:
                says = f"left out of the plans of {deployment.name}: {deployment.left_out[node]}"
                yield Finding(f"node {node}", "note", says)


def _node_findings(name: str, node: NodeReport | None) -> Iterator[Finding]:
    subject = f"node {name}"
    if node is None or not node.online:
        yield Finding(subject, "note", "the coordinator does not see it", "start it: splitrail agent")
        return
    if node.refused is not None:
        yield Finding(subject, "problem", f"the coordinator refuses it: it {node.refused}")
        return
    yield Finding(subject, "ok", "the coordinator sees it")
    if node.spool is not None and node.spool.dropped:
        says = f"{node.spool.dropped} messages were dropped from its spool"
        yield Finding(subject, "note", f"{says}: {node.spool.reason}" if node.spool.reason else says)
