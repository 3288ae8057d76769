"""All errors in one tree; each has a kind, which scripts read, and a status: a name of ``cli.exit_codes.ExitStatus``.

AgentctlError                   status (the name of the exit code), message, hint
├── UsageError                  2   usage: bad flag, bad setting
│   ├── UnknownPrice                a dollar limit, but no price to enforce it
│   └── LeaseError                  a lease is missing, invalid, expired or of another job (core/leases)
├── BudgetExceeded              3   budget: a breaker tripped; carries the verdict
├── TaskFailed                  1   failed: the agent gave up
│   ├── SchemaMismatch              the answer is not valid by the user's schema (core/answer_schema)
│   └── Unverified                  the model answered without looking at what the task names
├── ToolError                   the model reads it with its hint; the run goes on
│   └── EngineUnavailable       4   the same; 4 (unavailable, kind "engine") where it ends a command
├── ProviderError               carries ``billed``, ``retryable``, ``retry_after``
│   ├── ProviderUnavailable     4   unavailable, kind "provider"
│   │   ├── BrokenOff               it ended its answer before it was whole, and was paid for that
│   │   ├── Unreachable             nothing answers at the address: waiting does not help
│   │   ├── Silent                  a server of this host took too long: again would take as long
│   │   └── Rejected                a request that will never be accepted
│   │       ├── ParameterRefused    one of its parameters was: asked again without it
│   │       └── CannotBeLimited 2   usage: the length of its answers cannot be limited
│   ├── Refused                 1   failed: the provider refuses the question (content filter)
│   ├── ContextOverflow         7   context
│   ├── ModelGone               69  model_gone
│   │   └── AddressGone             nothing is at the path, whatever the model
│   ├── RateLimited             75  rate_limited
│   │   ├── RequestTooLarge         one request is above the limit of a minute: waiting does not help
│   │   └── QuotaExceeded           no credit left: waiting does not help
│   └── AuthFailed              77  auth
├── ActionDenied                5   denied
├── SandboxUnavailable          6   sandbox
├── StateError                  74  state: ledger or journal full, read-only, corrupt
│   ├── LedgerBusy                  another process holds its lock: waiting may help
│   └── LedgerGone                  moved, deleted or replaced while it was in use
├── RunTimeout                  124 timeout
├── Interrupted                 129 hung_up, 130 interrupted or 143 terminated
├── ReaderGone                  141 reader_gone: stdout has no reader any more
└── InternalError               70  internal: our own bug
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal, NamedTuple, get_args

from agentctl.core.impact import Impact

Billed = Literal["no", "unknown"]
StopCause = Literal["Ctrl-C", "SIGTERM", "SIGHUP"]
LimitName = Literal[
    "max_cost_per_task",
    "max_cost_per_minute",
    "max_cost_per_hour",
    "max_cost_per_day",
    "max_cost_per_month",
    "max_tokens_per_task",
    "max_calls_per_minute",
    "max_cost_per_lease",
]
LIMIT_NAMES: tuple[LimitName, ...] = get_args(LimitName)[:-1]  # those that a user sets; a lease has its own
Unit = Literal["nano_usd", "tokens", "calls"]


class Verdict(NamedTuple):
    """The limit that refused an attempt, in its own unit.

    ``would_be`` includes the least output that would do. ``doubtful``: amounts in doubt are the cause (exit 4, not 3).
    ``free_at`` is when waiting would help, None if never. ``run_id`` is the run that has the limit, "" for a window
    over everyone's spending that the requesting process set itself.

    After an overrun, ``hold`` is the amount held for the call and ``charge`` the amount that counts for it; both are
    None for a refusal. Then ``spent`` or ``in_doubt`` includes the charge, ``would_be`` is the amount that counts now,
    and ``ceiling`` is None where the run has no such limit.
    """

    limit: LimitName
    unit: Unit
    ceiling: int | None
    spent: int
    in_doubt: int
    held: int
    would_be: int
    doubtful: bool = False
    free_at: datetime | None = None
    run_id: str = ""
    hold: int | None = None
    charge: int | None = None


class AgentctlError(Exception):
    """An error: what happened (``message``) and what to do about it (``hint``, may be empty).

    ``status`` is the name of the exit code that the command line ends with, ``kind`` is more specific.

    >>> from agentctl import AgentctlError, CostTracker
    >>> try:
    ...     CostTracker(cost_per_1k_input=0.03)
    ... except AgentctlError as error:
    ...     print(f"{error.status}: {error.message} ({error.hint})")
    usage: cost_per_1k_output is missing (pass both prices, in dollars per 1,000 tokens (0 is free), or neither)
    """

    status: ClassVar[str] = "internal"
    kind: ClassVar[str] = "internal"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(AgentctlError):
    """A flag, an argument or a setting is wrong; nothing was sent."""

    status = "usage"
    kind = "usage"


class UnknownPrice(UsageError):
    """A dollar limit is set, but the model's price is unknown: a breaker fails closed."""

    kind = "unknown_price"


class BudgetExceeded(AgentctlError):
    """A breaker tripped before the limit was passed; nothing was sent.

    ``verdict`` has the limit and its numbers, in nano-dollars (10⁻⁹ USD) or tokens. ``partial`` is an answer that was
    paid for and must not be thrown away (a provider overran its hold). An agent does not raise it: the run's result
    has the status "budget" and, as ``breaker``, the same numbers.

    >>> from agentctl import BudgetExceeded, CostLimit, CostTracker, DockerAgent, ScriptedProvider
    >>> nothing = CostTracker(cost_per_1k_input=1, cost_per_1k_output=1, limits=CostLimit(max_cost_per_task=0))
    >>> result = DockerAgent(ScriptedProvider([]), cost_tracker=nothing).execute("List all containers")
    >>> result.status == BudgetExceeded.status, result.breaker.limit, result.breaker.ceiling
    (True, 'max_cost_per_task', 0)
    """

    status = "budget"
    kind = "budget"

    def __init__(self, message: str, *, verdict: Verdict, hint: str = "", partial: str = "") -> None:
        super().__init__(message, hint=hint)
        self.verdict = verdict
        self.partial = partial


class TaskFailed(AgentctlError):
    """The agent gave up: turn limit, an empty answer, a refusal, no match."""

    status = "failed"
    kind = "failed"


class Unverified(TaskFailed):
    """The model answered twice without looking at the file or container that the task names."""

    kind = "unverified"


class ToolError(AgentctlError):
    """A tool could not do what was requested; the model reads the message and the hint."""

    status = "failed"
    kind = "tool"


class EngineUnavailable(ToolError):
    """The container engine cannot do this now: it is not running, there is no permission, or no such container."""

    status = "unavailable"
    kind = "engine"


class ProviderError(AgentctlError):
    """A provider returned an error or an invalid answer.

    ``billed`` is "no" only when the attempt certainly cost nothing: it was ``unsent``, or the provider's own error
    document says so, which counts only at a known endpoint. ``retry_after`` is in seconds. ``window`` and
    ``affordable``, in tokens, are the most that one request may have and the output that is left for this one; None if
    the provider does not name them.
    """

    status = "unavailable"
    kind = "provider"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        billed: Billed = "unknown",
        retry_after: float | None = None,
        unsent: bool = False,
        window: int | None = None,
        affordable: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.billed: Billed = billed
        self.unsent = unsent
        self.retry_after = retry_after
        self.window, self.affordable = window, affordable


class ProviderUnavailable(ProviderError):
    """The provider is unreachable, has a server error, or sent an incomplete or malformed answer."""

    retryable = True


class BrokenOff(ProviderUnavailable):
    """The provider ended its answer, and its word for the reason (``reason``) does not say that the answer is whole.

    It is not asked again, as it may bill each time what it broke off.
    """

    retryable = False

    def __init__(self, provider: str, reason: str) -> None:
        super().__init__(
            f"{provider} broke off its answer: the finish reason is {reason or 'missing'}",
            hint="run it again, or choose another model",
        )
        self.reason = reason


class Unreachable(ProviderUnavailable):
    """Nobody answers at the provider's address, and waiting does not help: no server, no such host, no trusted TLS."""

    retryable = False


class Silent(ProviderUnavailable):
    """A server of this host took too long: the same request again would only keep it at work for as long."""

    retryable = False


class Rejected(ProviderUnavailable):
    """The provider will never accept this request; a retry would not help."""

    retryable = False


class ParameterRefused(Rejected):
    """The provider does not take an optional parameter of the request, which is left out from now on."""

    retryable = True


class CannotBeLimited(Rejected):
    """The server takes no field that limits an answer, so no request to it has a bound."""

    status = "usage"
    kind = "usage"


class Refused(ProviderError):
    """The provider refuses to answer this question, by its content filter."""

    status = "failed"
    kind = "refused"


class ContextOverflow(ProviderError):
    """The conversation cannot be made to fit the model's context window.

    ``window`` and ``prompt`` are both in tokens, as the provider named them when it refused; None if it did not. Before
    anything is sent, ``prompt`` is what the messages need.
    """

    status = "context"
    kind = "context"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        billed: Billed = "unknown",
        retry_after: float | None = None,
        unsent: bool = False,
        window: int | None = None,
        prompt: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, billed=billed, retry_after=retry_after, unsent=unsent, window=window)
        self.prompt = prompt


class ModelGone(ProviderError):
    """The provider does not know the model."""

    status = "model_gone"
    kind = "model_gone"


class AddressGone(ModelGone):
    """Nothing is at the path of the provider's address: no other model would help."""


class RateLimited(ProviderError):
    """The provider asks to retry later."""

    status = "rate_limited"
    kind = "rate_limited"
    retryable = True


class RequestTooLarge(RateLimited):
    """One request asks for more tokens than the provider allows in a minute: waiting does not help.

    ``window`` is what it allows, for the input and the output asked for together.
    """

    retryable = False


class QuotaExceeded(RateLimited):
    """No credit is left: waiting does not help. ``affordable`` is the output that the remaining credit pays for."""

    kind = "quota"
    retryable = False


class AuthFailed(ProviderError):
    """The key is missing or was rejected."""

    status = "auth"
    kind = "auth"


class ActionDenied(AgentctlError):
    """An action was refused, or needed approval without a person to ask; or a nested run has no parent to draw on.

    ``impact`` is what the refused call would have done, as far as that was looked up. ``hook`` is the program of the
    hook that denied it, "" if none did; ``is_past``: the denial is of an earlier part of a resumed run.
    """

    status = "denied"
    kind = "denied"
    impact: Impact = Impact()
    hook, is_past = "", False


class SandboxUnavailable(AgentctlError):
    """A sandbox was requested, or is needed, but is not available here."""

    status = "sandbox"
    kind = "sandbox"


class StateError(AgentctlError):
    """The ledger or journal cannot be written or is damaged; nothing is spent."""

    status = "state"
    kind = "state"


class LedgerBusy(StateError):
    """Another process holds a lock of the ledger; the same write may succeed later."""


class LedgerGone(StateError):
    """The ledger was moved, deleted or replaced while in use: no other process counts its holds."""


class RunTimeout(AgentctlError):
    """The run reached its time limit (``--timeout``)."""

    status = "timeout"
    kind = "timeout"


class Interrupted(AgentctlError):
    """A user or a signal (``cause``) stopped it: calls stopped, holds kept, child processes ended."""

    kind = "interrupted"

    def __init__(self, message: str, *, cause: StopCause = "Ctrl-C", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cause = cause

    @property
    def status(self) -> str:  # type: ignore[override]
        return {"SIGHUP": "hung_up", "Ctrl-C": "interrupted", "SIGTERM": "terminated"}[self.cause]


class ReaderGone(AgentctlError):
    """The reader of stdout went away while calls were still to be made (``| head -1``): nothing more is paid for."""

    status = "reader_gone"
    kind = "reader_gone"


class InternalError(AgentctlError):
    """Our own bug; ``trace`` is the traceback, for the log that the hint names."""

    def __init__(self, message: str, *, hint: str = "", trace: str = "") -> None:
        super().__init__(message, hint=hint)
        self.trace = trace
