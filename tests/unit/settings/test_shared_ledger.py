"""Where the address of a shared ledger may stand, and what is said of a connection that does not verify its server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agentctl.core.ledger_address import PostgresAddress
from agentctl.settings.names import DECLARED
from agentctl.settings.trust_store import TrustStore
from agentctl.settings.untrusted_files import read_project_file
from tests.support.desk import Desk

URL = "postgresql://me:hunter2hunter2@db.example.com/book"
VERIFIED = f"{URL}?sslmode=verify-full"
WARNED = (
    "warning: the ledger postgresql://me@db.example.com/book is on another host, and the connection does not verify its"
    " certificate (add sslmode=verify-full to AGENTCTL_LEDGER)"
)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def address(desk: Desk, **environ: str) -> str:
    found = desk.load(environ).settings.ledger_address
    return found.url if isinstance(found, PostgresAddress) else found.name


def test_the_environment_and_the_users_own_env_name_the_ledger(desk: Desk) -> None:
    assert address(desk) == "ledger.db"
    assert address(desk, AGENTCTL_LEDGER=VERIFIED) == VERIFIED
    desk.user_env(f"AGENTCTL_LEDGER={VERIFIED}&application_name=own\n")
    assert address(desk) == f"{VERIFIED}&application_name=own"
    assert address(desk, AGENTCTL_LEDGER=VERIFIED) == VERIFIED


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("file", [".env", ".agentctl.toml"])
def test_no_file_of_a_project_names_the_ledger_or_says_what_may_be_lost(desk: Desk, file: str, trusted: bool) -> None:
    text = {
        ".env": f"AGENTCTL_LEDGER={VERIFIED}\nAGENTCTL_ACCEPT_LOST_HOLDS=1\nAGENTCTL_STRICT=1\n",
        ".agentctl.toml": f'ledger = "{VERIFIED}"\naccept_lost_holds = true\nstrict = true\n',
    }[file]
    place = desk.file(file, text)
    if trusted:
        found = read_project_file(place)
        assert found is not None
        TrustStore(desk.state).grant([found], now=datetime(2026, 11, 30, tzinfo=UTC))
    own = "postgresql://me@localhost/own"
    for environ in ({}, {"AGENTCTL_LEDGER": own}):
        if trusted and file == ".agentctl.toml":
            assert "hunter2" not in str(desk.refusal(environ))
            continue
        settings = desk.load(environ).settings
        assert (settings.accept_lost_holds, settings.strict) == (False, False)
        assert address(desk, **environ) == environ.get("AGENTCTL_LEDGER", "ledger.db")


def test_no_env_file_and_no_flag_names_the_ledger(desk: Desk) -> None:
    desk.file("x.env", f"AGENTCTL_LEDGER={VERIFIED}\n")
    refused = desk.refusal(env_files=["x.env"])
    assert "x.env line 1) has no effect there" in str(refused)
    assert "hunter2" not in f"{refused} {refused.hint}"
    assert [DECLARED[name].flag for name in ("ledger", "strict", "accept_lost_holds")] == [None] * 3


@pytest.mark.parametrize(
    ("url", "environ", "warns"),
    [
        (URL, {}, True),
        (f"{URL}?sslmode=verify-ca", {}, True),
        (f"{URL}?sslmode=require", {"PGSSLMODE": "verify-full"}, True),
        (VERIFIED, {}, False),
        (URL, {"PGSSLMODE": "verify-full"}, False),
        (URL.replace("db.example.com", "127.0.0.1"), {}, False),
        (URL.replace("db.example.com", "localhost:5433"), {}, False),
        (URL.replace("db.example.com", "[::1]"), {}, False),
        ("postgresql:///book?host=/run/postgresql", {}, False),
    ],
)
def test_a_connection_without_verification_is_warned_of_once_and_refused_if_strict(
    desk: Desk, url: str, environ: dict[str, str], warns: bool
) -> None:
    given = {**environ, "AGENTCTL_LEDGER": url}
    assert [note for note in desk.load(given).notes if "certificate" in note] == ([WARNED] if warns else [])
    desk.user_toml("strict = true\n")
    if not warns:
        assert desk.load(given).settings.ledger is not None
        return
    refused = desk.refusal(given)
    assert refused.message == WARNED.removeprefix("warning: ").partition(" (")[0]
    assert refused.hint == "add sslmode=verify-full to AGENTCTL_LEDGER"
