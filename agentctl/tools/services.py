"""Tools for systemd: the state of its units, and its journal.

They only read, by systemd's own programs, called with fixed options and a checked name, never by a shell. Whatever a
unit or a journal says is data: names and messages become single lines, and bytes that are no text are escaped.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeVar

from pydantic import Field

from agentctl.core.errors import ToolError
from agentctl.core.targets import Subject, Target, fits
from agentctl.core.text import escape_frames
from agentctl.protocols import CommandResult
from agentctl.sandbox.process import child_environment, run_process
from agentctl.tools.docker.responses import LastLines, nearest, parse_since
from agentctl.tools.tables import cell, facts, plural, size, span, table
from agentctl.tools.tool import Arguments, TargetLookup, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext, no_systemd, systemd_runs

_PATIENCE_S = 20.0
_MOST_ROWS = 300
_KEPT_BYTES = 60 * 1024
_LONGEST = 8 * 1024  # characters of a message
_QUIET = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "SYSTEMD_URLIFY": "0"}
_NAME = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}")
_KINDS = ("service", "socket", "timer", "target", "path", "mount", "automount", "swap", "slice", "scope", "device")
_LISTED = ("Id", "Description", "LoadState", "ActiveState", "SubState", "Result", "StateChangeTimestamp")
_SHOWN = (
    *_LISTED,
    *(
        "Names",
        "UnitFileState",
        "FragmentPath",
        "DropInPaths",
        "MainPID",
        "ExecMainCode",
        "ExecMainStatus",
        "NRestarts",
    ),
    *("MemoryCurrent", "CPUUsageNSec", "TasksCurrent", "StatusText", "TriggeredBy", "NextElapseUSecRealtime"),
    *("LastTriggerUSec", "NeedDaemonReload"),
)
_ENDS = {"1": "exited with", "2": "killed by signal", "3": "dumped core, signal"}
_UNSET = frozenset(("", "[not set]", "18446744073709551615", "n/a"))
_FIELDS = "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_COMM,_PID,_SYSTEMD_UNIT,UNIT,CONTAINER_NAME,CONTAINER_ID_FULL"
_PRIORITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_FOR_OTHERS = "not seeing messages from other users"
_NOT_ALL = "Only your own messages are seen here; users in the groups adm and systemd-journal see all."

Unit = Mapping[str, str]


class ServiceStatus(Arguments):
    """The arguments of service_status."""

    offered = offer_as(unit="like nginx or backup.timer; without it all", state="")

    unit: str | None = Field(None, description="a unit, like nginx or backup.timer; without it all services")
    state: Literal["failed", "running", "active", "inactive"] | None = Field(
        None, description="only units in this state; failed: of all kinds, not services only"
    )


class TailJournal(Arguments):
    """The arguments of journal_tail."""

    offered = offer_as(unit="", tail="", since="like 2h or 2026-01-31T08:00", priority="and worse")

    unit: str | None = Field(None, description="only of this unit")
    tail: int = Field(100, ge=1, le=10_000, description="how many of the last lines")
    since: str | None = Field(None, description='only newer than this: "10m", "2h", or a time like 2026-01-31T08:00')
    priority: Literal["crit", "err", "warning", "notice", "info"] | None = Field(
        None, description="only lines of this priority and worse"
    )


A = TypeVar("A", ServiceStatus, TailJournal)


async def _resolve(context: ToolContext, arguments: A) -> A:
    """Return the arguments with the unit's own name: ``sshd`` may be another name of ``ssh.service``.

    Raises:
        ToolError: systemd does not run here, or this is not the name of a unit.
    """
    if arguments.unit is None:
        return arguments
    [found] = await _show([unit_name(arguments.unit)], ("Id",))
    return arguments.model_copy(update={"unit": found.get("Id") or unit_name(arguments.unit)})


async def _names(_: ToolContext, arguments: ServiceStatus | TailJournal) -> Target:
    """Return all names of a resolved unit, each also without ``.service``."""
    name = unit_name(arguments.unit or "")
    [found] = await _show([name], ("Names",))
    names = dict.fromkeys((name, *found.get("Names", "").split()))
    return Target("text", tuple(one for whole in names for one in (whole, whole.removesuffix(".service"))))


_UNIT = TargetLookup("unit", "text", _names)


@define_tool(ServiceStatus, resolve=_resolve, target=_UNIT)
async def service_status(_: ToolContext, arguments: ServiceStatus) -> str:
    """Show a systemd unit's state, exit code and restarts, or list the services."""
    if arguments.unit is not None:
        if arguments.state is not None:
            raise ToolError("service_status: unit and state cannot be combined", hint="leave out state")
        name = unit_name(arguments.unit)
        [unit] = await _show([name], _SHOWN)
        if unit.get("LoadState") == "not-found":
            raise await _no_such_unit(name)
        return unit_facts(unit, datetime.now(UTC))
    pattern = "*" if arguments.state == "failed" else "*.service"
    found = [unit for unit in await _show([pattern], _LISTED) if unit.get("LoadState") != "not-found"]
    wanted = arguments.state
    chosen = [unit for unit in found if wanted is None or wanted in (unit.get("ActiveState"), unit.get("SubState"))]
    what = "unit" if wanted == "failed" else "service"
    if not chosen:
        return f"No {what} is {wanted}." if wanted else "systemd has no services."
    chosen.sort(key=lambda unit: (unit.get("ActiveState") != "failed", unit.get("Id", "")))
    rows = [(unit.get("Id"), _state(unit), _when(unit), unit.get("Description")) for unit in chosen[:_MOST_ROWS]]
    shown = table(("unit", "state", "since", "description"), rows, most=80)
    return f"{shown}\n{_MOST_ROWS} of {len(chosen)} shown." if len(chosen) > _MOST_ROWS else shown


@define_tool(TailJournal, resolve=_resolve, target=_UNIT)
async def journal_tail(context: ToolContext, arguments: TailJournal) -> str:
    """Show the last 100 (or tail) lines of systemd's journal, or of one unit."""
    since = parse_since(arguments.since, context.now(), tool="journal_tail")
    options = ["--output=json", "--all", f"--output-fields={_FIELDS}", f"--lines={arguments.tail}"]
    options += [] if arguments.unit is None else [f"--unit={unit_name(arguments.unit)}"]
    options += [] if since is None else [f"--since=@{int(since)}"]
    options += [] if arguments.priority is None else [f"--priority={arguments.priority}"]
    answer = await _run("journalctl", "--no-pager", *options)
    if "insufficient permissions" in answer.stderr:
        raise ToolError("the journal may not be read by this user", hint="sudo usermod -aG systemd-journal $USER")
    if "No journal files were found" in answer.stderr:
        raise ToolError("there is no journal here", hint="systemctl status systemd-journald")
    lines = LastLines(_KEPT_BYTES if context.run_files is None else 64 * _KEPT_BYTES)
    hidden = unread = 0
    for raw in filter(None, answer.stdout.split("\n")):
        entry = parse_entry(raw)
        if entry is None:
            unread += raw[:1] == "{" or not raw.startswith("-- ")
        elif _is_restricted(context, entry):
            hidden += 1
        else:
            lines.add(escape_frames(entry_line(entry))[0])
    if not lines.kept and not hidden and arguments.unit is not None:
        [unit] = await _show([unit_name(arguments.unit)], ("LoadState",))
        if unit.get("LoadState") == "not-found":
            raise await _no_such_unit(unit_name(arguments.unit))
    newer = f" since {cell(arguments.since)}" if arguments.since else ""
    worse = f" of priority {arguments.priority} or worse" if arguments.priority else ""
    where = f" of {cell(arguments.unit)}" if arguments.unit else ""
    said = list(lines.kept) or ([] if hidden else [f"The journal has no line{where}{worse}{newer}."])
    lost = lines.lost + unread
    head = [f"… {plural(lost, 'earlier line')} left out …"] if lost or answer.truncated_bytes else []
    notes = [f"{plural(hidden, 'line')} left out by a user rule."] if hidden else []
    notes += [_NOT_ALL] if _FOR_OTHERS in answer.stderr else []
    return "\n".join([*head, *said, *notes])


def unit_name(given: str) -> str:
    """Return the whole name of a unit; without a kind it is a service.

    Raises:
        ToolError: this is no name of a unit; an option, a pattern or a path is none.
    """
    name = given.strip()
    if not _NAME.fullmatch(name):
        raise ToolError(f"{cell(given, 80)!r} is not the name of a unit", hint="give a name like nginx or backup.timer")
    whole = name if name.rpartition(".")[2] in _KINDS and not name.startswith(".") else f"{name}.service"
    if "@." in whole:
        raise ToolError(
            f"{cell(whole, 80)} is a template, not a unit", hint="name one that was made from it: getty@tty1"
        )
    return whole


def parse_units(shown: str) -> list[Unit]:
    """Return the units of what ``systemctl show`` prints: lines of ``Name=value``, an empty line after each unit.

    The first value of a name counts: a value with line breaks, which units rarely have, cannot replace another one.
    """
    units: list[Unit] = []
    for block in shown.split("\n\n"):
        unit: dict[str, str] = {}
        for line in block.split("\n"):
            name, mark, value = line.partition("=")
            if mark:
                unit.setdefault(name, value)
        if unit:
            units.append(unit)
    return units


def unit_facts(unit: Unit, now: datetime) -> str:
    """Return what ``systemctl show`` says about one unit, as facts."""
    active, ended = unit.get("ActiveState", ""), unit.get("ExecMainCode", "")
    since = parse_time(unit.get("StateChangeTimestamp", ""))
    age = f", for {span((now - since).total_seconds())}" if since else ""
    loaded = unit.get("LoadState", "unknown")
    memory, cpu = _number(unit, "MemoryCurrent"), _number(unit, "CPUUsageNSec")
    code = f"{_ENDS[ended]} {unit.get('ExecMainStatus', '?')}" if ended in _ENDS and active != "active" else None
    return facts(
        [
            ("unit", unit.get("Id")),
            ("description", unit.get("Description")),
            ("state", f"{_state(unit)}{f' since {_when(unit)}' if since else ''}{age}"),
            ("result", _known(unit, "Result") if unit.get("Result") != "success" else None),
            ("main process", code or (_known(unit, "MainPID") if unit.get("MainPID") != "0" else None)),
            ("restarts", _known(unit, "NRestarts")),
            ("says", unit.get("StatusText")),
            ("memory", None if memory is None else size(memory)),
            ("cpu time", None if cpu is None else span(cpu / 1e9)),
            ("tasks", _known(unit, "TasksCurrent")),
            ("next run", _known(unit, "NextElapseUSecRealtime")),
            ("last run", _known(unit, "LastTriggerUSec")),
            ("triggered by", unit.get("TriggeredBy")),
            ("file", ", ".join(filter(None, (_known(unit, "FragmentPath"), _known(unit, "DropInPaths"))))),
            ("at boot", _known(unit, "UnitFileState")),
            ("loaded", loaded if loaded != "loaded" else None),
            ("note", "its file has changed since it was loaded" if unit.get("NeedDaemonReload") == "yes" else None),
        ]
    )


def parse_time(shown: str) -> datetime | None:
    """Return a time as ``systemctl show`` prints it with ``TZ=UTC``, or None: ``Mon 2026-11-30 08:10:03 UTC``."""
    try:
        return datetime.strptime(shown, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    except ValueError:
        return None


def parse_entry(line: str) -> dict[str, str] | None:
    """Return the fields of a line of ``journalctl --output=json``, or None: it is none, or was cut.

    A field that is no text is a list of bytes, and one that stands several times a list of its values.
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return {str(name): _text(value) for name, value in found.items()} if isinstance(found, dict) else None


def _text(value: object) -> str:
    if isinstance(value, list):
        if value and all(type(one) is int and 0 <= one < 256 for one in value):
            return bytes(value).decode(errors="backslashreplace")
        return " ".join(map(_text, value)) if not any(isinstance(one, dict) for one in value) else ""
    return value if isinstance(value, str) else "" if value is None or isinstance(value, dict) else str(value)


def entry_line(entry: Mapping[str, str]) -> str:
    """Return a journal's entry as a line, in local time; further lines of its message are indented."""
    raw = entry.get("__REALTIME_TIMESTAMP", "")
    at = int(raw) / 1e6 if raw.isascii() and raw.isdecimal() and len(raw) < 18 else None
    when = "-" if at is None else time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(at))
    who = entry.get("SYSLOG_IDENTIFIER") or entry.get("_COMM") or "-"
    pid = f"[{entry['_PID']}]" if entry.get("_PID") else ""
    level = entry.get("PRIORITY", "")
    worse = f" ({_PRIORITIES[int(level)]})" if level in ("0", "1", "2", "3", "4") else ""
    message = entry.get("MESSAGE", "")
    cut = f"… ({len(message):,} characters)" if len(message) > _LONGEST else ""
    message = message[:_LONGEST].replace("\r", "").rstrip("\n").replace("\n", "\n    ") + cut
    return f"{when} {cell(who, 60)}{cell(pid, 20) if pid else ''}{worse}: {message}"


def _is_restricted(context: ToolContext, entry: Mapping[str, str]) -> bool:
    """Return whether a deny or ask rule is about this line's unit, or about the log of the container that wrote it."""
    unit = entry.get("_SYSTEMD_UNIT") or entry.get("UNIT") or ""
    named = Target("text", (unit, unit.removesuffix(".service")))
    of_unit = Subject({"unit": unit}, {"unit": named})
    container = entry.get("CONTAINER_NAME", "")
    target = Target("container", (container,), entry.get("CONTAINER_ID_FULL", ""))
    of_container = Subject({"name": container}, {"name": target})
    return any(
        (rule.arguments and unit and fits(rule, "journal_tail", {}, of_unit))
        or (container and fits(rule, "docker_logs", {}, of_container))
        for rule in context.restricting
    )


def _state(unit: Unit) -> str:
    return f"{unit.get('ActiveState') or 'unknown'} ({unit.get('SubState') or 'unknown'})"


def _when(unit: Unit) -> str:
    return unit.get("StateChangeTimestamp", "").partition(" ")[2]


def _known(unit: Unit, name: str) -> str | None:
    value = unit.get(name, "")
    return None if value in _UNSET else value


def _number(unit: Unit, name: str) -> int | None:
    value = _known(unit, name) or ""
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 20 else None


async def _no_such_unit(name: str) -> ToolError:
    known = [unit.get("Id", "") for unit in await _show(["*.service"], ("Id", "LoadState"))]
    near = nearest(name, known)
    return ToolError(f"systemd knows no unit {cell(name, 80)}", hint=near or "systemctl list-unit-files   lists them")


async def _show(names: Sequence[str], properties: Sequence[str]) -> list[Unit]:
    """Return properties of units by their names or patterns; one of a name that is not known is ``not-found``.

    Raises:
        ToolError: systemd does not run here, or does not answer; there is no such unit.
    """
    answer = await _run("systemctl", "show", "--no-pager", f"--property={','.join(properties)}", "--", *names)
    return parse_units(answer.stdout) or [{}]


async def _run(program: str, *options: str) -> CommandResult:
    if not systemd_runs():
        raise no_systemd()
    env = {**child_environment(), **_QUIET}
    path = shutil.which(program, path=env["PATH"])
    if path is None:
        raise ToolError(f"{program} is not installed", hint="sudo apt-get install systemd")
    answer = await run_process([path, *options], timeout=_PATIENCE_S, env=env, more=True)
    if answer.timed_out:
        raise ToolError(f"{program} took more than {_PATIENCE_S:g} s")
    if answer.exit_code != 0 and not (program == "journalctl" and answer.stdout.strip()):
        raise ToolError(f"{program} failed with {answer.exit_code}: {cell(' '.join(answer.stderr.split()), 300)}")
    return answer
