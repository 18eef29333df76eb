"""All checks of who asks a site, by a client.yaml: its secrets, the broker and the coordinator."""

from collections.abc import Iterator

from broker.topics import LEADER
from models.model_server import ServerAccess
from splitrail.doctor.broker_access import broker_findings
from splitrail.doctor.broker_probe import BrokerLook, Trial, look_at_broker
from splitrail.doctor.coordinator_http import coordinator_findings
from splitrail.doctor.files import secret_findings, secrets_in
from splitrail.doctor.finding import Finding, checked, looked
from splitrail.doctor.subject import ClientSubject


def client_findings(subject: ClientSubject) -> Iterator[Finding]:
    """The findings, as they come."""
    settings = subject.settings
    yield from checked("secrets", lambda: secret_findings(tuple(secrets_in(settings))))
    # A client.yaml may be a reader's, who may write nothing: so nothing is tried.
    trial = Trial((), frozenset(), (LEADER.address(settings.site),))
    look = looked("broker", lambda: look_at_broker(settings.broker, trial))
    if isinstance(look, BrokerLook):
        yield from checked("broker", lambda: broker_findings(look, settings.broker))
    else:
        yield from look
    access = ServerAccess(settings.token_file, settings.ca_file, token_option="token_file")
    yield from checked(
        "coordinator", lambda: coordinator_findings(settings.coordinator, access, option="coordinator", node=None)
    )
