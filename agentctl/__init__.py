"""agentctl: one task, one agent, and a limit that holds. Importing it does nothing and loads nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentctl.api.agent import Agent
    from agentctl.api.cost_tracker import CostTracker
    from agentctl.api.docker_agent import DockerAgent, SystemAgent
    from agentctl.context.manager import ContextManager
    from agentctl.context.tokens import Measure
    from agentctl.core.errors import AgentctlError, BudgetExceeded
    from agentctl.core.limits import CostLimit
    from agentctl.core.messages import Completion, ToolCall, Usage
    from agentctl.core.results import RunResult
    from agentctl.protocols import CommandResult
    from agentctl.providers.builtin.provider import BuiltinProvider
    from agentctl.providers.factory import AnthropicProvider, OllamaProvider, OpenAIProvider, create_llm_provider
    from agentctl.providers.llm_provider import LLMProvider
    from agentctl.providers.scripted import ScriptedProvider
    from agentctl.providers.tokenizers import measure_for
    from agentctl.runner.assemble import assemble
    from agentctl.settings import ProviderChoice, load_settings
    from agentctl.tools.files.write import write_file_async
    from agentctl.tools.function_tool import tool
    from agentctl.tools.shell import run_shell_async

_HOME = {
    "Agent": "agentctl.api.agent",
    "AgentctlError": "agentctl.core.errors",
    "AnthropicProvider": "agentctl.providers.factory",
    "BudgetExceeded": "agentctl.core.errors",
    "BuiltinProvider": "agentctl.providers.builtin.provider",
    "CommandResult": "agentctl.protocols",
    "Completion": "agentctl.core.messages",
    "ContextManager": "agentctl.context.manager",
    "CostLimit": "agentctl.core.limits",
    "CostTracker": "agentctl.api.cost_tracker",
    "DockerAgent": "agentctl.api.docker_agent",
    "LLMProvider": "agentctl.providers.llm_provider",
    "Measure": "agentctl.context.tokens",
    "OllamaProvider": "agentctl.providers.factory",
    "OpenAIProvider": "agentctl.providers.factory",
    "ProviderChoice": "agentctl.settings",
    "RunResult": "agentctl.core.results",
    "ScriptedProvider": "agentctl.providers.scripted",
    "SystemAgent": "agentctl.api.docker_agent",
    "ToolCall": "agentctl.core.messages",
    "Usage": "agentctl.core.messages",
    "assemble": "agentctl.runner.assemble",
    "create_llm_provider": "agentctl.providers.factory",
    "load_settings": "agentctl.settings",
    "measure_for": "agentctl.providers.tokenizers",
    "run_shell_async": "agentctl.tools.shell",
    "tool": "agentctl.tools.function_tool",
    "write_file_async": "agentctl.tools.files.write",
}

__all__ = [
    "Agent",
    "AgentctlError",
    "AnthropicProvider",
    "BudgetExceeded",
    "BuiltinProvider",
    "CommandResult",
    "Completion",
    "ContextManager",
    "CostLimit",
    "CostTracker",
    "DockerAgent",
    "LLMProvider",
    "Measure",
    "OllamaProvider",
    "OpenAIProvider",
    "ProviderChoice",
    "RunResult",
    "ScriptedProvider",
    "SystemAgent",
    "ToolCall",
    "Usage",
    "assemble",
    "create_llm_provider",
    "load_settings",
    "measure_for",
    "run_shell_async",
    "tool",
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
