"""`splitrail convert` as typed: what it refuses, in one line and with exit code 2, before TensorFlow is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from splitrail.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mobilnet", "-o", "x.tflite"], "did you mean mobilenetv2?"),
        (["alexnet", "-o", "x.tflite"], "give --weights random or --weights FILE"),
        (["vgg16", "-o", "absent/x.tflite"], "the directory absent of the output does not exist; make it first"),
        (["vgg16", "-o", "x.tflite", "--weights", "absent.h5"], "there is no file of weights absent.h5"),
        (["absent.keras", "-o", "x.tflite"], "there is no file or directory absent.keras"),
        ([".", "-o", "x.tflite"], "is no SavedModel: it has no saved_model.pb"),
        ([".", "-o", "x.tflite", "--weights", "random"], "--weights and --seed are for zoo models"),
        (["vgg16", "-o", "x.tflite", "--preprocessing", "tf"], "--preprocessing is for models of your own"),
        (["vgg16", "-o", "x.tflite", "--labels", "absent.txt"], "cannot read the labels in absent.txt"),
        (["vgg16", "-o", "x.tflite", "--images", "a.jpg"], "images calibrate int8"),
        (["vgg16", "-o", "x.tflite", "--quantize", "int8", "--images", "a.jpg"], "there is no image a.jpg"),
        (["vgg16", "-o", "x.tflite", "--quantize", "int4"], "invalid choice: 'int4'"),
        (["vgg16"], "the following arguments are required: -o/--output"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What is wrong is said in one line on stderr; nothing is written and the exit code is 2."""
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["convert", *arguments])
    except SystemExit as exit_:
        code = exit_.code  # type: ignore[assignment]  # argparse's own exit
    out, err = capfd.readouterr()
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_has_an_example_and_needs_no_tensorflow() -> None:
    """`--help` shows how the command is used without loading TensorFlow."""
    script = (
        "import sys; from splitrail.cli import main\n"
        "try: main(['convert', '--help'])\n"
        "finally: assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "splitrail convert mobilenetv2 --quantize int8 -o mobilenetv2.tflite" in shown.stdout
    assert shown.stderr == ""


def test_a_missing_tensorflow_names_the_extra(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where TensorFlow is not installed, the line says what to install."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow", None)
        assert main(["convert", "alexnet", "--weights", "random", "-o", str(tmp_path / "x.tflite")]) == 2
    assert "pip install 'splitrail[convert]'" in capfd.readouterr().err


def test_what_the_evaluation_lacks_is_said_before_converting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line that names the extra, and no model is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "lz4.block", None)
    for name in ("splitrail.commands.codec_table", "models.evaluation", "models.codecs", "models.scales"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert main(["convert", "mobilenetv2", "--weights", "random", "--evaluate", "-o", "x.tflite"]) == 2
    assert "`splitrail convert --evaluate` needs the package 'lz4" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
