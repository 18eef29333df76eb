"""Why there is no connection, in sentences: told from the error alone, without a network."""

import errno
import ssl

import pytest

from broker.explanations import explain_failure, explain_hanging_up


def test_elsewhere_mosquittos_default_is_named() -> None:
    """From another machine, a refusal is most likely Mosquitto's default, which listens on its own machine only."""
    reason = explain_failure(ConnectionRefusedError(), "192.0.2.1", encrypted=False)
    assert "give it a `listener` line" in reason


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "no answer: check"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no way leads there"),
        (OSError(errno.EACCES, "Permission denied"), "cannot connect (Permission denied)"),
    ],
)
def test_other_failures_are_told_apart(error: OSError, said: str) -> None:
    """Silence, no route and the rest each have their sentence."""
    assert said in explain_failure(error, "127.0.0.1", encrypted=False)


@pytest.mark.parametrize(
    "error",
    [
        ssl.SSLError(1, "wrong version number"),
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        ConnectionResetError(),
        TimeoutError("_ssl.c:989: The handshake operation timed out"),
    ],
)
def test_whatever_else_answers_does_not_speak_tls(error: OSError) -> None:
    """A web server, something that hangs up and something that stays silent end in the same advice."""
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        error.reason = "WRONG_VERSION_NUMBER"
    assert "does not speak TLS" in explain_failure(error, "broker.example", encrypted=True)


def test_failures_before_tls_keep_their_sentences() -> None:
    """A broker that is not there is not there, with TLS as without."""
    refused = explain_failure(ConnectionRefusedError(), "broker.example", encrypted=True)
    assert "no MQTT broker listens there" in refused
    assert "no answer: check" in explain_failure(TimeoutError(), "broker.example", encrypted=True)


def test_what_hangs_up_may_expect_tls() -> None:
    """Which is worth saying only to who came without it."""
    assert "broker.ca_file" in explain_hanging_up(encrypted=False)
    assert "broker.ca_file" not in explain_hanging_up(encrypted=True)
