"""A lease as the ledger sees it: a part of a budget that one job may spend, until it expires."""

from __future__ import annotations

from dataclasses import dataclass

from agentctl.core.errors import UsageError

#: How far a clock may be off, in microseconds, before a lease is refused because of it. It never extends a lease.
CLOCK_SKEW_US = 60 * 1_000_000


class LeaseError(UsageError):
    """A lease is missing, invalid, expired or of another job; or a document about leases was changed. Exit 2."""

    kind = "lease"


@dataclass(frozen=True, slots=True)
class Lease:
    """The terms of a signed lease whose signature and binding were verified. Amount in nano-dollars, times in UTC µs.

    ``id`` names the split and the job. ``digest`` is the SHA-256 of the signed text: two leases of one id are different
    leases. ``bound_to`` says in words where it is valid.
    """

    id: str
    nano: int
    issued_us: int
    expires_us: int
    digest: str
    bound_to: str = ""

    @property
    def scope_id(self) -> str:
        """The id of its scope in the ledger; no run has such an id."""
        return f"lease-{self.id}"
