"""Make a split: who it is bound to, how much each job gets, and what of an earlier split may be issued again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agentctl.budget.lease_texts import MOST_JOBS, sign_lease
from agentctl.budget.split_documents import Split, SplitJob, split_amount
from agentctl.core.errors import StateError, UsageError
from agentctl.core.files import make_folder, sync_folder
from agentctl.core.leases import LeaseError
from agentctl.core.pricing import to_nano
from agentctl.core.text import safe_text
from agentctl.settings.names import JOB_INDEX

if TYPE_CHECKING:
    from agentctl.budget.account_merge import Merge
    from agentctl.budget.signatures import SigningKey

_RETRIES = "CI_JOB_RETRY_COUNT"


class SplitRequest(NamedTuple):
    """The flags of ``agentctl budget split``; ``expires_s`` in seconds."""

    total: Decimal | None
    weights: tuple[Decimal, ...]
    bind: tuple[str, ...]
    expires_s: float


class Binding(NamedTuple):
    """What the leases of a split are bound to: variables of the run, and of each job."""

    run: Mapping[str, str]
    jobs: tuple[Mapping[str, str], ...]
    attempt: int | None = None


def read_weights(jobs: int | None, weights: str | None) -> tuple[Decimal, ...]:
    """Return the weight of each job.

    Raises:
        UsageError: neither is given, they contradict each other, or a weight is not a number.
    """
    if weights is None:
        if jobs is None:
            raise UsageError(
                "--jobs is missing", hint="add --jobs N, or --weights A,B,... with one number for each job"
            )
        if not 1 <= jobs <= MOST_JOBS:
            raise UsageError(f"--jobs {jobs} is not a number from 1 to {MOST_JOBS}")
        return (Decimal(1),) * jobs
    found = []
    for word in weights.split(","):
        try:
            found.append(Decimal(word.strip()))
        except InvalidOperation:
            raise UsageError(
                f'--weights: "{safe_text(word)}" is not a number', hint="for example: --weights 1,1,2.5"
            ) from None
    if jobs is not None and jobs != len(found):
        raise UsageError(f"--weights has {len(found)} numbers for {jobs} jobs", hint="give one number for each job")
    return tuple(found)


def binding_of(words: Sequence[str], jobs: int, environ: Mapping[str, str]) -> Binding:
    """Return what the leases are bound to: ``github``, ``gitlab``, or NAME=VALUE with ``{job}`` and ``{index}``.

    Raises:
        UsageError: nothing is given, a word is none of these, a variable is given twice, or one of the CI system is not
            set.
    """
    run: dict[str, str] = {}
    of_job: dict[str, str] = {}
    attempt: int | None = None
    for word in sorted(words, key=lambda one: "=" in one):  # so that no NAME=VALUE replaces what a CI system binds
        name, mark, value = word.partition("=")
        if word == "github":
            run |= {one: _variable(one, environ, word) for one in ("GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT")}
            of_job[JOB_INDEX] = "{index}"
            attempt = _count(run["GITHUB_RUN_ATTEMPT"], "GITHUB_RUN_ATTEMPT")
        elif word == "gitlab":
            run["CI_PIPELINE_ID"] = _variable("CI_PIPELINE_ID", environ, word)
            of_job["CI_NODE_INDEX"] = "{job}"
            if retries := environ.get(_RETRIES, "").strip():  # older versions of GitLab do not say it
                run[_RETRIES] = retries
                attempt = _count(retries, _RETRIES) + 1
        elif mark and (name in run or name in of_job):
            raise UsageError(f"--bind has {name} twice", hint="give each variable once")
        elif mark and name.isidentifier() and name.isascii() and len(name) <= 64:
            of_job[name] = value
        else:
            raise UsageError(
                f'--bind "{safe_text(word)}" is none of github, gitlab and NAME=VALUE',
                hint="for example: --bind SHARD={job}",
            )
    if not of_job:
        raise UsageError(
            "--bind is missing: a lease that is bound to nothing could be used by any job",
            hint="add --bind github, --bind gitlab, or --bind SHARD={job} for a variable of your own",
        )
    filled = tuple(
        {**run, **{name: _fill(value, number) for name, value in of_job.items()}} for number in range(1, jobs + 1)
    )
    if jobs > 1 and filled[0] == filled[1]:
        raise UsageError(
            "--bind is the same for all jobs: any of them could use any lease",
            hint="add {job} or {index} to a value, for example: --bind SHARD={job}",
        )
    return Binding(run, filled, attempt)


def _fill(value: str, number: int) -> str:
    return value.replace("{job}", str(number)).replace("{index}", str(number - 1))


def _variable(name: str, environ: Mapping[str, str], word: str) -> str:
    if not (found := environ.get(name, "").strip()):
        raise UsageError(
            f"--bind {word} needs {name}, which is not set here",
            hint="run it in a job of that CI system, or use NAME=VALUE",
        )
    return found


def _count(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UsageError(f"{name} is {safe_text(text[:40])}, not a number")
    return int(text)


def refuse_new_money(binding: Binding) -> None:
    """Refuse a new total in a second attempt of a CI run: it would be spent in addition to the first one.

    Raises:
        LeaseError: this is a second attempt.
    """
    if binding.attempt is not None and binding.attempt > 1:
        raise LeaseError(
            f"this is attempt {binding.attempt} of the CI run: a second attempt gets no new money",
            hint="re-issue what is left: agentctl budget split --from SPLIT --returned BOOK...   or start a new CI run",
        )


def returned_total(merge: Merge, binding: Binding, wanted: Decimal | None) -> int:
    """Return how much of an earlier split is issued again, in nano-dollars.

    Raises:
        LeaseError: it is of another CI run, or of this attempt, or a book was changed.
        UsageError: more is wanted than is left, or nothing is.
    """
    for book in merge.tampered:
        raise LeaseError(
            f"{safe_text(book.file)} was changed, or is of another split: nothing is issued again",
            hint="hand in the accounts as budget close wrote them",
        )
    before = merge.split.jobs[0].bind
    for name, value in binding.run.items():
        if name not in ("GITHUB_RUN_ATTEMPT", _RETRIES) and before.get(name) != value:
            found = safe_text(before.get(name, "none"))
            raise LeaseError(
                f"the split is of another CI run: its {name} is {found}, and here it is {safe_text(value)}",
                hint="re-issue in the same CI run, or make a new split with --total",
            )
    last = before.get("GITHUB_RUN_ATTEMPT", before.get(_RETRIES))
    if binding.attempt is not None and last is not None:
        attempt = _count(last, "its attempt") + (_RETRIES in before)
        if attempt >= binding.attempt:
            raise LeaseError(
                f"the split is of attempt {attempt}, and this is attempt {binding.attempt}: its jobs may still run",
                hint="re-issue in a later attempt",
            )
    left = merge.unused_nano
    nano = left if wanted is None else to_nano(wanted)
    if nano > left:
        raise UsageError(
            f"--total is {nano} nano-dollars, but only {left} are left", hint="leave --total out: all of it"
        )
    if not nano:
        raise LeaseError("nothing is left to issue again", hint="agentctl budget merge SPLIT BOOK   shows why")
    return nano


def note_reissue(made: Split, state_dir: Path, *, again: bool) -> None:
    """Note in the state folder that the money of an earlier split was issued again, as the split ``made``.

    Another machine does not know of it: the docs say so.

    Raises:
        LeaseError: it was issued before; ``again`` does it nevertheless.
        StateError: it cannot be noted.
    """
    if not made.from_split:
        return
    note = state_dir / "reissued" / made.from_split
    try:
        make_folder(note.parent)
        with suppress(FileExistsError):
            file = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "w", encoding="ascii") as new:
                new.write(made.split_id)
            sync_folder(note.parent)
            return
        before = note.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise StateError(f"{safe_text(str(note))} cannot be written: {said}; no lease was issued") from error
    if not again:
        raise LeaseError(
            f"what is unused of split {made.from_split} was issued again before, as split {safe_text(before[:16])}",
            hint="use those leases, or re-issue what is unused of that split; if they were never used, add --again",
        )


def make_split(
    request: SplitRequest, binding: Binding, key: SigningKey, *, total_nano: int, now_s: int, merge: Merge | None
) -> Split:
    """Return a split with a signed lease for each job; ``merge`` is that of the split it re-issues money of.

    Raises:
        UsageError: a share would be nothing, or a binding is too long.
    """
    shares = split_amount(total_nano, request.weights)
    split_id, expires_s = os.urandom(8).hex(), now_s + max(1, int(request.expires_s))
    jobs = []
    for number, (nano, bind) in enumerate(zip(shares, binding.jobs, strict=True), 1):
        lease = sign_lease(
            key,
            split_id=split_id,
            job=number,
            jobs=len(shares),
            nano=nano,
            issued_s=now_s,
            expires_s=expires_s,
            bind=bind,
        )
        jobs.append(SplitJob(number, nano, lease.account_key.public, bind, lease.text))
    earlier = 0 if merge is None else merge.counted_nano
    source = "" if merge is None else merge.split.split_id
    return Split(split_id, sum(shares), now_s, expires_s, tuple(jobs), source, earlier)
