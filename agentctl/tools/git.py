"""Show the state of a git repository without letting the repository make git run a program."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from pydantic import Field

from agentctl.core.errors import ToolError
from agentctl.protocols import CommandResult
from agentctl.sandbox.process import child_environment, run_process
from agentctl.tools.files.paths import PATH, find_hidden, refuse_denied, resolve_path
from agentctl.tools.files.walk import real_folder
from agentctl.tools.tables import cell, plural, table
from agentctl.tools.tool import Arguments, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

if TYPE_CHECKING:
    from agentctl.sandbox.denied_paths import HiddenPaths

_PATIENCE_S = 30.0
_MOST_ROWS = 200
_PROGRAMS = re.compile(
    r"filter\..*\.(clean|smudge|process)|core\.(sshcommand|gitproxy|fsmonitor)|diff\.(external|.*\.(command|textconv))"
    r"|include\.path|includeif\..*\.path|remote\..*\.(uploadpack|receivepack|vcs)",
    re.IGNORECASE,
)
_SAFE = (
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "safe.bareRepository=explicit"),
    *("--no-optional-locks", "--no-pager"),
)
_QUIET = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_SSH_COMMAND": "false",
    "LC_ALL": "C.UTF-8",
}
_WORDS = {"M": "changed", "T": "changed", "A": "added", "D": "deleted", "R": "renamed", "C": "copied"}
_OWN = ("local", "worktree", "unknown")
_CONFLICTS = frozenset({"DD", "AU", "UD", "UA", "DU", "AA", "UU"})


class GitStatus(Arguments):
    """The arguments of git_status."""

    offered = offer_as(path="")

    path: str = Field(".", description="a folder of the workspace, in the repository")


@define_tool(GitStatus, resolve=resolve_path, target=PATH)
async def git_status(context: ToolContext, arguments: GitStatus) -> str:
    """Show a git repository's branch, how far ahead or behind it is, changed and untracked files."""
    folder = await anyio.to_thread.run_sync(real_folder, context.workspace, arguments.path)
    found = await anyio.to_thread.run_sync(find_hidden, context)
    if found is None:
        return await status(folder, {**child_environment(), **_QUIET})
    refuse_denied(found, _relative(folder, found.root))
    return await status(folder, {**child_environment(), **_QUIET}, partial(_hides, found))


async def status(folder: Path, env: Mapping[str, str], hides: Callable[[str], bool] | None = None) -> str:
    """Return the summary for the repository that contains ``folder``, without the files (real paths) that ``hides``
    matches.

    Raises:
        ToolError: git is missing, this is not a repository, or its own configuration names a program.
    """
    program = shutil.which("git", path=env.get("PATH", ""))
    if program is None:
        raise ToolError("git is not installed", hint="install it: sudo apt-get install git")

    async def git(*words: str) -> CommandResult:
        answer = await run_process([program, *words], timeout=_PATIENCE_S, env=env, cwd=folder)
        if answer.timed_out:
            raise ToolError(f"git {words[-1]} took more than {_PATIENCE_S:g} s in {folder}")
        return answer

    top = await git(*_SAFE, "rev-parse", "--show-toplevel")
    if top.exit_code != 0:
        raise _git_error(top, folder)
    await _refuse_programs(git, Path(top.stdout.removesuffix("\n")))
    answer = await git(*_SAFE, "status", "--porcelain=v1", "--branch", "--ignore-submodules=dirty")
    if answer.exit_code != 0:
        raise _git_error(answer, folder)
    listed = answer.stdout
    if hides is not None:
        listed = _without_hidden(listed, Path(top.stdout.removesuffix("\n")), hides)
    return summary(listed, cut=answer.truncated_bytes > 0)


def _relative(folder: Path, root: str) -> str:
    return os.path.relpath(folder, root)


def _hides(found: HiddenPaths, path: str) -> bool:
    """Return whether a real path is hidden; rules do not apply outside the workspace."""
    relative = os.path.relpath(path, found.root)
    return not relative.startswith("../") and found.hides(relative)


def _without_hidden(listed: str, top: Path, hides: Callable[[str], bool]) -> str:
    root = os.path.realpath(top)
    return "".join(line for line in listed.splitlines(keepends=True) if not _is_hidden(line, root, hides))


def _is_hidden(line: str, root: str, hides: Callable[[str], bool]) -> bool:
    """Return whether a line of ``git status`` names a file that a deny rule hides, before or after a rename."""
    if line.startswith("##"):
        return False
    names = line[3:].removesuffix("\n").split(" -> ")
    return any(hides(f"{root}/{_unquote(name)}") for name in names)


def _unquote(name: str) -> str:
    """Return a file's name without git's quotes and C escapes."""
    if not (name.startswith('"') and name.endswith('"') and len(name) > 1):
        return name
    raw = re.sub(rb"\\([0-7]{3}|.)", _escape, os.fsencode(name[1:-1]))
    return os.fsdecode(raw)


def _escape(found: re.Match[bytes]) -> bytes:
    said = found[1]
    if len(said) == 3:
        return bytes([int(said, 8) & 255])
    return {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}.get(said, said)


async def _refuse_programs(git: Callable[..., Awaitable[CommandResult]], top: Path) -> None:
    """Raise ToolError if the repository's own configuration could make git start a program or look elsewhere."""
    listed = await git("config", "--show-scope", "--name-only", "--includes", "--list")
    if listed.exit_code != 0:
        raise _git_error(listed, top)
    own = {name for line in listed.stdout.splitlines() for scope, _, name in (line.partition("\t"),) if scope in _OWN}
    named = sorted(name for name in own if _PROGRAMS.fullmatch(name))
    if named == ["core.fsmonitor"] and (await git("config", "--bool", "core.fsmonitor")).exit_code == 0:
        named = []  # "true" means git's built-in monitor, which is switched off here
    if named or listed.truncated_bytes:
        what = (
            f"names a program ({', '.join(cell(name, 60) for name in named[:5])})" if named else "is too long to check"
        )
        raise ToolError(
            f"git status was not run: the repository's own configuration {what}, and git could start it.",
            hint="look at it: git config --local --includes --list   and if you trust it, run git status by hand",
        )
    if not (top / ".git").exists():
        raise ToolError(f"git status was not run: core.worktree of this repository points to {top}.")


def summary(porcelain: str, *, cut: bool = False) -> str:
    """Return the branch line, the counts and a table of files from ``git status --porcelain=v1 --branch``."""
    lines = [line for line in porcelain.splitlines() if len(line) > 3 and not line.startswith("[")]
    branch = next((_branch(line[3:]) for line in lines if line.startswith("## ")), "")
    rows = [(_words(line[:2]), line[3:]) for line in lines if not line.startswith("## ")]
    if not rows:
        return f"{branch}\nNothing to commit: the working tree is clean.".lstrip()
    counts = Counter(words for words, _ in rows)
    said = ", ".join(f"{count} {words}" for words, count in sorted(counts.items()))
    shown = table(("state", "file"), rows[:_MOST_ROWS], most=300)
    more = f"\n{_MOST_ROWS} of {plural(len(rows), 'entry', 'entries')} shown." if len(rows) > _MOST_ROWS else ""
    return f"{branch}\n{said}{' (incomplete: too many)' if cut else ''}\n\n{shown}{more}"


def _branch(line: str) -> str:
    line, _, distance = line.partition(" [")
    name, _, upstream = line.partition("...")
    for start in ("No commits yet on ", "Initial commit on "):
        if name.startswith(start):
            return f"On branch {cell(name.removeprefix(start))}, no commits yet"
    if name == "HEAD (no branch)":
        return "On no branch (detached HEAD)"
    far = f", {distance.removesuffix(']')}" if distance else ", up to date" if upstream else ""
    return f"On branch {cell(name)}" + (f", following {cell(upstream)}{far}" if upstream else "")


def _words(code: str) -> str:
    if code in ("??", "!!"):
        return "untracked" if code == "??" else "ignored"
    if code in _CONFLICTS:
        return "in conflict"
    staged, unstaged = (_WORDS.get(letter, "") for letter in code)
    said = [f"{staged}, staged" if staged else "", f"{unstaged}, not staged" if unstaged else ""]
    return " and ".join(filter(None, said)) or code


def _git_error(answer: CommandResult, folder: Path) -> ToolError:
    said = " ".join(answer.stderr.split()).removeprefix("fatal: ")[:300]
    if any(words in said for words in ("not a git repository", "must be run in a work tree", "bare repository")):
        return ToolError(f"{folder} is not in a git repository's working tree", hint="name the folder of one")
    if "dubious ownership" in said:
        return ToolError(
            f"git does not trust {folder}: it belongs to another user",
            hint=f"if you trust it: git config --global --add safe.directory {shlex.quote(str(folder))}",
        )
    return ToolError(f"git failed with {answer.exit_code}: {said or 'no reason given'}")
