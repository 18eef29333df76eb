"""When a better plan is worth a switch, and how often at most: over objective values, without any plan behind them."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.messages import PlanStage
from coordinator.account import FIRST_DWELL_S, Account, Preference, Stages
from coordinator.configuration import PlanningSettings
from coordinator.switching import Comparison, judge

SETTINGS = PlanningSettings(hysteresis=0.02, confidence=1.0, switch_cost=1.0, least_dwell_s=0.5)
NEAR: Stages = (PlanStage(node="pi", start=0, stop=4),)
FAR: Stages = (PlanStage(node="pc", start=0, stop=4),)
COST = 1.0
RATE = 2.0


def compared(standing_value: float, best_value: float, account: Account | None = None, **changes: float) -> Comparison:
    """NEAR is in force; FAR is better, unless the values say that none is."""
    best = FAR if best_value < standing_value else NEAR
    known = {NEAR: standing_value, best: best_value}
    preference = account.preference if account else None
    seen = Comparison(
        standing=NEAR,
        standing_value=standing_value,
        best=best,
        best_value=best_value,
        cause="a test",
        noise=0.0,
        cost=COST,
        requests_per_s=RATE,
        preferred_value=known.get(preference.stages) if preference else None,
        former_value=None,
    )
    return replace(seen, **changes)


def test_a_large_gain_switches_at_once() -> None:
    """What is expected to be gained while such preferences last exceeds the cost."""
    verdict = judge(Account(0.0), compared(1.0, 0.5), 0.0, SETTINGS)
    assert verdict.switch
    assert verdict.account.owed == COST


@pytest.mark.parametrize(("gain", "noise", "switches"), [(0.019, 0.0, False), (0.3, 0.31, False), (0.3, 0.29, True)])
def test_a_gain_that_may_be_none_does_not_switch(gain: float, noise: float, switches: bool) -> None:
    """It must exceed the hysteresis, and what the estimates' spread can explain."""
    verdict = judge(Account(0.0), compared(1.0, 1.0 - gain, noise=noise), 0.0, SETTINGS)
    assert verdict.switch is switches
    assert switches or verdict.account.losing_per_s == 0.0


def test_a_small_gain_switches_once_what_was_lost_pays_for_it() -> None:
    """Until then the verdict says when to look again, and then it has been paid."""
    account = Account(0.0, preference=Preference(NEAR, 0.0, "start", dwell_s=1.0))
    first = judge(account, compared(1.0, 0.9, account), 0.0, SETTINGS)
    assert not first.switch
    assert first.look_at == pytest.approx(COST / (RATE * 0.1))
    early = judge(first.account, compared(1.0, 0.9, first.account), first.look_at / 2, SETTINGS)
    assert not early.switch
    assert early.look_at == pytest.approx(first.look_at)
    paid = judge(early.account, compared(1.0, 0.9, early.account), first.look_at, SETTINGS)
    assert paid.switch
    assert paid.account.owed == pytest.approx(0.0, abs=1e-9)


def test_a_preference_that_ends_wipes_what_was_lost() -> None:
    """A plan that is the best one again starts with a clean sheet."""
    account = Account(0.0, preference=Preference(NEAR, 0.0, "start", dwell_s=1.0))
    losing = judge(account, compared(1.0, 0.9, account), 0.0, SETTINGS).account
    back = judge(losing, replace(compared(0.5, 0.5), preferred_value=0.9), 2.0, SETTINGS).account
    assert back.lost == 0.0
    assert back.preference is not None
    assert back.preference.stages == NEAR


def test_how_long_preferences_last_is_learnt() -> None:
    """After short ones a gain that would need a long one does not switch at once any more."""
    preference = Preference(NEAR, 0.0, "start")
    assert preference.dwell_s == FIRST_DWELL_S
    for second in range(1, 20):
        preference = preference.followed_by(FAR if second % 2 else NEAR, float(second), "flapping")
    assert preference.dwell_s == pytest.approx(1.0, rel=0.05)
    assert preference.expected_dwell_s(19.5) == pytest.approx(1.0, rel=0.05)
    assert preference.expected_dwell_s(79.0) == 60.0, "one that has lasted is expected to last on"


def test_a_debt_is_paid_by_what_the_new_plan_saves() -> None:
    """While it is open, even a large gain waits."""
    account = judge(Account(0.0), compared(1.0, 0.5), 0.0, SETTINGS).account
    assert account.former == NEAR
    halfway = account.at_time(0.5)
    assert halfway.owed == pytest.approx(COST - 0.5 * RATE * 0.5)
    back = judge(halfway, compared(1.0, 0.5, halfway, former_value=0.5), 0.5, SETTINGS)
    assert not back.switch
    assert account.at_time(2.0).owed == 0.0
    assert account.at_time(2.0).former is None


def test_a_plan_is_kept_for_a_moment_at_least() -> None:
    """However large the gain, `least_dwell_s` must have passed since the last switch."""
    account = replace(Account(10.0), switched_at=10.0)
    verdict = judge(account, compared(1.0, 0.1), 10.2, SETTINGS)
    assert not verdict.switch
    assert verdict.look_at == pytest.approx(10.5)
    assert judge(account, compared(1.0, 0.1), 10.5, SETTINGS).switch


def test_a_clock_that_was_set_back_keeps_no_plan_in_force() -> None:
    """A switch that seems to lie in the future counts as one of now."""
    account = replace(Account(1_000.0), switched_at=1_000.0)
    verdict = judge(account, compared(1.0, 0.1), 0.0, SETTINGS)
    assert verdict.look_at == pytest.approx(0.5)


def test_without_any_cost_every_better_plan_is_taken() -> None:
    """So hysteresis can be switched off altogether."""
    none = PlanningSettings(hysteresis=0.0, confidence=0.0, switch_cost=0.0, least_dwell_s=0.0)
    assert judge(Account(0.0), compared(1.0, 0.9999, cost=0.0, noise=5.0), 0.0, none).switch


class Oscillation:
    """Two plans whose difference follows a list of phases; everything is looked at as the coordinator would."""

    def __init__(self, settings: PlanningSettings, cost: float, requests_per_s: float) -> None:
        self._settings, self._cost, self._rate = settings, cost, requests_per_s
        self._account = Account(0.0)
        self._in_force, self._other = NEAR, FAR
        self.now, self.switches = 0.0, 0

    def phase(self, length_s: float, advantage: float) -> None:
        """For so long, NEAR is better than FAR by `advantage`, worse where it is negative."""
        end, values = self.now + length_s, {NEAR: 1.0 - advantage / 2, FAR: 1.0 + advantage / 2}
        while self.now < end:
            look_at = self._look(values)
            self.now = min(end, max(math.nextafter(self.now, math.inf), look_at), self.now + self._settings.interval_s)

    def _look(self, values: dict[Stages, float]) -> float:
        account = self._account
        best = min(values, key=lambda stages: (values[stages], stages != self._in_force))
        seen = Comparison(
            standing=self._in_force,
            standing_value=values[self._in_force],
            best=best,
            best_value=values[best],
            cause="oscillation",
            noise=0.0,
            cost=self._cost,
            requests_per_s=self._rate,
            preferred_value=values[account.preference.stages] if account.preference else None,
            former_value=values[account.former] if account.former else None,
        )
        verdict = judge(account, seen, self.now, self._settings)
        self._account = verdict.account
        if verdict.switch:
            self._in_force, self._other = best, self._in_force
            self.switches += 1
        return verdict.look_at


phases = st.lists(st.tuples(st.floats(0.01, 60.0), st.floats(-1.0, 1.0)), min_size=1, max_size=60)


@given(phases=phases, cost=st.floats(0.05, 20.0), rate=st.floats(0.1, 50.0), least_dwell_s=st.floats(0.0, 5.0))
def test_switches_are_bounded_on_any_oscillation(
    phases: list[tuple[float, float]], cost: float, rate: float, least_dwell_s: float
) -> None:
    """N <= 1 + r G t / C and N <= 1 + t / least_dwell_s, whatever the phases and their order."""
    settings = PlanningSettings(least_dwell_s=least_dwell_s)
    oscillation = Oscillation(settings, cost, rate)
    for length_s, advantage in phases:
        oscillation.phase(length_s, advantage)
    paid = sum(rate * abs(advantage) * length_s for length_s, advantage in phases)
    assert oscillation.switches <= 1 + paid / cost * (1 + 1e-6)
    if least_dwell_s:
        assert oscillation.switches <= 1 + oscillation.now / least_dwell_s * (1 + 1e-6)


@settings(deadline=None)
@given(period_s=st.floats(0.1, 20.0), advantage=st.floats(0.03, 1.0))
def test_an_oscillation_that_pays_for_no_switch_makes_hardly_any(period_s: float, advantage: float) -> None:
    """Where half a period gains less than a switch costs, its length is soon learnt, and no switch follows."""
    cost = 1.2 * RATE * advantage * period_s
    oscillation = Oscillation(PlanningSettings(), cost, RATE)
    for _ in range(60):
        oscillation.phase(period_s, advantage)
        oscillation.phase(period_s, -advantage)
    settled = oscillation.switches
    for _ in range(200):
        oscillation.phase(period_s, advantage)
        oscillation.phase(period_s, -advantage)
    assert oscillation.switches == settled
