"""Measures how long segments take to cut and how much anonymous memory that needs: `python benchmarks/slicing.py`.

Without files it converts VGG16 and MobileNetV2 with random weights, which takes a minute and several GB once.
"""

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

from figures import Figure, repeated, write
from zoo_models import zoo_model

from models.graph import read_graph
from models.slicer import slice_model

SAMPLING_S = 0.0005


class AnonymousMemory:
    """The peak of this process's anonymous memory while the block runs, above what it was before; MB of 10^6 bytes."""

    def __enter__(self) -> "AnonymousMemory":
        self._before = self._peak = anonymous_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def grown_mb(self) -> float:
        """How far it has grown."""
        return (self._peak - self._before) / 1e6

    def _sample(self) -> None:
        while not self._done.wait(SAMPLING_S):
            self._peak = max(self._peak, anonymous_bytes())


def anonymous_bytes() -> int:
    """The resident anonymous memory of this process, from the kernel."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")))


def measure(path: Path, directory: Path, repeats: int) -> list[Figure]:
    """Print time and memory of cutting the whole, a head and a tail of one model; the figures beside a plain copy."""
    found: list[Figure] = []
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass  # the figures are those of a page-cached file
    begun = time.perf_counter()
    graph = read_graph(path)
    reading_ms = 1000 * (time.perf_counter() - begun)
    begun = time.perf_counter()
    shutil.copyfile(path, directory / "copy.tflite")
    copy_ms = 1000 * (time.perf_counter() - begun)
    count = len(graph.ops)
    allowed = [cut.k for cut in graph.cuts if cut.allowed]
    middle = min(allowed, key=lambda k: abs(k - count // 2))
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {count} ops, graph read in {reading_ms:.1f} ms")
    for part, start, stop in (("whole", 0, count), ("head", 0, middle), ("tail", middle, count)):
        out = directory / "segment.tflite"
        times = []
        with AnonymousMemory() as memory:
            for _ in range(repeats):
                begun = time.perf_counter()
                slice_model(path, start, stop, out)
                times.append(time.perf_counter() - begun)
        size_mb = out.stat().st_size / 1e6
        median_ms, slowest_ms = 1000 * statistics.median(times), 1000 * max(times)
        print(
            f"  [{start:3}, {stop:3}) {size_mb:8.1f} MB  median {median_ms:7.1f} ms  slowest {slowest_ms:7.1f} ms  "
            f"anonymous memory +{memory.grown_mb:.1f} MB"
        )
        times_ms, reference_ms = [1000 * each for each in times], copy_ms if part == "whole" else None
        found.append(repeated(f"{path.stem}, {part}", times_ms, "ms", "lower", reference=reference_ms))
        found.append(Figure(f"{path.stem}, {part}, anonymous memory", memory.grown_mb, "MB", "lower", noise=2.0))
    return found


def main() -> None:
    """Measure the files given, or VGG16 and MobileNetV2."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where the segments go (default: beside the system's others)")
    parser.add_argument("--quick", action="store_true", help="MobileNetV2 alone")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    names = ("mobilenetv2",) if arguments.quick else ("vgg16", "mobilenetv2")
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        for path in arguments.files or [zoo_model(name) for name in names]:
            found += measure(path, Path(directory), arguments.repeats)
    if arguments.json is not None:
        write(arguments.json, found)


if __name__ == "__main__":
    main()
