"""PgBouncer before a server, in transaction mode: each transaction of a client may run in another session."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Self

from tests.support.machine import NOBODY, need
from tests.support.postgres.programs import as_server_user, own_folder
from tests.support.postgres.server import Server
from tests.support.proxies import free_port, wait_for_port

_CONFIG = """
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 500
unix_socket_dir =
log_connections = 0
log_disconnections = 0
"""


class PgBouncer:
    """PgBouncer on ``port``, with so many sessions of the server for each user and database."""

    def __init__(self, server: Server, *users: str, sessions: int = 4) -> None:
        need("PgBouncer")
        self.port, self._folder = free_port(), own_folder()
        self._process: subprocess.Popen[bytes] | None = None
        self._config = self._folder / "pgbouncer.ini"
        self._config.write_text(
            _CONFIG.format(server_port=server.port, port=self.port, folder=self._folder, sessions=sessions)
        )
        (self._folder / "users.txt").write_text("".join(f'"{user}" ""\n' for user in users))
        if os.geteuid() == 0:
            for path in self._folder.iterdir():
                os.chown(path, NOBODY, NOBODY)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin") or "pgbouncer"
        words = [*as_server_user(self._folder), program, str(self._config)]
        path = self._folder / "log"
        with path.open("ab") as log:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder)
        wait_for_port(self._process, self.port, path)

    def kill(self) -> None:
        """Kill it, and with it the connections of all clients and to the server."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
