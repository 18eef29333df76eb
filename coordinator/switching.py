"""Whether a better plan is worth the switch to it: what it gains while it is preferred, against what the switch costs.

Pure, over objective values; which plans there are, and which must go at once, is decided elsewhere.
"""

import math
from dataclasses import dataclass, field, replace

from coordinator.account import Account, Preference, Stages
from coordinator.configuration import PlanningSettings


@dataclass(frozen=True, slots=True)
class Comparison:
    """The plan in force beside the best one, by their objective values under the present estimates."""

    standing: Stages
    standing_value: float
    best: Stages
    best_value: float
    cause: str
    """Why they are compared, in words."""
    noise: float
    """The standard deviation of their difference, as far as it comes from what is not known of links and loads."""
    cost: float
    """Of a switch, in objective values summed over requests."""
    requests_per_s: float
    preferred_value: float | None
    """Of the preferred plan; None where there is none, or where it cannot be scored any more."""
    former_value: float | None
    """Of the former plan; None as above."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to switch now; if not, when to look again though nothing may have changed by then."""

    switch: bool
    account: Account
    look_at: float = field(default=math.inf)


def judge(account: Account, seen: Comparison, now: float, settings: PlanningSettings) -> Verdict:
    """Weigh a comparison. `account` is that of the plan in force, as it was left at the last look."""
    account = account.at_time(now)
    gain = seen.standing_value - seen.best_value
    is_clear = gain > max(settings.hysteresis * seen.standing_value, settings.confidence * seen.noise)
    preference = _preference(account.preference, seen, now, settings, is_clear=is_clear)
    if preference.stages == seen.standing:
        account = replace(account, lost=0.0)
    losing_per_s = gain * seen.requests_per_s if is_clear else 0.0
    saving_per_s = 0.0
    if seen.former_value is not None:
        saving_per_s = max(0.0, seen.former_value - seen.standing_value) * seen.requests_per_s
    elif account.owed:
        # The plan that was left is none any more, so nothing can be saved against it.
        account = replace(account, owed=0.0, former=None)
    account = replace(account, preference=preference, losing_per_s=losing_per_s, saving_per_s=saving_per_s)
    if not is_clear:
        return Verdict(False, account)
    wait_s = max(0.0, account.switched_at + settings.least_dwell_s - now)
    wait_s = max(wait_s, _unpaid_s(account, preference, seen.cost, now))
    if wait_s > 0.0:
        return Verdict(False, account, now + wait_s)
    return Verdict(True, switched(account, seen, now))


def switched(account: Account, seen: Comparison, now: float) -> Account:
    """The account after the switch to the best plan."""
    owed = max(0.0, account.owed + seen.cost - account.lost)
    return Account(
        at=now,
        preference=account.preference,
        owed=owed,
        saving_per_s=(seen.standing_value - seen.best_value) * seen.requests_per_s,
        former=seen.standing if owed else None,
        switched_at=now,
    )


def _preference(
    before: Preference | None, seen: Comparison, now: float, settings: PlanningSettings, *, is_clear: bool
) -> Preference:
    if before is None:
        return Preference(seen.best if is_clear else seen.standing, now, seen.cause)
    if seen.preferred_value is None:
        return replace(before, stages=seen.best, since=now, cause=seen.cause)
    margin = max(settings.hysteresis * seen.preferred_value, settings.confidence * seen.noise)
    if seen.preferred_value - seen.best_value > margin:
        return before.followed_by(seen.best, now, seen.cause)
    return before


def _unpaid_s(account: Account, preference: Preference, cost: float, now: float) -> float:
    """How long it takes, as things are, until a switch is paid: by what is lost, or expected to be gained.

    0 if it is paid.
    """
    due = cost + account.owed - account.lost
    # The tolerance keeps a look that comes a rounding error too early from asking for another at the same moment.
    if due <= 1e-9 * cost:
        return 0.0
    by_loss_s = due / account.losing_per_s
    clear_s = 0.0
    if account.owed:
        clear_s = account.owed / account.saving_per_s if account.saving_per_s else math.inf
    needed_s = cost / account.losing_per_s
    by_gain_s = 0.0 if preference.expected_dwell_s(now) >= needed_s else preference.since + needed_s - now
    return max(0.0, min(by_loss_s, max(clear_s, by_gain_s)))
