"""Real proxies between a client and a model: nginx, tinyproxy, mitmproxy, LiteLLM's proxy.

``bash tests/run --full`` installs them: nginx and tinyproxy as system packages, the others beside the tests' own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.certificates import Certificate

PROGRAMS = Path(sys.prefix, "proxies")
MITMDUMP, LITELLM = PROGRAMS / "mitmproxy" / "bin" / "mitmdump", PROGRAMS / "litellm" / "bin" / "litellm"
_START_S = 120.0
_NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {servers}
}}
"""
_TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 60
LogLevel Error
{more}
"""
_CA = """
[ca]
default_ca = own
[own]
dir = {folder}
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""


def missing_program() -> str | None:
    """Return which of the programs is missing, None if all are there."""
    found = {name: shutil.which(name) for name in ("nginx", "tinyproxy", "openssl")}
    found |= {path.name: str(path) if path.exists() else None for path in (MITMDUMP, LITELLM)}
    return next((f"{name}: bash tests/run --full installs it" for name, path in found.items() if path is None), None)


def own_address() -> str:
    """Return an address of this machine that is not the loopback: agentctl reaches that one past every proxy."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent
        return str(probe.getsockname()[0])


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for_port(started: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a program listens on a port of 127.0.0.1; its log says why it has ended instead."""
    until = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert started.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)


@contextmanager
def program(folder: Path, port: int, *words: str | Path, environ: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a program until the end of the block, from the moment on when it listens."""
    log = folder / f"{Path(words[0]).name}.log"
    with log.open("wb") as out:
        started = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=folder,
            env={**os.environ, "HOME": str(folder), **(environ or {})},
            start_new_session=True,
        )
    try:
        wait_for_port(started, port, log)
        yield
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


@contextmanager
def nginx(folder: Path, *servers: str, port: int) -> Iterator[None]:
    """Run nginx with ``server`` blocks, one of which listens on ``port``."""
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, servers="\n".join(f"server {{ {one} }}" for one in servers)))
    with program(folder, port, "nginx", "-p", folder, "-c", config):
        yield


@contextmanager
def tinyproxy(folder: Path, more: str = "") -> Iterator[str]:
    """Run tinyproxy with further lines of its configuration; yield its address as ``host:port``."""
    port, config = free_port(), folder / "tinyproxy.conf"
    config.write_text(_TINYPROXY.format(port=port, more=more))
    with program(folder, port, "tinyproxy", "-d", "-c", config):
        yield f"127.0.0.1:{port}"


@contextmanager
def mitmproxy(folder: Path, *more: str) -> Iterator[tuple[str, Path]]:
    """Run mitmproxy; yield its address as ``host:port``, and the file of the authority that it signs with."""
    port = free_port()
    own = (
        "--set",
        f"confdir={folder / 'mitmproxy'}",
        "--set",
        "connection_strategy=lazy",
        "--set",
        "upstream_cert=false",
    )
    with program(folder, port, MITMDUMP, "--listen-host", "127.0.0.1", "-p", str(port), *own, *more):
        yield f"127.0.0.1:{port}", folder / "mitmproxy" / "mitmproxy-ca-cert.pem"


@contextmanager
def litellm_proxy(folder: Path, config: str, modules: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run LiteLLM's proxy with a configuration and modules of Python beside it; yield its address."""
    port, file = free_port(), folder / "litellm.yaml"
    file.write_text(config)
    for name, text in (modules or {}).items():
        (folder / f"{name}.py").write_text(text)
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    words = ("--config", str(file), "--host", "127.0.0.1", "--port", str(port))
    with program(folder, port, LITELLM, *words, environ=environ):
        yield f"http://127.0.0.1:{port}"


def make_expired_certificate(folder: Path, name: str, *hosts: str) -> Certificate:
    """Make a certificate that was valid for a day, in 2020."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    request, config = folder / f"{name}.csr", folder / "ca.conf"
    config.write_text(_CA.format(folder=folder))
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01\n")
    asked = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    asked += ["-subj", f"/CN={name}", "-addext", f"subjectAltName={','.join(hosts)}"]
    signed = [
        "openssl",
        "ca",
        "-batch",
        "-selfsign",
        "-notext",
        "-startdate",
        "20200101000000Z",
        "-enddate",
        "20200102000000Z",
    ]
    signed += ["-config", str(config), "-keyfile", str(made.key), "-in", str(request), "-out", str(made.path)]
    for words in ([*asked, "-out", str(request), "-keyout", str(made.key)], signed):
        subprocess.run(words, check=True, capture_output=True)
    return made
