"""A PostgreSQL server of the tests' own, and physical standbys of it. As root the servers run as nobody."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import LiteralString, Self

import psycopg

from tests.support.certificates import Certificate
from tests.support.machine import NOBODY, need
from tests.support.postgres.programs import PROGRAMS, as_server_user, own_folder
from tests.support.proxies import free_port

#: Names of the roles that tests use beside the superuser.
OWNER, RUNNER = "ledger_owner", "ledger_runner"
_START_S = 60.0
#: Nothing reaches a disk: for tests that ask what is written, not what a crash leaves.
QUICK: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off"}
_USUAL: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_keep_size": "64MB",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %a ",
}


class Server:
    """A server, or a standby, in a folder of its own; it listens on a Unix socket and on a port of 127.0.0.1.

    ``durable``: on a disk, with ``fsync`` and all that a real server does. ``settings`` are lines of postgresql.conf.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        settings: Mapping[str, str] | None = None,
        certificate: Certificate | None = None,
        hba: str | None = None,
    ) -> None:
        need("PostgreSQL")
        self.folder, self.port, self.durable = own_folder(durable=durable), free_port(), durable
        self.data = self.folder / "data"
        self._settings = {**_USUAL, **({} if durable else QUICK), **(settings or {})}
        self._certificate, self._hba = certificate, hba
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.make()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, program: str, *words: str | Path) -> str:
        """Run one of PostgreSQL's programs as the server's user and return what it prints."""
        line = [*as_server_user(self.folder), PROGRAMS / program, *words]
        ended = subprocess.run(line, capture_output=True, text=True, cwd=self.folder, check=False)
        assert ended.returncode == 0, f"{program}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def make(self) -> None:
        """Make the folder of the data."""
        sync = () if self.durable else ("--no-sync",)
        words = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-instructions", *sync)
        self.run("initdb", "-D", self.data, *words)
        self.configure()

    def configure(self) -> None:
        """Write the settings that the command line does not carry, the certificate, and who may connect."""
        if self._hba is not None:
            self._write("pg_hba.conf", f"local all all trust\n{self._hba}\n".encode())
        if self._certificate is not None:
            self._write("server.crt", self._certificate.path.read_bytes())
            self._write("server.key", self._certificate.key.read_bytes())
            self._settings["ssl"] = "on"

    def _write(self, name: str, content: bytes) -> None:
        path = self.data / name
        path.write_bytes(content)
        path.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)

    @property
    def log(self) -> str:
        """What the server logged."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self, **settings: str) -> None:
        """Start it, and wait until it takes connections; ``settings`` hold from now on."""
        self._settings.update(settings)
        given = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        words = ["-D", str(self.data), "-k", str(self.folder), "-p", str(self.port), *given]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*as_server_user(self.folder), PROGRAMS / "postgres", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        until = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(psycopg.OperationalError), self.connect():
                return
            assert self._process.poll() is None, self.log
            assert time.monotonic() < until, self.log
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all sessions (fast), SIGQUIT loses what is in memory only (immediate)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_START_S)
            self._process = None

    def kill(self) -> None:
        """Kill every process of the server at once, as the death of its machine does."""
        assert self._process is not None
        self.signal_all(signal.SIGKILL)
        self._process.wait(_START_S)
        self._process = None
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        deadline = time.monotonic() + _START_S
        while self._backends() and time.monotonic() < deadline:
            time.sleep(0.01)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the postmaster and to all its children, such as SIGSTOP: a machine that hangs."""
        assert self._process is not None
        for pid in (self._process.pid, *self._backends()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _backends(self) -> list[int]:
        """Return the process ids that run in the folder of the data."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    if (folder / "cwd").readlink() == self.data:
                        found.append(int(folder.name))
        return found

    def close(self) -> None:
        """Stop it and remove what it wrote."""
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                self.signal_all(signal.SIGCONT)
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def dsn(self, database: str = "postgres", *, user: str = "postgres", port: int = 0, **more: str) -> str:
        """Return an address of the server on 127.0.0.1; ``port`` is that of something in between."""
        words = "&".join(f"{name}={value}" for name, value in more.items())
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}{'?' if words else ''}{words}"

    def connect(self, database: str = "postgres", *, user: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """Open a connection by the Unix socket, which commits each statement."""
        return psycopg.connect(
            host=str(self.folder), port=self.port, dbname=database, user=user, autocommit=True, connect_timeout=5
        )

    def execute(self, sql: LiteralString, *values: object, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as the superuser and return its rows."""
        with self.connect(database) as db:
            asked = db.execute(sql, values)
            return asked.fetchall() if asked.description is not None else []

    def create_database(self, *, template: str = "template0") -> str:
        """Create a database, owned by the role OWNER, and return its name."""
        name = f"t{secrets.token_hex(6)}"
        with self.connect() as db:
            known = {row[0] for row in db.execute("SELECT rolname FROM pg_roles")}
            for role in (OWNER, RUNNER):
                if role not in known:
                    db.execute(f"CREATE ROLE {role} LOGIN")
            db.execute(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, and whoever is connected to it."""
        with self.connect() as db:
            db.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def standby(self, *, synchronous: bool, port: int = 0) -> Standby:
        """Start a physical standby of this server, and wait until it streams; ``port`` is that of something between."""
        made = Standby(self, name=f"standby_{secrets.token_hex(3)}", port=port)
        made.make()
        made.start()
        if synchronous:
            with self.connect() as db:
                db.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{made.name}'")
                db.execute("SELECT pg_reload_conf()")
        state = "sync" if synchronous else "async"
        self.wait_for("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = %s", state)
        return made

    def wait_for(self, sql: LiteralString, *values: object, database: str = "postgres") -> None:
        """Wait until a query returns a row."""
        until = time.monotonic() + _START_S
        while not self.execute(sql, *values, database=database):
            assert time.monotonic() < until, f"{sql}\n{self.log}"
            time.sleep(0.02)


class Standby(Server):
    """A physical standby of ``primary``, made by pg_basebackup."""

    def __init__(self, primary: Server, *, name: str, port: int = 0) -> None:
        super().__init__(durable=primary.durable, settings=dict(primary._settings))
        self.primary, self.name = primary, name
        self._source = f"host=127.0.0.1 port={port}" if port else f"host={primary.folder} port={primary.port}"
        self._settings["hot_standby"] = "on"

    def make(self) -> None:
        """Copy the primary's data."""
        source = f"host={self.primary.folder} port={self.primary.port} user=postgres application_name={self.name}"
        self.run(
            "pg_basebackup", "-D", self.data, "-d", source, "--wal-method=stream", "--checkpoint=fast", "--no-sync",
            "--write-recovery-conf",
        )  # fmt: skip
        streamed = f"{self._source} user=postgres application_name={self.name} sslmode=disable gssencmode=disable"
        self._write("postgresql.auto.conf", f"primary_conninfo = '{streamed}'\n".encode())

    def promote(self) -> None:
        """Make it a primary, as a fail-over does; the old one is not asked."""
        self.run("pg_ctl", "promote", "-D", self.data, "-w", "-t", str(int(_START_S)))


@contextlib.contextmanager
def database_of(server: Server, *, template: str = "template0") -> Iterator[str]:
    """Create a database for one test and drop it after it."""
    name = server.create_database(template=template)
    try:
        yield name
    finally:
        server.drop_database(name)
