"""The settings files that a site's members start from, as text: agent.yaml, coordinator.yaml and client.yaml.

Every path in them is relative, to files that lie beside them, so that a directory can be copied as it is.
"""

import json
from pathlib import Path

from broker.messages import Tier
from broker.sign_in import BrokerSettings

HTTP_PORT = 8484


def broker_settings(directory: Path, *, host: str, port: int, user: str) -> BrokerSettings:
    """How the member whose files are in `directory` signs in."""
    return BrokerSettings(
        host=host, port=port, username=user, password_file=directory / "password", ca_file=directory / "ca.crt"
    )


def agent_yaml(*, site: str, node: str, tier: Tier, host: str, port: int) -> str:
    """An agent.yaml that starts the agent of a node."""
    return f"""\
# The agent of {node}, as `splitrail site add-node` made it: `splitrail agent --config agent.yaml`.
# The files beside it are secrets of this node alone. Paths begin here.
site: {_quoted(site)}
node: {_quoted(node)}
tier: {tier}
{_broker_yaml(host, port, node)}
models:                        # the coordinator serves them
  token_file: token
  ca_file: ca.crt
"""


def coordinator_yaml(*, site: str, host: str, port: int) -> str:
    """A coordinator.yaml that lacks only the deployments that the user wants."""
    return f"""\
# The coordinator of {site}, as `splitrail site init` made it: `splitrail coordinator --config coordinator.yaml`.
# Paths begin here. What else can be set: docs/coordinator.yaml.
site: {_quoted(site)}
{_broker_yaml(host, port, "coordinator")}
http:
  host: 0.0.0.0
  port: {HTTP_PORT}
  advertise: {_quoted(_coordinator_url(host))}
  certificate_file: http.pem
  key_file: http.pem
  tokens_file: tokens
deployments:                   # an example: put your own here
  - name: photos
    model: mobilenetv2.tflite
    origin: pi
"""


def client_yaml(*, site: str, client: str, host: str, port: int) -> str:
    """A client.yaml for who asks for inferences, and for the status."""
    return f"""\
# How {client} asks the site {site}, as `splitrail site add-client` made it: `splitrail infer DEPLOYMENT IMAGE
# --config client.yaml` and `splitrail status --config client.yaml`. Paths begin here.
{_client_keys(site, client, host, port)}"""


def reader_yaml(*, site: str, reader: str, host: str, port: int) -> str:
    """A client.yaml for who only looks on: the status, and what others need to sign in by."""
    return f"""\
# How {reader} looks on at the site {site}, as `splitrail site add-reader` made it: `splitrail status
# --config client.yaml`; Home Assistant and Prometheus take user, password, token and ca.crt from here.
{_client_keys(site, reader, host, port)}"""


def _client_keys(site: str, user: str, host: str, port: int) -> str:
    return f"""\
site: {_quoted(site)}
{_broker_yaml(host, port, user)}
coordinator: {_quoted(_coordinator_url(host))}
token_file: token
ca_file: ca.crt
"""


def _coordinator_url(host: str) -> str:
    return f"https://[{host}]:{HTTP_PORT}" if ":" in host else f"https://{host}:{HTTP_PORT}"


def _broker_yaml(host: str, port: int, user: str) -> str:
    return f"""\
broker:
  host: {_quoted(host)}
  port: {port}
  username: {_quoted(user)}
  password_file: password
  ca_file: ca.crt"""


def _quoted(text: str) -> str:
    """As YAML text, whatever it looks like: a JSON string is one."""
    return json.dumps(text)
