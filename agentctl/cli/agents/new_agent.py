"""Write the file of a new agent, to begin with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentctl.cli.options import Json, Output, wants_json

if TYPE_CHECKING:
    from agentctl.runner.agent_spec import AgentSpec

_TEMPLATE = '''\
# An agent of agentctl (agentctl help agents).

name = "{name}"
description = "What {name} is for, in one line: the router reads it."

# Sent with each request, so keep it short. {{{{name}}}} stands for the value of: agentctl run --param name=VALUE
instructions = """
You review the files in the workspace, for people who maintain them.

Look before you answer: every fact comes from a tool's result, never from memory or a guess.
Answer first, in plain text, as short as the question allows.
"""

# Tasks that are meant for this agent.
examples = ["Review the changes in this repository"]

# Always offered, at most 8 (agentctl tools list). Without this line: the tools of the agent "system".
tools = ["read_file", "list_files", "search_files", "git_status"]

# Tools that are offered when a task has one of these words.
# [more]
# run_shell = ["test", "build"]

# Each of these can be overridden by a flag or by the environment.
# model = "openai/gpt-4o-mini"
# read_only = true
# deny = ["run_shell(git push*)"]

# [limits]
# max_cost_per_task = 0.10
# max_turns = 10
'''
_MARKDOWN = """\
---
name: {name}
description: What {name} is for, in one line; the router reads it.
tools: Read, Grep, Glob
---

You review the files in the workspace, for people who maintain them.

Look before you answer: every fact comes from a tool's result, never from memory or a guess.
Answer first, in plain text, as short as the question allows.
"""


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the agent.", show_default=False)],
    source: Annotated[
        str | None, typer.Option("--copy", metavar="AGENT", help="Begin with a copy of this agent.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Write NAME.md with front matter, which other hosts read, too.")
    ] = False,
    project: Annotated[
        bool, typer.Option("--project", help="Write it to .agentctl/agents here, not to your config folder.")
    ] = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """Write the file of a new agent, in your config folder; no file is replaced.

    Examples:
        agentctl agents new reviewer
        agentctl agents new web-ops --copy docker
        agentctl agents new reviewer --project
    """
    from agentctl.cli.agents.agent_document import SCHEMA, catalog_here
    from agentctl.cli.documents import print_document
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.errors import UsageError
    from agentctl.core.text import safe_text
    from agentctl.runner.agent_spec import NAME
    from agentctl.settings.project_documents import AGENT_FOLDER, AGENT_SUFFIXES, PROJECT_FOLDER

    as_json = wants_json(output, json=json)
    if not NAME.fullmatch(name) or name.endswith(AGENT_SUFFIXES):
        raise UsageError(
            f'"{safe_text(name)[:80]}" is no name for an agent',
            hint="use up to 64 letters, digits, hyphens and underscores",
        )
    loaded, catalog = catalog_here(notes=False)
    if source is None:
        text, suffix = (_MARKDOWN, ".md") if markdown else (_TEMPLATE, ".toml")
        text = text.format(name=name)
    else:
        text, suffix = _copy(catalog.find(source), name)
        if markdown and suffix != ".md":
            raise UsageError(f"the agent {source} is a TOML file", hint="leave out --markdown")
    folder = Path.cwd() / PROJECT_FOLDER if project else loaded.settings.config_dir
    path = folder / AGENT_FOLDER / f"{name}{suffix}"
    _write(path, text, is_private=not project)
    print_stderr(safe_text(f"wrote {path}"))
    if any(agent.name == name for agent in catalog.agents):
        print_stderr(f'it replaces the agent "{name}" that there is')
    steps = [f"agentctl agents check {name}", f'agentctl run --agent {name} "TASK"']
    if project:
        steps.insert(0, "agentctl trust")
    for step in steps:
        print_stderr(f"next: {step}")
    if as_json:
        print_document(SCHEMA, {"created": {"name": name, "file": str(path), "copy_of": source, "next": steps}})


def _copy(agent: AgentSpec, name: str) -> tuple[str, str]:
    """Return the text of an agent's file under another name, and the file's suffix."""
    from agentctl.core.errors import UsageError
    from agentctl.runner import agent_spec

    path = Path(agent.place) if agent.place else Path(agent_spec.__file__).parent / "agent_files" / f"{agent.name}.toml"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if path.suffix == ".md":
        changed, count = re.subn(r"(?m)^name:.*$", f"name: {name}", text, count=1)
        return changed if count else text.replace("---\n", f"---\nname: {name}\n", 1), ".md"
    changed, count = re.subn(r"(?m)^name *=.*$", f'name = "{name}"', text, count=1)
    return changed if count else f'name = "{name}"\n{text}', ".toml"


def _write(path: Path, text: str, *, is_private: bool) -> None:
    """Write a new file; its folder is made if it is missing.

    Raises:
        UsageError: there is such a file, or another one of this agent.
        StateError: it cannot be written.
    """
    import os

    from agentctl.core.errors import StateError, UsageError
    from agentctl.core.files import make_folder
    from agentctl.settings.project_documents import AGENT_SUFFIXES

    for suffix in AGENT_SUFFIXES:
        there = path.with_suffix(suffix) if path.suffix == ".toml" else path.with_name(path.stem + suffix)
        if os.path.lexists(there):
            raise UsageError(f"{there} exists; nothing was written", hint="choose another name, or edit that file")
    try:
        if not path.parent.exists():
            make_folder(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600 if is_private else 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StateError(f"{path} cannot be written: {(error.strerror or 'not possible').lower()}") from error
