"""The types of the documents of ``agentctl runs``, as ``cli.document_types`` has those of other commands.

Import this module for annotations only: it is not needed to run.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

from agentctl.cli.document_types import BY_LIMIT, Count, Dollars, Error, Keywords, LimitAmounts


class RunPartFields(TypedDict):
    """A part of a run that goes on from its journal, or from that of another run; limits are totals."""

    at: str | None
    source: Annotated[str, "the run that it goes on from: itself, unless it is a fork"]
    fork: bool
    turns: Annotated[Count, "whole turns before it"]
    words: Annotated[str, "what the user said, empty for nothing"]
    limits: Annotated[dict[str, LimitAmounts], BY_LIMIT, "'used' is what was used when the part began"]
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
