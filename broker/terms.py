"""Which plan counts, by its leader's term and its epoch: the rule that agents and coordinators share.

Who leads under a term is decided in `coordinator.leadership`.
"""

from broker.messages import Plan


def follows(plan: Plan, before: Plan | None, highest_term: int) -> bool:
    """Whether `plan` takes the place of `before`, the newest of its deployment, where that term has been heard of.

    A plan of a lower term is of a leader that was succeeded and does not know it yet. A higher epoch is a newer plan;
    the same epoch under a higher term is the same plan, said again by a successor, or another plan that replaces it.
    """
    if plan.term < highest_term:
        return False
    return before is None or (plan.epoch, plan.term) > (before.epoch, before.term)
