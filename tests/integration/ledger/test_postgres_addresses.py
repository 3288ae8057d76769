"""The way to a fleet's server, as users write its address: TLS, passwords, sockets, several hosts, a standby."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import quote

import pytest

from agentctl.core.ledger_address import PostgresAddress
from agentctl.ledger.postgres import ddl, migrate
from agentctl.ledger.postgres import server as pg_server
from tests.support.bill.parts import PENNY, TASK
from tests.support.certificates import Certificate, make_certificate
from tests.support.command_line import Commands, Here
from tests.support.postgres.fleet import Fleet, new_fleet
from tests.support.postgres.server import OWNER, RUNNER, Server
from tests.support.wire.plugin import OpenWire
from tests.support.wire.server import Answer, Call, WireRequest

#: Of this process alone: others that run beside it have environments, too.
SECRET = secrets.token_hex(8)
PASSWORD = f"{SECRET}@w/rd%of"
WRITTEN = quote(PASSWORD, safe="")
#: As on Debian: its certificates are in a folder, and no file is known to OpenSSL.
NO_PATHS = SimpleNamespace(cafile=None)
LOOK = ("run", "--provider", "builtin", "How much memory is used?")
ONLY_TLS = "hostssl all all 127.0.0.1/32 scram-sha-256"


class Guarded(NamedTuple):
    """A server that takes a password over TLS only."""

    server: Server
    database: str
    certificate: Certificate

    def url(self, options: str = "", *, host: str = "127.0.0.1", password: str = WRITTEN) -> str:
        """Return an address as a user would write it."""
        asked = options or f"sslmode=verify-full&sslrootcert={self.certificate.path}"
        return f"postgresql://{RUNNER}:{password}@{host}:{self.server.port}/{self.database}?{asked}"


@pytest.fixture(scope="module")
def guarded(certificate: Certificate) -> Iterator[Guarded]:
    with Server(certificate=certificate, hba=ONLY_TLS) as server:
        database = server.create_database()
        sockets = f"postgresql://postgres@/{database}?host={server.folder}&port={server.port}"
        migrate(PostgresAddress(sockets, Path("/nonexistent")), role=RUNNER)
        with server.connect() as db:
            db.execute(f"ALTER ROLE {RUNNER} PASSWORD '{PASSWORD}'".encode())
        yield Guarded(server, database, certificate)


def assert_hidden(*texts: str) -> None:
    """Fail if a text has the password, or its beginning."""
    assert not any(SECRET in text for text in texts)


#: What is wrong, and what the error and its hint say of it.
WRONG = {
    "root certificate": ("certificate verify failed", "sslrootcert="),
    "no root certificate": ("root certificate file", "sslrootcert="),
    "host name": ('does not match host name "other.invalid"', "as the server's certificate does"),
    "no TLS wanted": ("no encryption", "sslmode=verify-full"),
    "no TLS at the server": ("does not support SSL", "ssl = on"),
    "password": ("password authentication failed", "correct the user and the password"),
    "no password": ("no password supplied", "put the password into AGENTCTL_LEDGER"),
}


@pytest.mark.parametrize("what", WRONG)
def test_connection_that_proves_nothing_is_refused_at_once(
    here: Here,
    monkeypatch: pytest.MonkeyPatch,
    guarded: Guarded,
    postgres: Server,
    tmp_path: Path,
    what: str,
) -> None:
    verified = f"sslmode=verify-full&sslrootcert={guarded.certificate.path}"
    match what:
        case "root certificate":
            other = make_certificate(tmp_path, "other", "IP:127.0.0.1")
            url = guarded.url(f"sslmode=verify-full&sslrootcert={other.path}")
        case "no root certificate":
            url = guarded.url("sslmode=verify-full&sslrootcert=/nonexistent/root.crt")
        case "host name":
            url = guarded.url(f"{verified}&hostaddr=127.0.0.1", host="other.invalid")
        case "no TLS wanted":
            url = guarded.url("sslmode=disable")
        case "no TLS at the server":
            url = guarded.url().replace(str(guarded.server.port), str(postgres.port))
        case "password":
            url = guarded.url(password=f"{WRITTEN}2")
        case _:
            url = guarded.url().replace(f":{WRITTEN}@", "@")
    monkeypatch.setenv("AGENTCTL_LEDGER", url)
    said, hint = WRONG[what]
    for words in (("costs", "--json"), (*LOOK, "-v")):
        ended = here(*words)
        assert ended.code == 74
        assert said in ended.err
        assert hint in ended.err.partition("hint: ")[2]
        assert_hidden(ended.out, ended.err)


@pytest.mark.parametrize("how", ["in the address", "in PGPASSWORD", "of a name", "system"])
def test_verified_connection_is_used_and_its_password_written_nowhere(
    here: Here, monkeypatch: pytest.MonkeyPatch, guarded: Guarded, state: Path, how: str
) -> None:
    url = guarded.url()
    if how == "in PGPASSWORD":
        url = url.replace(f":{WRITTEN}@", "@")
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
    elif how == "of a name":
        url = guarded.url().replace("127.0.0.1", "llm.invalid") + "&hostaddr=127.0.0.1"
    elif how == "system":
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: NO_PATHS)
        monkeypatch.setattr(pg_server, "ROOTS", ("/nonexistent", str(guarded.certificate.path)))
        url = guarded.url("sslrootcert=system")
    monkeypatch.setenv("AGENTCTL_LEDGER", url)
    for words in ((*LOOK, "-v"), ("costs", "--json"), ("config", "show", "--all"), ("ledger", "check"), ("doctor",)):
        ended = here(*words)
        assert ended.code == 0, ended.err
        assert_hidden(ended.out, ended.err)
        assert "warning" not in ended.err
    assert_hidden(*(path.read_bytes().decode("utf-8", "replace") for path in state.rglob("*") if path.is_file()))


#: What a command can see: its environment, that of all processes, and their command lines.
LOOK_AROUND = "{ env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null; } | tr '\\0' '\\n' >found"


@pytest.mark.parametrize("how", ["in the address", "in PGPASSWORD"])
def test_commands_of_a_model_do_not_see_the_password(
    shell: Commands, wire: OpenWire, guarded: Guarded, tmp_path: Path, how: str
) -> None:
    shell.starts_cold = True  # a forked process has the environment of the one that it is forked from

    def mind(asked: WireRequest) -> Answer:
        if any(said.role == "tool" for said in asked.messages):
            return PENNY.answer("Done.")
        return PENNY.answer("Looking.", (Call("run_shell", {"command": LOOK_AROUND}),))

    server = wire(mind, rates={PENNY.model: PENNY.rates})
    url = guarded.url() if how == "in the address" else guarded.url().replace(f":{WRITTEN}@", "@")
    given = {"AGENTCTL_LEDGER": url} | ({} if how == "in the address" else {"PGPASSWORD": PASSWORD})
    asked = ("run", TASK, "--tools", "run_shell", "--sandbox", "none", "--yes", "-v")
    ended = shell(
        *asked, **given, OPENAI_BASE_URL=f"{server.url}/v1", OPENAI_API_KEY="sk-x", LLM_MODEL=PENNY.model,
        LLM_PROVIDER="openai",
    )  # fmt: skip
    assert (ended.code, ended.out) == (0, "Done.\n"), ended.err
    found = (tmp_path / "found").read_text(errors="replace")
    assert "agentctl" in found
    assert_hidden(found, ended.err)
    told = guarded.server.execute(
        "SELECT phase, count(*) FROM agentctl.attempts WHERE provider = 'openai' GROUP BY 1", database=guarded.database
    )
    assert {phase for phase, _ in told} - {"void"} == {"settled"}  # the hold of a last answer was not needed


def test_socket_is_named_in_any_of_its_forms(here: Here, monkeypatch: pytest.MonkeyPatch, own_fleet: Fleet) -> None:
    server, database = own_fleet.server, own_fleet.database
    folder = quote(str(server.folder), safe="")
    urls = (
        f"postgresql://{RUNNER}@/{database}?host={server.folder}&port={server.port}",
        f"postgresql:///{database}?host={server.folder}&port={server.port}&user={RUNNER}",
        f"postgresql://{RUNNER}@{folder}:{server.port}/{database}",
    )
    for url in urls:
        monkeypatch.setenv("AGENTCTL_LEDGER", url)
        ended = here(*LOOK)
        assert ended.code == 0, ended.err
        assert "warning" not in ended.err
    assert own_fleet.query("SELECT count(*) FROM agentctl.scopes") == [(len(urls),)]
    monkeypatch.setenv("AGENTCTL_LEDGER", f"postgresql:///{database}?host=/nonexistent/run")
    ended = here("costs")
    assert ended.code == 74
    assert "/nonexistent/run/.s.PGSQL.5432" in ended.err
    assert f"pg_isready -d 'postgresql:///{database}?host=/nonexistent/run'" in ended.err


def test_primary_is_found_among_several_hosts_and_a_standby_is_refused(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as server, closing(server.standby(synchronous=True)) as standby:
        fleet = new_fleet(server)
        server.wait_for("SELECT 1 FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()")

        def ask(hosts: str, options: str, *words: str) -> tuple[int, str]:
            monkeypatch.setenv("AGENTCTL_LEDGER", f"postgresql://{RUNNER}@{hosts}/{fleet.database}{options}")
            ended = here(*words)
            return ended.code, ended.err

        primary, second = f"127.0.0.1:{server.port}", f"127.0.0.1:{standby.port}"
        writable = "?target_session_attrs=read-write"
        assert ask(f"127.0.0.1:1,{second},{primary}", writable, *LOOK)[0] == 0
        assert ask(f"{primary},{second}", "", *LOOK)[0] == 0
        for hosts, options in (
            (second, ""),
            (second, writable),
            (f"{second},{primary}", ""),
            (second, "?target_session_attrs=standby"),
        ):
            code, err = ask(hosts, options, *LOOK)
            assert code == 74, (hosts, options)
            assert "hint: name the primary in AGENTCTL_LEDGER" in err, (hosts, options)
        assert fleet.query("SELECT count(*) FROM agentctl.scopes") == [(2,)]


COMMANDS = (LOOK, ("costs",), ("ledger", "check"))


def test_older_ledger_is_refused_until_it_is_migrated_and_its_role_keeps_its_rights(
    here: Here, monkeypatch: pytest.MonkeyPatch, postgres: Server, database: str
) -> None:
    owner, runner = (postgres.dsn(database, user=user) for user in (OWNER, RUNNER))
    with monkeypatch.context() as older:
        older.setattr(ddl, "MIGRATIONS", ddl.MIGRATIONS[:1])
        assert migrate(PostgresAddress(owner, Path("/nonexistent")), role=RUNNER) == (0, 1)
    monkeypatch.setenv("AGENTCTL_LEDGER", runner)
    for words in (*COMMANDS, ("ledger", "migrate")):
        ended = here(*words)
        assert ended.code == 74, words
        assert "hint: " in ended.err
        assert "schema is 1" in ended.err or words == ("ledger", "migrate")
        assert "agentctl ledger migrate" in ended.err or "owns the database" in ended.err
    monkeypatch.setenv("AGENTCTL_LEDGER", owner)
    ended = here("ledger", "migrate")
    assert (ended.code, f"migrated from schema 1 to {len(ddl.MIGRATIONS)}" in ended.out) == (0, True)
    monkeypatch.setenv("AGENTCTL_LEDGER", runner)
    for words in COMMANDS:
        ended = here(*words)
        assert ended.code == 0, ended.err


def test_newer_ledger_is_refused_by_every_command(
    here: Here, monkeypatch: pytest.MonkeyPatch, own_fleet: Fleet
) -> None:
    own_fleet.query("UPDATE agentctl.ledger_info SET version = 99")
    for user, commands in ((RUNNER, COMMANDS), ("postgres", (("ledger", "migrate"),))):
        monkeypatch.setenv("AGENTCTL_LEDGER", own_fleet.server.dsn(own_fleet.database, user=user))
        for words in commands:
            ended = here(*words)
            assert ended.code == 74, words
            assert "migrated by a newer agentctl (schema 99" in ended.err
            assert "hint: upgrade agentctl" in ended.err
