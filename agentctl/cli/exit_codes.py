"""The exit codes: one number, one name, one sentence each.

To add one: a member and a sentence here, and an error in ``core.errors`` whose ``status`` is the member's name.
"""

from __future__ import annotations

from enum import IntEnum

from agentctl.core.errors import AgentctlError


class ExitStatus(IntEnum):
    """The exit codes; ``shown`` is the ``status`` of the result document."""

    done = 0
    failed = 1
    usage = 2
    budget = 3
    unavailable = 4
    denied = 5
    sandbox = 6
    context = 7
    model_gone = 69
    internal = 70
    state = 74
    rate_limited = 75
    auth = 77
    timeout = 124
    interrupted = 130
    terminated = 143

    @property
    def shown(self) -> str:
        """The status's name; ``interrupted`` for both signals."""
        return "interrupted" if self is ExitStatus.terminated else self.name


SENTENCES = {
    ExitStatus.done: "The agent finished; the answer is on stdout.",
    ExitStatus.failed: "The agent gave up, or ran out of turns. No run ends with 1 otherwise.",
    ExitStatus.usage: "A flag, argument or setting is wrong, or a dollar limit meets a model without a price.",
    ExitStatus.budget: "A breaker tripped before a limit was passed; stderr says which one, with both numbers.",
    ExitStatus.unavailable: "The provider or the container engine could not be reached or used; error.kind says which.",
    ExitStatus.denied: "A needed action was refused, or needed a person who was not there; or a nested run has no"
    " parent to draw on.",
    ExitStatus.sandbox: "A boundary was asked for, or is needed by the task, and cannot be had here.",
    ExitStatus.context: "The conversation cannot be made to fit the model's context window.",
    ExitStatus.model_gone: "The provider does not know the model.",
    ExitStatus.internal: "A bug in agentctl; stderr says where the log is.",
    ExitStatus.state: "The ledger, the journal or stdout cannot be written, or what is written cannot be believed.",
    ExitStatus.rate_limited: "The provider still refused after the retries: try later; or no credit is left there.",
    ExitStatus.auth: "A key is missing or was rejected.",
    ExitStatus.timeout: "The run's own time (--timeout) was over.",
    ExitStatus.interrupted: "Ctrl-C: calls stopped, holds kept, children dead, journal closed, summary printed.",
    ExitStatus.terminated: "SIGTERM: the same as Ctrl-C.",
}


def exit_status(error: BaseException) -> ExitStatus:
    """Return the exit code for ``error``."""
    if isinstance(error, AgentctlError):
        return status_named(error.status)
    return ExitStatus.interrupted if isinstance(error, KeyboardInterrupt) else ExitStatus.internal


def status_named(status: str) -> ExitStatus:
    """Return the exit code with this name; an unknown name is an internal error."""
    return ExitStatus.__members__.get(status, ExitStatus.internal)
