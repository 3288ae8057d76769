"""The result of loading: the settings, where each came from, notes and problems."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentctl.core.errors import UsageError
from agentctl.core.limits import Initiator, Parent
from agentctl.core.redaction import Redactor
from agentctl.settings.model import Settings
from agentctl.settings.own_files import is_there
from agentctl.settings.project_files import FoundProjectFile
from agentctl.settings.sources import Problem, Source
from agentctl.settings.untrusted_files import IgnoredLine, TrustPrompt

if TYPE_CHECKING:
    from agentctl.settings.mcp_values import McpConfig
    from agentctl.settings.telemetry import TelemetrySettings

MOST_PROBLEMS = 10


def refusal(problems: Sequence[Problem]) -> UsageError:
    """Return one error that lists all problems."""
    if len(problems) == 1:
        return UsageError(problems[0].text, hint=problems[0].hint)
    lines = [str(problem) for problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        lines[-1] = f"and {len(problems) - MOST_PROBLEMS + 1} more"
    return UsageError("\n  ".join((f"{len(problems)} settings are wrong:", *lines)))


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, where each came from, notes and problems.

    ``notes`` are whole sentences for stderr. ``secrets`` are the texts to redact in all output. ``empty_keys``
    are key variables that are set but empty. ``tightened`` names the untrusted file that lowered a limit,
    ``ignored`` the lines of such files that did nothing, ``offers`` the questions whether to trust such files.
    ``ci`` is whether CI is set, ``job`` describes the job of a CI system (repo, ref, job), ``term`` is TERM.
    ``parent`` is the run that started this process, with "" for its missing parts; ``capability`` is the secret that a
    run hands to its own children, "" until ``for_a_run``. ``redactor`` removes secrets from a run's requests, None
    until then. ``set_aside`` are the problems of settings that this command does not need; these fields have their
    defaults.
    ``other_keys`` are the providers whose key only litellm reads, with the variable that holds it. ``passed_on`` are
    the variables that the user lets commands have. ``variables`` are all variables of the environment and of each
    .env, the strongest source first; ``mcp_project`` is the ``.mcp.json`` of the workspace. ``servers`` are the MCP
    servers of a run, None before ``for_a_run`` and without any. ``trace_parent`` is the span of TRACEPARENT and
    TRACESTATE, "" without a valid one. ``telemetry`` is what the variables of OpenTelemetry say, None without any.
    ``access`` has, for each provider of a cassette that is replayed, what stands in place of its key, and its address;
    then no connection is opened. ``initiator`` says who runs this, for the ledger.
    """

    settings: Settings
    sources: Mapping[str, Source]
    notes: tuple[str, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    empty_keys: tuple[str, ...] = ()
    tightened: Mapping[str, Path] = field(default_factory=dict)
    ignored: tuple[IgnoredLine, ...] = ()
    offers: tuple[TrustPrompt, ...] = ()
    ci: bool = False
    job: Mapping[str, str] = field(default_factory=dict)
    term: str = ""
    config_file: Path = Path()
    names: Mapping[str, str] = field(default_factory=dict)
    parent: Parent | None = None
    set_aside: tuple[Problem, ...] = ()
    other_keys: Mapping[str, str] = field(default_factory=dict)
    passed_on: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: tuple[Mapping[str, str], ...] = field(default=(), repr=False, compare=False)
    mcp_project: FoundProjectFile | None = field(default=None, repr=False)
    trace_parent: str = ""
    telemetry: TelemetrySettings | None = None
    own_tools: Mapping[str, Any] = field(default_factory=dict, repr=False)
    servers: McpConfig | None = field(default=None, repr=False, compare=False)
    initiator: Initiator = field(default_factory=Initiator)
    capability: str = field(default="", repr=False)
    redactor: Redactor | None = field(default=None, repr=False, compare=False)
    access: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)

    def for_a_run(self, *, with_servers: bool = False) -> Loaded:
        """Return a copy for one run: with a capability for its children (a new secret of 256 bits) and a redactor.

        ``with_servers``: and with its MCP servers, if any are configured.

        Raises:
            UsageError: the configuration of the servers cannot be used.
        """
        capability, servers = os.urandom(32).hex(), None
        secrets = (*self.secrets, capability)
        if with_servers and self.has_mcp:
            from agentctl.settings.mcp_servers import load_mcp_config  # noqa: PLC0415 - most runs have no servers

            servers = load_mcp_config(self)
            secrets += servers.secrets
        return replace(self, capability=capability, secrets=secrets, redactor=Redactor(secrets), servers=servers)

    def for_provider(self, name: str) -> Loaded:
        """Return a copy with the time-outs of the user's own provider ``name``, where no stronger source sets them.

        They are lines of config.toml; a project file that has lowered a time-out keeps its effect.
        """
        own = self.settings.named(name)
        if own is None:
            return self
        changes: dict[str, float] = {}
        for limit in ("timeout", "llm_timeout"):
            value, kind = getattr(own, limit), self.sources[limit].kind
            if value is not None and (kind in ("user config", "default") or limit in self.tightened):
                changes[limit] = min(value, getattr(self.settings, limit)) if limit in self.tightened else value
        source = Source("user config", f"{self.config_file} [providers.{name}]")
        return replace(
            self,
            settings=self.settings.model_copy(update=changes),
            sources={**self.sources, **dict.fromkeys(changes, source)},
        )

    @property
    def has_mcp(self) -> bool:
        """Whether MCP servers may be configured: a flag, a table of config.toml, or a file that exists; reads none."""
        settings = self.settings
        if settings.mcp_config or settings.mcp or self.mcp_project is not None:
            return True
        return is_there(settings.config_dir / "mcp.json")

    @property
    def server_names(self) -> tuple[str, ...]:
        """The names of the MCP servers that are configured, also of those whose entry cannot be used."""
        if not self.has_mcp:
            return ()
        from agentctl.settings.mcp_servers import read_mcp_config  # noqa: PLC0415 - most users have no servers

        return (self.servers or read_mcp_config(self, strict=False)).names

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line for each problem that was set aside."""
        return tuple(f"warning: {problem}" for problem in self.set_aside)

    def is_wrong(self, need: str) -> bool:
        """Return whether a problem that was set aside affects ``need``: a field, or "provider openai"."""
        return any(need in problem.stops for problem in self.set_aside)

    def refuse_wrong(self, *needs: str) -> None:
        """Refuse to continue if ``is_wrong`` for one of ``needs``.

        Raises:
            UsageError: the error lists all of these problems.
        """
        if found := [problem for problem in self.set_aside if not set(needs).isdisjoint(problem.stops)]:
            raise refusal(found)

    def cause(self, *fields: str) -> str:
        """Return why ``fields`` may be missing: an untrusted file sets them. Return "" if none does."""
        lines = [line for line in self.ignored if line.field in fields]
        if not lines:
            return ""
        same = [line for line in lines if line.place == lines[0].place]
        names = ", ".join(line.name for line in same)
        return f"{same[0].place} has {names}, but is not trusted: {same[0].remedy}"
