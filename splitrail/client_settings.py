"""client.yaml, the settings of who asks a site for inferences or for its status; what options say counts before it."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from broker.messages import Name
from broker.sign_in import BrokerSettings


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything in `client.yaml`."""

    site: Annotated[Name, Meta(description="The site that is asked.")] = "home"
    broker: Annotated[BrokerSettings, Meta(description="The MQTT broker, for inferences.")] = BrokerSettings()
    coordinator: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s/]+(/[^\s]*)?\Z")],
        Meta(description="Base URL of the coordinator, for the status."),
    ] = "http://127.0.0.1:8484"
    token_file: Annotated[
        Path | None, Meta(description="File whose first line is the token that the coordinator wants.")
    ] = None
    ca_file: Annotated[
        Path | None, Meta(description="Authority that signed the coordinator's certificate; left out: the system's.")
    ] = None
