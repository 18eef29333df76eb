"""A site behind TLS, passwords and access rules, on loopback, with a few members."""

from pathlib import Path

from broker.mosquitto import free_port
from broker.site_directory import SiteDirectory

SITE = "home"
NODES = ("pi", "laptop")
CLIENTS = ("alice", "bob")


def make_secured_site(directory: Path) -> SiteDirectory:
    """A new site in `directory`, whose broker, once started, listens on a free port."""
    site = SiteDirectory.create(directory, site=SITE, hosts=("127.0.0.1",), port=free_port())
    for node in NODES:
        site.add_node(node, "edge")
    for client in CLIENTS:
        site.add_client(client)
    return site
