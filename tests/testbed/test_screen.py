"""The demo's picture: what it shows, in a terminal and in a file."""

import io

import pytest
from rich.console import Console, RenderableType

from broker.messages import ModelReference, NodeProfile, Plan, PlanStage, Prediction
from testbed.comparison import Sample, compare
from testbed.scene import Scene, apply
from testbed.screen import Cast, Screen, comparison_table, picture, profile_table, status_line
from testbed.traces import Trace

CAST = Cast(
    strategies=("adaptive", "static"),
    adaptive="adaptive",
    nodes=("pi", "laptop"),
    ops=10,
    link=("pi", "laptop"),
    trace=Trace("demo.csv", (0.0, 20.0), (40.0, 2.0), scale=2.0),
    duration_s=40.0,
)
PLAN = Plan(
    deployment="adaptive",
    epoch=1,
    model=ModelReference(sha256="a" * 64, name="m", size_bytes=1, ops=10, url="http://x/"),
    origin="pi",
    stages=(PlanStage(node="pi", start=0, stop=4), PlanStage(node="laptop", start=4, stop=10)),
    way_back=("laptop", "pi"),
    strategy="exact",
    prediction=Prediction(latency_ms=135.0, origin_energy_j=1.0, total_energy_j=2.0, objective=0.7),
    reason="start",
    created_at=0.0,
)


def drawn(thing: RenderableType, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(thing)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def scene() -> Scene:
    seen = apply(PLAN, Scene())
    for turn in range(3):
        seen = apply(Sample("adaptive", turn, 20.0 + turn, 80.0, 130.0 + turn, 7, 0.5, 2.0), seen)
    return seen


def test_picture() -> None:
    """It shows the link with the trace's factor, the plan's cut, the newest figures, and that all is emulated."""
    text = drawn(picture(CAST, scene(), 23.0))
    for words in ("emulated", "4 Mbit/s ordered (demo.csv, scaled x2)", "pi 0-4, laptop 4-10", "132", "none yet"):
        assert words in text


def test_picture_fits_a_narrow_terminal() -> None:
    """No line is wider than 80 columns there."""
    assert max(len(line) for line in drawn(picture(CAST, scene(), 23.0), width=80).splitlines()) <= 80


def test_nothing_has_come_yet() -> None:
    """Before the first plan and the first answer the picture says so."""
    assert "no plan yet" in drawn(picture(CAST, Scene(), 0.0))
    assert "adaptive -, static -" in status_line(CAST, Scene(), 0.0)


def test_energy_is_marked_as_modelled() -> None:
    """The final table says of each energy figure that it is modelled, and that machines and links are emulated."""
    text = drawn(comparison_table(compare(scene().samples, CAST.strategies), "adaptive"), width=80)
    assert "origin J,  total J," in text
    assert " modelled  modelled" in text
    assert "machines and links emulated, energy modelled" in text
    assert "tensors and broker run open, on loopback only" in text


def test_profile_names_the_dearest_ops() -> None:
    """Each node's unsplit time, and its three dearest ops in order."""
    profile = NodeProfile(
        node="pi",
        model="a" * 64,
        runtime="r",
        threads=1,
        op_ms=(5.0, 40.0, 30.0, 20.0),
        op_ms_std=(0.0,) * 4,
        unsplit_ms=95.0,
        unsplit_ms_std=2.0,
        memory_mb=30.0,
        emulated="emulated Raspberry Pi 4",
    )
    text = drawn(profile_table([profile], ("CONV_2D", "ADD", "MUL", "MEAN")), width=120)
    assert "95.0 ± 2.0" in text
    assert "1 ADD 40.0 ms, 2 MUL 30.0 ms, 3 MEAN 20.0 ms" in text


def test_plain_output(capsys: pytest.CaptureFixture[str]) -> None:
    """An output that is no terminal gets whole lines without control characters, a status line every few seconds."""
    screen = Screen(colour=True)
    with screen.step("starting the broker"):
        pass
    with screen.moving():
        for now_s in (1.0, 6.0, 7.0, 12.0):
            screen.update(CAST, scene(), now_s)
    lines = capsys.readouterr().out.splitlines()
    assert "starting the broker ..." in lines[0]
    assert [line.split("run ")[1].split(",")[0] for line in lines[1:]] == ["6 s", "12 s"]
    assert "\x1b" not in "".join(lines)
