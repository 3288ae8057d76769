"""The flag ``--mcp-config``: servers that come on stdin, and what the next part of a run keeps of the flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agentctl.cli.run.task_input import dash_for_stdin
from agentctl.core.errors import UsageError

if TYPE_CHECKING:
    from agentctl.cli.run.run_request import RunRequest
    from agentctl.cli.run.task_input import TaskInput
    from agentctl.settings import Loaded

_FIELD = "mcp_config"


def without_stdin_as_data(request: RunRequest, *, words: str | None) -> RunRequest:
    """Return the request without data from stdin if ``--mcp-config -`` reads it; ``words`` is the task, if given so.

    Raises:
        UsageError: the task or the data would come from stdin, too, or the flag reads it twice.
    """
    places = _given(request)
    if "-" not in places:
        return request
    if places.count("-") > 1:
        raise UsageError("--mcp-config reads stdin twice", hint="give --mcp-config - once")
    if words is None and dash_for_stdin(request.task_file) in (None, "-"):
        raise UsageError(
            "the task and --mcp-config cannot both come from stdin", hint='agentctl run --mcp-config - "TASK"'
        )
    if dash_for_stdin(request.input) == "-":
        raise UsageError("--input and --mcp-config cannot both come from stdin", hint="name a file for one of them")
    flags = {**request.flags, _FIELD: places}
    return request._replace(flags=flags, input="none" if request.input is None else request.input)


def with_servers_of_stdin(loaded: Loaded, request: RunRequest, given: TaskInput) -> tuple[Loaded, RunRequest]:
    """Return settings and request with the JSON that is on stdin in place of ``-``.

    Raises:
        UsageError: stdin cannot be read, or is not JSON.
        RunTimeout: its end has not come in time.
    """
    places = _given(request)
    if "-" not in places:
        return loaded, request
    text = given.read_servers()
    whole = tuple(text if place == "-" else place for place in places)
    changed = replace(loaded, settings=loaded.settings.model_copy(update={_FIELD: whole}))
    return changed, request._replace(flags={**request.flags, _FIELD: whole})


def kept_servers(places: Sequence[str]) -> list[str]:
    """Return the values of the flag for the next part of a run: JSON as it is, files by their absolute paths."""
    from agentctl.settings.merge import absolute

    return [place if is_json(place) or place == "-" else str(absolute(place, Path.cwd())) for place in places]


def is_json(place: str) -> bool:
    """Return whether a value of the flag is JSON, and no file."""
    return place.lstrip().startswith("{")


def _given(request: RunRequest) -> tuple[str, ...]:
    found = request.flags.get(_FIELD) or ()
    return tuple(dash_for_stdin(str(one)) or "" for one in found) if isinstance(found, Sequence) else ()
