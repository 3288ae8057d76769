"""What libpq says of a connection that could not be made: in one line, with what to do, and whether to try again.

A server that refuses tells no code by way of libpq, so its words are read. Words that are not known here count as a
server that cannot be reached now.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from agentctl.ledger.postgres.ddl import MIGRATE

HINTS = {
    "42501": f"grant the rights that a run needs: {MIGRATE} --grant ROLE",
    "53100": "free some space on the server's disk",
    "28P01": "correct the user and the password in AGENTCTL_LEDGER",
    "28000": "correct the user in AGENTCTL_LEDGER, or allow it in pg_hba.conf",
    "3D000": "create the database, or correct its name in AGENTCTL_LEDGER",
}
"""What to do about an error of the server that has a code."""
STANDBY_HINT = "name the primary in AGENTCTL_LEDGER, such as host1,host2 with target_session_attrs=read-write"
_ROOT = (
    "name the root certificate in AGENTCTL_LEDGER: sslrootcert=/PATH/root.crt, or sslrootcert=system if it is public"
)
_PLACE = "correct the host and port in AGENTCTL_LEDGER"
_OPTIONS = "correct the options in AGENTCTL_LEDGER"
#: What is wrong with the address, the certificate or the server's settings, and stays so until a person changes it.
_LASTING: tuple[tuple[str, str], ...] = (
    (r"certificate verify failed|root certificate|sslrootcert", _ROOT),
    (r"does not match host name", "name the host in AGENTCTL_LEDGER as the server's certificate does"),
    (r"does not support SSL|SSL not in use", "switch TLS on at the server: ssl = on, with a certificate"),
    (r"SSL required|, no encryption", "add sslmode=verify-full to AGENTCTL_LEDGER, or allow it in pg_hba.conf"),
    (r"pg_hba\.conf", "allow this user, database and host in the server's pg_hba.conf"),
    (r"[Pp]eer authentication", "log in as that user of the system, or name a host and a password in AGENTCTL_LEDGER"),
    (r"no password supplied", "put the password into AGENTCTL_LEDGER"),
    (r"password|authentication|SCRAM|no such user|role \".*\" does not exist", HINTS["28P01"]),
    (r"database \".*\" does not exist|no such database", HINTS["3D000"]),
    (r"permission denied for database", "GRANT CONNECT ON DATABASE to this user"),
    (r"(?:resolve|translate) host\b(?!.*(?:Errno -3|[Tt]emporary))|invalid response to SSL|network address", _PLACE),
    (r"startup parameter", "remove options from AGENTCTL_LEDGER, or let PgBouncer ignore them"),
    (r"^invalid |^missing key|^extra key|^could not match|^definition of service", _OPTIONS),
    (r"read-only|hot standby", STANDBY_HINT),
)
_STARTING = re.compile(
    r"starting up|shutting down|recovery mode|not yet accepting connections|not accepting connections"
)
_ATTEMPT = re.compile(r"- host: (?:.*?), hostaddr: \S+: (.*?)(?= - host: |$)")
_PREFIX = re.compile(r"^(?:connection failed: |connection is bad: )+")
#: Advice for people who type commands of libpq, or to give up the check of a certificate.
_ADVICE = re.compile(
    r" (?:Is the server running (?:locally|on that host) and accepting|Either provide the file, |Try again later|"
    r"Multiple connection attempts failed).*"
)


class Refusal(NamedTuple):
    """Why there is no connection; ``is_lasting``: it would be no other in a few seconds."""

    said: str
    hint: str
    is_lasting: bool


def read_refusal(text: str, *, reach: str) -> Refusal:
    """Return what an error of libpq means; ``reach`` is the hint for a server that cannot be reached.

    An address may name several hosts, and a host have several addresses. Only if each of them is wrong for good, the
    refusal is lasting: after a fail-over the old primary may refuse while the new one starts.
    """
    line = " ".join(text.split())
    failures = _ATTEMPT.findall(line) or [line]
    said = list(dict.fromkeys(_ADVICE.sub("", _PREFIX.sub("", one)) for one in failures))
    hints = [_lasting_hint(one) for one in said]
    known = [hint for hint in hints if hint is not None]
    if not known and _STARTING.search(line):
        reach = "wait until the server has started"
    return Refusal("; ".join(said), known[0] if known else reach, is_lasting=len(known) == len(hints))


def _lasting_hint(said: str) -> str | None:
    if _STARTING.search(said):
        return None
    return next((hint for words, hint in _LASTING if re.search(words, said)), None)
