"""The tool that finds text in the files of the workspace."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from pydantic import Field

from agentctl.core.errors import ToolError
from agentctl.sandbox.import_path import child_imports
from agentctl.sandbox.output import looks_binary
from agentctl.sandbox.process import child_environment, run_process
from agentctl.tools.files.paths import PATH, identities, refuse_denied, resolve_path, resolve_relative
from agentctl.tools.files.walk import Walk, name_matcher, open_regular
from agentctl.tools.tables import cell, plural
from agentctl.tools.tool import Arguments, cut_middle, define_tool, offer_as
from agentctl.tools.toolbox import ToolContext

if TYPE_CHECKING:
    from agentctl.sandbox.denied_paths import HiddenPaths

_LONGEST_LINE = 64 * 1024
_PATIENCE_S = 15
_TOOL_ERROR = 3
_CHILD_PROGRAM = """import json, sys
asked = json.loads(sys.argv[1])
sys.path[:] = asked.pop("import_from")
if package := asked.pop("package"):
    from importlib.util import module_from_spec, spec_from_file_location
    spec = spec_from_file_location("agentctl", package + "/__init__.py", submodule_search_locations=[package])
    sys.modules["agentctl"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["agentctl"])
from agentctl.tools.files.search import search_in_child
sys.exit(search_in_child(asked))"""


class SearchFiles(Arguments):
    """The arguments of search_files."""

    literal = frozenset(("text",))
    offered = offer_as(
        text="", path="a folder or file", pattern="like *.py", regex="text is a regular expression", limit=None
    )

    text: str = Field(min_length=1, description="what to find")
    path: str = Field(".", description="a folder or a file of the workspace")
    pattern: str = Field("*", description='only files like "*.py"')
    regex: bool = Field(False, description="text is a regular expression (Python's)")
    ignore_case: bool = False
    limit: int = Field(50, ge=1, le=500)


@dataclass(frozen=True, slots=True)
class _Wanted:
    text: str
    path: str
    pattern: str
    regex: bool
    ignore_case: bool
    limit: int
    private: Sequence[Sequence[int]] = ()
    hidden: Sequence[str] = ()


@define_tool(SearchFiles, resolve=resolve_path, target=PATH)
async def search_files(context: ToolContext, arguments: SearchFiles) -> str:
    """Find text in files: path, line number and line of each match."""
    hidden = () if context.denied is None else context.denied.hidden_texts
    wanted = _Wanted(**arguments.model_dump(), private=tuple(sorted(identities(context.private))), hidden=hidden)
    if not wanted.regex:
        return await anyio.to_thread.run_sync(_search_here, context.workspace, wanted)
    try:
        re.compile(wanted.text)
    except (re.error, RecursionError, OverflowError) as exc:
        raise ToolError(
            f"search_files: {wanted.text[:60]!r} is not a regular expression: {exc}",
            hint="correct it, or leave out regex=true",
        ) from exc
    # A pattern like (a+)+$ can run for ever and cannot be interrupted, so it gets a process of its own, with a time
    # limit. No folder of the workspace is on that process's path: a model's anyio.py there would run outside the
    # sandbox. -S: an editable install names the workspace in a .pth file, and then site imports its sitecustomize.py.
    imports = await anyio.to_thread.run_sync(child_imports, context.workspace)
    asked = {"import_from": imports.path, "package": imports.package, "workspace": str(context.workspace)}
    argv = [sys.executable, "-I", "-S", "-c", _CHILD_PROGRAM, json.dumps(asked | asdict(wanted))]
    answer = await run_process(argv, timeout=_PATIENCE_S, env=child_environment(), cwd=Path("/"))
    if answer.timed_out:
        raise ToolError(
            f"search_files: {wanted.text[:60]!r} took more than {_PATIENCE_S} s",
            hint="use a simpler expression, a smaller folder or a pattern for the files",
        )
    if answer.exit_code == _TOOL_ERROR:
        message, _, hint = answer.stdout.partition("\n")
        raise ToolError(message, hint=hint.strip())
    if answer.exit_code != 0:
        raise ToolError(f"search_files: the search exited with {answer.exit_code}: {answer.stderr[-300:].strip()}")
    return answer.stdout


def search_in_child(asked: dict[str, Any]) -> int:
    """Search in the process of ``_CHILD_PROGRAM``: write the text, or a ToolError's two lines, to stdout; return the
    exit code.
    """
    try:
        text, code = cut_middle(_search(Path(asked.pop("workspace")), _Wanted(**asked), lambda: None)), 0
    except ToolError as error:
        text, code = f"{error.message}\n{error.hint}", _TOOL_ERROR
    sys.stdout.buffer.write(text.encode(errors="backslashreplace"))
    return code


def _search_here(workspace: Path, wanted: _Wanted) -> str:
    return _search(workspace, wanted, anyio.from_thread.check_cancelled)


def _search(workspace: Path, wanted: _Wanted, tick: Callable[[], None]) -> str:
    alone = _one_file(workspace, wanted.path)
    private = frozenset((device, inode) for device, inode in wanted.private)
    hidden = _find_hidden(workspace, wanted.hidden)
    walk = Walk(workspace, "." if alone else wanted.path, tick=tick, private=private, hidden=hidden)
    fits, find = name_matcher(wanted.pattern), _finder(wanted)
    lines: list[str] = []
    files = searched = 0
    root = walk.open_root()
    try:
        for path in (alone,) if alone else (entry.path for entry in walk if entry.is_file and fits(entry)):
            try:
                with open_regular(root, path) as handle:
                    refuse_denied(hidden, path, handle.fileno())
                    before, searched = len(lines), searched + 1
                    beginning = handle.peek(8192)[:8192]
                    if 0 in beginning and looks_binary(beginning):
                        continue
                    for number, piece in _pieces(handle):
                        if number % 4096 == 0:
                            tick()
                            if walk.is_over():
                                break
                        if (at := find(piece)) is not None:
                            lines.append(f"{cell(path, 300)}:{number}: {_excerpt(piece, at)}")
                            if len(lines) >= wanted.limit:
                                break
                    files += len(lines) > before
            except (OSError, ToolError):
                walk.unreadable += 1
            if len(lines) >= wanted.limit:
                walk.stop_reason = f"stopped at {wanted.limit} matches (limit)"
                break
    finally:
        os.close(root)
    looked = f"{plural(searched, 'file')} searched"
    if not lines:
        return "; ".join([f"No match for {cell(wanted.text)!r}", looked, *walk.notes()])
    words = f"{plural(len(lines), 'match', 'matches')} in {plural(files, 'file')}"
    return "\n".join([*lines, "; ".join([words, looked, *walk.notes()])])


def _find_hidden(workspace: Path, patterns: Sequence[str]) -> HiddenPaths | None:
    """Return the files that deny rules hide, found again, as the search may run in a process of its own."""
    if not patterns:
        return None
    from agentctl.core.tool_rules import Rule  # noqa: PLC0415 - few runs have such a rule
    from agentctl.sandbox.denied_paths import DeniedPaths  # noqa: PLC0415

    return DeniedPaths(workspace, [Rule("read_file", (("path", pattern),)) for pattern in patterns]).find()


def _one_file(workspace: Path, path: str) -> str | None:
    """Return the path from the workspace if it names a single file, else None."""
    relative = resolve_relative(workspace, path)
    return relative if (workspace / relative).is_file() else None


def _pieces(handle: BufferedReader) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their numbers; a very long line in pieces, each with the same number."""
    number, whole = 0, True
    while piece := handle.readline(_LONGEST_LINE):
        number += whole
        whole = piece.endswith(b"\n")
        yield number, piece


def _finder(wanted: _Wanted) -> Callable[[bytes], int | None]:
    """Return a function that finds the first match in a line, as a position in its text."""
    if wanted.regex:
        expression = re.compile(wanted.text, re.IGNORECASE if wanted.ignore_case else 0)

        def by_expression(line: bytes) -> int | None:
            match = expression.search(_decode(line))
            return match.start() if match else None

        return by_expression
    if wanted.ignore_case:
        folded = wanted.text.casefold()

        def by_folded(line: bytes) -> int | None:
            at = _decode(line).casefold().find(folded)
            return at if at >= 0 else None

        return by_folded
    needle = wanted.text.encode(errors="surrogateescape")

    def by_bytes(line: bytes) -> int | None:
        at = line.find(needle)
        return len(_decode(line[:at])) if at >= 0 else None

    return by_bytes


def _decode(line: bytes) -> str:
    return line.rstrip(b"\r\n").decode(errors="backslashreplace")


def _excerpt(line: bytes, at: int) -> str:
    text = _decode(line)
    start = max(0, at - 80) if at > 160 else 0
    return ("…" if start else "") + cell(text[start:].strip(), 240)
