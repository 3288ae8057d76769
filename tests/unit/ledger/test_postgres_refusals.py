"""What libpq says of a connection that failed: the sentence, the hint, and whether it is tried again."""

import psycopg
import pytest

from agentctl.core.errors import StateError
from agentctl.core.ledger_address import PostgresAddress
from agentctl.ledger.postgres.server import ServerUnreachable, TransactionAborted, translated
from tests.support.in_memory import tmp_path

__all__ = ["tmp_path"]
URL = "postgresql://me:se%40cret@db.invalid/book?sslmode=verify-full"
TO = 'connection to server at "10.0.0.1", port 5432 failed: '
NO_ROOT = (
    'root certificate file "/root.crt" does not exist\nEither provide the file, use the system\'s trusted roots with'
    " sslrootcert=system, or change sslmode to disable server certificate verification."
)
#: What libpq says, and a word of the hint. None of these is tried again.
LASTING = {
    "SSL error: certificate verify failed": "sslrootcert=",
    NO_ROOT: "sslrootcert=",
    'server certificate for "a" (and 1 other name) does not match host name "b"': "as the server's certificate does",
    "server does not support SSL, but SSL was required": "ssl = on",
    'FATAL:  no pg_hba.conf entry for host "::1", user "me", database "book", no encryption': "sslmode=verify-full",
    'FATAL:  no pg_hba.conf entry for host "::1", user "me", database "book", SSL encryption': "pg_hba.conf",
    'FATAL:  password authentication failed for user "me"': "the password",
    'FATAL:  Peer authentication failed for user "me"': "that user of the system",
    "fe_sendauth: no password supplied": "put the password",
    'FATAL:  role "me" does not exist': "the user",
    'FATAL:  database "book" does not exist': "create the database",
    "FATAL:  no such database: book": "create the database",
    "FATAL:  unsupported startup parameter: options": "PgBouncer",
    'FATAL:  permission denied for database "book"\nDETAIL:  User does not have CONNECT privilege.': "GRANT CONNECT",
    "session is read-only": "target_session_attrs",
    "server is in hot standby mode": "target_session_attrs",
    "received invalid response to SSL negotiation: H": "host and port",
}
#: What may be over in a moment.
PASSING = {
    "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?": "pg_isready",
    "timeout expired": "pg_isready",
    "FATAL:  the database system is starting up": "wait until",
    "FATAL:  the database system is shutting down": "wait until",
    "FATAL:  the database system is in recovery mode": "wait until",
    "FATAL:  the database system is not yet accepting connections\nDETAIL:  Consistent recovery state has not been yet"
    " reached.": "wait until",
    "a sentence that nobody knows": "pg_isready",
}


def told(tmp_path: object, text: str) -> StateError:
    return translated(psycopg.OperationalError(text), PostgresAddress(URL, tmp_path), connecting=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("said", LASTING)
def test_what_a_person_must_change_is_not_tried_again(tmp_path: object, said: str) -> None:
    error = told(tmp_path, f"connection failed: {TO}{said}\n")
    assert not isinstance(error, ServerUnreachable)
    assert LASTING[said] in (error.hint or "")
    assert error.message.startswith(f"the ledger postgresql://me@db.invalid/book cannot be used: {TO}")
    assert "\n" not in error.message
    assert "disable" not in error.message


@pytest.mark.parametrize("said", PASSING)
def test_server_that_cannot_be_reached_now_is_tried_again(tmp_path: object, said: str) -> None:
    error = told(tmp_path, f"connection failed: {TO}{said}\n")
    assert isinstance(error, ServerUnreachable)
    assert PASSING[said] in (error.hint or "")
    assert "Is the server" not in error.message


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("failed to resolve host 'db.invalid': [Errno -2] Name or service not known", False),
        ("failed to resolve host 'db.invalid': [Errno -3] Temporary failure in name resolution", True),
        ('invalid sslmode value: "full"', False),
        ('missing key/value separator "=" in URI query parameter: "full"', False),
        ('definition of service "full" not found', False),
    ],
)
def test_address_that_cannot_be_used_is_not_tried_again(tmp_path: object, said: str, again: bool) -> None:
    error = told(tmp_path, f"connection is bad: {said}")
    assert isinstance(error, ServerUnreachable) is again
    assert error.message == f"the ledger postgresql://me@db.invalid/book cannot be used: {said}"


def of_two(first: str, second: str) -> str:
    """Return what psycopg says if neither of two hosts can be used."""
    attempts = "".join(
        f"\n- host: '{host}', port: '5432', hostaddr: '10.0.0.1': connection failed: {said}"
        for host, said in (("a", first), ("b", second))
    )
    return f"connection failed: {second}\nMultiple connection attempts failed. All failures were:{attempts}"


def test_fail_over_that_goes_on_is_waited_for(tmp_path: object) -> None:
    """The old primary is gone, the standby is not promoted yet."""
    error = told(tmp_path, of_two(f"{TO}Connection refused", "session is read-only"))
    assert isinstance(error, ServerUnreachable)
    assert error.message.endswith(f"cannot be used: {TO}Connection refused; session is read-only")
    assert "target_session_attrs" in (error.hint or "")


def test_two_hosts_that_are_both_wrong_are_not_tried_again(tmp_path: object) -> None:
    error = told(tmp_path, of_two("session is read-only", "session is read-only"))
    assert not isinstance(error, ServerUnreachable)
    assert error.message.endswith("cannot be used: session is read-only")


def test_password_is_not_shown_however_it_is_written(tmp_path: object) -> None:
    error = told(tmp_path, 'invalid percent-encoded token: "se%40cret", or se@cret')
    assert error.message.endswith('invalid percent-encoded token: "[redacted]", or [redacted]')


def test_server_without_a_free_connection_is_waited_for(tmp_path: object) -> None:
    assert isinstance(told(tmp_path, f"{TO}FATAL:  sorry, too many clients already"), TransactionAborted)
