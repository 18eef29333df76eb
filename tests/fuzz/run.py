"""Fuzzes one target, guided by coverage: `python tests/fuzz/run.py wire --seconds 60`; `--list` names the targets.

Ends with 0 if nothing was found; else with 77, a trace and the input, which `run.py NAME INPUT` tries again.
"""

import argparse
import logging
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The packages first: tests/ has a directory of the same name for each.
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fuzz"), str(ROOT / "tests")]

import atheris  # noqa: E402  # the path above is for what follows
from targets import FOUND, TARGETS, Target  # noqa: E402  # as above

FINDINGS = ROOT / ".cache" / "fuzz"
MAX_INPUT_BYTES = 200_000  # a telemetry store with a row in each table has 130,000
LONGEST_INPUT_S = 60
MOST_MEMORY_MB = 4_000


def main() -> None:
    """Try the given inputs, or fuzz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=TARGETS, metavar="NAME", help="which target")
    parser.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="try these files, and fuzz nothing")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="how long (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="name the targets")
    arguments = parser.parse_args()
    if arguments.list or arguments.name is None:
        for name, target in TARGETS.items():
            print(f"{name:10} {target.summary}")
        return
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if arguments.inputs:
        loaded = TARGETS[arguments.name].load()
        for path in arguments.inputs:
            loaded.run(path.read_bytes())
            print(f"{path}: nothing found")
        return
    fuzz(arguments.name, TARGETS[arguments.name], arguments.seconds)


def fuzz(name: str, target: Target, seconds: int) -> None:
    """Never returns: the engine ends the process."""
    with atheris.instrument_imports(include=list(target.packages)):
        loaded = target.load()
    findings = FINDINGS / name
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="splitrail-corpus-") as corpus:
        earlier = sorted((FOUND / name).iterdir()) if (FOUND / name).is_dir() else []
        for index, seed in enumerate([*loaded.seeds(), *(path.read_bytes() for path in earlier)]):
            (Path(corpus) / f"seed-{index}").write_bytes(seed)
        engine = [
            sys.argv[0],
            corpus,
            f"-max_total_time={seconds}",
            f"-artifact_prefix={findings}/",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-timeout={LONGEST_INPUT_S}",
            f"-rss_limit_mb={MOST_MEMORY_MB}",
            "-print_final_stats=1",
        ]
        atheris.Setup(engine, loaded.run)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
