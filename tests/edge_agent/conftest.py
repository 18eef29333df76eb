"""Fixtures that several tests of the agent share."""

from open_nodes_fixture import *  # noqa: F403  # its fixture, which pytest finds here by name
