"""A self-signed server certificate made by openssl: no client trusts it by default."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.machine import need

_MAKE = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"


class Certificate(NamedTuple):
    """A certificate and its key, as PEM files."""

    path: Path
    key: Path

    @property
    def tls(self) -> ssl.SSLContext:
        """The TLS context of a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key)
        return context

    def put_into(self, folder: Path) -> None:
        """Add it to a folder of trusted authorities, by the name that openssl looks for."""
        words = ("openssl", "x509", "-noout", "-hash", "-in", str(self.path))
        digest = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        (folder / f"{digest}.0").write_bytes(self.path.read_bytes())


def make_certificate(folder: Path, name: str, *hosts: str) -> Certificate:
    """Make a certificate for hosts such as ``DNS:llm.invalid`` and ``IP:127.0.0.1``."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    words = [*_MAKE.split(), "-subj", f"/CN={name}", "-addext", f"subjectAltName={','.join(hosts)}"]
    subprocess.run([*words, "-out", str(made.path), "-keyout", str(made.key)], check=True, capture_output=True)
    return made


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for 127.0.0.1 and llm.invalid."""
    need("openssl")
    return make_certificate(tmp_path_factory.mktemp("certificate"), "server", "DNS:llm.invalid", "IP:127.0.0.1")
