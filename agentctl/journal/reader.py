"""Read journals: list the runs, find one by its id, read its lines."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from agentctl.core.errors import StateError, UsageError
from agentctl.core.text import did_you_mean, replace_lone_escapes, safe_text
from agentctl.journal.writer import ENDING, journal_error

_BLOCK = 16 * 1024
MOST_FORKS = 64  # runs, each forked from the next


class RunSummary(NamedTuple):
    """A run in a list. ``status`` is the exit code's name, or "running", "unfinished" (it died) or "unreadable".

    Values from the end of the run (cost, turns, duration) are None until then.
    """

    run_id: str
    status: str
    started_at: datetime | None = None
    task: str = ""
    agent: str = ""
    provider: str = ""
    model: str | None = None
    cost_nano: int | None = None
    turns: int | None = None
    duration_s: float | None = None
    labels: Mapping[str, str] = MappingProxyType({})


def list_runs(folder: Path, *, prefix: str = "", most: int | None = None) -> list[RunSummary]:
    """List the runs whose ids begin with ``prefix``, the newest first; of each file only head and tail are read.

    ``most``: only so many, those that were written last.
    """
    files = [path for path in _journal_files(folder) if path.name.startswith(prefix)]
    if most is not None and len(files) > most:
        files = sorted(files, key=_written_at)[-most:]
    runs = [_summarize(path) for path in files]
    return sorted(runs, key=lambda run: (run.started_at or datetime.min.replace(tzinfo=UTC), run.run_id), reverse=True)


def find_journal(folder: Path, prefix: str | None = None) -> Path:
    """Find the journal of the run whose id begins with ``prefix``; without a prefix, of the run that was started last.

    Raises:
        UsageError: no such run, or several.
    """
    files = {path.name.removesuffix(ENDING): path for path in _journal_files(folder)}
    if not files:
        raise _no_runs(folder)
    if prefix is None:
        return latest_first(files.values())[0]
    if prefix in files:
        return files[prefix]
    found = sorted(run_id for run_id in files if prefix and run_id.lower().startswith(prefix.lower()))
    if len(found) == 1:
        return files[found[0]]
    shown = safe_text(prefix)
    if found:
        several = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        raise UsageError(f"{len(found)} runs begin with {shown!r}: {several}", hint="give a longer prefix of the id")
    hint = did_you_mean(prefix, files) or "agentctl runs list   shows the ids"
    raise UsageError(f"no run begins with {shown!r}", hint=hint)


def latest_first(files: Iterable[Path]) -> list[Path]:
    """Return journals in the order in which their runs were started, the last one first."""
    return sorted(files, key=lambda path: (_started_at(path), path.name), reverse=True)


def journals(folder: Path, workdir: Path | None = None) -> Iterator[Path]:
    """Yield the journals of the runs that began, the last one first; of those in ``workdir``, the last written.

    Raises:
        UsageError: there is none.
    """
    if workdir is None:
        began = [path for path in _journal_files(folder) if _first_record_of(path).get("event") == "run_started"]
        if not began:
            raise _no_runs(folder)
        yield from latest_first(began)
        return
    wanted = os.path.realpath(workdir)
    found = False
    for path in sorted(_journal_files(folder), key=_written_at, reverse=True):
        where = _first_record_of(path).get("workdir")
        if isinstance(where, str) and os.path.realpath(where) == wanted:
            found = True
            yield path
    if not found:
        raise UsageError(
            f"there is no run in {safe_text(wanted)} to go on with", hint="name one by its id: agentctl runs list"
        )


def _no_runs(folder: Path) -> UsageError:
    return UsageError(f"there are no runs yet in {folder}", hint='start one: agentctl run "How much disk is free?"')


def read_run(path: Path, *, warn: Callable[[str], None] | None = None) -> Iterator[dict[str, object]]:
    """Yield the lines of a journal as objects, in order; half a last line (the writer was killed) is left out.

    ``warn`` is told of a last line that is whole and yet broken, which is then left out, too.

    Raises:
        StateError: the file cannot be read, or a line is broken that is not the last, or that ``warn`` is not told of.
    """
    try:
        with open(open_journal(path), "rb") as file:
            broken = 0
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break  # an incomplete line: its writer was killed, or is writing it
                if broken:
                    raise _broken_line(path, broken)
                record = parse_line(line)
                if record is None:
                    broken = number
                else:
                    yield record
    except OSError as exc:
        raise journal_error(exc, f"the journal {path} cannot be read") from exc
    if broken and warn is None:
        raise _broken_line(path, broken)
    if broken and warn is not None:
        warn(f"line {broken} of {path}, the last, is broken and was left out")


def read_with_origin(
    path: Path, *, warn: Callable[[str], None] | None = None, until: int | None = None, forks: int = MOST_FORKS
) -> Iterator[dict[str, object]]:
    """Yield the records of a run; those of the run that it was forked from come before ``run_resumed``.

    ``until`` is the number of the last record wanted. ``warn`` is told what is missing, which is then left out.

    Raises:
        UsageError: the journal of a run that it goes on from is missing, and ``warn`` is not told of it.
        StateError: as of ``read_run``.
    """
    for record in read_run(path, warn=warn):
        source = record.get("source")
        if record.get("event") == "run_resumed" and source != path.name.removesuffix(ENDING):
            origin = path.parent / f"{source}{ENDING}"
            if forks and _is_id(source) and origin.exists():
                seq = record.get("until")
                last = seq if isinstance(seq, int) else 0
                yield from read_with_origin(origin, warn=warn, until=last, forks=forks - 1)
            else:
                said = f"run {record.get('run_id')} goes on from run {source}, whose journal is missing"
                if warn is None:
                    raise UsageError(said, hint="agentctl runs list   shows the runs")
                warn(said)
        yield record
        number = record.get("seq")
        if until is not None and (number if isinstance(number, int) else 0) >= until:
            return


def _is_id(source: object) -> bool:
    """Return whether a journal's word can be the id of a run, so that its file is in the same folder."""
    return isinstance(source, str) and bool(source) and not source.startswith(".") and not {"/", "\0"} & set(source)


def _broken_line(path: Path, number: int) -> StateError:
    return StateError(
        f"line {number} of {path} is broken",
        hint="the lines before it are valid; the ledger (agentctl costs) has the costs",
    )


def _journal_files(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder) if name.endswith(ENDING)]  # noqa: PTH208 - quick
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise journal_error(exc, f"the runs in {folder} cannot be listed") from exc


def open_journal(path: Path) -> int:
    """Open a journal for reading and return the file.

    Raises:
        OSError: there is none, or it is not a regular file.
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file")
    return file


def parse_line(line: bytes) -> dict[str, object] | None:
    """Return a line as an object, None if it is none; an earlier version wrote half of a UTF-16 pair as it came."""
    try:
        value = json.loads(replace_lone_escapes(line.decode("utf-8")))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _first_record(file: int) -> dict[str, object] | None:
    size = _BLOCK
    while True:
        block = os.pread(file, size, 0)
        line, newline, _ = block.partition(b"\n")
        if newline or len(block) < size:
            return parse_line(line)
        size *= 4


def _last_record(file: int) -> dict[str, object] | None:
    """Return the last complete line; an incomplete one is skipped."""
    end, size = os.fstat(file).st_size, _BLOCK
    while True:
        start = max(0, end - size)
        lines = os.pread(file, end - start, start).split(b"\n")[:-1]  # after the last newline: nothing, or half a line
        whole = lines if start == 0 else lines[1:]
        for line in reversed(whole):
            if (record := parse_line(line)) is not None:
                return record
        if start == 0:
            return None
        size *= 4


def _written_at(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_mtime_ns
    return 0


def _started_at(path: Path) -> str:
    """Return the time of the first record, as text that sorts."""
    return str(_first_record_of(path).get("at", ""))


def _first_record_of(path: Path) -> Mapping[str, object]:
    with suppress(OSError):
        file = open_journal(path)
        try:
            return _first_record(file) or {}
        finally:
            os.close(file)
    return {}


def _summarize(path: Path) -> RunSummary:
    run_id = path.name.removesuffix(ENDING)
    try:
        file = open_journal(path)
    except OSError:
        return RunSummary(run_id, "unreadable")
    try:
        first, last = _first_record(file), _last_record(file)
        over = last is not None and last.get("event") == "run_finished"
        status = "" if over else "running" if is_locked(file) else "unfinished"
    except OSError:
        return RunSummary(run_id, "unreadable")
    finally:
        os.close(file)
    if first is None:
        return RunSummary(run_id, status if status == "running" or last is None else "unreadable")
    result = last.get("result") if last is not None and over else None
    return _make_summary(run_id, status, first, result if isinstance(result, dict) else {})


def _make_summary(run_id: str, status: str, first: Mapping[str, object], result: Mapping[str, object]) -> RunSummary:
    def text(name: str) -> str:
        return str(result.get(name, first.get(name)) or "")

    cost, turns, duration = result.get("cost_nano"), result.get("turns"), result.get("duration_s")
    labels = result.get("labels", first.get("labels"))
    started = None
    with suppress(ValueError):
        started = datetime.fromisoformat(str(first.get("at")))
    return RunSummary(
        run_id=run_id,
        status=status or text("status") or "unreadable",
        started_at=started,
        task=text("task"),
        agent=text("agent"),
        provider=text("provider"),
        model=text("model") or None,
        cost_nano=cost if isinstance(cost, int) else None,
        turns=turns if isinstance(turns, int) else None,
        duration_s=float(duration) if isinstance(duration, (int, float)) else None,
        labels={str(name): str(value) for name, value in labels.items()} if isinstance(labels, dict) else {},
    )


def is_locked(file: int) -> bool:
    """Return whether the process of a run holds the lock of its open journal: whether the run lives."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)  # who resumes the run must find it free
    return False
