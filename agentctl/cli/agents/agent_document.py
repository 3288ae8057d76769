"""What the JSON of ``agentctl agents`` says of an agent, and the agents that there are here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentctl.cli.documents import Document
    from agentctl.runner.agent_catalog import AgentCatalog
    from agentctl.runner.agent_spec import AgentSpec
    from agentctl.settings import Loaded

SCHEMA = "agentctl.agents/1"


def catalog_here(*, notes: bool = True, file: str | None = None) -> tuple[Loaded, AgentCatalog]:
    """Return the settings and the agents that a run in this folder has; print why files are left out, if ``notes``.

    Raises:
        UsageError: ``file`` does not describe an agent.
    """
    from agentctl.cli.error_output import print_stderr
    from agentctl.core.text import safe_text
    from agentctl.runner.agent_catalog import load_catalog
    from agentctl.settings import load_settings

    loaded = load_settings(flags={}, remember=False, needs=("config_dir",))
    catalog = load_catalog(loaded, file=file)
    if notes:
        for note in catalog.notes():
            print_stderr(safe_text(note))
    return loaded, catalog


def agent_document(agent: AgentSpec) -> Document:
    """Return what is known of an agent."""
    terms = agent.terms
    return {
        "name": agent.name,
        "description": agent.description,
        "origin": agent.origin,
        "file": agent.place or None,
        "tools": list(agent.tools),
        "tools_by_words": {name: list(words) for name, words in agent.more.items()},
        "max_turns": agent.max_turns,
        "limits": {name: _plain(value) for name, value in terms.limits.items()},
        "model": terms.model,
        "sandbox": terms.sandbox,
        "network": terms.network,
        "read_only": terms.read_only,
        "rules": {"allow": list(terms.allow), "ask": list(terms.ask), "deny": list(terms.deny)},
        "mcp": list(terms.mcp),
        "answer_schema": None if agent.answer_schema is None else agent.answer_schema.document,
        "examples": list(agent.examples),
        "instructions": agent.instructions,
    }


def left_out_documents(catalog: AgentCatalog) -> list[Document]:
    """Return each file that describes no agent that a run can use, and why."""
    return [
        {"file": file.place, "agent": file.name, "error": file.error.message, "hint": file.error.hint}
        for file in catalog.files
        if file.error is not None
    ]


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (int, float)) else float(str(value))
