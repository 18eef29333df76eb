from pathlib import Path

import pytest

from edge_agent.configuration import AgentSettings
from splitrail.settings import SettingsError, load_settings

LEAST = "site: home\nnode: pi\ntier: edge\n"


def load(tmp_path: Path, text: str) -> AgentSettings:
    path = tmp_path / "agent.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, AgentSettings)


def test_three_keys_are_enough(tmp_path: Path) -> None:
    """Everything else has a value that suits one machine."""
    settings = load(tmp_path, LEAST)
    assert (settings.site, settings.node, settings.tier) == ("home", "pi", "edge")
    assert settings.emulation is None
    assert settings.energy.meter == "auto"


def test_every_group_can_be_set(tmp_path: Path) -> None:
    """A file that uses all of them is read as it says."""
    settings = load(
        tmp_path,
        LEAST
        + "broker: {host: 10.0.0.1, port: 1884}\ncache: here\nthreads: 4\nmemory_mb: 500\n"
        + "tensors: {listen: 'tcp://0.0.0.0:6000', peers: {pc: 'tcp://10.0.0.2:6000'}}\n"
        + "power: {idle_w: 2.7, busy_w: 6.4}\nenergy: {meter: modelled, interval_s: 2}\n"
        + "links: {probe_interval_s: 10}\nemulation: {compute_factor: 8, description: a slow one}\n",
    )
    assert settings.cache == tmp_path / "here"
    assert settings.tensors.peers == {"pc": "tcp://10.0.0.2:6000"}
    assert settings.emulation is not None
    assert settings.emulation.compute_factor == 8.0


def test_all_errors_are_told_at_once_with_their_places(tmp_path: Path) -> None:
    """Unknown key, wrong value and wrong type, each with line, column and what would be right."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "site: home\nnod: pi\ntier: egde\nthreads: many\n")
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(str(tmp_path / "agent.yaml")) for line in lines][:1] == [
        ":2:1: nod: unknown key; did you mean 'node'?"
    ]
    assert any(":3:7: tier:" in line and "'edge'" in line for line in lines)
    assert any(":4:10: threads:" in line for line in lines)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("tensors: {listen: '5757'}", ":4:19: tensors.listen: expected an address like tcp://"),
        ("tensors: {advertise: pi.local}", ":4:22: tensors.advertise: expected an address like tcp://"),
        ("tensors: {peers: {pc: 'http://pc:5757'}}", ":4:23: tensors.peers.pc: expected an address like tcp://"),
        ("memory_mb: -5", ":4:12: memory_mb: expected a number of at least 0"),
        ("power: {idle_w: 9, busy_w: 4}", ":4:8: power: busy_w is 4, it must be at least idle_w, 9"),
        ("power: {busy_w: 4}", ":4:8: power: idle_w and busy_w belong to one machine: give both or neither"),
    ],
)
def test_a_value_that_other_nodes_could_not_use_is_refused_at_home(
    tmp_path: Path, setting: str, complaint: str
) -> None:
    """What would be dropped elsewhere, or make no sense there, is told where it can be mended."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, LEAST + setting + "\n")
    assert complaint in str(caught.value)
