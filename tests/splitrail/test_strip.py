"""A plan drawn as one row."""

from hypothesis import given
from hypothesis import strategies as st

from broker.messages import PlanStage
from splitrail.strip import plan_strip


def staged(*cuts: int, nodes: tuple[str, ...] = ("pi", "laptop", "pc")) -> list[PlanStage]:
    return [
        PlanStage(node=node, start=start, stop=stop) for node, start, stop in zip(nodes, cuts, cuts[1:], strict=False)
    ]


def test_blocks_name_their_nodes_between_the_cut_points() -> None:
    """A reader sees who runs which ops even without colour."""
    strip = plan_strip(staged(0, 13, 65), 65, 40)
    assert strip.plain == "0━━━ pi ━━━13━━━━━━━━━ laptop ━━━━━━━━65"
    assert len(strip.plain) == 40


def test_a_relay_is_an_arrow_through_its_node() -> None:
    """An empty stage takes no length of the model."""
    assert "→laptop→" in plan_strip(staged(0, 13, 13, 65), 65, 60).plain


def test_a_narrow_terminal_still_shows_every_name() -> None:
    """Where there is no room the blocks are as long as their names need."""
    assert plan_strip(staged(0, 1, 2, 65), 65, 5).plain == "0━ pi ━1━ laptop ━2━ pc ━65"


def test_a_nodes_colour_stays_when_the_plan_moves() -> None:
    """Colours follow the given order of the nodes, not the order in the plan."""
    order = ("pi", "laptop", "pc")
    alone = plan_strip(staged(0, 65, nodes=("pc",)), 65, 40, nodes=order)
    split = plan_strip(staged(0, 10, 65, nodes=("pi", "pc")), 65, 40, nodes=order)
    assert alone.spans[-1].style == split.spans[-1].style
    assert split.spans[0].style != split.spans[-1].style


@given(st.lists(st.integers(1, 200), min_size=1, max_size=6), st.integers(60, 200))
def test_the_row_fills_the_width_and_longer_stages_are_longer(lengths: list[int], width: int) -> None:
    """Whatever the plan, the row is as wide as asked for and has all cut points in order."""
    cuts = [sum(lengths[:index]) for index in range(len(lengths) + 1)]
    stages = staged(*cuts, nodes=tuple("abcdef"))
    strip = plan_strip(stages, cuts[-1], width).plain
    assert len(strip) == width
    assert [int(word) for word in strip.replace("━", " ").split() if word.isdigit()] == cuts
