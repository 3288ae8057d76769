"""The types of the documents that ``agentctl schema`` describes: what a builder returns, and what a script may rely on.

``tests.support.json_schemas`` generates the JSON Schemas from these types, so a builder, its type and its schema cannot
differ. In ``Annotated``, a text is the field's description, ``Keywords`` are added to its schema, and a class says
which tuple the object, or each object of the list, was made from. Import this module for annotations only: it is not
needed to run.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from agentctl.cli.exit_codes import ExitStatus
from agentctl.core.errors import LIMIT_NAMES
from agentctl.core.impact import DeniedCall
from agentctl.core.results import ErrorInfo, FileNotice, InputTaken, PendingCall, Takeover, TierFailure, ToolCount


class Keywords:
    """Keywords of JSON Schema that narrow a field."""

    def __init__(self, **values: object) -> None:
        self.values = values


Count = Annotated[int, Keywords(minimum=0)]
Moment = Annotated[str, Keywords(format="date-time", pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
Status = Annotated[
    str,
    "the name of the exit code; all that stops a run from outside is 'interrupted'",
    Keywords(enum=list(dict.fromkeys(status.shown for status in ExitStatus))),
]
ExitCode = Annotated[int, Keywords(enum=[status.value for status in ExitStatus])]
Dollars = Annotated[float, "US dollars"]
Error = Annotated[dict[str, Any], ErrorInfo]

_BY_LIMIT = Keywords(propertyNames={"enum": list(LIMIT_NAMES)})


class UsageFields(TypedDict):
    """Tokens as the provider reported them: ``cached_input_tokens`` are included in ``input_tokens``."""

    input_tokens: Count
    cached_input_tokens: Count
    output_tokens: Count
    reasoning_tokens: Annotated[Count, "included in output_tokens"]


class RunCost(TypedDict):
    """What a run cost: ``nano_usd`` is exact, null means that a price is unknown."""

    usd: Dollars | None
    nano_usd: int | None
    in_doubt_usd: Annotated[Dollars | None, "counts as spent, at the worst case"]
    price_source: str | None


class LimitAmounts(TypedDict):
    """A limit and its use, in dollars, tokens or calls; a limit of null is none."""

    limit: float | None
    used: float | None


class LimitScope(TypedDict):
    """Whose spending the ledger counts."""

    scope: Literal["machine"]


class BreakerFields(TypedDict):
    """The limit that stopped a run, and its numbers in the limit's own unit."""

    limit: str
    ceiling: float | None
    spent: float | None
    held: float | None
    would_be: float | None
    hold: Annotated[float | None, "only after an overrun: the amount held for the call"]
    charge: Annotated[float | None, "only after an overrun: the amount that counts for the call"]
    free_at: Annotated[Moment | None, "when waiting would help, null if never"]
    hint: str
    run_id: NotRequired[Annotated[str, "the run above this one that the limit belongs to"]]


class RunDocument(TypedDict):
    """How a run ended: ``agentctl run --json``. A run that failed before it began has a ``run_id`` of null."""

    schema: Literal["agentctl.run/1"]
    version: Annotated[str, "agentctl's version"]
    run_id: str | None
    status: Status
    exit_code: ExitCode
    complete: Annotated[bool, "false if the answer is only a part"]
    answer: str
    task: str | None
    agent: str | None
    provider: str | None
    provider_chosen_by: str | None
    model: str | None
    models: Annotated[list[str], "the models that answered"]
    client: Annotated[str | None, "what sent the requests: lean or litellm"]
    fallbacks: Annotated[list[dict[str, Any]], Takeover]
    turns: Count
    started_at: Moment | None
    finished_at: Moment | None
    duration_s: Annotated[float, Keywords(minimum=0)]
    labels: dict[str, str]
    resumed_from: str | None
    usage: UsageFields
    cost: RunCost
    limits: Annotated[dict[str, LimitAmounts], _BY_LIMIT]
    ledger: LimitScope
    breaker: BreakerFields | None
    tools: Annotated[list[dict[str, Any]], ToolCount]
    denied: Annotated[list[str], "the calls that were denied"]
    denied_calls: Annotated[list[dict[str, Any]], DeniedCall]
    pending: Annotated[list[dict[str, Any]], PendingCall]
    sandbox: Annotated[str | None, "where commands ran: bwrap, landlock, none or external"]
    sandbox_failures: Annotated[list[dict[str, Any]], TierFailure]
    left_out: Annotated[list[str], "the tools that were not offered, as there is no sandbox for them"]
    changed_files_run_later: Annotated[list[dict[str, Any]], FileNotice]
    input: Annotated[dict[str, Any] | None, InputTaken]
    warnings: list[str]
    error: Error | None


class ErrorDocument(TypedDict):
    """The failure of a command other than ``run``, with ``--json``."""

    schema: Literal["agentctl.error/1"]
    version: str
    status: Status
    exit_code: ExitCode
    error: Error


class RunPartFields(TypedDict):
    """A part of a run that goes on from its journal, or from that of another run; limits are totals."""

    at: str | None
    source: Annotated[str, "the run that it goes on from: itself, unless it is a fork"]
    fork: bool
    turns: Annotated[Count, "whole turns before it"]
    words: Annotated[str, "what the user said, empty for nothing"]
    limits: Annotated[dict[str, LimitAmounts], _BY_LIMIT, "'used' is what was used when the part began"]
    changes: Annotated[list[str], "what differed from the part before"]


class ContextFields(TypedDict):
    """The size of a turn's request, by agentctl's own count."""

    messages: Count
    tokens: Count
    limit: Count


class ModelCallFields(TypedDict):
    """One request to the model; tokens are null unless it was settled."""

    purpose: Literal["turn", "summary"]
    outcome: Annotated[
        Literal["open", "settled", "in doubt", "not billed"], "open: the journal ends before the request does"
    ]
    reason: Annotated[str | None, "why it is in doubt, or was not billed"]
    input_tokens: Count | None
    cached_input_tokens: Count | None
    output_tokens: Count | None
    usd: Annotated[Dollars | None, "what counts as spent; null if unknown"]
    nano_usd: int | None


class ToolUseFields(TypedDict):
    """One tool call that the model asked for."""

    name: str
    arguments: dict[str, Any]
    decision: Annotated[str | None, "how it was decided, unless it only reads: 'allowed: ...', 'denied: ...'"]
    result: Annotated[str | None, "what the model read; null without one, and with --no-results"]
    failed: bool
    duration_s: float | None


class TurnFields(TypedDict):
    """One turn: the requests, the model's text and its tool calls."""

    turn: Annotated[int, Keywords(minimum=1)]
    run_id: Annotated[str, "the run that it belongs to: in a fork, its first turns are those of another run"]
    started_at: str | None
    prompts: Annotated[list[str], "what was said to the model before: the task with its data, or a reminder"]
    context: ContextFields | None
    calls: list[ModelCallFields]
    text: str
    tools: list[ToolUseFields]
    notes: Annotated[list[str], "warnings, retries, cuts of the context"]


class TranscriptCost(TypedDict):
    """What the whole run cost, also if only some turns are exported; null means that a price is unknown."""

    usd: Dollars | None
    nano_usd: int | None
    in_doubt_usd: Annotated[Dollars | None, "counts as spent, at the worst case"]


class LeftOut(TypedDict):
    """What was left out: turns by --turns, and texts with results by --no-results."""

    turns: Count
    results: Count


class TranscriptDocument(TypedDict):
    """A run as 'agentctl runs export --format json' prints it. Texts are as they came: a reader escapes them."""

    schema: Literal["agentctl.transcript/1"]
    version: str
    run_id: str
    status: Annotated[str | None, "null if the run has not ended"]
    exit_code: int | None
    complete: bool
    task: str
    agent: str | None
    provider: str | None
    model: str | None
    labels: dict[str, str]
    started_at: str | None
    finished_at: str | None
    duration_s: float | None
    parts: Annotated[list[RunPartFields], "one for each time that the run was resumed"]
    cost: TranscriptCost
    turns_in_all: Count
    turns: list[TurnFields]
    answer: Annotated[str | None, "null without one, or if --turns leaves the last turn out"]
    error: Error | None
    left_out: LeftOut
    redactions: Annotated[Count, "how often --redact matched in what is exported"]


class ComparedRun(TypedDict):
    """One of the two runs; status and exit code are null if it has not ended."""

    run_id: str
    started_at: str | None
    status: str | None
    exit_code: int | None


class ValuePair(TypedDict):
    """A value in both runs; null where a run has none."""

    a: Any
    b: Any
    differs: bool


class TextPair(TypedDict):
    """A text in both runs, with the lines of a unified diff: none if they are the same."""

    a: str
    b: str
    differs: bool
    diff: list[str]


class ComparedCall(TypedDict):
    """A tool call that the model asked for; 'outcome' is none if the journal has no result of it."""

    turn: Count
    name: str
    arguments: dict[str, Any]
    outcome: Literal["done", "failed", "denied", "none"]


class CallPair(TypedDict):
    """A call of both runs, or of one of them; 'change' says in what the two differ first."""

    change: Literal["same", "outcome", "arguments", "only_a", "only_b"]
    a: ComparedCall | None
    b: ComparedCall | None


class AmountPair(TypedDict):
    """An amount in both runs, and b less a; null where it is unknown."""

    a: float | None
    b: float | None
    change: float | None


class RunsDiffDocument(TypedDict):
    """What two runs differ in: 'agentctl runs diff A B --json'."""

    schema: Literal["agentctl.runs-diff/1"]
    version: str
    a: ComparedRun
    b: ComparedRun
    differs: Annotated[bool, "whether 'differences' names anything; times do not count"]
    differences: Annotated[list[str], "the names of what differs: 'model', 'limits.max_cost_per_task', 'amounts.turns'"]
    values: Annotated[dict[str, ValuePair], "agent, provider, model, client, sandbox, workdir, status, error, ..."]
    settings: Annotated[dict[str, ValuePair], "the flags that a resumed run keeps, by the names of the settings"]
    limits: Annotated[dict[str, ValuePair], "in dollars, tokens or calls; null for none"]
    digests: Annotated[dict[str, ValuePair], "of the tools offered, the agent, the model, the prices"]
    texts: Annotated[dict[str, TextPair], "task, system_prompt, answer"]
    tool_calls: Annotated[list[CallPair], "the calls of both runs side by side, in order"]
    amounts: Annotated[dict[str, AmountPair], "turns, requests, tokens, nano_usd, context_cuts, duration_s, ..."]
    error: Error | None


class RemovedRun(TypedDict):
    """A run whose journal and full results were removed."""

    run_id: str
    bytes: Count


class KeptRun(TypedDict):
    """A run that 'agentctl runs prune' left in place."""

    run_id: str
    reason: str


class RunsRemovedDocument(TypedDict):
    """What 'agentctl runs rm' and 'agentctl runs prune' removed; with --dry-run, what they would remove."""

    schema: Literal["agentctl.runs-removed/1"]
    version: str
    dry_run: bool
    removed: list[RemovedRun]
    kept: Annotated[list[KeptRun], "runs that were selected and are still needed"]
    bytes: Annotated[Count, "of all that was removed"]
    error: Error | None


class CallCounts(TypedDict):
    """Calls and tokens; ``unknown_calls`` have no known price."""

    calls: Count
    unknown_calls: Count
    input_tokens: Count
    cached_input_tokens: Count
    output_tokens: Count


class CostFields(TypedDict):
    """Amounts: ``usd`` is null where the price of a call is unknown, ``known_usd`` is the sum without such calls."""

    usd: Dollars | None
    nano_usd: int | None
    known_usd: Dollars | None
    known_nano_usd: int
    unknown_calls: Count
    in_doubt_usd: Annotated[Dollars | None, "counts as spent, at the worst case"]
    in_doubt_nano_usd: int
    held_usd: Annotated[Dollars | None, "the worst case of calls that are under way"]
    held_nano_usd: int


class TotalFields(CostFields, CallCounts):
    """The sum of all rows."""

    runs: Count


class CostRowFields(CallCounts):
    """One group of calls: the fields of its groups (``--by``), and its sums."""

    hour: NotRequired[Moment | None]
    day: NotRequired[Moment | None]
    run_id: NotRequired[str | None]
    agent: NotRequired[str | None]
    provider: NotRequired[str | None]
    model: NotRequired[str | None]
    purpose: NotRequired[str | None]
    labels: NotRequired[Annotated[dict[str, str | None], "the labels that --by names"]]
    answered_models: NotRequired[Annotated[list[str], "models that answered in place of the one that was asked"]]
    cost: CostFields
    last_at: Moment | None


class LimitLeft(TypedDict):
    """A limit, its use and its rest, in dollars, tokens or calls; a limit of null is none."""

    limit: float | None
    used: float | None
    left: float | None


class GateFields(TypedDict):
    """The result of ``--fail-above``."""

    usd: Dollars | None
    counted_usd: Dollars | None
    passed: bool


class CostsDocument(TypedDict):
    """What was spent in a window: ``agentctl costs --json``; with ``--watch`` one such document a line."""

    schema: Literal["agentctl.costs/1"]
    version: str
    status: Status
    exit_code: ExitCode
    since: Moment | None
    until: Moment | None
    timezone: str
    by: list[str]
    labels: Annotated[list[str], "NAME=VALUE, as --label selects runs"]
    run_id: Annotated[str | None, "the run that --run selects"]
    rows: list[CostRowFields]
    total: TotalFields
    max_cost_per_hour: Annotated[LimitLeft | None, "null if the setting is invalid"]
    limits: Annotated[dict[str, LimitLeft], _BY_LIMIT]
    fail_above: GateFields | None
    error: Error | None
