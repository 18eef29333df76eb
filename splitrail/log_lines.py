"""Sends the log to stderr, in lines that are safe to show in a terminal; what is logged is for others to say."""

import logging

from splitrail.terminal import printable, printable_lines


class PrintableFormatter(logging.Formatter):
    """A log's lines, in which what others sent cannot begin a line of its own; a trace keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        """The line of a record."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802  # as above
        """The lines of a trace."""
        return printable_lines(super().formatException(ei))  # type: ignore[arg-type]  # logging's own type is private


def log_to_stderr(level: int, form: str, date_form: str | None = None) -> None:
    """Send what is logged from `level` on to stderr, as lines that are safe to show."""
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter(form, date_form))
    logging.basicConfig(level=level, handlers=[handler])
