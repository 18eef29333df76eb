"""Whether a coordinator can do its work, for whoever restarts or watches it; a pure function of what is known."""

from coordinator.status_report import LeadershipReport
from coordinator.telemetry.store import StoreReport


def unreadiness(*, connected: bool, store: StoreReport, leadership: LeadershipReport) -> str | None:
    """Why it cannot do its work now, in one sentence; None where it leads or stands by.

    An InfluxDB that is away is no reason: what comes meanwhile waits on the coordinator's own disk.
    """
    if not connected:
        return "the MQTT broker is away"
    if store.kind == "sqlite" and store.obstacle is not None:
        return store.obstacle
    if leadership.state == "waits":
        return "nobody is known to lead the site yet"
    return None
