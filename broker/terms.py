"""Which plans count, by the terms of the leaderships under which they were made; the one rule for all who hear plans."""

from broker.messages import Plan


def counts(term: int, highest_term: int) -> bool:
    """Whether what a leader of `term` says still counts, where `highest_term` is the highest that has been heard of."""
    return term >= highest_term


def supersedes(plan: Plan, known: Plan) -> bool:
    """Whether `plan` comes after `known`, of the same deployment: by its term, and within a term by its epoch.

    So a plan of an older leadership never does, whatever its epoch, and a new leader's repeat of a plan does.
    """
    return (plan.term, plan.epoch) > (known.term, known.epoch)
