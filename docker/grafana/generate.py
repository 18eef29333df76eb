"""Writes dashboards/*.json from boards/; with --check says which are not current, and writes nothing."""

import argparse
import json
import sys
from pathlib import Path

from boards.deployment import DEPLOYMENT_BOARD
from boards.energy import ENERGY
from boards.fleet import FLEET
from boards.grafana_json import dashboard_json
from boards.history import HISTORY
from boards.layout import Dashboard
from boards.links import LINKS
from boards.node import NODE_BOARD

DIRECTORY = Path(__file__).parent / "dashboards"
DASHBOARDS = (FLEET, DEPLOYMENT_BOARD, NODE_BOARD, LINKS, ENERGY, HISTORY)


def path_of(dashboard: Dashboard) -> Path:
    """Where a dashboard's file is."""
    return DIRECTORY / f"{dashboard.uid}.json"


def text_of(dashboard: Dashboard) -> str:
    """What a dashboard's file holds."""
    others = [other for other in DASHBOARDS if other is not dashboard]
    return json.dumps(dashboard_json(dashboard, others), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write every file, or find those that are not as they would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not current")
    is_check = parser.parse_args().check
    texts = {path_of(dashboard): text_of(dashboard) for dashboard in DASHBOARDS}
    found = {path: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.json")}
    if is_check:
        stale = sorted(path.name for path in texts.keys() | found.keys() if texts.get(path) != found.get(path))
        if stale:
            print(f"not current: {', '.join(stale)}: run `python docker/grafana/generate.py`", file=sys.stderr)
        return 1 if stale else 0
    DIRECTORY.mkdir(exist_ok=True)
    for path in found.keys() - texts.keys():
        path.unlink()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
