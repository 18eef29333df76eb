"""coordinator.yaml: the example that ships, and what is refused."""

from pathlib import Path

import msgspec
import pytest
import yaml

from coordinator.configuration import CoordinatorSettings, DeploymentSettings
from splitrail.settings import SettingsError, load_settings

EXAMPLE = Path(__file__).parents[2] / "docs" / "coordinator.yaml"


def test_the_example_is_valid_and_shows_the_defaults() -> None:
    """What the example shows for an optional key is its default."""
    example = load_settings(EXAMPLE, CoordinatorSettings)
    (deployment,) = example.deployments
    least = CoordinatorSettings(
        site=example.site,
        store=example.store,
        cache=example.cache,
        deployments=(DeploymentSettings(name=deployment.name, model=deployment.model, origin=deployment.origin),),
    )
    assert example == least


def test_the_example_has_every_key() -> None:
    """No key of the settings is left out of the example."""
    written = yaml.safe_load(EXAMPLE.read_text())
    for group, value in ((written, CoordinatorSettings), (written["deployments"][0], DeploymentSettings)):
        assert list(group) == [field.name for field in msgspec.structs.fields(value)]
    for name in ("broker", "http", "planning"):
        group = next(field for field in msgspec.structs.fields(CoordinatorSettings) if field.name == name)
        assert list(written[name]) == [field.name for field in msgspec.structs.fields(type(group.default))]


def test_paths_begin_at_the_settings_file() -> None:
    """A relative path does not depend on where the command was called."""
    assert load_settings(EXAMPLE, CoordinatorSettings).deployments[0].model == EXAMPLE.parent / "mobilenetv2.tflite"


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("hysteresis: 0.02", "hysteresis: 1.5", "planning.hysteresis"),
        ("interval_s: 5 ", "interval_s: 0 ", "planning.interval_s"),
        ("strategy: exact", "strategy: magic", "deployments[0].strategy"),
        ("advertise: null", "advertise: pc.local:8484", "http.advertise"),
        ("name: photos", "name: my photos", "deployments[0].name"),
        ("deadline_ms: null", "deadline_ms: -1", "deployments[0].deadline_ms"),
        ("origin: pi", "orign: pi", "did you mean 'origin'?"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, right: str, wrong: str, complaint: str) -> None:
    """Whatever is out of its bounds is refused under the key's full name."""
    text = EXAMPLE.read_text()
    assert right in text
    path = tmp_path / "coordinator.yaml"
    path.write_text(text.replace(right, wrong))
    with pytest.raises(SettingsError) as error:
        load_settings(path, CoordinatorSettings)
    assert complaint in str(error.value)
