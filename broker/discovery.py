"""Where a site's entities are announced to a Home Assistant on the same broker, and where that says that it is there.

What is announced is `coordinator.home_assistant`'s; the form of the topics is Home Assistant's.
"""

import hashlib
import re
from typing import Annotated, Final, Literal, get_args

from msgspec import Meta

DEFAULT_PREFIX: Final = "homeassistant"
PREFIX_FORM: Final = r"^(?!splitrail\Z)[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z"
Prefix = Annotated[str, Meta(pattern=PREFIX_FORM)]
Component = Literal["sensor", "binary_sensor"]
"""The kinds of entity that are announced; none of them takes commands."""
COMPONENTS: Final[tuple[Component, ...]] = get_args(Component)

# Home Assistant takes letters, digits, `_` and `-` in ids: https://www.home-assistant.io/integrations/mqtt/#discovery-topic
_FOREIGN_SIGNS = re.compile(r"[^A-Za-z0-9_-]")
MAX_READABLE = 48


def identifier(*parts: str) -> str:
    """An id in Home Assistant's letters that tells these parts from all others, readable where that can be."""
    joined = "_".join(parts)
    readable = _FOREIGN_SIGNS.sub("-", joined)[:MAX_READABLE]
    if len(parts) == 1 and readable == joined:
        return readable
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"{readable}_{digest[:12]}"


def configuration_topic(prefix: str, component: Component, site: str, entity: str) -> str:
    """Where an entity of a site is announced; `entity` is its id, or `+` for a filter of all."""
    return f"{prefix}/{component}/splitrail_{identifier(site)}/{entity}/config"


def hub_status_topic(prefix: str) -> str:
    """Where Home Assistant says `online` once it has started, and its last will says `offline`."""
    return f"{prefix}/status"
