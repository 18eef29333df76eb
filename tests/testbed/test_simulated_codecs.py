"""Simulated runs of contenders that pack tensors: true to the cost model, and told apart from those that do not."""

from collections.abc import Sequence

import msgspec
import pytest
from simulated_scenarios import PROFILE, SPLIT, contender, scenario

from coordinator.cost import Stage, evaluate
from models.codec_figures import CodecFigures, CodecName, CutCodec
from testbed.paper.codec_uses import codec_table, codec_uses
from testbed.paper.contenders import LATENCY, PACKED
from testbed.paper.hindsight import problem_at
from testbed.paper.model_profile import ModelProfile
from testbed.paper.packing import with_codecs
from testbed.paper.records import RunRecord
from testbed.paper.statistics import contender_figures
from testbed.simulation.settings import SimulationSettings
from testbed.simulation.simulate import simulate
from testbed.traces import Trace, constant

QUIET = SimulationSettings(is_noisy=False)


def figures(*cuts: tuple[int, CodecName, float]) -> CodecFigures:
    """Codecs at cuts by their ratios, that take 2 and 1 ms per MB and change half a percent of the answers."""
    return CodecFigures(
        model="0" * 64,
        images=200,
        machine="made up",
        at=0.0,
        cuts=tuple(
            CutCodec(
                k=k,
                codec=codec,
                ratio=ratio,
                encode_ms_per_mb=2.0,
                decode_ms_per_mb=1.0,
                changed=0.0 if k == 0 else 0.005,
                error=0.0,
            )
            for k, codec, ratio in cuts
        ),
    )


def packing_profile(measured: CodecFigures) -> ModelProfile:
    """The made-up model with codec figures; the Pi packs four times slower than the machine of the figures."""
    return with_codecs(PROFILE, measured, {"pi": 4.0, "laptop": 1.0, "pc": 1.0})


def run(name: str, profile: ModelProfile, wifi: Trace | None = None) -> RunRecord:
    by_name = {each.name: each for each in PACKED}
    return simulate(
        scenario(wifi),
        by_name[name] if name in by_name else contender(name),
        profile,
        seed=1,
        published_split=SPLIT,
        settings=QUIET,
    )


JPEG = figures((0, "jpeg", 0.05))
INT8 = figures((1, "int8", 0.1), (2, "int8", 0.1), (3, "int8", 0.1))


@pytest.mark.parametrize("name", ["latency-codecs", "clairvoyant-codecs"])
@pytest.mark.parametrize(("measured", "mbps"), [(JPEG, 30.0), (INT8, 8.0)])
def test_without_noise_a_packed_request_takes_what_the_cost_model_says(
    name: str, measured: CodecFigures, mbps: float
) -> None:
    """What is packed and unpacked in a stage included; the image goes as its file, in no time of packing of a stage."""
    profile = packing_profile(measured)
    record = run(name, profile, constant(mbps))
    stages = record.plans[-1].stages
    assert any(stage.codec != "raw" for stage in stages)
    problem = problem_at(scenario(constant(mbps)), profile, LATENCY, 0.0)
    score = evaluate(problem, tuple(Stage(stage.node, stage.start, stage.stop, stage.codec) for stage in stages))
    latencies = [request.latency_ms for request in record.requests if request.latency_ms is not None]
    assert min(latencies) == pytest.approx(score.latency_ms, abs=1e-2)


def test_packing_makes_a_slow_link_worth_more() -> None:
    """Quicker than the same contender that sends everything raw."""
    profile = packing_profile(INT8)
    (packed,) = contender_figures([run("latency-codecs", profile, constant(2.0))])
    (raw,) = contender_figures([run("latency", profile, constant(2.0))])
    assert packed.latency_mean_ms is not None
    assert raw.latency_mean_ms is not None
    assert packed.latency_mean_ms.mean < raw.latency_mean_ms.mean


@pytest.mark.parametrize("name", ["latency", "paper-static", "clairvoyant"])
def test_who_packs_nothing_does_not_know_of_codecs(name: str) -> None:
    """Its run is the same whether codecs were measured or not."""
    packed, raw = run(name, packing_profile(JPEG)), run(name, PROFILE)
    assert msgspec.structs.replace(packed, took_s=0.0) == msgspec.structs.replace(raw, took_s=0.0)


def cells(records: Sequence[RunRecord]) -> tuple[tuple[str, ...], ...]:
    return codec_table(codec_uses(records)).rows


def test_the_report_tells_what_travelled_packed() -> None:
    """By codec and cut point, with the share of requests; nothing of those that never pack."""
    record = run("latency-codecs", packing_profile(JPEG))
    assert cells([record, run("latency", PROFILE)]) == (("made-up", "latency-codecs", "simulated", "100 % jpeg at 0"),)
