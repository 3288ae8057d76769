"""agentctl: one task, one agent, and a limit that holds. Importing it does nothing and loads nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentctl.context_manager import ContextManager
    from agentctl.docker_agent import DockerAgent
    from agentctl.errors import AgentctlError, BudgetExceeded
    from agentctl.limits import CostLimit
    from agentctl.measure import Measure
    from agentctl.protocols import CommandResult
    from agentctl.providers.builtin.provider import BuiltinProvider
    from agentctl.providers.create import create_llm_provider
    from agentctl.providers.face import LLMProvider
    from agentctl.providers.families import measure_for
    from agentctl.providers.named import AnthropicProvider, OllamaProvider, OpenAIProvider
    from agentctl.providers.scripted import ScriptedProvider
    from agentctl.results import RunResult
    from agentctl.tools.shell import run_shell_async
    from agentctl.tools.write import write_file_async
    from agentctl.tracker import CostTracker

_HOME = {
    "AgentctlError": "agentctl.errors",
    "AnthropicProvider": "agentctl.providers.named",
    "BudgetExceeded": "agentctl.errors",
    "BuiltinProvider": "agentctl.providers.builtin.provider",
    "CommandResult": "agentctl.protocols",
    "ContextManager": "agentctl.context_manager",
    "CostLimit": "agentctl.limits",
    "CostTracker": "agentctl.tracker",
    "DockerAgent": "agentctl.docker_agent",
    "LLMProvider": "agentctl.providers.face",
    "Measure": "agentctl.measure",
    "OllamaProvider": "agentctl.providers.named",
    "OpenAIProvider": "agentctl.providers.named",
    "RunResult": "agentctl.results",
    "ScriptedProvider": "agentctl.providers.scripted",
    "create_llm_provider": "agentctl.providers.create",
    "measure_for": "agentctl.providers.families",
    "run_shell_async": "agentctl.tools.shell",
    "write_file_async": "agentctl.tools.write",
}

__all__ = [
    "AgentctlError",
    "AnthropicProvider",
    "BudgetExceeded",
    "BuiltinProvider",
    "CommandResult",
    "ContextManager",
    "CostLimit",
    "CostTracker",
    "DockerAgent",
    "LLMProvider",
    "Measure",
    "OllamaProvider",
    "OpenAIProvider",
    "RunResult",
    "ScriptedProvider",
    "create_llm_provider",
    "measure_for",
    "run_shell_async",
    "write_file_async",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'agentctl' has no attribute {name!r}")
    value: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
