"""The address of a fleet's ledger on PostgreSQL: checked, and shown without its password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SCHEMES = ("postgresql", "postgres")
ALLOWED = "postgresql://USER@HOST/DATABASE, with %40 for @, %2F for / and %25 for % in a password"
_LEAST_PASSWORD = 4  # a shorter one is not searched for in texts: it would hide innocent ones


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """A ledger on PostgreSQL. ``url`` holds the password; ``str()`` and ``repr()`` do not.

    ``state_dir`` keeps what belongs to the ledger on this machine: what could not be written to it, and how far it was
    seen. ``accept_lost_holds``: go on where a fail-over can lose a commit. ``budget_wait_s`` is how long to try again
    what other processes were in the way of.
    """

    url: str = field(repr=False)
    state_dir: Path
    accept_lost_holds: bool = False
    budget_wait_s: float = 60.0

    def __str__(self) -> str:
        return shown(self.url)

    @property
    def beside(self) -> Path:
        """The path beside which files of this machine are kept: the same for each password and option."""
        from hashlib import sha256  # noqa: PLC0415 - it loads OpenSSL

        parts = urlsplit(self.url)
        named = "".join(self.options.get(name, "") for name in ("host", "hostaddr", "port", "dbname", "service"))
        place = f"{parts.netloc.rpartition('@')[2]}{parts.path}{named}"
        return self.state_dir / f"ledger-{sha256(place.encode()).hexdigest()[:12]}.db"

    @property
    def options(self) -> dict[str, str]:
        """The options behind the question mark."""
        return dict(parse_qsl(urlsplit(self.url).query))

    @property
    def user(self) -> str:
        """The name of the role, "" if the address does not have it."""
        named = urlsplit(self.url).netloc.rpartition("@")[0].partition(":")[0]
        return unquote(named) or self.options.get("user", "")

    @property
    def hosts(self) -> int:
        """How many hosts it names."""
        named = self.options.get("hostaddr") or self.options.get("host")
        return 1 + (named or urlsplit(self.url).netloc.rpartition("@")[2]).count(",")

    @property
    def passwords(self) -> tuple[str, ...]:
        """The texts to redact: the password as it is written and as it is meant, and the whole address with it."""
        return passwords_in(self.url)

    def redact(self, text: str) -> str:
        """Return a text without the password."""
        for secret in self.passwords:
            text = text.replace(secret, "[redacted]")
        return text


#: Where a ledger is: a SQLite file, or a server.
LedgerAddress = Path | PostgresAddress


def passwords_in(url: str) -> tuple[str, ...]:
    """Return the texts to redact for an address: its password as it is written, and as it is meant."""
    parts = urlsplit(url)
    written = [parts.netloc.rpartition("@")[0].partition(":")[2]]
    pairs = (pair.partition("=") for pair in parts.query.split("&"))
    written += [value for name, _, value in pairs if name in ("password", "sslpassword")]
    found = {text for one in written for text in (one, unquote(one)) if len(text) >= _LEAST_PASSWORD}
    return tuple(sorted(found, key=len, reverse=True))


def shown(url: str) -> str:
    """Return an address without its password, and of its options only those that say where it is."""
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    pairs = (pair.partition("=") for pair in parts.query.split("&"))
    kept = [f"{name}={value}" for name, _, value in pairs if name in ("host", "hostaddr", "port", "service", "user")]
    return f"postgresql://{user.partition(':')[0]}{at}{place}{parts.path}{'?' if kept else ''}{'&'.join(kept)}"


def with_password(url: str, environ: Mapping[str, str]) -> str:
    """Return an address with the password of ``PGPASSWORD``, if it has none.

    The variable is hidden from the commands of a run, and so from libpq, too.
    """
    parts = urlsplit(url)
    given = environ.get("PGPASSWORD", "")
    named = dict(parse_qsl(parts.query))
    if not given or ":" in parts.netloc.rpartition("@")[0] or "password" in named:
        return url
    return f"{url}{'&' if parts.query else '?'}password={quote(given, safe='')}"


def checked(url: object) -> str:
    """Return the address of a ledger as it was given.

    A password with an unescaped ``@``, ``/``, ``?``, ``#`` or ``%`` is refused: its rest would be read, and shown, as
    the name of a host.

    Raises:
        ValueError: it is not an address of PostgreSQL; the error has no part of it.
    """
    if not isinstance(url, str) or not url.strip() or not url.strip().isprintable() or " " in url.strip():
        raise ValueError(ALLOWED)
    url = url.strip()
    try:
        parts = urlsplit(url)
        hosts = [one.rpartition("]")[2] for one in parts.netloc.rpartition("@")[2].split(",")]
        ports = [one.rpartition(":")[2] for one in hosts if ":" in one]
    except ValueError:
        raise ValueError(ALLOWED) from None
    is_cut = parts.netloc.count("@") > 1 or "@" in parts.path or "#" in url
    is_cut |= any("=" not in pair for pair in parts.query.split("&")) if parts.query else url.endswith("?")
    is_cut |= re.search(r"%(?![0-9A-Fa-f]{2})|%00", url) is not None
    if parts.scheme not in SCHEMES or is_cut or not all(one.isdigit() for one in ports):
        raise ValueError(ALLOWED)
    return url


def is_exposed(url: str, environ: Mapping[str, str]) -> bool:
    """Return whether the connection goes to another host without a check of its certificate and name."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    usual = "verify-full" if options.get("sslrootcert") == "system" else "prefer"
    mode = options.get("sslmode") or environ.get("PGSSLMODE", "") or usual
    if mode == "verify-full":
        return False
    place = parts.netloc.rpartition("@")[2]
    address = options.get("hostaddr") or environ.get("PGHOSTADDR", "")
    named = address or options.get("host") or place or environ.get("PGHOST", "")
    if not named and (options.get("service") or environ.get("PGSERVICE")):
        return True  # a file says where it is
    return not all(_is_local(one) for one in unquote(named).split(","))


def exposure_problem(url: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return what is wrong with a connection that ``is_exposed``, and a hint; None if it is not."""
    if not is_exposed(url, environ):
        return None
    said = f"the ledger {shown(url)} is on another host, and the connection does not verify its certificate"
    return said, "add sslmode=verify-full to AGENTCTL_LEDGER"


def _is_local(host: str) -> bool:
    host = host.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    return host in ("", "localhost", "::1") or host.startswith(("/", "@", "127."))
