"""The exit codes: number, name and description of each.

To add one, add a member and a sentence here, and an error in ``core.errors`` whose ``status`` is the member's name.
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
    hung_up = 129
    interrupted = 130
    quit = 131
    reader_gone = 141
    terminated = 143

    @property
    def shown(self) -> str:
        """The name of the status; ``interrupted`` for all that stops a run from outside."""
        return "interrupted" if self in _FROM_OUTSIDE else self.name


_FROM_OUTSIDE = (ExitStatus.hung_up, ExitStatus.quit, ExitStatus.reader_gone, ExitStatus.terminated)


SENTENCES = {
    ExitStatus.done: "The agent finished; the answer is on stdout.",
    ExitStatus.failed: "The agent gave up or ran out of turns; a run ends with 1 for no other reason."
    " runs diff --exit-code: the runs differ. runs watch --exit-status: so did the run, or its process died.",
    ExitStatus.usage: "A flag, setting, input or lease is invalid, or a dollar limit is set for a model of unknown"
    " price.",
    ExitStatus.budget: "A breaker tripped before a limit was exceeded; stderr names the limit and both numbers."
    " budget merge: a lease was used in two ledgers, or --fail-above was exceeded.",
    ExitStatus.unavailable: "The provider or the container engine could not be reached or used; error.kind says which.",
    ExitStatus.denied: "A needed action was denied, or needed approval without a terminal; or a nested run"
    " has no parent run to draw on.",
    ExitStatus.sandbox: "A sandbox was requested, or the task needs one, and none is available here.",
    ExitStatus.context: "The conversation cannot be made to fit the model's context window.",
    ExitStatus.model_gone: "The provider does not know the model.",
    ExitStatus.internal: "A bug in agentctl; stderr says where the log is.",
    ExitStatus.state: "The ledger, the journal or stdout cannot be written, or a record is damaged.",
    ExitStatus.rate_limited: "The provider still refused after all retries (try later), or has no credit left.",
    ExitStatus.auth: "A key is missing or was rejected.",
    ExitStatus.timeout: "The run took longer than --timeout, waiting for its input included.",
    ExitStatus.hung_up: "SIGHUP, as the terminal closed: the same as Ctrl-C; not under nohup.",
    ExitStatus.interrupted: "Ctrl-C: calls stopped, holds kept, children killed, journal closed, summary printed.",
    ExitStatus.quit: "SIGQUIT: only the terminal is restored; the next run removes what is left.",
    ExitStatus.reader_gone: "The reader of stdout went away (as head -1 does) while calls were still to be made;"
    " no further call was sent.",
    ExitStatus.terminated: "SIGTERM: the same as Ctrl-C.",
}


def exit_status(error: BaseException) -> ExitStatus:
    """Return the exit code for ``error``."""
    if isinstance(error, AgentctlError):
        return status_named(error.status)
    return ExitStatus.interrupted if isinstance(error, KeyboardInterrupt) else ExitStatus.internal


def status_named(status: str) -> ExitStatus:
    """Return the exit code named ``status``; ``internal`` for an unknown name."""
    return ExitStatus.__members__.get(status, ExitStatus.internal)
