"""Which codecs the plans of an experiment used, and how many requests travelled by them; pure."""

from collections import Counter
from collections.abc import Sequence

from testbed.paper.contenders import PACKED
from testbed.paper.records import Mode, RunRecord
from testbed.paper.results import CodecUse
from testbed.paper.tables import Table

RAW = "raw"
LEAST_PERCENT = 0.5
"""A codec that fewer requests used is not told."""


def codec_uses(records: Sequence[RunRecord]) -> tuple[CodecUse, ...]:
    """For each mode, model and contender that packs: by transfer, the share of its requests, the most used first.

    A request counts for every packed transfer of its plan, and as `raw` where none is packed.
    """
    packers = {contender.name for contender in PACKED}
    totals: Counter[tuple[Mode, str, str]] = Counter()
    counts: Counter[tuple[Mode, str, str, str, int]] = Counter()
    for record in records:
        key = (record.key.mode, record.key.model, record.key.contender)
        if record.key.contender not in packers:
            continue
        packed: dict[int, list[tuple[str, int]]] = {
            plan.epoch: [
                (stage.codec, stage.start) for stage in plan.stages if stage.start < stage.stop and stage.codec != RAW
            ]
            for plan in record.plans
        }
        for request in record.requests:
            totals[key] += 1
            for codec, cut in packed.get(request.epoch) or [(RAW, 0)]:
                counts[(*key, codec, cut)] += 1
    return tuple(
        CodecUse(mode=mode, model=model, contender=contender, codec=codec, cut=cut, requests_percent=percent)
        for (mode, model, contender, codec, cut), count in counts.most_common()
        if (percent := 100.0 * count / totals[mode, model, contender]) >= LEAST_PERCENT
    )


def codec_table(uses: Sequence[CodecUse]) -> Table:
    """A row for each mode, model and contender."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for use in uses:
        words = f"{use.requests_percent:.0f} % {use.codec}" + ("" if use.codec == RAW else f" at {use.cut}")
        rows.setdefault((use.model, use.contender, use.mode), []).append(words)
    return Table(
        title="What travelled packed",
        headings=("model", "contender", "", "share of requests, by codec and cut point"),
        rows=tuple((*key, ", ".join(words)) for key, words in sorted(rows.items())),
        notes=("A request with two packed transfers counts twice. Cut point 0 is the image itself.",),
        words=4,
    )
