"""Profiles of models: measured here, kept in a file of ours, or read from Scission's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from simulated_scenarios import PROFILE, SPLIT

from testbed.errors import ExperimentError
from testbed.machines import MACHINES, emulated
from testbed.paper.profiled_model import ProfiledModel
from testbed.paper.profiles import measured_profile, read_profiles, save_profiles
from testbed.paper.scission import DEVICES

KNOWN = ProfiledModel(profile=PROFILE, published_split=SPLIT, remarks=("made up",))


def blocks(seconds: float, ends: list[int]) -> list[dict[str, float]]:
    """Blocks that end after these Keras layers and take as long each."""
    starts = [0, *(end + 1 for end in ends)]
    return [
        {"input_layer": start, "output_layer": end, "seconds": seconds, "output_bytes": 1_000 + end}
        for start, end in zip(starts[:-1], ends, strict=True)
    ]


def scission(tmp_path: Path, models: dict[str, list[int]], **changes: Any) -> Path:
    """A file in Scission's form; the cloud has a second device that is of no interest."""
    seconds = dict(zip(DEVICES.values(), (0.1, 0.02, 0.01), strict=True))
    content: dict[str, Any] = {
        device: {model: blocks(seconds[device], ends) for model, ends in models.items()} for device in DEVICES.values()
    }
    content["cloud-6700k(GPU)"] = {}
    path = tmp_path / "scission.json"
    path.write_text(json.dumps(content | changes))
    return path


def refusal(path: Path) -> str:
    """Why a file is refused, which names it and is one line."""
    with pytest.raises(ExperimentError) as refused:
        read_profiles(path)
    words = str(refused.value)
    assert words.startswith(f"{path}: ")
    assert "\n" not in words
    return words.removeprefix(f"{path}: ")


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    """Our own form keeps everything."""
    path = tmp_path / "profiles.json"
    save_profiles(path, (KNOWN,))
    assert read_profiles(path) == (KNOWN,)


def test_a_model_is_measured_for_each_machine(small_model: Callable[[str], Path]) -> None:
    """One measurement, stretched for each machine by its factor, with the graph's cuts and weights."""
    nodes = tuple(emulated(machine, "branchy", 8.0) for machine in MACHINES)
    profile = measured_profile("branchy", small_model("branchy"), nodes)
    times = {each.node: sum(each.op_ms) for each in profile.nodes}
    assert list(times) == ["pi", "laptop", "pc"]
    assert times["pi"] / times["pc"] == pytest.approx(MACHINES[0].mobilenetv2_ms / MACHINES[2].mobilenetv2_ms)
    assert len(profile.cut_bytes) == len(profile.weight_mb) + 1 == len(profile.nodes[0].op_ms) + 1
    assert "measured on this host" in profile.source


def test_scissions_blocks_are_the_ops(tmp_path: Path) -> None:
    """Times in ms, sizes after the known input's, weights unknown and so 0, its three devices our three machines."""
    (known,) = read_profiles(scission(tmp_path, {"vgg16": [1, *range(2, 23)]}))
    assert known.profile.cut_bytes[:3] == (602_112.0, 1_001.0, 1_002.0)
    assert {each.node: each.op_ms[0] for each in known.profile.nodes} == pytest.approx(
        {"pi": 100.0, "laptop": 20.0, "pc": 10.0}
    )
    assert set(known.profile.weight_mb) == {0.0}
    assert [(stage.node, stage.start, stage.stop) for stage in known.published_split] == [
        ("pi", 0, 7),
        ("laptop", 7, 18),
        ("pc", 18, 22),
    ]
    assert known.remarks == ()


def test_a_published_cut_inside_a_block_moves_to_its_nearer_end(tmp_path: Path) -> None:
    """As with MobileNetV2, whose residual blocks are one each; it is remarked on."""
    ends = [62, 90, 116, 154, 156]
    (known,) = read_profiles(scission(tmp_path, {"mobilenetv2": ends}))
    assert [stage.stop for stage in known.published_split] == [2, 4, 5]
    assert known.remarks == ("Keras layer 81, the last on pi, is inside a block: cut after 90",)


def test_a_model_without_a_published_split_is_taken_too(tmp_path: Path) -> None:
    """Its contender is what is missing then."""
    (known,) = read_profiles(scission(tmp_path, {"resnet": [3, 9]}))
    assert known.published_split == ()


def test_scission_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """With the device, the model and the field that is wrong."""
    good = {"vgg16": list(range(1, 23))}
    pi = DEVICES["pi"]
    content = json.loads(scission(tmp_path, good).read_text())
    del content[DEVICES["pc"]]
    (tmp_path / "missing.json").write_text(json.dumps(content))
    assert refusal(tmp_path / "missing.json") == "has no device 'cloud-6700k(NoGPU)', which pc is emulated after"
    negative = {"vgg16": [{**blocks(1.0, [3])[0], "seconds": -1.0}] * 2}
    assert "device-raspi4: Expected `float` >= 0.0 - at `$[...][0].seconds`" in refusal(
        scission(tmp_path, good, **{pi: negative})
    )
    assert "has other blocks on edge-2500 than on device-raspi4" in refusal(
        scission(tmp_path, good, **{pi: {"vgg16": blocks(1.0, [5, 22])}})
    )
    assert "has no model that was measured on all of" in refusal(scission(tmp_path, good, **{pi: {}}))
    assert "not those of the architecture" in refusal(scission(tmp_path, {"vgg16": [20, 22]}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is neither of Scission (no device 'device-raspi4') nor of ours"),
        (b'{"format": "splitrail-profiles"}', "missing required field `models`"),
        (b'{"format": "splitrail-profiles", "models": []}', "has no model"),
        (b"\xff\xfe", "is not JSON"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """One line each."""
    path = tmp_path / "profiles.json"
    path.write_bytes(content)
    assert words in refusal(path)


def test_profiles_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    """They must be planning problems, on our three machines, with a split that covers the model."""
    path = tmp_path / "profiles.json"

    def refused(**changes: Any) -> str:
        save_profiles(path, (ProfiledModel(profile=msgspec.structs.replace(PROFILE, **changes)),))
        return refusal(path)

    assert "needs them for pi, laptop, pc" in refused(nodes=PROFILE.nodes[:2])
    assert "model 'made-up': nodes[0].op_ms has 4 numbers, the model has 3 ops" in refused(
        cut_bytes=PROFILE.cut_bytes[:4], weight_mb=PROFILE.weight_mb[:3]
    )
    assert "needs a weight for each of its 4 ops" in refused(weight_mb=())
    save_profiles(path, (KNOWN, KNOWN))
    assert refusal(path) == "has the model 'made-up' more than once"
    save_profiles(path, (msgspec.structs.replace(KNOWN, published_split=SPLIT[:2]),))
    assert refusal(path) == "the published_split of 'made-up' does not cover its 4 ops once, in order"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """As any unreadable one."""
    assert "cannot be read: No such file" in refusal(tmp_path / "nowhere.json")
