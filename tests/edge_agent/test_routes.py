from plans import plan_of

from edge_agent.routes import Hop, computing_segments, crossings, named_nodes, route


def test_a_plan_on_the_origin_alone_is_one_hop() -> None:
    """Where nothing leaves the origin there is nothing to send."""
    assert route(plan_of(("pi", 0, 10))) == (Hop("pi", 0, 10),)


def test_the_input_leaves_the_origin_when_its_first_op_runs_elsewhere() -> None:
    """The origin relays the input at hop 0."""
    hops = route(plan_of(("pc", 0, 10), way_back=("pc", "pi")))
    assert hops == (Hop("pi", 0, 0), Hop("pc", 0, 10), Hop("pi", 10, 10))


def test_relays_stand_in_the_way_out_and_the_way_back() -> None:
    """Empty stages and the inner nodes of the way back both hand on what they were sent."""
    plan = plan_of(("pi", 0, 4), ("laptop", 4, 4), ("pc", 4, 10), way_back=("pc", "laptop", "pi"))
    assert [hop.node for hop in route(plan)] == ["pi", "laptop", "pc", "laptop", "pi"]
    assert [hop.relays for hop in route(plan)] == [False, True, False, True, True]
    assert crossings(plan) == 4
    assert named_nodes(plan) == {"pi", "laptop", "pc"}


def test_a_node_loads_every_segment_that_it_computes() -> None:
    """A node may hold several segments; relaying needs none."""
    plan = plan_of(("pi", 0, 4), ("pc", 4, 6), ("pi", 6, 10))
    assert computing_segments(plan, "pi") == ((0, 4), (6, 10))
    assert computing_segments(plan, "laptop") == ()
