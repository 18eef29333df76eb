"""Which meter a node gets, and the reason that it is given."""

import pytest

from broker.messages import PowerModel
from edge_agent.energy.best_meter import best_meter
from edge_agent.energy.meter import EnergyMeter
from edge_agent.energy.modelled import ModelledMeter, Traffic
from edge_agent.errors import MeterUnavailableError

MODEL = ModelledMeter(PowerModel(idle_w=1, busy_w=2), lambda: 0.0, lambda: Traffic(0, 0))
RAPL = ModelledMeter(PowerModel(idle_w=3, busy_w=4), lambda: 0.0, lambda: Traffic(0, 0))  # stands in for it


def readable() -> EnergyMeter:
    """A machine with a readable RAPL."""
    return RAPL


def unreadable() -> EnergyMeter:
    """A machine without one."""
    raise MeterUnavailableError("there is no package")


def test_rapl_is_taken_where_it_can_be_read() -> None:
    """A measured figure goes before a modelled one."""
    assert best_meter("auto", MODEL, emulated=False, open_rapl=readable).meter is RAPL


def test_the_model_stands_in_and_says_why() -> None:
    """Without RAPL the model is used, and the reason is RAPL's own."""
    choice = best_meter("auto", MODEL, emulated=False, open_rapl=unreadable)
    assert choice.meter is MODEL
    assert choice.reason == "the model, because there is no package"


def test_the_settings_go_first() -> None:
    """Who asks for the model gets it, and who asks for RAPL gets RAPL or an error."""
    assert best_meter("modelled", MODEL, emulated=False, open_rapl=readable).meter is MODEL
    assert best_meter("rapl", MODEL, emulated=False, open_rapl=readable).meter is RAPL
    with pytest.raises(MeterUnavailableError, match=r"energy\.meter is rapl, but .*no package.*`auto`"):
        best_meter("rapl", MODEL, emulated=False, open_rapl=unreadable)


def test_an_emulated_node_is_modelled() -> None:
    """A meter of the host would show the host's joules under another machine's name."""
    choice = best_meter("auto", MODEL, emulated=True, open_rapl=readable)
    assert choice.meter is MODEL
    assert "emulated" in choice.reason
    with pytest.raises(MeterUnavailableError, match="emulated"):
        best_meter("rapl", MODEL, emulated=True, open_rapl=readable)
