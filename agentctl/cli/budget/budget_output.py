"""What ``agentctl budget`` prints: keys, leases, accounts and the result of a merge, as text and as JSON."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentctl.budget.split_documents import Account, split_document
from agentctl.cli.documents import as_json, error_info, moment, print_document, usd
from agentctl.cli.error_output import print_error, print_stderr
from agentctl.cli.ui.columns import Column, stdout_page
from agentctl.cli.ui.format import ceiling, money, plural
from agentctl.core.errors import AgentctlError, BudgetExceeded, Verdict
from agentctl.core.leases import LeaseError
from agentctl.core.text import safe_text
from agentctl.core.version import __version__

if TYPE_CHECKING:
    from agentctl.budget.account_merge import BookFile, Merge, MergedJob
    from agentctl.budget.lease_texts import SignedLease
    from agentctl.budget.signatures import PublicKey, SigningKey
    from agentctl.budget.split_documents import Split
    from agentctl.ledger.lease_books import LeaseBook

KEYGEN_SCHEMA, MERGE_SCHEMA = "agentctl.budget-keygen/1", "agentctl.budget-merge/1"
_MOST_TOLD = 5
_SPLIT = (Column("job", right=True), Column("amount", right=True), Column("valid for", "text"), Column("lease", "line"))
_MERGE = (
    *(Column("job", right=True), Column("amount", right=True), Column("spent", right=True)),
    *(Column("in doubt", right=True), Column("counts", right=True), Column("unused", right=True)),
    Column("account", "text"),
)
_STATES = {
    "unreadable": "is cut off or no account: it counts as missing",
    "changed": "was changed: its signature does not fit",
    "foreign": "is of another split",
}


def print_keys(key: PublicKey, place: Path, *, as_json: bool) -> None:
    """Print the public key, and on stderr where the signing key is."""
    if as_json:
        fields: dict[str, object] = {"public_key": key.text, "key_id": key.id, "signing_key_file": str(place)}
        print_document(KEYGEN_SCHEMA, fields)
        return
    print(key.text)
    print_stderr(f"The signing key is in {safe_text(str(place))}: a secret of the job that splits the budget.")
    print_stderr("The line above is the public key: set it as AGENTCTL_LEASE_KEYS in every job that runs agentctl.")


def print_split(split: Split, key: SigningKey, form: str) -> None:
    """Print the leases of a split."""
    if form == "json":
        print(as_json(split_document(split, key, with_leases=True)))
    elif form == "matrix":
        rows = [{"index": one.job - 1, "job": one.job, "lease": one.lease} for one in split.jobs]
        print(as_json({"include": rows}, line=True))
    elif form == "dotenv":
        for one in split.jobs:
            print(f"LEASE_{one.job}={one.lease}")
    else:
        table = (
            (
                str(one.job),
                ceiling(one.nano),
                ", ".join(f"{name}={value}" for name, value in one.bind.items()),
                one.lease,
            )
            for one in split.jobs
        )
        print(stdout_page().table(_SPLIT, [tuple(map(safe_text, row)) for row in table]))
    print_stderr(f"{plural(len(split.jobs), 'lease')}, together {ceiling(split.total_nano)}")


def account_of(lease: SignedLease, book: LeaseBook) -> Account:
    """Return the account of a closed lease."""
    return Account(
        lease_id=lease.id,
        nano=lease.nano,
        spent_nano=book.spent_nano,
        in_doubt_nano=book.in_doubt_nano,
        calls=book.calls,
        unpriced=book.unpriced,
        book=book.book,
        revision=book.revision,
        earlier=book.earlier,
        host=socket.gethostname(),
        closed_at=moment(book.closed_at) or "",
    )


def print_account(account: Account, line: str | None) -> None:
    """Print an account as one line of JSON, unless it is in a file; and on stderr what it says."""
    if line is not None:
        print(line)
    doubt = f", {money(account.in_doubt_nano)} in doubt" if account.in_doubt_nano else ""
    spent = f"{money(account.spent_nano)} of {ceiling(account.nano)} spent{doubt}"
    print_stderr(f"lease {account.lease_id} is closed: {spent}, {plural(account.calls, 'call')}")


def print_merge(merge: Merge, above: int | None, *, as_json: bool) -> int:
    """Print the result of a merge, and on stderr what is wrong with it; return the exit code."""
    error = _error_of(merge, above)
    if as_json:
        print(_document(merge, error))
    else:
        print(_table(merge))
    for note in _notes(merge):
        print_stderr(f"warning: {safe_text(note)}")
    if error is None:
        return 0
    from agentctl.cli.exit_codes import exit_status

    print_error(error.message, error.hint)
    return int(exit_status(error))


def _error_of(merge: Merge, above: int | None) -> AgentctlError | None:
    """Return what makes a merge fail: a changed file first, then a lease in two ledgers, then the gate."""
    if merge.tampered:
        said = "; ".join(f"{book.file} {_STATES[book.state]}" for book in merge.tampered[:_MOST_TOLD])
        return LeaseError(said, hint="find out who changed it; what its lease can have spent counts in full")
    if merge.doubled:
        return _exceeded(merge, "; ".join(map(_two_ledgers, merge.doubled[:_MOST_TOLD])), None)
    if above is not None and merge.counted_nano > above:
        said = f"{ceiling(merge.counted_nano)} counts as spent, which is above --fail-above {ceiling(above)}"
        return _exceeded(merge, said, above)
    return None


def _exceeded(merge: Merge, said: str, most: int | None) -> BudgetExceeded:
    verdict = Verdict(
        "max_cost_per_lease", "nano_usd", most, merge.spent_nano, merge.in_doubt_nano, 0, merge.counted_nano
    )
    return BudgetExceeded(
        said, verdict=verdict, hint="see what counts for each job: agentctl budget merge SPLIT BOOK --json"
    )


def _two_ledgers(job: MergedJob) -> str:
    uses = " and ".join(_use(book) for book in job.accounts)
    counted = ceiling(job.counted_nano)
    return f"lease {job.lease_id} was used in {len(job.accounts)} ledgers: {uses}; together they count {counted}"


def _use(book: BookFile) -> str:
    account = book.account
    return book.file if account is None else f"{account.book} on {account.host} ({book.file})"


def _notes(merge: Merge) -> Iterator[str]:
    for job in merge.missing:
        yield f"job {job.job} has no valid account: {ceiling(job.nano)}, its whole lease, counts as spent"
    for book in merge.books:
        if book.state == "unreadable":
            yield f"{book.file} {_STATES['unreadable']}"
    if merge.unassigned_nano:
        yield (
            f"{ceiling(merge.unassigned_nano)} counts for files that prove nothing: no lease lacks an account for them,"
            " so each can be that of a second ledger"
        )


def _table(merge: Merge) -> str:
    rows = [
        (
            *(str(job.job), ceiling(job.nano), ceiling(job.spent_nano), ceiling(job.in_doubt_nano)),
            *(ceiling(job.counted_nano), ceiling(job.unused_nano), _account_state(job)),
        )
        for job in merge.jobs
    ]
    split, total = merge.split, [f"{ceiling(merge.counted_nano)} of {ceiling(merge.split.total_nano)} counts as spent"]
    total.append(f"spent {ceiling(merge.spent_nano)}, in doubt {ceiling(merge.in_doubt_nano)}")
    missing = sum(job.nano for job in merge.missing)
    total += [f"without account {ceiling(missing)}"] if missing else []
    total += [f"earlier attempts {ceiling(split.earlier_nano)}"] if split.earlier_nano else []
    total.append(f"unused {ceiling(merge.unused_nano)}")
    return f"{stdout_page().table(_MERGE, rows)}\n\n{' · '.join(total)}"


def _account_state(job: MergedJob) -> str:
    names = safe_text(", ".join(book.file for book in job.accounts))
    return {"closed": names, "missing": "missing", "two_ledgers": f"two ledgers: {names}"}[job.state]


def _document(merge: Merge, error: AgentctlError | None) -> str:
    from agentctl.cli.exit_codes import ExitStatus, exit_status

    status = ExitStatus.done if error is None else exit_status(error)
    fields: dict[str, Any] = {
        "schema": MERGE_SCHEMA,
        "version": __version__,
        "status": status.shown,
        "exit_code": status.value,
        "split": merge.split.split_id,
        "from": merge.split.from_split or None,
        **_amounts("total", merge.split.total_nano),
        **_amounts("counted", merge.counted_nano),
        **_amounts("spent", merge.spent_nano),
        **_amounts("in_doubt", merge.in_doubt_nano),
        **_amounts("missing", sum(job.nano for job in merge.missing) + merge.unassigned_nano),
        **_amounts("earlier", merge.split.earlier_nano),
        **_amounts("unused", merge.unused_nano),
        "jobs": [
            {
                "job": job.job,
                "lease": job.lease_id,
                "state": job.state,
                **_amounts("amount", job.nano),
                **_amounts("counted", job.counted_nano),
                **_amounts("spent", job.spent_nano),
                **_amounts("in_doubt", job.in_doubt_nano),
                **_amounts("unused", job.unused_nano),
            }
            for job in merge.jobs
        ],
        "books": [
            {
                "file": book.file,
                "state": book.state,
                "job": book.job,
                "ledger": None if book.account is None else book.account.book,
                "host": None if book.account is None else book.account.host,
            }
            for book in merge.books
        ],
        "error": None if error is None else error_info(error)[0]._asdict(),
    }
    return as_json(fields)


def _amounts(name: str, nano: int) -> dict[str, float | int | None]:
    return {f"{name}_usd": usd(nano), f"{name}_nano_usd": nano}
