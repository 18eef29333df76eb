"""Which runs make an experiment, in which order, and how long they take."""

from collections import Counter

from paper_records import key

from testbed.paper.grid import RunTimes, all_runs, duration_words

CONTENDERS = ("paper-static", "latency", "clairvoyant", "reap")


def test_the_grid_is_whole_and_interleaved() -> None:
    """Every contender runs once in each repetition of each model and trace, and one after the other there."""
    keys = all_runs("emulated", ("vgg16", "alexnet"), ("a", "b"), 3, CONTENDERS)
    assert len(set(keys)) == len(keys) == 2 * 2 * 3 * 4
    blocks = [keys[start : start + 4] for start in range(0, len(keys), 4)]
    for block in blocks:
        assert {each.contender for each in block} == set(CONTENDERS)
        assert len({(each.model, each.trace, each.repetition) for each in block}) == 1


def test_the_order_is_shuffled_and_the_same_each_time() -> None:
    """No contender always runs first, and a resumed experiment goes on in the order in which it began."""
    keys = all_runs("emulated", ("vgg16",), ("a",), 30, CONTENDERS)
    assert keys == all_runs("emulated", ("vgg16",), ("a",), 30, CONTENDERS)
    firsts = Counter(each.contender for each in keys[::4])
    assert set(firsts) == set(CONTENDERS)


def test_the_time_left_comes_from_the_likest_runs() -> None:
    """Of the same model and contender, else of the model, else of any; before all of them it is the guess."""
    times = RunTimes(30.0)
    pending = [key("latency"), key("reap"), key("latency", model="alexnet")]
    assert times.left_s(pending) == 90.0
    times.timed(key("latency", 2), 10.0)
    times.timed(key("energy"), 20.0)
    assert times.left_s(pending) == 10.0 + 15.0 + 15.0


def test_durations_in_words() -> None:
    """In the unit in which one would say them."""
    assert [duration_words(seconds) for seconds in (40, 300, 12_000)] == ["40 s", "5 min", "3 h 20 min"]
