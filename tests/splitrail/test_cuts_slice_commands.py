"""`splitrail cuts` and `splitrail slice`, as a user types them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from splitrail.cli import main


@pytest.fixture(scope="module")
def model(zoo_model) -> Path:
    """MobileNetV2 as float32."""
    return zoo_model("mobilenetv2", "none")


def test_cuts_prints_a_line_for_each_cut_point(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a heading, an op a line, and the end, in 80 columns."""
    assert main(["cuts", str(model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["k", "op"]
    assert lines[1].split()[:2] == ["0", "CONV_2D"]
    assert lines[-1].split()[1:] == ["(end)", "4,000", "allowed"]
    assert max(map(len, lines)) <= 80


def test_cuts_json_has_the_agreed_fields(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints N and N+1 cut points with exactly the agreed fields."""
    assert main(["cuts", str(model), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"ops", "cuts"}
    assert len(printed["cuts"]) == printed["ops"] + 1
    for k, cut in enumerate(printed["cuts"]):
        assert set(cut) == {"k", "bytes", "tensors", "allowed", "why"}
        assert cut["k"] == k
        assert cut["allowed"] is (cut["why"] is None)
    assert printed["cuts"][0]["bytes"] == 224 * 224 * 3 * 4


def test_cuts_needs_no_runtime(model: Path) -> None:
    """Neither numpy nor a runtime is imported to list cut points."""
    script = "import sys; from splitrail.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script, "cuts", str(model)], capture_output=True, text=True, check=True
    )
    assert not {"numpy", "ai_edge_litert", "tflite_runtime"} & set(done.stderr.split())


def test_slice_writes_a_segment_with_the_models_names(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The segment's inputs and outputs bear the names that `cuts` lists."""
    main(["cuts", str(model), "--json"])
    cuts = json.loads(capsys.readouterr().out)["cuts"]
    out = tmp_path / "segment.tflite"
    assert main(["slice", str(model), "7", "9", "-o", str(out)]) == 0
    capsys.readouterr()
    assert main(["cuts", str(out), "--json"]) == 0
    segment = json.loads(capsys.readouterr().out)
    assert segment["ops"] == 2
    assert segment["cuts"][0]["tensors"] == cuts[7]["tensors"]
    assert segment["cuts"][2]["tensors"] == cuts[9]["tensors"]


@pytest.mark.parametrize(
    ("bounds", "words"),
    [(("0", "999"), "cut points are 0..65"), (("9", "3"), "rising order"), (("4", "4"), "relays")],
)
def test_slice_refuses_a_bad_range(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], bounds: tuple[str, str], words: str
) -> None:
    """One line says which ranges there are; exit 2; an existing output is untouched."""
    out = tmp_path / "out.tflite"
    out.write_bytes(b"precious")
    assert main(["slice", str(model), *bounds, "-o", str(out)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert out.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["missing", "directory", "truncated", "text"])
@pytest.mark.parametrize("command", ["cuts", "slice"])
def test_bad_files_are_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, command: str
) -> None:
    """What is not a whole .tflite is one line that names the file, and exit 2."""
    path = tmp_path / "bad.tflite"
    match kind:
        case "directory":
            path.mkdir()
        case "truncated":
            path.write_bytes(model.read_bytes()[:100_000])
        case "text":
            path.write_text("hello, I am not a model")
    out = tmp_path / "out.tflite"
    extra = ["0", "1", "-o", str(out)] if command == "slice" else []
    assert main([command, str(path), *extra]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"splitrail: {path}: ")
    assert error.count("\n") == 1
    assert not out.exists()
