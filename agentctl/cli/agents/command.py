"""List the agents, show one of them, and the tools it would offer for a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.agents.agent_check import check
from agentctl.cli.agents.agent_document import SCHEMA, agent_document, catalog_here, left_out_documents
from agentctl.cli.agents.new_agent import new
from agentctl.cli.agents.route_output import route_
from agentctl.cli.options import Json, Output, wants_json

if TYPE_CHECKING:
    from agentctl.cli.ui.columns import Page
    from agentctl.runner.agent_spec import AgentSpec


def list_(output: Output = None, json: Json = False) -> None:
    """List the agents; a run uses the one whose examples are most similar to the task.

    Examples:
        agentctl agents list
        agentctl agents list --json
    """
    from agentctl.cli.documents import print_document

    as_json = wants_json(output, json=json)
    _, catalog = catalog_here(notes=not as_json)
    if as_json:
        agents = [agent_document(agent) for agent in catalog.agents]
        print_document(SCHEMA, {"agents": agents, "left_out": left_out_documents(catalog)})
        return
    from agentctl.cli.ui.columns import Column, stdout_page

    head = [Column("agent"), Column("tools", drop=1, right=True), Column("for", "text")]
    rows = [[agent.name, str(len(agent.tools) + len(agent.more)), agent.description] for agent in catalog.agents]
    if catalog.files:
        head.insert(2, Column("file", "line", drop=2))
        for row, agent in zip(rows, catalog.agents, strict=True):
            row.insert(2, agent.place or "agentctl")
    print(stdout_page().table(head, rows))


def show(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Agent to show (optional with --task).", show_default=False)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="TEXT", help="Show which tools would be offered for this task."),
    ] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Show one agent: its tools, limits, instructions and examples.

    Examples:
        agentctl agents show docker
        agentctl agents show --task "Is the container web up?"
    """
    from agentctl.cli.documents import print_document
    from agentctl.core.errors import UsageError

    as_json = wants_json(output, json=json)
    _, catalog = catalog_here()
    agents = catalog.agents
    if name is None and task is None:
        names = ", ".join(agent.name for agent in agents)
        raise UsageError("the name of the agent is missing", hint=f"agentctl agents show NAME, one of: {names}")
    if task is not None and not task.strip():
        raise UsageError("--task is empty", hint='for example: --task "Is the container web up?"')
    chosen_from = agents if name is None else ()
    if name is None:
        from agentctl.runner.routing import route

        name = route(task or "", agents).agent
    agent = catalog.find(name)
    offered, left_out = (None, {}) if task is None else _offered_tools(agent, task, chosen_from)
    if as_json:
        for_task = {} if offered is None else {"task": task, "offered": list(offered), "left_out": left_out}
        print_document(SCHEMA, {"agent": {**agent_document(agent), **for_task}})
        return
    from agentctl.cli.ui.columns import stdout_page

    print("\n".join(_describe(agent, task, offered, left_out, stdout_page())))


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_,
    "show": show,
    "new": new,
    "check": check,
    "route": route_,
}


def _offered_tools(agent: AgentSpec, task: str, agents: Sequence[AgentSpec]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the tools that a run would offer for ``task``, and why other tools of the agent are left out.

    Raises:
        SandboxUnavailable: the settings require a sandbox that is not available here.
    """
    from functools import partial

    import anyio

    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text
    from agentctl.permissions.decision import permissions_of
    from agentctl.runner.agent_choice import AgentChoice, with_terms
    from agentctl.runner.agent_spec import MOST_TOOLS
    from agentctl.runner.routing import ranked_tools
    from agentctl.runner.toolset import listing, toolset_for
    from agentctl.settings import load_settings

    loaded = load_settings(flags={}, remember=False, needs=("policy",))
    for note in loaded.notes:
        print_stderr(safe_text(note))
    loaded, _ = with_terms(loaded, agent)
    permissions = permissions_of(loaded)
    ranked = ranked_tools(agent, task, agents) if permissions.only is None else permissions.only
    build = toolset_for(loaded, permissions, delegate=listing(AgentChoice(loaded, (agent,), task, agent)))
    toolset = anyio.run(partial(build, ranked, MOST_TOOLS))
    return toolset.toolbox.names, {name: error.message for name, error in toolset.left_out.items()}


def _describe(
    agent: AgentSpec, task: str | None, offered: Sequence[str] | None, left_out: Mapping[str, str], page: Page
) -> Iterator[str]:
    from agentctl.core.text import safe_text

    def listed(lines: Iterable[str]) -> str:
        return page.prose("\n".join(f"  {line}".rstrip() for line in lines))

    yield page.prose(f"{agent.name}: {agent.description}\n")
    if offered is not None:
        yield page.prose(f'tools offered for "{task}":')
        yield listed([*offered, *(f"not {name}: {why}" for name, why in left_out.items())]) + "\n"
    yield f"tools always offered:\n{listed(agent.tools)}"
    if agent.more:
        yield page.prose("\noffered instead, if the task has one of these words:")
        yield page.fields((f"  {name}", ", ".join(keys)) for name, keys in agent.more.items())
    yield "\n" + (f"turns: at most {agent.max_turns}" if agent.max_turns else "turns: up to the limit of the run")
    if lines := list(_terms(agent)):
        yield f"\nits runs have, unless a flag or the environment says otherwise:\n{listed(lines)}"
    if agent.place:
        yield page.prose(f"\nfile: {agent.place}")
    yield f"\ninstructions:\n{listed(agent.instructions.splitlines())}"
    yield f"\nexamples:\n{listed(agent.examples)}"
    if agent.examples:
        yield ""
        yield f'agentctl run --agent {agent.name} "{safe_text(agent.examples[0])}"'


def _terms(agent: AgentSpec) -> Iterator[str]:
    terms = agent.terms
    yield from (f"{name} = {'none' if value is None else value}" for name, value in terms.limits.items())
    for name in ("model", "sandbox", "network"):
        if (value := getattr(terms, name)) is not None:
            yield f"{name} = {str(value).lower() if isinstance(value, bool) else value}"
    if terms.read_only:
        yield "read_only = true"
    for name in ("allow", "ask", "deny", "mcp"):
        yield from (f"{name} {rule}" for rule in getattr(terms, name))
