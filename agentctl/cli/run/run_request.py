"""What the command line asks of a run, and what of it the next part of the run keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from agentctl.cli.ci.ci_flags import CiFlags

if TYPE_CHECKING:
    from agentctl.cli.run.cassette_flags import CassetteRequest
    from agentctl.cli.run.resumed import ResumeRequest
    from agentctl.core.answer_schema import AnswerSchema


class RunRequest(NamedTuple):
    """The flags and words of ``agentctl run``; ``flags`` by the names of settings."""

    words: tuple[str, ...]
    flags: Mapping[str, object]
    labels: Mapping[str, str]
    input: str | None
    env_files: tuple[str, ...]
    config: str | None
    quiet: bool
    verbose: bool
    estimate: bool = False
    task_file: str | None = None
    schema: str | None = None
    resume: ResumeRequest | None = None
    agent_file: str | None = None
    params: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    ci: CiFlags = CiFlags()
    cassette: CassetteRequest | None = None


_NOT_KEPT = ("output", "color", "lease")  # a lease is given again: it belongs to a job, not to a run


def kept_flags(request: RunRequest, schema: AnswerSchema | None = None) -> dict[str, object]:
    """Return the flags that the next part of a run keeps; how it is printed is each part's own.

    Of the schema its text is kept: its file may change.
    """
    from agentctl.settings.merge import absolute

    flags = dict(request.flags)
    if request.config is not None:
        flags["config"] = str(absolute(request.config, Path.cwd()))
    if request.env_files:
        flags["env_files"] = [str(absolute(name, Path.cwd())) for name in request.env_files]
    if isinstance(places := flags.get("mcp_config"), Sequence):
        from agentctl.cli.run.mcp_input import kept_servers

        flags["mcp_config"] = kept_servers(places)
    if schema is not None:
        flags["schema"] = schema.text
    if request.agent_file is not None:
        flags["agent_file"] = str(absolute(request.agent_file, Path.cwd()))
    if request.params:
        flags["params"] = dict(request.params)
    if request.notes:
        flags["notes"] = [name if name == "none" else str(absolute(name, Path.cwd())) for name in request.notes]
    return {name: value for name, value in flags.items() if name not in _NOT_KEPT and value is not None}
