"""``agentctl budget keygen``, ``split``, ``close`` and ``merge``: leases for the jobs of a CI matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from agentctl.cli.options import Json, Output, output_form, wants_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal
    from pathlib import Path

    from agentctl.budget.account_merge import Merge
    from agentctl.budget.signatures import PublicKey, SigningKey
    from agentctl.budget.split_documents import Split
    from agentctl.settings import Loaded

SplitForm = Literal["table", "json", "matrix", "dotenv"]
GATE = "Gate"
_MOST_BYTES = 4 * 1024 * 1024
_KEY_FILE = "lease-signing-key"


def keygen(
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="New file for the signing key (default: in your config folder)."),
    ] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Make a key pair for leases: write the signing key to a file, and print the public key.

    The signing key is a secret of the job that splits the budget (AGENTCTL_LEASE_SIGNING_KEY). The public key is none:
    give it to every job that runs agentctl, as AGENTCTL_LEASE_KEYS. An existing file is never overwritten.

    Examples:
        agentctl budget keygen
        agentctl budget keygen lease.key --json
    """
    from agentctl.budget.signatures import new_key
    from agentctl.cli.budget.budget_output import print_keys
    from agentctl.core.errors import UsageError

    as_json = wants_json(output, json=json)
    place = _key_place(_load(), file)
    key = new_key()
    try:
        _write_new(place, f"{key.text}\n")
    except FileExistsError:
        raise UsageError(
            f"{place} exists; a signing key is never overwritten", hint="name another file: agentctl budget keygen FILE"
        ) from None
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {(error.strerror or str(error)).lower()}") from error
    print_keys(key.public, place, as_json=as_json)


def split(
    books: Annotated[
        list[str] | None, typer.Argument(metavar="BOOK", help="With --returned: the accounts of the earlier jobs.")
    ] = None,
    total: Annotated[
        str | None, typer.Option("--total", metavar="USD", help="What all jobs together may spend, in US dollars.")
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", metavar="N", help="Number of jobs, at most 1000.")] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="A,B", help="Relative share of each job (default: all the same)."),
    ] = None,
    bind: Annotated[
        list[str] | None,
        typer.Option(
            "--bind",
            metavar="github|gitlab|K=V",
            help="Where the leases are valid: this CI run and attempt, and a job by its number, or a variable of the"
            " job; {job} in V is its number from 1, {index} from 0 (may be repeated).",
        ),
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME", help="How long the leases are valid (default 2h).")
    ] = "2h",
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="FILE|env:NAME",
            help="The signing key (default: AGENTCTL_LEASE_SIGNING_KEY, or the file of keygen).",
        ),
    ] = None,
    save: Annotated[
        str | None,
        typer.Option("--save", metavar="FILE", help="Also write the split without its leases, for budget merge."),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="SPLIT", help="With --returned: the split whose unused money is re-issued."),
    ] = None,
    returned: Annotated[
        bool, typer.Option("--returned", help="Re-issue what the accounts BOOK show as unused, in a later attempt.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Re-issue it although this machine has done so before: it counts twice.")
    ] = False,
    output: Annotated[
        SplitForm | None,
        typer.Option(
            "-o",
            "--output",
            help="Output format (default table); matrix is for GitHub, dotenv for shells.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Split a budget: sign one lease for each job of a CI matrix.

    The leases add up to the total exactly. Each is one line that a job gives to agentctl run --lease.
    A second attempt of a CI run gets no new money, only what --returned shows as unused.

    Examples:
        agentctl budget split --total 3 --jobs 12 --bind github
        agentctl budget split --total 3 --jobs 2 --bind S={job}
    """
    import time

    from agentctl.cli.budget import issue
    from agentctl.cli.budget.budget_output import print_split
    from agentctl.core.errors import UsageError
    from agentctl.core.pricing import to_nano
    from agentctl.settings.lease_source import job_variables

    form = output_form(output, json=json) or "table"
    if bool(from_) != returned or ((books or again) and not returned):
        raise UsageError("--from SPLIT, --returned, BOOK and --again go together", hint="agentctl help fleet")
    if total is None and not returned:
        raise UsageError("--total is missing", hint="add --total USD, such as --total 3.00")
    wanted = None if total is None else _dollars("--total", total)
    shares = issue.read_weights(jobs, weights)
    binding = issue.binding_of(bind or (), len(shares), job_variables())
    request = issue.SplitRequest(wanted, shares, tuple(bind or ()), _seconds(expires))
    loaded = _load()
    signer = _signing_key(loaded, key)
    merge = None
    if from_:
        merge = _merge(from_, books or (), (signer.public, *_public_keys(loaded)))
        nano = issue.returned_total(merge, binding, wanted)
    else:
        issue.refuse_new_money(binding)
        nano = to_nano(wanted) if wanted is not None else 0
    made = issue.make_split(request, binding, signer, total_nano=nano, now_s=int(time.time()), merge=merge)
    issue.note_reissue(made, loaded.settings.state_dir, again=again)
    if save is not None:
        _save(save, made, signer)
    print_split(made, signer, form)


def close(
    lease: Annotated[
        str | None,
        typer.Option("--lease", metavar="TEXT|FILE|env:NAME", help="The lease of this job (default: AGENTCTL_LEASE)."),
    ] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="Also close a lease that no run has used here: it returns in full.")
    ] = False,
    save: Annotated[
        str | None, typer.Option("--save", metavar="FILE", help="Write the account to FILE instead of stdout.")
    ] = None,
) -> None:
    """Close the lease of this job, and write its signed account: what was spent, and what is in doubt.

    Nothing more is sent below the lease from then on. Call it at the end of the job, also after a failure.

    Examples:
        agentctl budget close --save book-3.json
        agentctl budget close --lease env:LEASE_3 >book.json
    """
    from agentctl.budget.lease_texts import read_lease
    from agentctl.budget.split_documents import account_line
    from agentctl.cli.budget.budget_output import account_of, print_account
    from agentctl.core.errors import ActionDenied
    from agentctl.core.leases import LeaseError
    from agentctl.ledger.lease_books import close_lease
    from agentctl.settings.lease_source import read_secret_line
    from agentctl.settings.lineage import is_inside_a_run

    if is_inside_a_run():
        raise ActionDenied("a lease cannot be closed from inside a run", hint="close it after the run has ended")
    loaded = _load("lease")
    given = lease or loaded.settings.lease
    if given is None:
        raise LeaseError("no lease is given", hint="agentctl budget close --lease FILE   or set AGENTCTL_LEASE")
    held = read_lease(
        read_secret_line(given, "the lease", "agentctl-lease-"), None
    )  # the ledger knows what it verified
    if unused:
        held = read_lease(held.text, _public_keys(loaded))
    book = close_lease(loaded.settings.ledger_address, held.terms, unused=unused)
    account = account_of(held, book)
    line = account_line(held, account)
    if save is not None:
        _write(save, f"{line}\n")
    print_account(account, None if save is not None else line)


def merge(
    split: Annotated[str, typer.Argument(metavar="SPLIT", help="The file that budget split wrote.")],
    books: Annotated[
        list[str] | None, typer.Argument(metavar="BOOK", help="The accounts that budget close wrote, in any order.")
    ] = None,
    fail_above: Annotated[
        str | None,
        typer.Option(
            "--fail-above", metavar="USD", help="Exit 3 if more than USD counts as spent.", rich_help_panel=GATE
        ),
    ] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Add up the accounts of all jobs: what was spent, what is in doubt, and what is unused.

    A lease without a valid account counts in full: the account is missing, cut off or changed. The same account twice
    counts once.
    Exit 3: a lease was used in two ledgers, which are named, or too much counts. 2: a file was changed.

    Examples:
        agentctl budget merge split.json book*.json
        agentctl budget merge split.json book*.json --json
    """
    from agentctl.cli.budget.budget_output import print_merge
    from agentctl.core.pricing import to_nano

    as_json = wants_json(output, json=json)
    above = None if fail_above is None else to_nano(_dollars("--fail-above", fail_above))
    loaded = _load()
    found = _merge(split, books or (), _public_keys(loaded))
    code = print_merge(found, above, as_json=as_json)
    if code:
        raise typer.Exit(code)


COMMANDS: dict[str, Callable[..., None]] = {"keygen": keygen, "split": split, "close": close, "merge": merge}


def _load(*needs: str) -> Loaded:
    from agentctl.cli.error_output import report_settings

    return report_settings("lease_keys", *needs)


def _key_place(loaded: Loaded, file: str | None) -> Path:
    from pathlib import Path

    return loaded.settings.config_dir / _KEY_FILE if file is None else Path(file).expanduser()


def _signing_key(loaded: Loaded, given: str | None) -> SigningKey:
    """Return the signing key that is given, set or in the user's config folder.

    Raises:
        LeaseError: there is none, or it cannot be read.
    """
    from agentctl.budget.signatures import PRIVATE, read_signing_key
    from agentctl.core.leases import LeaseError
    from agentctl.settings.lease_source import read_secret_line

    own = loaded.settings.lease_signing_key
    if given is None and own is not None:
        return read_signing_key(own.get_secret_value())
    place = given or str(_key_place(loaded, None))
    if given is None and not _key_place(loaded, None).exists():
        raise LeaseError(
            "there is no signing key", hint="make one: agentctl budget keygen   or set AGENTCTL_LEASE_SIGNING_KEY"
        )
    if place.startswith(PRIVATE):
        raise LeaseError("--key takes a file or env:NAME: a secret does not belong on a command line")
    return read_signing_key(read_secret_line(place, "the signing key", PRIVATE, private=given is None))


def _public_keys(loaded: Loaded) -> tuple[PublicKey, ...]:
    """Return the keys that are trusted: those of the settings, and that of the user's own signing key."""
    from agentctl.budget.signatures import read_public_key

    has_own = loaded.settings.lease_signing_key is not None or _key_place(loaded, None).exists()
    own = (_signing_key(loaded, None).public,) if has_own else ()
    return (*(read_public_key(text) for text in loaded.settings.lease_keys), *own)


def _merge(split: str, books: Iterable[str], keys: Iterable[PublicKey]) -> Merge:
    from agentctl.budget.account_merge import merge_accounts
    from agentctl.budget.split_documents import read_split
    from agentctl.core.leases import LeaseError

    found = read_split(_read(split), keys)
    files = []
    for book in books:
        try:
            files.append((book, _read(book)))
        except LeaseError:
            files.append((book, b""))  # as one that is empty: it proves nothing
    return merge_accounts(found, files)


def _read(name: str) -> bytes:
    """Return the content of a file.

    Raises:
        LeaseError: it cannot be read, or is too long.
    """
    import os
    import time
    from pathlib import Path

    from agentctl.core.bounded_read import read_to_end
    from agentctl.core.leases import LeaseError

    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(Path(name).expanduser(), flags), "rb") as file:
            data = read_to_end(file.fileno(), most=_MOST_BYTES, until=time.monotonic() + 10.0)
    except (OSError, ValueError, RuntimeError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise LeaseError(
            f"{name} cannot be read: {said.lower()}", hint="name the file that budget split wrote"
        ) from error
    if len(data) > _MOST_BYTES:
        raise LeaseError(f"{name} is longer than 4 MiB", hint="name the file that budget split wrote")
    return data


def _save(name: str, made: Split, signer: SigningKey) -> None:
    from agentctl.budget.split_documents import split_document
    from agentctl.cli.documents import as_json

    _write(name, as_json(split_document(made, signer, with_leases=False)) + "\n")


def _write(name: str, text: str) -> None:
    from pathlib import Path

    from agentctl.core.errors import UsageError
    from agentctl.core.files import write_output

    try:
        write_output(Path(name).expanduser(), text, mode=0o644)
    except (OSError, ValueError, RuntimeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{name} cannot be written: {said.lower()}") from error


def _write_new(place: Path, text: str) -> None:
    """Write a new file for its owner alone, synced to disk.

    Raises:
        OSError: it exists, or cannot be written.
    """
    import os

    from agentctl.core.files import make_folder, sync_folder

    if not place.parent.exists():
        make_folder(place.parent)
    file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as new:
        new.write(text.encode("ascii"))
        new.flush()
        os.fsync(file)
    sync_folder(place.parent)


def _dollars(flag: str, text: str) -> Decimal:
    from agentctl.core.errors import UsageError
    from agentctl.settings.parsers import dollars

    try:
        found = dollars(text)
    except ValueError:
        found = None
    if found is None:
        raise UsageError(f'{flag} "{text}" is not an amount in dollars (at most 9 decimal places)')
    return found


def _seconds(text: str) -> float:
    from agentctl.core.errors import UsageError
    from agentctl.settings.parsers import duration

    try:
        return duration(zero=False)(text)
    except ValueError as error:
        raise UsageError(f'--expires "{text}" is not {error}') from None
