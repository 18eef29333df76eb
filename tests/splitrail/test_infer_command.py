"""`splitrail infer`: what it refuses before anything is sent, and what it prints of an answer."""

from pathlib import Path

import msgspec
import pytest

from broker.messages import ComputeEnergy, InferenceReport, InferReply, StageEnergy, StageReport
from splitrail.cli import main
from splitrail.commands.infer import _print_answer

BY_COUNTER = StageEnergy(
    energy_j=0.5, energy_j_std=0.02, method="integrated", source="measured", scope="package", meter="rapl"
)
BY_MODEL = StageEnergy(
    energy_j=0.25, energy_j_std=0.06, method="model", source="modelled", scope="board", meter="modelled"
)
REPORT = InferenceReport(
    deployment="photos",
    epoch=1,
    request_id="r",
    origin="pi",
    at=0.0,
    latency_ms=30.0,
    stages=(
        StageReport(node="pi", start=0, stop=30, compute_ms=10.0, wait_ms=0.0, energy=BY_COUNTER),
        StageReport(node="fog", start=30, stop=65, compute_ms=10.0, wait_ms=0.0, energy=BY_MODEL),
    ),
    transfers=(),
    origin_energy_j=0.1,
    total_energy_j=0.2,
    energy_source="modelled",
    energy_scope="board",
    compute_energy=ComputeEnergy(energy_j=0.75, energy_j_std=0.063, source="mixed", scope="mixed"),
)


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--timeout", "-1", "'-1' is not a number of seconds above 0"),
        ("--timeout", "nan", "'nan' is not a number of seconds above 0"),
        ("--timeout", "1e99", "'1e99' is not a number of seconds above 0, up to 86400"),
        ("--fps", "0", "'0' is not a number of frames a second above 0, up to 10000"),
        ("--top", "0", "'0' is not a whole number from 1 to 100"),
        ("--top", "many", "'many' is not a whole number from 1 to 100"),
    ],
)
def test_an_option_out_of_range_is_one_line(
    capsys: pytest.CaptureFixture[str], option: str, value: str, complaint: str
) -> None:
    """Exit code 2, and what would be right."""
    with pytest.raises(SystemExit) as left:
        main(["infer", "photos", "china.jpg", option, value])
    assert left.value.code == 2
    printed = capsys.readouterr().err
    assert complaint in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--frames", "9"], "--frames is for the frames of a stream: add --stream"),
        (["--in-flight", "8"], "--in-flight is for the frames of a stream: add --stream"),
        (["--stream", "--policy", "latest"], "name it with --fps"),
        (["--stream", "--in-flight", "33"], "'33' is not a whole number from 1 to 32"),
    ],
)
def test_options_of_a_stream_are_not_passed_over(
    capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    """Who forgets `--stream`, or the rate of a live one, is told in one line before anything is sent."""
    try:
        code = main(["infer", "photos", "china.jpg", *options])
    except SystemExit as left:
        code = left.code
    assert code == 2
    printed = capsys.readouterr().err
    assert complaint in printed
    assert printed.count("\n") == 1


def printed_of(report: InferenceReport, capsys: pytest.CaptureFixture[str]) -> str:
    """What a user reads of an answer with this report, its white space made even."""
    _print_answer(Path("china.jpg"), InferReply(request_id="r", report=report))
    return " ".join(capsys.readouterr().out.split())


def test_the_energy_of_each_stage_is_shown_with_how_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the cost model's figures, which are others; a sum of unlike ones is called mixed."""
    printed = printed_of(REPORT, capsys)
    assert "0.100 J at pi, 0.200 J in all (modelled, board)" in printed
    assert "0.750 ± 0.063 J while computing, as the nodes say (source mixed, scope mixed)" in printed
    assert "pi: ops 0..29 0.500 0.020 integrated measured rapl package" in printed
    assert "fog: ops 30..64 0.250 0.060 model modelled modelled board" in printed


def test_no_sum_is_shown_where_a_node_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """What the other nodes say is."""
    silent = msgspec.structs.replace(REPORT.stages[1], energy=None)
    report = msgspec.structs.replace(REPORT, stages=(REPORT.stages[0], silent), compute_energy=None)
    printed = printed_of(report, capsys)
    assert "while computing" not in printed
    assert "0.500 0.020 integrated measured rapl package" in printed
