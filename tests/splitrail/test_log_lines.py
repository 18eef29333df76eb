"""What reaches a terminal through the log or an error: nothing that others sent can steer it or pass for a line."""

import logging
import sys

from splitrail.log_lines import PrintableFormatter
from splitrail.terminal import printable_lines

HOSTILE = "pi\x1b[2J\nsplitrail: all is well\u202e"


def record(message: str, *arguments: object, exc_info: object = None) -> logging.LogRecord:
    return logging.LogRecord("splitrail", logging.WARNING, __file__, 1, message, arguments, exc_info)


def fail() -> None:
    raise ValueError(HOSTILE)


def test_what_others_sent_stays_within_its_line() -> None:
    """Escapes, line ends and marks that turn the writing round are shown as question marks."""
    line = PrintableFormatter("splitrail: %(message)s").format(record("dropped a message from %s", HOSTILE))
    assert line == "splitrail: dropped a message from pi?[2J?splitrail: all is well?"


def test_a_trace_keeps_its_lines() -> None:
    """A fault of ours is still told over several lines, each of them safe."""
    try:
        fail()
    except ValueError:
        lines = PrintableFormatter("%(message)s").format(record("failed", exc_info=sys.exc_info())).split("\n")
    assert len(lines) > 3
    assert all(line.isprintable() for line in lines)


def test_sentences_of_ours_keep_their_lines() -> None:
    """An error that lists several mistakes has a line for each."""
    assert printable_lines("a.yaml:1:1: bad\x1b\na.yaml:2:1: worse") == "a.yaml:1:1: bad?\na.yaml:2:1: worse"
