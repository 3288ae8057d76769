"""The text of a signed lease: one line, below 1 kB, that a job gets and a run checks. Pure.

``agentctl-lease-1.PAYLOAD.SIGNATURE``: the payload is canonical JSON in base64, and exactly one text stands for it. The
key that signs the job's account is derived from the text: only a holder of the lease can sign its account.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from agentctl.budget.signatures import (
    PublicKey,
    SigningKey,
    canonical,
    choose_key,
    decode,
    encode,
    read_canonical,
)
from agentctl.core.errors import UsageError
from agentctl.core.leases import Lease, LeaseError
from agentctl.core.pricing import MOST_AMOUNT
from agentctl.core.text import safe_text

KIND = "agentctl-lease-1"
_ACCOUNT_KEY = b"agentctl-account-key-1\n"
MOST_BYTES = 1_000
MOST_JOBS = 1_000
MOST_SECONDS = 2**33  # beyond the year 2242: a number, not a date, from here on
_FIELDS = {"bind": dict, "exp": int, "iat": int, "job": int, "jobs": int, "key": str, "nano": int, "split": str}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_ID = re.compile(r"[0-9a-f]{16}")


class SignedLease(NamedTuple):
    """A lease and its text. ``nano`` in nano-dollars, times in seconds since 1970 (UTC), ``job`` from 1.

    ``bind`` has the variables, and the value of each, that the job must have.
    """

    text: str
    split_id: str
    key_id: str
    job: int
    jobs: int
    nano: int
    issued_s: int
    expires_s: int
    bind: Mapping[str, str]

    def __repr__(self) -> str:
        return f"SignedLease({self.id})"

    @property
    def id(self) -> str:
        """The split and the number of the job."""
        return f"{self.split_id}-{self.job}"

    @property
    def terms(self) -> Lease:
        """The lease as the ledger sees it."""
        return Lease(
            self.id,
            self.nano,
            self.issued_s * 1_000_000,
            self.expires_s * 1_000_000,
            hashlib.sha256(self.text.encode("ascii")).hexdigest(),
            ", ".join(f"{name}={value}" for name, value in self.bind.items()),
        )

    @property
    def account_key(self) -> SigningKey:
        """The key that signs the account of this lease; a secret, like the lease."""
        return SigningKey(hashlib.sha256(_ACCOUNT_KEY + self.text.encode("ascii")).digest())

    def refuse_elsewhere(self, environ: Mapping[str, str]) -> None:
        """Refuse the lease in a job that it is not bound to; ``environ`` are the variables of this process.

        Raises:
            LeaseError: a variable is missing, or has another value.
        """
        for name, value in self.bind.items():
            found = environ.get(name)
            if found == value:
                continue
            is_now = "is not set here" if found is None else f"is {safe_text(found)} here"
            raise LeaseError(
                f"lease {self.id} is for {name}={value}, but {name} {is_now}",
                hint=_hint(name, is_missing=found is None),
            )


def _hint(name: str, *, is_missing: bool) -> str:
    if name == "AGENTCTL_JOB_INDEX" and is_missing:
        return "set it for the job in the workflow: AGENTCTL_JOB_INDEX: ${{ strategy.job-index }}"
    if name == "GITHUB_RUN_ATTEMPT":
        return (
            "a second attempt gets no new money; re-issue what is left: agentctl budget split --from SPLIT --returned"
        )
    return "use the lease that was issued for this job"


def sign_lease(
    key: SigningKey,
    *,
    split_id: str,
    job: int,
    jobs: int,
    nano: int,
    issued_s: int,
    expires_s: int,
    bind: Mapping[str, str],
) -> SignedLease:
    """Return a signed lease.

    Raises:
        UsageError: what it is bound to does not fit in a line of 1 kB.
    """
    payload = canonical({
        "bind": dict(bind), "exp": expires_s, "iat": issued_s, "job": job, "jobs": jobs,
        "key": key.public.id, "nano": nano, "split": split_id,
    })  # fmt: skip
    text = f"{KIND}.{encode(payload)}.{encode(key.sign(KIND, payload))}"
    if len(text) >= MOST_BYTES:
        raise UsageError(f"a lease of {len(text)} bytes is too long (at most {MOST_BYTES - 1})", hint="shorten --bind")
    return read_lease(text, (key.public,))


def is_lease(text: str) -> bool:
    """Return whether a text is meant to be a lease of any version, not a file or a variable."""
    return text.strip().startswith("agentctl-lease-")


def read_lease(text: str, keys: Iterable[PublicKey] | None) -> SignedLease:
    """Return the lease of a text whose signature one of ``keys`` verifies; None: it was verified before.

    Raises:
        LeaseError: it is no lease, it was changed or cut, or another key signed it.
    """
    text = text.strip()
    kind, _, rest = text.partition(".")
    if is_lease(text) and kind != KIND and re.fullmatch(r"agentctl-lease-[0-9]{1,9}", kind):
        raise LeaseError(f"this agentctl does not know leases of the kind {kind}", hint="upgrade agentctl")
    parts = [decode(part) for part in rest.split(".")]
    payload, signature = parts if len(parts) == 2 else (None, None)
    document = None if payload is None or kind != KIND else read_canonical(payload)
    if payload is None or signature is None or document is None or len(text) >= MOST_BYTES:
        raise _damaged("it is no whole lease")
    if keys is not None:
        key = choose_key(safe_text(str(document.get("key"))[:16]), keys, "the lease")
        if not key.verifies(KIND, payload, signature):
            raise _damaged("its signature does not fit")
    if not _is_sound(document):
        raise _damaged("a field is missing or wrong")
    return SignedLease(
        text, document["split"], document["key"], document["job"], document["jobs"], document["nano"],
        document["iat"], document["exp"], document["bind"],
    )  # fmt: skip


def _is_sound(document: Mapping[str, Any]) -> bool:
    if document.keys() != _FIELDS.keys() or any(type(document[name]) is not kind for name, kind in _FIELDS.items()):
        return False
    bind = document["bind"]
    return (
        1 <= document["job"] <= document["jobs"] <= MOST_JOBS
        and 0 < document["nano"] <= MOST_AMOUNT
        and 0 <= document["iat"] < document["exp"] < MOST_SECONDS
        and bool(_ID.fullmatch(document["split"]) and _ID.fullmatch(document["key"]))
        and bool(bind)
        and all(_NAME.fullmatch(name) and isinstance(value, str) for name, value in bind.items())
    )


def _damaged(why: str) -> LeaseError:
    return LeaseError(f"the lease cannot be used: {why}", hint="use the line of the split as it is")
