"""The result of a tool call: a text, or an error; as the model reads it, and as a journal or a cassette keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentctl.core.errors import (
    ActionDenied,
    AgentctlError,
    EngineUnavailable,
    InternalError,
    SandboxUnavailable,
    ToolError,
)
from agentctl.core.results import ErrorInfo

if TYPE_CHECKING:  # used only by runs with a language model
    from agentctl.journal.past_run import PastCall

Result = str | AgentctlError
_ERRORS: tuple[type[AgentctlError], ...] = (EngineUnavailable, SandboxUnavailable, InternalError, ActionDenied)


def format_for_model(result: Result) -> str:
    """Return a result as the text that the model reads."""
    if isinstance(result, str):
        return result
    word = "denied" if isinstance(result, ActionDenied) else "error"
    return f"{word}: {result.message}" + (f"\nhint: {result.hint}" if result.hint else "")


def rebuild(text: str | None, error: ErrorInfo | None) -> Result:
    """Return the result that was kept as a text, or as an error."""
    if error is None:
        return text or ""
    kind = next((kind for kind in _ERRORS if kind.kind == error.kind), ToolError)
    return kind(error.message, hint=error.hint)


def past_result(made: PastCall) -> Result:
    """Return the result of a call that an earlier part of the run made."""
    return rebuild(made.text, made.error)
