"""What can be chosen at the top of a dashboard, and the time ranges of panels that have one of their own."""

from typing import Final

from boards.influxql import values_of
from boards.layout import Variable

TODAY: Final = "now/d"
JUST_NOW: Final = "2m"
"""Long enough for readings that agents publish each 10 s, and for telemetry that waits a while."""
LONG_AGO: Final = "30d"
"""For what is told once and holds: births and plans."""

NODE: Final = Variable("node", "node", values_of("node", "node"), "one")
NODES: Final = Variable("node", "nodes", values_of("node", "node"), "many")
DEPLOYMENT: Final = Variable("deployment", "deployment", values_of("deployment", "inference"), "one")
DEPLOYMENTS: Final = Variable("deployment", "deployment", values_of("deployment", "inference"), "many")
MODELS: Final = Variable("model", "model", values_of("model", "inference"), "many")
SOURCES: Final = Variable("src", "from", values_of("src", "link"), "many")
DESTINATIONS: Final = Variable("dst", "to", values_of("dst", "link"), "many")
