"""Splitrail's packages have plain top-level names; this notices when another distribution took one of them."""

import importlib.metadata
import importlib.util
from pathlib import Path

from splitrail.errors import SplitrailError

PACKAGES = ("broker", "coordinator", "edge_agent", "models", "splitrail", "testbed")


class ShadowedPackageError(SplitrailError, ImportError):
    """Another distribution's package stands where one of Splitrail's should be."""


def refuse_shadowed_packages() -> None:
    """Raise ShadowedPackageError, with the fix, unless all of Splitrail's packages are its own.

    Nothing is imported and installed metadata is read only to name the culprit, so that `--help` stays instant.
    """
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ShadowedPackageError(f"the package {name!r} is not there: pip install --force-reinstall splitrail")
        origin = Path(spec.origin)
        with origin.open("rb") as source:
            ours = source.read(80).startswith(b'"""Splitrail')
        if not ours:
            raise ShadowedPackageError(_message(name, origin))


def _message(name: str, origin: Path) -> str:
    owners = importlib.metadata.packages_distributions().get(name, [])
    others = sorted({owner for owner in owners if owner != "splitrail"})
    if others:
        culprit = f"the distribution {others[0]!r}"
        fix = f"pip uninstall {others[0]}, then pip install --force-reinstall --no-deps splitrail"
    else:
        culprit, fix = f"{origin.parent}", "start it from another directory, or take that one off PYTHONPATH"
    return (
        f"{culprit} shadows Splitrail's package {name!r} ({origin}): {fix}; "
        "or keep Splitrail in a virtual environment of its own"
    )
