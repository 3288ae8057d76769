"""Split an amount over jobs, and the signed documents around leases: the split, and the account of one job. Pure.

The split lists all leases of a budget, and the public part of the key of each account. Both documents are JSON objects
with a field ``signature`` over the canonical bytes of the rest. The splitter signs the split. The job signs its account
with the key that is derived from its lease.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from agentctl.budget.lease_texts import MOST_JOBS, MOST_SECONDS, SignedLease, read_lease
from agentctl.budget.signatures import PublicKey, SigningKey, canonical, choose_key, decode, encode, read_canonical
from agentctl.core.errors import UsageError
from agentctl.core.leases import LeaseError
from agentctl.core.text import safe_text

SPLIT = "agentctl.split/1"
ACCOUNT = "agentctl.account/1"
_ID = re.compile(r"[0-9a-f]{16}")
_MOST_NANO = 2**100
_MOST_EXPONENT = 18


class SplitJob(NamedTuple):
    """The part of one job: nano-dollars, and the public key of its account. ``lease`` is "" in the public document."""

    job: int
    nano: int
    account_key: PublicKey
    bind: Mapping[str, str]
    lease: str = ""


class Split(NamedTuple):
    """A budget split over jobs. ``total_nano`` is what its leases add up to; times in seconds since 1970.

    ``from_split`` is the split that it re-issues unused money of, "" for none; ``earlier_nano`` is what that one and
    those before it have spent.
    """

    split_id: str
    total_nano: int
    issued_s: int
    expires_s: int
    jobs: tuple[SplitJob, ...]
    from_split: str = ""
    earlier_nano: int = 0


class Account(NamedTuple):
    """What one ledger says a job has spent of its lease; see ``ledger.lease_books.LeaseBook``. Nano-dollars."""

    lease_id: str
    nano: int
    spent_nano: int
    in_doubt_nano: int
    calls: int
    unpriced: int
    book: str
    revision: str
    earlier: tuple[str, ...]
    host: str
    closed_at: str

    @property
    def counted_nano(self) -> int:
        """What counts as spent: with a call of unknown price at least the whole lease."""
        counted = self.spent_nano + self.in_doubt_nano
        return max(self.nano, counted) if self.unpriced else counted


def split_amount(total_nano: int, weights: Sequence[Decimal]) -> tuple[int, ...]:
    """Return one share for each weight, proportional to it, in nano-dollars; together they are ``total_nano``.

    Each share is rounded down; what is left goes, one nano-dollar each, to those that lost most by that, the first
    ones first.

    Raises:
        UsageError: there is no job or too many, a weight is not above 0 or out of range, or a share would be nothing.
    """
    if not 1 <= len(weights) <= MOST_JOBS:
        raise UsageError(f"a budget is split over 1 to {MOST_JOBS:,} jobs, not {len(weights):,}")
    if any(not weight.is_finite() or weight <= 0 for weight in weights):
        raise UsageError("a weight must be a number above 0", hint="for example: --weights 1,1,2.5")
    if any(abs(weight.adjusted()) > _MOST_EXPONENT for weight in weights):  # a fraction would need all its digits
        raise UsageError(f"a weight must be between 1e-{_MOST_EXPONENT} and 1e{_MOST_EXPONENT}")
    whole = sum(map(Fraction, weights))
    exact = [total_nano * Fraction(weight) / whole for weight in weights]
    shares = [int(one) for one in exact]
    left = total_nano - sum(shares)
    by_loss = sorted(range(len(shares)), key=lambda place: (shares[place] - exact[place], place))
    for place in by_loss[:left]:
        shares[place] += 1
    if min(shares) < 1:
        raise UsageError("the total is too small: a job would get nothing", hint="raise --total, or use fewer jobs")
    return tuple(shares)


def split_document(split: Split, key: SigningKey, *, with_leases: bool) -> dict[str, Any]:
    """Return the signed document of a split; ``with_leases`` adds their texts, which are not part of what is signed."""
    document: dict[str, Any] = {
        "schema": SPLIT,
        "split": split.split_id,
        "key": key.public.id,
        "total_nano_usd": split.total_nano,
        "issued_s": split.issued_s,
        "expires_s": split.expires_s,
        "from": split.from_split,
        "earlier_nano_usd": split.earlier_nano,
        "jobs": [
            {"job": one.job, "nano_usd": one.nano, "account_key": encode(one.account_key.raw), "bind": dict(one.bind)}
            for one in split.jobs
        ],
    }
    document["signature"] = encode(key.sign(SPLIT, canonical(document)))
    if with_leases:
        for row, one in zip(document["jobs"], split.jobs, strict=True):
            row["lease"] = one.lease
    return document


def read_split(data: bytes, keys: Iterable[PublicKey]) -> Split:
    """Return the split of a document that one of ``keys`` has signed, with or without its leases.

    Raises:
        LeaseError: it is none, or it was changed.
    """
    try:
        document = json.loads(data)
        jobs = [dict(row) for row in document["jobs"]]
        leases = [row.pop("lease", "") for row in jobs]
        signature = decode(document.pop("signature"))
        document["jobs"] = jobs
        signed = canonical(document)
        schema, key_id = str(document["schema"]), str(document["key"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _bad_split("it is no whole document of a split") from None
    if schema != SPLIT:
        raise _bad_split(f"it is a document of the kind {safe_text(schema[:40])}, not {SPLIT}")
    key = choose_key(safe_text(key_id[:16]), keys, "the split")
    if signature is None or not key.verifies(SPLIT, signed, signature):
        raise _bad_split("it was changed: its signature does not fit")
    split = _split_of(document, leases)
    for one in split.jobs:
        if one.lease:
            lease = read_lease(one.lease, (key,))
            if (lease.split_id, lease.job, lease.account_key.public) != (split.split_id, one.job, one.account_key):
                raise _bad_split(f"it was changed: the lease of job {one.job} is another one")
    return split


def _split_of(document: Mapping[str, Any], leases: Sequence[object]) -> Split:
    """Return the split of a document whose signature fits, so whoever has the key wrote it."""
    jobs = tuple(
        SplitJob(row["job"], row["nano_usd"], PublicKey(decode(row["account_key"]) or b""), row["bind"], str(lease))
        for row, lease in zip(document["jobs"], leases, strict=True)
    )
    split = Split(
        document["split"], document["total_nano_usd"], document["issued_s"], document["expires_s"], jobs,
        document["from"], document["earlier_nano_usd"],
    )  # fmt: skip
    numbers = [one.job for one in jobs]
    if numbers != list(range(1, len(jobs) + 1)) or len(jobs) > MOST_JOBS or split.expires_s >= MOST_SECONDS:
        raise _bad_split("its jobs are not numbered from 1")
    if sum(one.nano for one in jobs) != split.total_nano:
        raise _bad_split("its shares do not add up to its total")
    return split


def _bad_split(why: str) -> LeaseError:
    return LeaseError(f"the split cannot be used: {why}", hint="use the file that budget split wrote")


def account_line(lease: SignedLease, account: Account) -> str:
    """Return the signed account of a lease: one line of canonical JSON."""
    document = {**account._asdict(), "schema": ACCOUNT, "earlier": list(account.earlier)}
    signature = lease.account_key.sign(ACCOUNT, canonical(document))
    return canonical({**document, "signature": encode(signature)}).decode("ascii")


class Claim(NamedTuple):
    """A complete account whose signature has not been verified yet."""

    account: Account
    signed: bytes
    signature: bytes

    def is_signed_by(self, key: PublicKey) -> bool:
        """Return whether the job of that key signed it."""
        return key.verifies(ACCOUNT, self.signed, self.signature)


_TEXTS = ("lease_id", "book", "revision", "host", "closed_at")
_NUMBERS = ("nano", "spent_nano", "in_doubt_nano", "calls", "unpriced")


def read_account(data: bytes) -> Claim | None:
    """Return the account in a file; None if it is not exactly one line of ``account_line``: cut off, or no account."""
    document = read_canonical(data.removesuffix(b"\n"))
    if document is None or document.keys() != {*Account._fields, "schema", "signature"}:
        return None
    signature = document.pop("signature")
    raw = decode(signature) if isinstance(signature, str) else None
    earlier = document["earlier"]
    sound = (
        raw is not None
        and document["schema"] == ACCOUNT
        and all(isinstance(document[name], str) for name in _TEXTS)
        and all(type(document[name]) is int and 0 <= document[name] < _MOST_NANO for name in _NUMBERS)
        and isinstance(earlier, list)
        and all(isinstance(one, str) for one in earlier)
        and bool(_ID.fullmatch(document["book"]) and _ID.fullmatch(document["revision"]))
    )
    if not sound or raw is None:
        return None
    values = {name: document[name] for name in Account._fields}
    return Claim(Account(**{**values, "earlier": tuple(earlier)}), canonical(document), raw)
