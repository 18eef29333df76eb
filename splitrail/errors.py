"""The root of every error that Splitrail raises; each package draws its own branch in its `errors.py`.

SplitrailError
├── models.errors.ModelError
├── broker.errors.BrokerError
├── edge_agent.errors.AgentError
├── coordinator.errors.CoordinatorError
├── testbed.errors.TestbedError
├── splitrail.settings.SettingsError
├── splitrail.shadowing.ShadowedPackageError
├── splitrail.client.NoSuchDeploymentError
└── splitrail.commands.infer: InferenceFailedError, NoImagesError, NoRateError, BadAddressError
"""


class SplitrailError(Exception):
    """A fault whose message is one sentence that a user can act on: what is wrong, where, what would be right."""
