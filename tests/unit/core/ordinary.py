"""Ordinary lines without a secret, of the kinds that look most like one."""

# ruff: noqa: E501, S608, SIM905 - a line of a table stays one line

from __future__ import annotations

import string
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from tests.support.keys import ALNUM, HEX, URL, chars

_WORDS = tuple(
    """
    task risk disk token secret session server password authorization bearer basic user pass auth key config
    connection refused started stopped container image volume network request response timeout retry
""".split()
)


def _ip(rng: Random) -> str:
    return ".".join(str(rng.randrange(256)) for _ in range(4))


def _uuid(rng: Random) -> str:
    return "-".join(chars(rng, HEX, size) for size in (8, 4, 4, 4, 12))


def _words(rng: Random, count: int = 6) -> str:
    return " ".join(rng.choices(_WORDS, k=count))


def _base64(rng: Random, size: int) -> str:
    return b64encode(rng.randbytes(size)).decode()


KINDS: dict[str, Callable[[Random], str]] = {
    "nginx": lambda rng: (
        f'{_ip(rng)} - - [29/Nov/2026:01:02:03 +0000] "GET /a/{chars(rng, string.ascii_lowercase, 12)}'
        f'?id={rng.randrange(10**9)}&ref=https://example.com/x HTTP/1.1" 200 {rng.randrange(10**5)}'
        f' "https://www.example.com:8443/p?q={chars(rng, ALNUM, 9)}@home" "Mozilla/5.0 (X11; Linux x86_64)"'
    ),
    "systemd": lambda rng: f"Nov 29 01:02:03 host systemd[1]: Started session-{rng.randrange(999)}.scope - Session {rng.randrange(99)} of User root.",
    "sshd": lambda rng: (
        f"sshd[{rng.randrange(9999)}]: Accepted publickey for root from {_ip(rng)} port {rng.randrange(65536)}"
        f" ssh2: ED25519 SHA256:{_base64(rng, 32).rstrip('=')}"
    ),
    "git log": lambda rng: f"commit {chars(rng, HEX, 40)}",
    "git oneline": lambda rng: f"{chars(rng, HEX, 10)} fix: {_words(rng)} (#{rng.randrange(9999)})",
    "docker ps": lambda rng: f"{chars(rng, HEX, 12)}   nginx@sha256:{chars(rng, HEX, 64)}   Up 3 hours   0.0.0.0:80->80/tcp",
    "docker json": lambda rng: f'{{"Id": "{chars(rng, HEX, 64)}", "Created": {rng.randrange(2 * 10**9)}, "Labels": {{"a.b": "{_uuid(rng)}"}}}}',
    "uuid": lambda rng: f"request_id={_uuid(rng)} trace={chars(rng, HEX, 32)} span={chars(rng, HEX, 16)} {_words(rng)}",
    "image": lambda rng: f'<img src="data:image/png;base64,{_base64(rng, rng.randrange(60, 300))}">',
    "pem body": lambda rng: _base64(rng, 48),
    "base64url": lambda rng: f"etag: W/{chars(rng, URL, rng.randrange(22, 90))}",
    "js": lambda rng: (
        f'!function(e,t){{var n=t.{chars(rng, string.ascii_letters, 8)};s.getOwnPropertyDescriptor(e,"secret"),'
        f'r.token=function(){{return n.{chars(rng, ALNUM[:52], 24)}||{{auth:"{chars(rng, string.ascii_lowercase, 9)}"}}}}}}(this);'
    ),
    "css": lambda rng: f".sk-cube-grid .sk-folding-cube-{rng.randrange(99)}-of-{rng.randrange(99)}-animation{{color:#{chars(rng, HEX, 6)}}}",
    "trace": lambda rng: f'  File "/usr/lib/python3/dist-packages/{chars(rng, string.ascii_lowercase, 9)}/token.py", line {rng.randrange(999)}, in get_secret_key',
    "java": lambda rng: f"\tat com.example.auth.Basic{chars(rng, string.ascii_letters, 12)}TokenFilter.doFilter(BearerTokenAuthenticationFilter.java:{rng.randrange(999)})",
    "npm lock": lambda rng: f'      "integrity": "sha512-{_base64(rng, 64)}",',
    "yarn lock": lambda rng: f'  resolved "https://npm.example.com/@babel/code-frame/-/code-frame-7.{rng.randrange(99)}.tgz#{chars(rng, HEX, 40)}"',
    "pip": lambda rng: f"    --hash=sha256:{chars(rng, HEX, 64)} \\",
    "cargo": lambda rng: f'checksum = "{chars(rng, HEX, 64)}"',
    "go.sum": lambda rng: f"github.com/a/b v1.{rng.randrange(99)}.0-2026{rng.randrange(10**10)}-{chars(rng, HEX, 12)} h1:{_base64(rng, 32)}",
    "env": lambda rng: f"LOG_LEVEL=debug PASSWORD_MIN_LENGTH={rng.randrange(64)} TOKEN_TTL=3600 SECRET_NAME=my-app-secret-{rng.randrange(99)}",
    "template": lambda rng: "DATABASE_URL=postgres://$USER:$PASSWORD@db:5432/x and https://user:{{password}}@host or http://u:${PASS}@h",
    "address": lambda rng: f"fetching https://example.com:{rng.randrange(65536)}/a:b@c/{_uuid(rng)} and user@example.com, git@github.com:a/b.git",
    "kubernetes": lambda rng: f"pod/web-{chars(rng, string.ascii_lowercase + string.digits, 10)}-{chars(rng, string.ascii_lowercase, 5)}   1/1   Running   0   {rng.randrange(99)}d",
    "kernel": lambda rng: f"[{rng.randrange(10**6)}.{rng.randrange(10**6)}] audit: type=1400 audit({rng.randrange(10**10)}.123:{rng.randrange(999)}): apparmor=\"DENIED\" pid={rng.randrange(9999)}",
    "prose": lambda rng: f"The {_words(rng, 12)} is set by --task-{rng.choice(_WORDS)}, see Basic authentication and the Bearer token of section {rng.randrange(9)}.",
    "header": lambda rng: 'WWW-Authenticate: Bearer realm="https://auth.example.com/token",service="registry.example.com",error="invalid_token"',
    "certificate": lambda rng: f"-----BEGIN CERTIFICATE-----{_base64(rng, 48)}-----END CERTIFICATE-----",
    "public key": lambda rng: f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{_base64(rng, 32)} user@host; -----BEGIN PUBLIC KEY-----",
    "hexdump": lambda rng: f"{rng.randrange(10**8):08x}  {' '.join(chars(rng, HEX, 2) for _ in range(16))}  |{chars(rng, ALNUM, 16)}|",
    "metrics": lambda rng: f'http_requests_total{{method="post",code="200",id="{_uuid(rng)}"}} {rng.random() * 1e6} {rng.randrange(10**13)}',
    "sql": lambda rng: f"SELECT id, token, secret_key FROM sessions WHERE session_token = $1 AND id = '{_uuid(rng)}' LIMIT {rng.randrange(99)};",
    "version": lambda rng: f"pypi-{_words(rng, 2).replace(' ', '-')}-helper-{rng.randrange(9)}.{rng.randrange(9)} hf_{rng.choice(_WORDS)} npm_config_cache=/x glpat-docs",
}  # fmt: skip

_REAL = ("/var/log/dpkg.log", "/var/log/apt/history.log", "/var/log/alternatives.log", "/var/lib/dpkg/status")


def generated(seed: int, count: int) -> Iterator[str]:
    """Yield ``count`` lines of all kinds in turn."""
    rng, makers = Random(seed), tuple(KINDS.values())
    yield from (makers[number % len(makers)](rng) for number in range(count))


def real(most: int) -> Iterator[str]:
    """Yield at most ``most`` lines of what is on this machine: logs of the package manager, Python's own sources."""
    import sysconfig

    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    left = most
    for path in (*map(Path, _REAL), *sources):
        if not path.is_file():
            continue
        for line in path.read_text(errors="replace").splitlines()[: most // 8]:
            if left == 0:
                return
            left -= 1
            yield line
