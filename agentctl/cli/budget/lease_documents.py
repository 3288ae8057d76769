"""The types of the documents of ``agentctl budget``, as ``cli.document_types`` has those of other commands.

Import this module for annotations only: it is not needed to run.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from agentctl.budget.account_merge import BookState, JobState
from agentctl.cli.document_types import Count, Dollars, Error, ExitCode, Keywords, Moment, Status

JobNumber = Annotated[int, "from 1", Keywords(minimum=1, maximum=1000)]
Key = Annotated[str, "a public key of 32 bytes, in URL-safe base64 without padding"]
Signature = Annotated[str, "of the canonical bytes of all other fields but the leases, in URL-safe base64"]

_Source = TypedDict("_Source", {"from": Annotated[str, "the split that it re-issues unused money of, empty for none"]})
_MergedSource = TypedDict("_MergedSource", {"from": Annotated[str | None, "the split that it re-issued money of"]})


class BudgetKeygenDocument(TypedDict):
    """What 'agentctl budget keygen --json' prints; the signing key itself is never printed."""

    schema: Literal["agentctl.budget-keygen/1"]
    version: str
    public_key: Annotated[str, "the value of AGENTCTL_LEASE_KEYS"]
    key_id: Annotated[str, "the short name of the key in documents and messages"]
    signing_key_file: str
    error: Error | None


class SplitJobFields(TypedDict):
    """The part of one job."""

    job: JobNumber
    nano_usd: Annotated[int, Keywords(minimum=1)]
    account_key: Annotated[Key, "it verifies the account of the job"]
    bind: Annotated[dict[str, str], "the variables that the job must have, and the value of each"]
    lease: NotRequired[Annotated[str, "the line for run --lease; --save leaves it out, and the signature does too"]]


class SplitDocument(_Source):
    """A budget split over jobs: what 'agentctl budget split' writes with -o json and with --save."""

    schema: Literal["agentctl.split/1"]
    split: Annotated[str, "the id of the split"]
    key: Annotated[str, "the short name of the key that signed it"]
    total_nano_usd: Annotated[int, "what the leases add up to", Keywords(minimum=1)]
    issued_s: Annotated[Count, "seconds since 1970, UTC"]
    expires_s: Annotated[Count, "seconds since 1970, UTC"]
    earlier_nano_usd: Annotated[Count, "what counts as spent of the splits before it"]
    jobs: list[SplitJobFields]
    signature: Signature


class AccountDocument(TypedDict):
    """What a job has spent of its lease: the line that 'agentctl budget close' writes."""

    schema: Literal["agentctl.account/1"]
    lease_id: str
    nano: Annotated[int, "the amount of the lease, in nano-dollars", Keywords(minimum=1)]
    spent_nano: Count
    in_doubt_nano: Annotated[Count, "includes the worst case of calls that were still on their way"]
    calls: Count
    unpriced: Annotated[Count, "calls of unknown price: with one, the whole lease counts as spent"]
    book: Annotated[str, "the id of this use of the lease: another ledger has another one"]
    revision: Annotated[str, "the id of this state of the account"]
    earlier: Annotated[list[str], "the revisions that it replaces"]
    host: str
    closed_at: Moment
    signature: Signature


class MergedJobFields(TypedDict):
    """The result of one lease; 'counted' is the most that it can have spent."""

    job: JobNumber
    lease: str
    state: JobState
    amount_usd: Dollars
    amount_nano_usd: Count
    counted_usd: Dollars
    counted_nano_usd: Count
    spent_usd: Dollars
    spent_nano_usd: Count
    in_doubt_usd: Dollars
    in_doubt_nano_usd: Count
    unused_usd: Dollars
    unused_nano_usd: Count


class BookFields(TypedDict):
    """One file that was handed in; job, ledger and host are what it says, proved only if it is 'counted'."""

    file: str
    state: BookState
    job: JobNumber | None
    ledger: str | None
    host: str | None


class BudgetMergeDocument(_MergedSource):
    """What 'agentctl budget merge --json' prints: the total, and what counts for each job."""

    schema: Literal["agentctl.budget-merge/1"]
    version: str
    status: Status
    exit_code: ExitCode
    split: str
    total_usd: Dollars
    total_nano_usd: Count
    counted_usd: Annotated[Dollars, "the most that all jobs, and those of earlier splits, can have spent"]
    counted_nano_usd: Count
    spent_usd: Dollars
    spent_nano_usd: Count
    in_doubt_usd: Dollars
    in_doubt_nano_usd: Count
    missing_usd: Annotated[Dollars, "leases without a valid account, and files that prove nothing"]
    missing_nano_usd: Count
    earlier_usd: Annotated[Dollars, "what counts as spent of the splits before it"]
    earlier_nano_usd: Count
    unused_usd: Annotated[Dollars, "what --returned may issue again"]
    unused_nano_usd: Count
    jobs: list[MergedJobFields]
    books: list[BookFields]
    error: Error | None
