"""What a look at the broker means for this member: reachable, admitted, and allowed to write and read its topics."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from broker.sign_in import BrokerSettings, exposures
from broker.site_record import EARLY_WARNING
from splitrail.doctor.broker_probe import BrokerLook, Expiry
from splitrail.doctor.finding import Finding, split_advice

_NAME_FIX: Final = "sign in under the name that this member bears: broker.username, as `splitrail site list` shows it"
_RULES_FIX: Final = (
    "the broker's rules are of another version: with this one, `splitrail site renew --server` writes them anew"
)


def broker_findings(
    look: BrokerLook, settings: BrokerSettings, *, loopback_only: bool = False, now: datetime | None = None
) -> Iterator[Finding]:
    """All of it; where nobody could sign in, only that."""
    way = "over TLS" if settings.encrypted else "without TLS"
    if look.failure:
        reason = split_advice("broker", "problem", look.failure)
        is_known = look.is_refusal and settings.username is not None
        more = f"; `splitrail site list` shows whether {settings.username} was revoked" if is_known else ""
        yield Finding("broker", "problem", f"{settings.endpoint}: {reason.says}", f"{reason.fix}{more}")
        return
    who = f"as {settings.username}" if settings.username is not None else "without a name"
    yield Finding("broker", "ok", f"{settings.endpoint} lets us in {way}, {who}")
    if loopback_only:
        yield Finding(
            "broker",
            "note",
            f"it listens on this machine alone, as Mosquitto 2 does without a `listener` line: port {settings.port} is "
            "closed to nodes elsewhere",
            "`splitrail site init` makes its configuration: TLS, a listener for the network, a user for each member",
        )
    # Who may read the password's file is told with the other secrets.
    for exposed in exposures(msgspec.structs.replace(settings, password_file=None)):
        yield split_advice("broker", "note", exposed)
    yield from _access_findings(look)
    for expiry in look.expiries:
        yield from expiry_findings(expiry, now or datetime.now(UTC))


def expiry_findings(expiry: Expiry, now: datetime) -> Iterator[Finding]:
    """Until when a certificate holds; a note two months before its end."""
    left = expiry.at - now
    day = f"{expiry.at:%Y-%m-%d}"
    if left < timedelta():
        yield Finding("certificate", "problem", f"{expiry.what} ended on {day}", expiry.fix)
    elif left < EARLY_WARNING:
        says = f"{expiry.what} ends on {day}, in {left.days} days"
        yield Finding("certificate", "note", says, expiry.fix)
    else:
        yield Finding("certificate", "ok", f"{expiry.what} holds until {day}")


def _access_findings(look: BrokerLook) -> Iterator[Finding]:
    is_another = 2 * len(look.refused) > look.tried
    if look.refused:
        fix = _NAME_FIX if is_another else _RULES_FIX
        yield Finding("broker: access", "problem", f"the broker does not let us write {_listed(look.refused)}", fix)
    if look.unheard:
        yield Finding(
            "broker: access", "problem", f"the broker does not let us read {_listed(look.unheard)}", _RULES_FIX
        )
    if look.unanswered:
        fix = "look at the broker's log and the network"
        yield Finding("broker: access", "note", f"no answer in time for {_listed(look.unanswered)}", fix)
    if look.tried and not look.refused and not look.unheard and not look.unanswered:
        yield Finding("broker: access", "ok", f"{look.tried} of our topics can be written, and come back where we read")


def _listed(topics: tuple[str, ...]) -> str:
    shown = ", ".join(topics[:3])
    return f"{shown} and {len(topics) - 3} more" if len(topics) > 3 else shown
