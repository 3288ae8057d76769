"""Say which agent a task would get, by which words, and which tools: nothing is sent or started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.options import Json, Output, wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentctl.runner.agent_catalog import AgentCatalog
    from agentctl.runner.agent_spec import AgentSpec
    from agentctl.settings import Loaded

_MOST_WORDS = 8


def route_(
    task: Annotated[list[str], typer.Argument(metavar="TASK", help="Task to route.", show_default=False)],
    agent_file: Annotated[
        str | None, typer.Option("--agent-file", metavar="FILE", help="Route among the agent of this file, too.")
    ] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Say which agent a task would get: scores, the words that decided, its tools. Nothing is sent or started.

    Examples:
        agentctl agents route "Is the container web up?"
        agentctl agents route "Review main.py" --json
    """
    from agentctl.cli.agents.agent_document import SCHEMA, catalog_here
    from agentctl.cli.documents import print_document
    from agentctl.core.errors import UsageError
    from agentctl.runner.routing import explain, route

    as_json = wants_json(output, json=json)
    words = " ".join(task).strip()
    if not words:
        raise UsageError("the task is empty", hint='for example: agentctl agents route "Is the container web up?"')
    loaded, catalog = catalog_here(notes=not as_json, file=agent_file)
    decision, scores = route(words, catalog.agents), explain(words, catalog.agents)
    name, by = _named(loaded, catalog) or (decision.agent, decision.chosen_by)
    agent = catalog.find(name)
    tools, withheld = _tools(loaded, agent, words, catalog.agents if name == decision.agent else ())
    leads = dict(list(scores.words.items())[:_MOST_WORDS])
    if as_json:
        found = {
            "task": words,
            "agent": agent.name,
            "chosen_by": by,
            "runner_up": decision.runner_up,
            "scores": [{"agent": one, "score": round(score, 4)} for one, score in scores.scores.items()],
            "words": [{"word": word, "lead": round(lead, 4)} for word, lead in leads.items()],
            "signs": list(scores.signs),
            "tools": list(tools),
            "withheld": withheld,
        }
        print_document(SCHEMA, {"route": found})
        return
    from agentctl.cli.ui.columns import stdout_page

    rows = [
        ("agent", f"{agent.name} ({by})"),
        ("scores", ", ".join(f"{one} {score:.2f}" for one, score in scores.scores.items())),
        ("words", ", ".join(f"{word} +{lead:.2f}" for word, lead in leads.items()) or "none that an agent knows"),
        *([("signs", "; ".join(scores.signs))] if scores.signs else []),
        ("tools", ", ".join(tools) or "none"),
        *((f"not {tool}", why) for tool, why in withheld.items()),
    ]
    print(stdout_page().fields(rows))


def _named(loaded: Loaded, catalog: AgentCatalog) -> tuple[str, str] | None:
    """Return the agent that a run would have without routing, and why; None: its task is routed."""
    if catalog.given is not None:
        return catalog.given.name, "flag --agent-file"
    return None if loaded.settings.agent is None else (loaded.settings.agent, str(loaded.sources["agent"]))


def _tools(
    loaded: Loaded, agent: AgentSpec, task: str, agents: Sequence[AgentSpec]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the tools that would be offered if a sandbox can be had, and why others of the agent are withheld."""
    from pathlib import Path

    from agentctl.permissions.decision import permissions_of
    from agentctl.runner.agent_choice import with_terms
    from agentctl.runner.agent_spec import MOST_TOOLS
    from agentctl.runner.routing import ranked_tools
    from agentctl.tools.toolbox import toolbox

    loaded, _ = with_terms(loaded, agent)
    permissions = permissions_of(loaded)
    ranked = ranked_tools(agent, task, agents) if permissions.only is None else permissions.only
    box = toolbox(workspace=loaded.settings.workdir or Path.cwd(), names=ranked)
    why = {name: permissions.why_withheld(name, box.get(name).effect) for name in ranked}
    usable = tuple(name for name in ranked if why[name] is None)
    return usable[:MOST_TOOLS], {name: said for name, said in why.items() if said is not None}
