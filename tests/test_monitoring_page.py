"""docs/monitoring.md: its configuration can be read, and what it asks for is there."""

import re
from pathlib import Path

import yaml

from coordinator import metrics as coordinator_metrics
from edge_agent import metrics as agent_metrics
from splitrail.metric_families import PROCESS

PAGE = (Path(__file__).parent.parent / "docs" / "monitoring.md").read_text(encoding="utf-8")


def test_the_scrape_configuration_is_one() -> None:
    """Two jobs, of which the coordinator's has its token and the site's authority."""
    (text,) = re.findall(r"<!-- scrape configuration -->\n```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    coordinator, agents = yaml.safe_load(text)["scrape_configs"]
    assert coordinator["scheme"] == "https"
    assert coordinator["authorization"]["credentials_file"]
    assert coordinator["tls_config"]["ca_file"]
    assert agents["static_configs"][0]["targets"]


def test_every_metric_that_it_names_is_told() -> None:
    """Histograms by the names of their parts."""
    families = (*coordinator_metrics.FAMILIES, *agent_metrics.FAMILIES, *PROCESS)
    told = {family.name for family in families} | {
        f"{family.name}_{part}"
        for family in families
        if family.kind == "histogram"
        for part in ("bucket", "sum", "count")
    }
    named = set(re.findall(r"\b(splitrail_[a-z_]*[a-z])\b(?!\.\.\.)", PAGE)) - {"splitrail_agent"}
    assert named
    assert named <= told
