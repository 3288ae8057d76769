"""Merge the accounts of a split: what was spent at most, what is in doubt, and what may be issued again. Pure.

What cannot be proved counts as spent: a lease without a valid account counts in full. A lease that was used in two
ledgers counts in each of them. A file that is not proved to be of this split explains one lease without an account;
each one more can be the account of a second ledger, whatever it says, and counts as the largest lease.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from agentctl.budget.split_documents import Account, Split, SplitJob, read_account

BookState = Literal["counted", "repeated", "replaced", "unreadable", "changed", "foreign"]
JobState = Literal["closed", "missing", "two_ledgers"]


class BookFile(NamedTuple):
    """One file that was handed in, and what became of it. ``job`` is that of the lease that it names, None: none.

    "repeated": the same account as another file. "replaced": an earlier state of a ledger's account. "unreadable": cut
    off, or no account. "changed": its signature does not fit. "foreign": of another split.
    """

    file: str
    state: BookState
    job: int | None = None
    account: Account | None = None


class MergedJob(NamedTuple):
    """The result of one lease, in nano-dollars. ``counted_nano`` is the most that it can have spent."""

    job: int
    lease_id: str
    state: JobState
    nano: int
    spent_nano: int
    in_doubt_nano: int
    counted_nano: int
    unused_nano: int
    accounts: tuple[BookFile, ...] = ()


class Merge(NamedTuple):
    """The result of a split. ``unassigned_nano`` counts for unproved files that no lease without account explains.

    ``counted_nano`` is the most that all its jobs, and those of the splits before it, can have spent.
    """

    split: Split
    jobs: tuple[MergedJob, ...]
    books: tuple[BookFile, ...]
    unassigned_nano: int = 0

    @property
    def spent_nano(self) -> int:
        """What the accounts say was spent."""
        return sum(one.spent_nano for one in self.jobs)

    @property
    def in_doubt_nano(self) -> int:
        """What the accounts say is in doubt."""
        return sum(one.in_doubt_nano for one in self.jobs)

    @property
    def counted_nano(self) -> int:
        """The most that was spent."""
        return self.split.earlier_nano + sum(one.counted_nano for one in self.jobs) + self.unassigned_nano

    @property
    def unused_nano(self) -> int:
        """What may be issued again: never more than the whole budget less what counts as spent."""
        counted = self.counted_nano - self.split.earlier_nano
        return min(sum(one.unused_nano for one in self.jobs), max(0, self.split.total_nano - counted))

    @property
    def missing(self) -> tuple[MergedJob, ...]:
        """The leases without a valid account."""
        return tuple(one for one in self.jobs if one.state == "missing")

    @property
    def doubled(self) -> tuple[MergedJob, ...]:
        """The leases that were used in more than one ledger."""
        return tuple(one for one in self.jobs if one.state == "two_ledgers")

    @property
    def tampered(self) -> tuple[BookFile, ...]:
        """The files that somebody changed, or that belong to another split."""
        return tuple(one for one in self.books if one.state in ("changed", "foreign"))


def merge_accounts(split: Split, files: Iterable[tuple[str, bytes]]) -> Merge:
    """Merge the accounts in ``files``, names and contents in any order."""
    jobs = {f"{split.split_id}-{one.job}": one for one in split.jobs}
    seen: set[bytes] = set()
    books: list[BookFile] = []
    for file, data in files:
        content = data.removesuffix(b"\n")
        book = _judge(file, content, jobs)
        books.append(book._replace(state="repeated") if content in seen else book)
        seen.add(content)
    books = [_replace_earlier(book, books) for book in books]
    merged = tuple(_merge_job(lease_id, one, books) for lease_id, one in jobs.items())
    unproved = sum(book.state in ("unreadable", "changed", "foreign") for book in books)
    missing = sum(one.state == "missing" for one in merged)
    unexplained = max(0, unproved - missing)  # each may be that of a second ledger
    return Merge(split, merged, tuple(books), unexplained * max(one.nano for one in split.jobs))


def _judge(file: str, content: bytes, jobs: Mapping[str, SplitJob]) -> BookFile:
    """Return what a file is, by itself."""
    claim = read_account(content)
    if claim is None:
        return BookFile(file, "unreadable")
    job = jobs.get(claim.account.lease_id)
    if job is None:
        return BookFile(file, "foreign", None, claim.account)
    genuine = claim.is_signed_by(job.account_key) and claim.account.nano == job.nano
    return BookFile(file, "counted" if genuine else "changed", job.job, claim.account)


def _replace_earlier(book: BookFile, books: Sequence[BookFile]) -> BookFile:
    """Return a book as replaced if another one is a later state of the same ledger, or the same state with more."""
    own = book.account
    if book.state != "counted" or own is None:
        return book
    for place, other in enumerate(books):
        at = other.account
        if (
            other is book
            or other.state != "counted"
            or at is None
            or (at.lease_id, at.book) != (own.lease_id, own.book)
        ):
            continue
        is_same = at.revision == own.revision
        is_more = (at.counted_nano, -place) > (own.counted_nano, -_place_of(book, books))
        if own.revision in at.earlier or (is_same and is_more):
            return book._replace(state="replaced")
    return book


def _place_of(book: BookFile, books: Sequence[BookFile]) -> int:
    return next(place for place, one in enumerate(books) if one is book)


def _merge_job(lease_id: str, job: SplitJob, books: Sequence[BookFile]) -> MergedJob:
    """Return the result of one lease."""
    of_job = [book for book in books if book.job == job.job and book.account is not None]
    accounts = [(book, book.account) for book in of_job if book.state == "counted" and book.account is not None]
    ledgers = {account.book for _, account in accounts}
    #: Changed books that name a ledger of their own: each says that there was a second use.
    others = {one.account.book for one in of_job if one.state == "changed" and one.account is not None} - ledgers
    if not accounts:
        return MergedJob(job.job, lease_id, "missing", job.nano, 0, 0, job.nano, 0)
    spent = sum(account.spent_nano for _, account in accounts)
    doubt = sum(account.in_doubt_nano for _, account in accounts)
    counted = sum(account.counted_nano for _, account in accounts)
    is_one = len(accounts) + len(others) == 1
    shown = tuple(book for book in of_job if book.state in ("counted", "changed"))
    return MergedJob(
        job.job,
        lease_id,
        "closed" if is_one else "two_ledgers",
        job.nano,
        spent,
        doubt,
        counted,
        max(0, job.nano - counted) if is_one else 0,
        shown,
    )
