"""PgBouncer before a server, in transaction mode: each transaction of a client may run in another session."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

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


@contextlib.contextmanager
def pgbouncer(server: Server, *users: str, sessions: int = 4) -> Iterator[int]:
    """Run PgBouncer with so many sessions of the server for each user and database; yield its port."""
    need("PgBouncer")
    folder, port = own_folder(), free_port()
    config = folder / "pgbouncer.ini"
    config.write_text(_CONFIG.format(server_port=server.port, port=port, folder=folder, sessions=sessions))
    (folder / "users.txt").write_text("".join(f'"{user}" ""\n' for user in users))
    if os.geteuid() == 0:
        for path in folder.iterdir():
            os.chown(path, NOBODY, NOBODY)
    with (folder / "log").open("wb") as log:
        words: list[str] = [
            *as_server_user(folder),
            shutil.which("pgbouncer", path="/usr/sbin:/usr/bin") or "pgbouncer",
            str(config),
        ]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    try:
        wait_for_port(process, port, folder / "log")
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
