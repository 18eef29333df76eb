"""From settings to deployments: what of them is checked against the model."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from broker.messages import CodecName, PlanStage, TensorScale
from coordinator.configuration import DeploymentSettings, ObjectiveSettings, StageSettings
from coordinator.declaring import declare
from coordinator.errors import DeclarationError
from models.cache import ModelCache, file_sha256
from models.codec_figures import CodecFigures, CutCodec, Scale
from models.graph import read_graph

Split = tuple[tuple[str, int, int], ...]


@pytest.fixture
def model(zoo_model: Callable[..., Path]) -> Path:
    return zoo_model("mobilenetv2")


def settings_with(model: Path, stages: Split = (), strategy: str = "static") -> DeploymentSettings:
    return DeploymentSettings(
        name="photos",
        model=model,
        origin="pi",
        strategy=strategy,  # type: ignore[arg-type]  # one of the names, as a plain text here
        stages=tuple(StageSettings(node=node, start=start, stop=stop) for node, start, stop in stages),
    )


def test_a_split_by_hand_is_declared_as_it_is(model: Path, tmp_path: Path) -> None:
    """Relays included, where it covers the model."""
    ops = len(read_graph(model).ops)
    split = (("pi", 0, 1), ("laptop", 1, 1), ("pc", 1, ops))
    (deployment,) = declare((settings_with(model, split),), ModelCache(tmp_path), "http://pc").deployments
    assert deployment.stages == tuple(PlanStage(node=node, start=start, stop=stop) for node, start, stop in split)


@pytest.mark.parametrize(
    ("stages", "complaint"),
    [
        ((("pi", 1, 5),), r"stages\[0\] of deployment 'photos' holds ops \[1, 5\), it must start at op 0"),
        ((("pi", 0, 5), ("pc", 6, 9)), r"stages\[1\] .* must start at op 5"),
        ((("pi", 0, 5), ("pc", 5, 3)), r"stages\[1\] .* must start at op 5"),
        ((("pi", 0, 9_999),), r"end by op \d+"),
        ((("pi", 0, 5),), r"end at op 5, .* has \d+ ops"),
    ],
)
def test_a_split_that_is_none_of_the_model_is_one_line(
    model: Path, tmp_path: Path, stages: Split, complaint: str
) -> None:
    """The place is named, and what would be right."""
    with pytest.raises(DeclarationError, match=complaint) as error:
        declare((settings_with(model, stages),), ModelCache(tmp_path), "http://pc")
    assert "\n" not in str(error.value)


def test_a_cut_that_the_model_forbids_is_named(small_model: Callable[[str], Path], tmp_path: Path) -> None:
    """A split by hand is cut where the model can be."""
    model = small_model("variables")
    graph = read_graph(model)
    forbidden = [cut.k for cut in graph.cuts if not cut.allowed]
    split = (("pi", 0, forbidden[0]), ("pc", forbidden[0], len(graph.ops)))
    with pytest.raises(DeclarationError, match=f"starts at op {forbidden[0]}, where .* cannot be cut"):
        declare((settings_with(model, split),), ModelCache(tmp_path), "http://pc")


def test_a_last_stage_that_only_relays_is_refused(model: Path, tmp_path: Path) -> None:
    """The result's way back is the coordinator's choice."""
    ops = len(read_graph(model).ops)
    with pytest.raises(DeclarationError, match="on pc, is empty"):
        declare((settings_with(model, (("pi", 0, ops), ("pc", ops, ops))),), ModelCache(tmp_path), "http://pc")


def test_only_a_static_deployment_takes_a_split(model: Path, tmp_path: Path) -> None:
    """Any other strategy would not keep to it."""
    ops = len(read_graph(model).ops)
    with pytest.raises(DeclarationError, match="its strategy is exact: a split by hand goes with static"):
        declare((settings_with(model, (("pi", 0, ops),), "exact"),), ModelCache(tmp_path), "http://pc")


def test_throughput_alone_is_an_objective(model: Path, tmp_path: Path) -> None:
    """And no weight at all is none."""
    cache = ModelCache(tmp_path)
    stream = ObjectiveSettings(latency=0.0, throughput=1.0)
    settings = DeploymentSettings(name="a", model=model, origin="pi", objective=stream, risk=0.95, requests_per_s=2.0)
    (deployment,) = declare((settings,), cache, "http://pc").deployments
    assert (deployment.objective.throughput, deployment.risk, deployment.requests_per_s) == (1.0, 0.95, 2.0)
    nothing = DeploymentSettings(name="a", model=model, origin="pi", objective=ObjectiveSettings(latency=0.0))
    with pytest.raises(DeclarationError, match="weighs nothing: give latency, origin_energy"):
        declare((nothing,), cache, "http://pc")


def measured_beside(model: Path, sha256: str = "", k: int = 1, codec: CodecName = "int8") -> CodecFigures:
    """Codec figures of the model, written where they are looked for."""
    figures = CodecFigures(
        model=sha256 or file_sha256(model),
        images=10,
        machine="made up",
        at=0.0,
        cuts=(
            CutCodec(
                k=k,
                codec=codec,
                ratio=0.25,
                encode_ms_per_mb=1.0,
                decode_ms_per_mb=1.0,
                changed=0.0,
                error=0.0,
                scales=(Scale(scale=0.5, zero_point=3),),
            ),
        ),
    )
    model.with_suffix(".codecs.json").write_bytes(msgspec.json.encode(figures))
    return figures


@pytest.fixture
def own_model(model: Path, tmp_path: Path) -> Path:
    """The model in a directory where files may be laid beside it."""
    own = tmp_path / "own.tflite"
    own.symlink_to(model)
    return own


def test_codec_figures_beside_the_model_are_read(own_model: Path, tmp_path: Path) -> None:
    """Unless the deployment packs nothing; where there are none everything travels raw."""
    settings = settings_with(own_model, strategy="exact")
    cache = ModelCache(tmp_path / "cache")
    (bare,) = declare((settings,), cache, "http://pc").deployments
    figures = measured_beside(own_model)
    (found,) = declare((settings,), cache, "http://pc").deployments
    (off,) = declare((msgspec.structs.replace(settings, codecs=False),), cache, "http://pc").deployments
    assert (bare.codec_figures, found.codec_figures, off.codec_figures) == (None, figures, None)
    elsewhere = own_model.with_suffix(".codecs.json").rename(tmp_path / "figures.json")
    named = msgspec.structs.replace(settings, codec_figures=elsewhere, accuracy_loss=0.01)
    (given,) = declare((named,), cache, "http://pc").deployments
    assert (given.codec_figures, given.accuracy_loss) == (figures, 0.01)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "are not there: `splitrail profile --codecs` measures them"),
        (b"{}", "are not in their form: Object missing required field `model`"),
        (b"\xff", "are not in their form"),
    ],
)
def test_codec_figures_of_no_use_are_one_line(
    own_model: Path, tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    """Also where a loss is allowed, but nothing says what codecs lose."""
    if content is not None:
        own_model.with_suffix(".codecs.json").write_bytes(content)
    settings = msgspec.structs.replace(settings_with(own_model, strategy="exact"), accuracy_loss=0.01)
    with pytest.raises(DeclarationError, match=complaint) as error:
        declare((settings,), ModelCache(tmp_path / "cache"), "http://pc")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("sha256", "k", "complaint"), [("b" * 64, 1, "of another model than"), ("", 9_999, "9999")])
def test_codec_figures_of_another_model_are_refused(
    own_model: Path, tmp_path: Path, sha256: str, k: int, complaint: str
) -> None:
    """By the model's hash; and cut points that it has not got."""
    measured_beside(own_model, sha256, k)
    with pytest.raises(DeclarationError, match=complaint):
        declare((settings_with(own_model, strategy="exact"),), ModelCache(tmp_path / "cache"), "http://pc")


def test_a_split_by_hand_may_name_codecs(own_model: Path, tmp_path: Path) -> None:
    """A relay is told what it hands on; int8 brings its scales. A codec that was not measured there is refused."""
    ops = len(read_graph(own_model).ops)
    measured_beside(own_model)
    split = (
        StageSettings(node="pi", start=0, stop=1),
        StageSettings(node="laptop", start=1, stop=1),
        StageSettings(node="pc", start=1, stop=ops, codec="int8"),
    )
    settings = msgspec.structs.replace(settings_with(own_model), stages=split)
    cache = ModelCache(tmp_path / "cache")
    (deployment,) = declare((settings,), cache, "http://pc").deployments
    assert [stage.codec for stage in deployment.stages] == ["raw", "int8", "int8"]
    assert deployment.stages[2].scales == (TensorScale(scale=0.5, zero_point=3),)
    fp16 = (*split[:2], msgspec.structs.replace(split[2], codec="fp16"))
    with pytest.raises(DeclarationError, match=r"stages\[2\] .* by the codec fp16, but no codec figures tell .* op 1"):
        declare((msgspec.structs.replace(settings, stages=fp16),), cache, "http://pc")
    relayed = (split[0], msgspec.structs.replace(split[1], codec="fp16"), split[2])
    with pytest.raises(DeclarationError, match=r"stages\[1\] .* relays by the codec fp16, .* is read as int8"):
        declare((msgspec.structs.replace(settings, stages=relayed),), cache, "http://pc")


@pytest.mark.parametrize(("node", "index"), [("pi", 0), ("pc", 1)])
def test_a_codec_where_nothing_travels_is_refused(own_model: Path, tmp_path: Path, node: str, index: int) -> None:
    """It would lose accuracy for nothing, and no cost model would know of it."""
    ops = len(read_graph(own_model).ops)
    measured_beside(own_model)
    split = [StageSettings(node=node, start=0, stop=1), StageSettings(node=node, start=1, stop=ops)]
    split[index] = msgspec.structs.replace(split[index], codec="int8")
    settings = msgspec.structs.replace(settings_with(own_model), stages=tuple(split))
    with pytest.raises(DeclarationError, match=rf"stages\[{index}\] .* its tensors are on {node} already"):
        declare((settings,), ModelCache(tmp_path / "cache"), "http://pc")
