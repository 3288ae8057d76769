"""``agentctl tools``: list and show the tools, and whether a call would run, ask or be denied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.options import Config, EnvFile, Json, Output, wants_json

if TYPE_CHECKING:
    from agentctl.cli.documents import Document
    from agentctl.cli.ui.columns import Page
    from agentctl.core.errors import AgentctlError
    from agentctl.permissions.decision import Permissions
    from agentctl.permissions.preview import CallPreview
    from agentctl.protocols import Tool
    from agentctl.settings import Loaded


SCHEMA = "agentctl.tools/1"


def list_(config: Config = None, env_file: EnvFile = None, output: Output = None, json: Json = False) -> None:
    """List the tools, and whether a call runs, asks or is denied by the current settings.

    Examples:
        agentctl tools list
        agentctl tools list --json
    """
    as_json = wants_json(output, json=json)
    catalog = _catalog(config, env_file)
    agents = _agents(catalog.loaded)
    if as_json:
        _print({"tools": [_document(tool, catalog, agents) for tool in catalog.tools.values()]})
        return
    from agentctl.cli.ui.columns import Column, stdout_page

    rows = [
        (name, tool.effect, _word(catalog.preview(tool)), ", ".join(_used_by(name, agents)), _first_line(tool))
        for name, tool in catalog.tools.items()
    ]
    head = (Column("tool"), Column("effect", drop=2), Column("call", drop=1), Column("agents", "text", drop=3))
    print(stdout_page().table((*head, Column("description", "text")), rows))


def show(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Tool to show.", show_default=False)] = None,
    config: Config = None,
    env_file: EnvFile = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Show one tool: its arguments, its effect, the agents that have it, and the rule that allows it.

    Examples:
        agentctl tools show docker_restart
    """
    from agentctl.core.errors import UsageError
    from agentctl.core.text import safe_text
    from agentctl.tools.toolbox import TOOLS, is_tool, nearest_tool

    as_json = wants_json(output, json=json)
    if name is None:
        raise UsageError(
            "the name of the tool is missing", hint=f"agentctl tools show NAME, one of: {', '.join(TOOLS)}"
        )
    if not is_tool(name):
        raise UsageError(safe_text(f'unknown tool "{name}"'), hint=nearest_tool(name))
    catalog = _catalog(config, env_file)
    if name not in catalog.tools:
        raise UsageError(safe_text(f"the tool {name} cannot be loaded"), hint="agentctl tools list   says why")
    tool, agents = catalog.tools[name], _agents(catalog.loaded)
    if as_json:
        _print({"tool": _document(tool, catalog, agents)})
        return
    from agentctl.cli.ui.columns import stdout_page

    print("\n".join(_describe(tool, catalog, agents, stdout_page())))


COMMANDS: dict[str, Callable[..., None]] = {"list": list_, "show": show}


def _catalog(config: str | None, env_file: list[str] | None) -> ToolCatalog:
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text
    from agentctl.settings import load_settings

    loaded = load_settings(flags={}, config=config, env_files=env_file or (), remember=False, needs=("policy",))
    for note in loaded.notes:
        print_stderr(safe_text(note))
    return load_tool_catalog(loaded)


def _agents(loaded: Loaded) -> Mapping[str, frozenset[str]]:
    """Return the names of the tools of each agent, also of the user's own."""
    from agentctl.runner.agent_catalog import load_catalog

    return {agent.name: frozenset((*agent.tools, *agent.more)) for agent in load_catalog(loaded).agents}


def _used_by(name: str, agents: Mapping[str, frozenset[str]]) -> list[str]:
    return [agent for agent, tools in agents.items() if name in tools]


def _word(preview: CallPreview) -> str:
    return preview.outcome.replace("_", " ")


def _first_line(tool: Tool) -> str:
    return tool.spec.description.partition("\n")[0]


def _describe(tool: Tool, catalog: ToolCatalog, agents: Mapping[str, frozenset[str]], page: Page) -> Iterator[str]:
    from agentctl.permissions.preview import example_rule, rules_about

    spec = tool.spec
    preview = catalog.preview(tool)
    yield page.prose(f"{spec.name}\n\n{spec.description}\n")
    fields = [
        ("effect", tool.effect + (", inside the workspace or a sandbox" if tool.contained else "")),
        ("call", f"{_word(preview)}: {preview.why}"),
        ("agents", ", ".join(_used_by(spec.name, agents)) or "none"),
    ]
    for setting, rule in rules_about(catalog.permissions, spec.name):
        fields.append(("rule", f"{setting} {rule}   ({catalog.loaded.sources[setting]})"))
    fields.append(("allow", f"agentctl run --allow '{example_rule(spec)}' TASK"))
    fields.append(("deny", f"agentctl run --deny '{spec.name}' TASK"))
    yield page.fields(fields, whole=("rule", "allow", "deny"), margin=9)
    yield ""
    yield _arguments(spec.parameters, _offered(tool), page)


def _offered(tool: Tool) -> Mapping[str, object]:
    """Return the schema of the arguments that a model is offered."""
    from agentctl.protocols import OfferAware

    return (tool.offer if isinstance(tool, OfferAware) else tool.spec).parameters


def _arguments(schema: Mapping[str, object], offered: Mapping[str, object], page: Page) -> str:
    """Return a table of the arguments: type with bounds, default, meaning, and which ones no model is offered."""
    from agentctl.cli.ui.columns import Column

    shown = offered.get("properties")
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping) or not properties:
        return "arguments: none"
    needed = required if isinstance(required, (list, tuple)) else ()
    shown = shown if isinstance(shown, Mapping) else {}
    rows = [
        (name, _type(entry), _default(name, entry, needed), _meaning(entry, is_offered=name in shown))
        for name, entry in properties.items()
    ]
    head = (Column("argument"), Column("type", "text"), Column("default", "text"), Column("meaning", "text"))
    return page.table(head, rows)


def _type(entry: Mapping[str, object]) -> str:
    choices, items = entry.get("enum"), entry.get("items")
    if isinstance(choices, list):
        return " | ".join(map(str, choices))
    kind = str(entry.get("type", "any"))
    if isinstance(items, Mapping):
        kind += f" of {items.get('type', 'any')}"
    low, high = entry.get("minimum"), entry.get("maximum")
    if low is not None or high is not None:
        kind += f" {'' if low is None else low}..{'' if high is None else high}"
    return kind


def _default(name: str, entry: Mapping[str, object], needed: tuple[object, ...] | list[object]) -> str:
    from json import dumps

    if name in needed:
        return "(required)"
    return dumps(entry["default"], ensure_ascii=False) if "default" in entry else "-"


def _meaning(entry: Mapping[str, object], *, is_offered: bool) -> str:
    said = " ".join(str(entry.get("description", "")).split())
    return said if is_offered else f"{said} (accepted, not offered to models)".lstrip()


def _document(tool: Tool, catalog: ToolCatalog, agents: Mapping[str, frozenset[str]]) -> Document:
    from agentctl.permissions.preview import example_rule, rules_about

    preview = catalog.preview(tool)
    return {
        "name": tool.spec.name,
        "effect": tool.effect,
        "contained": tool.contained,
        "outcome": preview.outcome,
        "why": preview.why,
        "rules": [
            {"setting": setting, "rule": str(rule)}
            for setting, rule in rules_about(catalog.permissions, tool.spec.name)
        ],
        "example_rule": example_rule(tool.spec),
        "agents": _used_by(tool.spec.name, agents),
        "description": tool.spec.description,
        "parameters": tool.spec.parameters,
        "offered": _offered(tool),
    }


def _print(document: Document) -> None:
    from agentctl.cli.documents import print_document

    print_document(SCHEMA, document)


@dataclass(frozen=True, slots=True)
class ToolCatalog:
    """The tools by name, the permissions, and the tools that are left out because they need a sandbox, or systemd."""

    tools: Mapping[str, Tool]
    permissions: Permissions
    left_out: Mapping[str, AgentctlError]
    loaded: Loaded

    def preview(self, tool: Tool, arguments: Mapping[str, object] | None = None) -> CallPreview:
        """Return whether a call of ``tool`` would run, ask or be denied, and why."""
        from agentctl.permissions.preview import preview_call

        missing = self.left_out.get(tool.spec.name)
        return preview_call(self.permissions, self.loaded.settings.approve, tool, arguments, missing=missing)


def load_tool_catalog(loaded: Loaded) -> ToolCatalog:
    """Return all tools as a run with these settings would see them; it tests the sandbox, but contacts no engine.

    Raises:
        UsageError: the settings name a tool or an argument that does not exist.
    """
    from functools import partial
    from pathlib import Path

    import anyio

    from agentctl.cli.error_output import print_stderr
    from agentctl.permissions.decision import Permissions, permissions_of
    from agentctl.runner.toolset import toolset_for
    from agentctl.tools.package_tools import broken_tools, package_tool_names
    from agentctl.tools.toolbox import DELEGATE, TOOLS, toolbox

    permissions = permissions_of(loaded)
    broken = broken_tools(package_tool_names(), {})
    for problem in broken.values():
        print_stderr(f"warning: {problem}")
    names = [*TOOLS, *(name for name in package_tool_names() if name not in broken)]
    here = [name for name in names if name != DELEGATE]  # which a run has if its agent lists it
    build = partial(toolset_for(loaded, Permissions(), require_sandbox=False), here, len(here))
    toolset = anyio.run(build)
    bare = toolbox(workspace=loaded.settings.workdir or Path.cwd(), names=[*toolset.left_out, DELEGATE])
    tools = {name: (bare if name in bare.names else toolset.toolbox).get(name) for name in names}
    return ToolCatalog(tools, permissions, toolset.left_out, loaded)
