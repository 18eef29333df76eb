"""From settings to deployments: what of them is checked against the model."""

from collections.abc import Callable
from pathlib import Path

import pytest

from broker.messages import PlanStage
from coordinator.configuration import DeploymentSettings, ObjectiveSettings, StageSettings
from coordinator.declaring import declare
from coordinator.errors import DeclarationError
from models.cache import ModelCache
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
