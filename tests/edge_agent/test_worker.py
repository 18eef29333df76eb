import logging
import threading
from queue import Queue

import pytest

from edge_agent.worker import Worker


def test_items_are_handled_in_order_on_one_thread() -> None:
    """What is submitted first is done first, always by the same thread."""
    done: Queue[tuple[int, str]] = Queue()
    worker: Worker[int] = Worker("worker", 8, lambda item: done.put((item, threading.current_thread().name)))
    assert all(worker.submit(item) for item in range(5))
    assert [done.get(timeout=10) for _ in range(5)] == [(item, "worker") for item in range(5)]
    worker.close()


def test_a_fault_is_logged_and_the_next_item_is_handled(caplog: pytest.LogCaptureFixture) -> None:
    """One item's fault does not end the thread that serves all."""
    done: Queue[int] = Queue()

    def handle(item: int) -> None:
        done.put(10 // item)

    worker = Worker("worker", 8, handle)
    with caplog.at_level(logging.ERROR, "splitrail.agent"):
        worker.submit(0)
        worker.submit(5)
        assert done.get(timeout=10) == 2
    worker.close()
    assert "worker: an item could not be handled" in caplog.text


def test_a_full_queue_refuses_at_once() -> None:
    """Nobody waits for room."""
    started, let_go = threading.Event(), threading.Event()

    def handle(_: int) -> None:
        started.set()
        let_go.wait(10)

    worker = Worker("worker", 1, handle)
    assert worker.submit(1)
    assert started.wait(10)
    assert worker.submit(2)
    assert not worker.submit(3)
    let_go.set()
    worker.close()


def test_closing_ends_the_thread() -> None:
    """Nothing is left running."""
    before = set(threading.enumerate())
    Worker("worker", 1, print).close()
    assert set(threading.enumerate()) <= before
