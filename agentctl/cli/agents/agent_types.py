"""The type of the documents of ``agentctl agents``; import this module for annotations only."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from agentctl.cli.document_types import Error

AgentOrigin = Literal["package", "config", "project", "file"]


class AgentRuleFields(TypedDict):
    """The rules of an agent; deny comes first, then ask, then allow."""

    allow: list[str]
    ask: list[str]
    deny: list[str]


class AgentFields(TypedDict):
    """An agent as a run would use it; null and empty: the settings decide."""

    name: str
    description: str
    origin: Annotated[AgentOrigin, "config: of the config folder; file: of --agent-file"]
    file: Annotated[str | None, "null for an agent of the package"]
    tools: Annotated[list[str], "always offered"]
    tools_by_words: Annotated[dict[str, list[str]], "offered if the task has one of these words"]
    max_turns: int | None
    limits: Annotated[dict[str, float | None], "dollars, tokens, turns or seconds; null for none"]
    model: str | None
    sandbox: str | None
    network: bool | None
    read_only: bool
    rules: Annotated[AgentRuleFields, "beside those of the settings"]
    mcp: Annotated[list[str], "names of MCP servers"]
    answer_schema: Annotated[dict[str, Any] | None, "the JSON Schema of its answers"]
    examples: list[str]
    instructions: str
    task: NotRequired[Annotated[str, "agents show --task"]]
    offered: NotRequired[Annotated[list[str], "the tools that a run would offer for the task"]]
    left_out: NotRequired[Annotated[dict[str, str], "tools that cannot be had here, and why"]]


class UnusedAgentFile(TypedDict):
    """A file that describes no agent that a run can use."""

    file: str
    agent: str
    error: str
    hint: str


class CheckedAgentFile(TypedDict):
    """A file that describes an agent."""

    file: str
    agent: str
    origin: AgentOrigin
    ok: bool
    notes: Annotated[list[str], "what has no effect"]
    error: str | None
    hint: str


class AgentScoreFields(TypedDict):
    """How well an agent fits a task."""

    agent: str
    score: float


class RoutingWordFields(TypedDict):
    """A word of the task, and how far it puts the best agent before the best of the others."""

    word: str
    lead: float


class AgentRouteFields(TypedDict):
    """The agent that a task would get; nothing was sent."""

    task: str
    agent: str
    chosen_by: str
    runner_up: str | None
    scores: Annotated[list[AgentScoreFields], "the best first"]
    words: Annotated[list[RoutingWordFields], "those that decided, the most important first"]
    signs: Annotated[list[str], "what else the task names: files, containers, this machine"]
    tools: Annotated[list[str], "that would be offered, if a sandbox can be had"]
    withheld: Annotated[dict[str, str], "tools that the rules withhold, and why"]


class CreatedAgentFields(TypedDict):
    """A file that was written."""

    name: str
    file: str
    copy_of: str | None
    next: Annotated[list[str], "the commands that use it"]


class AgentsDocument(TypedDict):
    """What 'agentctl agents' prints with --json: each of its commands has a field of its own."""

    schema: Literal["agentctl.agents/1"]
    version: str
    agents: NotRequired[Annotated[list[AgentFields], "agents list"]]
    left_out: NotRequired[Annotated[list[UnusedAgentFile], "agents list"]]
    agent: NotRequired[Annotated[AgentFields, "agents show"]]
    created: NotRequired[Annotated[CreatedAgentFields, "agents new"]]
    checked: NotRequired[Annotated[list[CheckedAgentFile], "agents check"]]
    route: NotRequired[Annotated[AgentRouteFields, "agents route"]]
    error: Error | None
