"""The types of the documents that ``agentctl schema`` describes: what a builder returns, and what a script may rely on.

``tests.support.json_schemas`` generates the JSON Schemas from these types, so a builder, its type and its schema cannot
differ. In ``Annotated``, a text is the field's description, ``Keywords`` are added to its schema, and a class says
which tuple the object, or each object of the list, was made from. Import this module for annotations only: it is not
needed to run.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict, get_args

from agentctl.cli.exit_codes import ExitStatus
from agentctl.core.errors import LimitName
from agentctl.core.impact import DeniedCall
from agentctl.core.messages import ToolCall
from agentctl.core.results import (
    ErrorInfo,
    FileNotice,
    InputTaken,
    McpSkipped,
    McpStatus,
    PendingCall,
    Takeover,
    TierFailure,
    ToolCount,
)
from agentctl.protocols import Effect


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

BY_LIMIT = Keywords(propertyNames={"enum": list(get_args(LimitName))})


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
    replayed_usd: NotRequired[Annotated[Dollars | None, "of a replayed run: what its calls cost by their recording"]]


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


class McpFields(TypedDict):
    """The MCP servers of a run: how they fared, and the entries of the configuration that are none."""

    servers: Annotated[list[dict[str, Any]], McpStatus]
    skipped: Annotated[list[dict[str, Any]], McpSkipped]


class DelegatedCost(TypedDict):
    """What a delegated run cost alone."""

    usd: Annotated[float | None, "null if the price is unknown"]
    nano_usd: int | None
    in_doubt_usd: float | None


class DelegatedFields(TypedDict):
    """A run that the tool ``delegate`` started."""

    run_id: str
    agent: str
    status: Status
    cost: DelegatedCost


class RunDocument(TypedDict):
    """How a run ended: ``agentctl run --json``. A run that failed before it began has a ``run_id`` of null.

    One that was refused to go on has its own, and what it has cost so far.
    """

    schema: Literal["agentctl.run/1"]
    version: Annotated[str, "agentctl's version"]
    run_id: str | None
    status: Status
    exit_code: ExitCode
    complete: Annotated[bool, "false if the answer is only a part"]
    answer: str
    structured: Annotated[dict[str, Any] | None, "the value of an answer that is valid by the run's schema"]
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
    replayed: Annotated[bool, "answered by a cassette: nothing was sent, and it cost nothing"]
    usage: UsageFields
    cost: RunCost
    limits: Annotated[dict[str, LimitAmounts], BY_LIMIT]
    ledger: LimitScope
    breaker: BreakerFields | None
    tools: Annotated[list[dict[str, Any]], ToolCount]
    denied: Annotated[list[str], "the calls that were denied"]
    denied_calls: Annotated[list[dict[str, Any]], DeniedCall]
    pending: Annotated[list[dict[str, Any]], PendingCall]
    sandbox: Annotated[str | None, "where commands ran: bwrap, landlock, none or external"]
    sandbox_failures: Annotated[list[dict[str, Any]], TierFailure]
    left_out: Annotated[list[str], "the tools that were not offered, as there is no sandbox, or no systemd, for them"]
    mcp: Annotated[McpFields | None, "null without MCP servers"]
    delegated: Annotated[list[DelegatedFields], "the runs that its tool delegate started"]
    changed_files_run_later: Annotated[list[dict[str, Any]], FileNotice]
    input: Annotated[dict[str, Any] | None, InputTaken]
    warnings: list[str]
    error: Error | None


class PreToolDocument(TypedDict):
    """What a hook before a tool call reads from stdin: a call that may run otherwise."""

    schema: Literal["agentctl.pre-tool/1"]
    version: Annotated[str, "agentctl's version"]
    event: Literal["pre_tool"]
    run_id: str
    at: Moment
    workdir: Annotated[str, "the workspace of the run; the hook itself starts in /"]
    effect: Annotated[str, Keywords(enum=list(get_args(Effect)))]
    call: Annotated[dict[str, Any], ToolCall]
    arguments: Annotated[dict[str, Any], "the arguments as the call will use them: validated, names and paths resolved"]


class ErrorDocument(TypedDict):
    """The failure of a command other than ``run``, with ``--json``."""

    schema: Literal["agentctl.error/1"]
    version: str
    status: Status
    exit_code: ExitCode
    error: Error


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
    host: NotRequired[str | None]
    ci_run: NotRequired[Annotated[str | None, "the run of a CI system; null outside of one, and if it is not known"]]
    user: NotRequired[Annotated[str | None, "who ran it; null if it is not known"]]
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
    limits: Annotated[dict[str, LimitLeft], BY_LIMIT]
    fail_above: GateFields | None
    error: Error | None
