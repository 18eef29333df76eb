"""The demo's emulated machines: as slow as published, and said to be emulated."""

import pytest

from testbed.machines import LAPTOP, MACHINES, PC, PI, emulated, link_shapes, yardstick
from testbed.traces import constant


def test_factors_follow_the_published_times() -> None:
    """On a host that runs MobileNetV2 in 10 ms the Pi is 19.3 times slower; laptop and PC keep Scission's ratios."""
    factors = {machine.node: emulated(machine, "mobilenetv2", 10.0).compute_factor for machine in MACHINES}
    assert factors["pi"] == pytest.approx(19.3)
    assert factors["laptop"] == pytest.approx(4.75, abs=0.01)
    assert factors["pc"] == pytest.approx(2.37, abs=0.01)


def test_vgg16_has_published_times_of_its_own() -> None:
    """Scission measured it on all three; on a host that takes 100 ms the Pi is 21 times slower."""
    factors = {machine.node: emulated(machine, "vgg16", 100.0).compute_factor for machine in MACHINES}
    assert factors == {"pi": pytest.approx(21.109), "laptop": pytest.approx(3.88), "pc": pytest.approx(1.135)}
    assert emulated(PI, "vgg16", 100.0).words == "emulated Raspberry Pi 4: VGG16 in 2110.9 ms (this host x21.1)"


def test_alexnet_is_slowed_as_vgg16_is_and_says_so() -> None:
    """No time of it is published for these machines."""
    assert yardstick("alexnet") == "vgg16"
    node = emulated(PI, "alexnet", 100.0)
    assert node.compute_factor == pytest.approx(21.109)
    assert node.words.endswith("AlexNet by the same factor, since no time of it is published")


def test_a_model_of_the_users_own_goes_by_mobilenetv2() -> None:
    """Its machines are those of the demo."""
    assert yardstick("mobilenetv2") == yardstick("mine") == "mobilenetv2"
    assert emulated(PI, "mine", 10.0) == emulated(PI, "mobilenetv2", 10.0)


def test_words_say_what_is_emulated() -> None:
    """Each node's words name the machine, the time it is made to take and the factor."""
    assert (
        emulated(PI, "mobilenetv2", 10.0).words == "emulated Raspberry Pi 4: MobileNetV2 in 193.0 ms (this host x19.3)"
    )


def test_a_host_that_is_too_slow_says_so() -> None:
    """A host slower than the PC is not sped up; the words say that its figures are the host's."""
    node = emulated(PC, "mobilenetv2", 100.0)
    assert node.compute_factor == 1.0
    assert "too slow" in node.words


def test_links_join_all_nodes_both_ways() -> None:
    """Six directed links; the one to the cloud carries its share of the trace and takes longer."""
    shapes = {(shape.src, shape.dst): shape for shape in link_shapes(constant(40.0))}
    assert len(shapes) == 6
    assert shapes[PI.node, LAPTOP.node].trace.mbps_at(0) == 40
    assert shapes[PI.node, PC.node].trace.mbps_at(0) == 20
    assert shapes[PI.node, PC.node].delay_ms > shapes[PI.node, LAPTOP.node].delay_ms
