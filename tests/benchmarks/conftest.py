"""Benchmarks are scripts that stand beside one another, and no package: here they are found by their names."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
