"""The set-up of docs/fleet.md on a fresh server, letter by letter but for the certificate's file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support import fork_server
from tests.support.certificates import make_certificate
from tests.support.docs_blocks import blocks
from tests.support.machine import need
from tests.support.postgres.programs import PROGRAMS
from tests.support.postgres.server import Server

(BLOCK,) = (block.text for block in blocks("text") if block.page == "docs/fleet.md" and "CREATE ROLE" in block.text)
#: The administrator of a fresh server, and everybody else.
HBA = "hostssl all postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256"
FILE = "/etc/ssl/certs/db.example.com.crt"
FORBIDDEN = (
    "CREATE TABLE agentctl.t ()",
    "CREATE SCHEMA s",
    "DELETE FROM agentctl.attempts",
    "TRUNCATE agentctl.owners",
    "DROP TABLE agentctl.waiters",
    "ALTER TABLE agentctl.attempts DISABLE TRIGGER ALL",
    "UPDATE agentctl.entries SET nano = 0",
    "UPDATE agentctl.ledger_info SET version = 0",
)
Type = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A server named db.example.com, on which nothing was done yet."""
    need("PostgreSQL", "openssl")
    with Server(certificate=make_certificate(tmp_path, "db", "DNS:db.example.com"), hba=HBA) as server:
        yield server


@pytest.fixture
def type_in(tmp_path: Path, fresh: Server) -> Type:
    """Type lines into a shell that finds db.example.com here."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "agentctl").write_text(f'#!/bin/sh\nexec {fork_server.command(loads="agentctl")} "$@"\n')
    (programs / "agentctl").chmod(0o755)
    (programs / "psql").symlink_to(PROGRAMS / "psql")

    def typed(lines: str) -> subprocess.CompletedProcess[str]:
        place = f"export PATH={programs}:$PATH PGHOSTADDR=127.0.0.1 PGPORT={fresh.port}"
        script = f"set -e\n{place}\n{lines.replace(FILE, str(tmp_path / 'db.pem'))}"
        return subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
        )

    return typed


def test_set_up_in_ten_lines_works_and_gives_runs_no_more_than_they_need(fresh: Server, type_in: Type) -> None:
    assert BLOCK.count("\n") <= 10
    lines = BLOCK.splitlines(keepends=True)
    (migrates,) = (line for line in lines if "ledger migrate" in line)
    create, (server, _, export, *rest) = "".join(lines[:5]), lines[5:]
    assert type_in(create).returncode == 0

    early = type_in(server + export + rest[0])
    assert early.returncode == 74
    assert "hint: as the role that owns its database: agentctl ledger migrate --grant agentctl_run" in early.stderr

    done = type_in("".join(lines[5:]))
    assert done.returncode == 0, done.stderr
    assert "created with schema" in done.stdout
    assert "mounted on" in done.stdout
    assert "the last hour: 1 run, 1 call, $0" in done.stdout
    assert "warning" not in done.stderr
    again = type_in(server + migrates)
    assert (again.returncode, "nothing to migrate" in again.stdout) == (0, True)

    with fresh.connect("agentctl", user="agentctl_run") as db:
        for forbidden in FORBIDDEN:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(forbidden.encode())
