"""The address of a shared ledger: no part of its password is ever read, or shown, as something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentctl.core.ledger_address import PostgresAddress, checked, is_exposed, passwords_in, shown, with_password

STATE = Path("/state")


@pytest.mark.parametrize("password", ["p@ss", "12/word", "12?word", "1#2", "#", "50%", "50%off", "a%00b", "p@s/s@"])
def test_password_that_must_be_escaped_is_refused_without_being_shown(password: str) -> None:
    with pytest.raises(ValueError, match="%40 for @") as raised:
        checked(f"postgresql://me:{password}@db/book")
    assert password not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:p%40ss%2Fw%25@db:5432/book?sslmode=verify-full",
        "postgresql://me:a:b&c=d+e$!@a,b:5433/book?target_session_attrs=read-write",
        "postgresql://me@[::1]:5432/book",
        "postgresql:///book?host=/run/postgresql",
        "postgresql://me@%2Frun%2Fpostgresql/book",
    ],
)
def test_address_that_libpq_takes_is_taken_as_it_is(url: str) -> None:
    assert checked(f" {url}\n") == url


@pytest.mark.parametrize(
    ("url", "seen", "user"),
    [
        ("postgresql://me:word@db/book?sslpassword=other", "postgresql://me@db/book", "me"),
        ("postgresql:///book?user=me&password=word", "postgresql:///book?user=me", "me"),
        ("postgresql://db/book?host=/run/pg&port=5433", "postgresql://db/book?host=/run/pg&port=5433", ""),
        ("postgresql://a%40b:word@%2Frun/book", "postgresql://a%40b@%2Frun/book", "a@b"),
    ],
)
def test_address_is_shown_with_its_place_and_without_its_password(url: str, seen: str, user: str) -> None:
    address = PostgresAddress(url, STATE)
    assert (str(address), shown(url), address.user) == (seen, seen, user)
    assert "word" not in repr(address)


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("postgresql://me@db/book", "postgresql://me@db/book?password=p%40s%2Fs"),
        ("postgresql://db/book?sslmode=prefer", "postgresql://db/book?sslmode=prefer&password=p%40s%2Fs"),
        ("postgresql://me:own1@db/book", "postgresql://me:own1@db/book"),
        ("postgresql://db/book?password=own1", "postgresql://db/book?password=own1"),
    ],
)
def test_pgpassword_is_the_password_of_an_address_without_one(url: str, full: str) -> None:
    assert with_password(url, {"PGPASSWORD": "p@s/s"}) == full
    assert with_password(url, {}) == url
    assert {"p@s/s", "own1"} & set(passwords_in(full))


def test_two_servers_of_one_folder_of_sockets_have_files_of_their_own() -> None:
    one, other = (PostgresAddress(f"postgresql:///book?host=/run/pg&port={port}", STATE) for port in (5432, 5433))
    assert one.beside != other.beside
    assert one.beside == PostgresAddress("postgresql:///book?port=5432&host=/run/pg&password=word", STATE).beside


@pytest.mark.parametrize(
    ("url", "environ", "exposed"),
    [
        ("postgresql:///book?service=fleet", {}, True),
        ("postgresql:///book", {"PGSERVICE": "fleet"}, True),
        ("postgresql:///book?service=fleet&sslmode=verify-full", {}, False),
        ("postgresql://localhost/book", {"PGHOSTADDR": "10.0.0.1"}, True),
        ("postgresql:///book", {}, False),
        ("postgresql://db/book?sslrootcert=system", {}, False),
        ("postgresql://db/book?sslrootcert=system", {"PGSSLMODE": "require"}, True),
        ("postgresql://db/book?sslrootcert=/root.crt", {}, True),
    ],
)
def test_place_that_a_file_or_a_variable_names_counts(url: str, environ: dict[str, str], exposed: bool) -> None:
    assert is_exposed(url, environ) is exposed


def test_hosts_are_counted_without_the_password() -> None:
    urls = (
        "postgresql://me:a,b@db/book",
        "postgresql://a,b/book",
        "postgresql:///book?host=a,b,c",
        "postgresql:///book",
    )
    assert [PostgresAddress(url, STATE).hosts for url in urls] == [1, 2, 3, 1]
