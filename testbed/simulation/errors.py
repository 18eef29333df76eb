"""The errors of the simulator and of the profiles that it runs on.

TestbedError (SplitrailError)
└── SimulationError (ValueError)   what is to be simulated lacks something or contradicts itself
"""

from testbed.errors import TestbedError


class SimulationError(TestbedError, ValueError):
    """What is to be simulated lacks something or contradicts itself; the message says what, and what would be right."""
