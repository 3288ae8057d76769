"""Parts of the tests of leases: keys, splits and accounts, without a clock and without randomness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentctl.budget.lease_texts import SignedLease, read_lease, sign_lease
from agentctl.budget.signatures import SigningKey
from agentctl.budget.split_documents import Account, Split, SplitJob, account_line

KEY = SigningKey(bytes(range(32)))
OTHER_KEY = SigningKey(bytes(32))
ISSUED_S = 1_800_000_000
SPLIT_ID = "0123456789abcdef"


def signed(
    job: int = 1,
    *,
    jobs: int = 3,
    nano: int = 1_000_000_000,
    key: SigningKey = KEY,
    bind: Mapping[str, str] | None = None,
    split_id: str = SPLIT_ID,
) -> SignedLease:
    """Return a lease that is valid for two hours."""
    return sign_lease(
        key,
        split_id=split_id,
        job=job,
        jobs=jobs,
        nano=nano,
        issued_s=ISSUED_S,
        expires_s=ISSUED_S + 7200,
        bind=bind or {"GITHUB_RUN_ID": "7", "GITHUB_RUN_ATTEMPT": "1", "AGENTCTL_JOB_INDEX": str(job - 1)},
    )


def split_of(*leases: SignedLease, earlier_nano: int = 0) -> Split:
    """Return the split of all its leases."""
    jobs = tuple(SplitJob(one.job, one.nano, one.account_key.public, one.bind, one.text) for one in leases)
    first, total = leases[0], sum(one.nano for one in leases)
    return Split(first.split_id, total, first.issued_s, first.expires_s, jobs, "", earlier_nano)


def account(lease: SignedLease, spent: int = 0, in_doubt: int = 0, **changes: Any) -> Account:  # noqa: ANN401
    """Return an account of a lease; its ledger is named after the job."""
    book = f"{lease.job:016x}"
    own = Account(lease.id, lease.nano, spent, in_doubt, 1, 0, book, "a" * 16, (), "runner", "2027-01-15T08:00:00Z")
    return own._replace(**changes)


def book_file(lease: SignedLease, spent: int = 0, in_doubt: int = 0, **changes: Any) -> bytes:  # noqa: ANN401
    """Return the file of an account, signed by its job."""
    return account_line(lease, account(lease, spent, in_doubt, **changes)).encode() + b"\n"


def leases(*amounts: int) -> tuple[SignedLease, ...]:
    """Return one lease for each amount."""
    return tuple(signed(job, jobs=len(amounts), nano=nano) for job, nano in enumerate(amounts, 1))


def read(text: str, *keys: SigningKey) -> SignedLease:
    """Read a lease that one of ``keys`` must have signed."""
    return read_lease(text, [key.public for key in keys or (KEY,)])
