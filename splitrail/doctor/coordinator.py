"""All checks of a coordinator by its coordinator.yaml: files, the broker, its own HTTP interface and InfluxDB."""

from collections.abc import Iterator

from broker.explanations import is_loopback
from splitrail.doctor.broker_access import broker_findings
from splitrail.doctor.broker_probe import BrokerLook, is_loopback_only, look_at_broker, trial_for
from splitrail.doctor.coordinator_http import own_findings
from splitrail.doctor.files import Place, room_findings, secret_findings, secrets_in
from splitrail.doctor.finding import Finding, checked, looked
from splitrail.doctor.subject import CoordinatorSubject

WEEK_OF_TELEMETRY_MB = 500.0
"""Where SQLite keeps it: of a site of three nodes with one inference a second, estimated from its rows' sizes."""


def coordinator_findings(subject: CoordinatorSubject) -> Iterator[Finding]:
    """The findings, as they come."""
    settings = subject.settings
    influxdb = settings.influxdb
    store = Place("store", settings.store, WEEK_OF_TELEMETRY_MB if influxdb is None else influxdb.spool_mb)
    cache = Place("cache", settings.cache, 0.0)
    yield from checked("secrets", lambda: secret_findings(tuple(secrets_in(settings))))
    yield from checked("disk: store", lambda: room_findings(store))
    yield from checked("disk: cache", lambda: room_findings(cache))
    yield from checked("models", lambda: _model_findings(subject))
    trial = trial_for(settings.site, "coordinator", settings.name)
    look = looked("broker", lambda: look_at_broker(settings.broker, trial))
    if isinstance(look, BrokerLook):
        is_own_broker = is_loopback(settings.broker.host)
        yield from checked(
            "broker",
            lambda: broker_findings(
                look,
                settings.broker,
                loopback_only=is_own_broker and not look.failure and is_loopback_only(settings.broker.port),
            ),
        )
    else:
        yield from look
    yield from checked("coordinator", lambda: own_findings(settings.http, settings.broker.ca_file, subject.file))
    if influxdb is not None:
        # Its library comes with the extra; it is not looked for where there is no InfluxDB.
        from splitrail.doctor.influx import influx_findings  # noqa: PLC0415  # as above

        yield from checked("influxdb", lambda: influx_findings(influxdb, settings.store))


def _model_findings(subject: CoordinatorSubject) -> Iterator[Finding]:
    """Whether the models that deployments name are there."""
    for deployment in subject.settings.deployments:
        name = f"model of {deployment.name}"
        if not deployment.model.is_file():
            fix = "copy it there, or make one: splitrail convert"
            yield Finding(name, "problem", f"{deployment.model} is not there", fix)
        else:
            yield Finding(name, "ok", f"{deployment.model}, {deployment.model.stat().st_size / 1e6:.1f} MB")
