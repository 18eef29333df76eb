"""Of whom the log is told."""

import pytest

from edge_agent.complaints import Complaints


def test_each_is_complained_of_once() -> None:
    """However often there is cause."""
    complaints = Complaints()
    assert [complaints.is_news(who) for who in ("pi", "laptop", "pi", "pi")] == [True, True, False, False]


def test_so_many_are_complained_of_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names cost a stranger nothing."""
    monkeypatch.setattr("edge_agent.complaints.MAX_COMPLAINTS", 2)
    complaints = Complaints()
    assert [complaints.is_news(who) for who in ("a", "b", "c", "d")] == [True, True, False, False]
