"""The JSON documents of a run (``agentctl.run/1``) and of an error, and helpers for all documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from agentctl.cli.exit_codes import exit_status, status_named
from agentctl.core.errors import AgentctlError
from agentctl.core.events import Record, RunFinished
from agentctl.core.pricing import NANO_PER_USD
from agentctl.core.results import BreakerInfo, DelegatedRun, ErrorInfo, LimitUse, McpUse, RunResult
from agentctl.core.text import break_commands_in_json, map_texts, replace_lone_escapes
from agentctl.core.version import __version__

if TYPE_CHECKING:
    from agentctl.cli.document_types import (
        BreakerFields,
        DelegatedFields,
        ErrorDocument,
        LimitAmounts,
        McpFields,
        RunCost,
        RunDocument,
        UsageFields,
    )
    from agentctl.core.messages import Usage

RUN_SCHEMA: Literal["agentctl.run/1"] = "agentctl.run/1"
ERROR_SCHEMA: Literal["agentctl.error/1"] = "agentctl.error/1"

Document = dict[str, object]


def usd(nano: int | None) -> float | None:
    """Return nano-dollars in dollars as a JSON number, None for None."""
    return None if nano is None else float(Decimal(nano) / NANO_PER_USD)


def moment(at: datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC, to the millisecond."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def in_unit(value: int | None, unit: str) -> float | int | None:
    """Return ``value`` as a JSON number: in dollars if ``unit`` is ``nano_usd``, else unchanged."""
    return usd(value) if unit == "nano_usd" else value


def _limit(use: LimitUse) -> LimitAmounts:
    return {"limit": in_unit(use.ceiling, use.unit), "used": in_unit(use.used, use.unit)}


def breaker_document(info: BreakerInfo) -> BreakerFields:
    """Return why a breaker tripped, in the unit of the limit; ``hold`` and ``charge`` are set only after an overrun.

    ``run_id`` is included only if the limit belongs to a run above the one that was stopped.
    """
    found: BreakerFields = {
        "limit": info.limit,
        "ceiling": in_unit(info.ceiling, info.unit),
        "spent": in_unit(info.spent, info.unit),
        "held": in_unit(info.held, info.unit),
        "would_be": in_unit(info.would_be, info.unit),
        "hold": in_unit(info.hold, info.unit),
        "charge": in_unit(info.charge, info.unit),
        "free_at": moment(info.free_at),
        "hint": info.hint,
    }
    if info.run_id:
        found["run_id"] = info.run_id
    return found


def usage_fields(usage: Usage) -> UsageFields:
    """Return tokens as a document shows them."""
    return {
        "input_tokens": usage.input_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
    }


def run_document(result: RunResult) -> RunDocument:
    """Return the document of a run that ended."""
    return {
        "schema": RUN_SCHEMA,
        "version": __version__,
        "run_id": result.run_id,
        "status": status_named(result.status).shown,
        "exit_code": status_named(result.status).value,
        "complete": result.complete,
        "answer": result.answer,
        "structured": None if result.structured is None else dict(result.structured),
        "task": result.task,
        "agent": result.agent,
        "provider": result.provider,
        "provider_chosen_by": result.provider_chosen_by,
        "model": result.model,
        "models": list(result.models),
        "client": result.client,
        "fallbacks": [takeover._asdict() for takeover in result.fallbacks],
        "turns": result.turns,
        "started_at": moment(result.started_at),
        "finished_at": moment(result.finished_at),
        "duration_s": round(result.duration_s, 3),
        "labels": dict(result.labels),
        "resumed_from": result.resumed_from,
        "replayed": result.replayed,
        "usage": usage_fields(result.usage),
        "cost": _cost(result),
        "limits": {use.name: _limit(use) for use in result.limits},
        "ledger": {"scope": "machine"},
        "breaker": None if result.breaker is None else breaker_document(result.breaker),
        "tools": [tool._asdict() for tool in result.tools],
        "denied": list(result.denied),
        "denied_calls": [
            {**denied._asdict(), "details": list(denied.details), "dangers": list(denied.dangers)}
            for denied in result.denied_calls
        ],
        "pending": [{**call._asdict(), "arguments": dict(call.arguments)} for call in result.pending],
        "sandbox": result.sandbox,
        "sandbox_failures": [failure._asdict() for failure in result.sandbox_failures],
        "left_out": list(result.left_out),
        "mcp": None if result.mcp is None else _mcp(result.mcp),
        "delegated": [_delegated(run) for run in result.delegated],
        "changed_files_run_later": [notice._asdict() for notice in result.changed_files_run_later],
        "input": None if result.input is None else result.input._asdict(),
        "warnings": list(result.warnings),
        "error": None if result.error is None else result.error._asdict(),
    }


def _cost(result: RunResult) -> RunCost:
    cost: RunCost = {
        "usd": usd(result.cost_nano),
        "nano_usd": result.cost_nano,
        "in_doubt_usd": usd(result.in_doubt_nano),
        "price_source": result.price_source,
    }
    if result.replayed:
        cost["replayed_usd"] = usd(result.replayed_nano)
    return cost


def _mcp(use: McpUse) -> McpFields:
    return {
        "servers": [{**status._asdict(), "asked": list(status.asked)} for status in use.servers],
        "skipped": [skipped._asdict() for skipped in use.skipped],
    }


def _delegated(run: DelegatedRun) -> DelegatedFields:
    return {
        "run_id": run.run_id,
        "agent": run.agent,
        "status": status_named(run.status).shown,
        "cost": {"usd": usd(run.cost_nano), "nano_usd": run.cost_nano, "in_doubt_usd": usd(run.in_doubt_nano)},
    }


def unstarted_document(error: ErrorInfo, status: str, *, task: str | None = None) -> RunDocument:
    """Return the document of a run that failed before it began: nothing was sent or spent."""
    return {
        "schema": RUN_SCHEMA,
        "version": __version__,
        "run_id": None,
        "status": status_named(status).shown,
        "exit_code": status_named(status).value,
        "complete": False,
        "answer": "",
        "structured": None,
        "task": task,
        "agent": None,
        "provider": None,
        "provider_chosen_by": None,
        "model": None,
        "models": [],
        "client": None,
        "fallbacks": [],
        "turns": 0,
        "started_at": None,
        "finished_at": None,
        "duration_s": 0.0,
        "labels": {},
        "resumed_from": None,
        "replayed": False,
        "usage": {"input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0},
        "cost": {"usd": 0.0, "nano_usd": 0, "in_doubt_usd": 0.0, "price_source": None},
        "limits": {},
        "ledger": {"scope": "machine"},
        "breaker": None,
        "tools": [],
        "denied": [],
        "denied_calls": [],
        "pending": [],
        "sandbox": None,
        "sandbox_failures": [],
        "left_out": [],
        "mcp": None,
        "delegated": [],
        "changed_files_run_later": [],
        "input": None,
        "warnings": [],
        "error": error._asdict(),
    }


def error_document(error: ErrorInfo, status: str) -> ErrorDocument:
    """Return the document of a command other than ``run`` that failed."""
    return {
        "schema": ERROR_SCHEMA,
        "version": __version__,
        "status": status_named(status).shown,
        "exit_code": status_named(status).value,
        "error": error._asdict(),
    }


def finished_line(document: Mapping[str, object], *, seq: int, at: datetime) -> Document:
    """Return the last line of a JSONL stream: an event with all fields of ``document``."""
    return {"event": "run_finished", "run_id": document["run_id"], "seq": seq, "at": moment(at), **document}


def finished_record(record: Record) -> Document:
    """Return the last record of a run as a JSONL stream has it.

    Raises:
        TypeError: it is another record.
    """
    if not isinstance(record.event, RunFinished):
        raise TypeError("not the end of a run")
    return finished_line(run_document(record.event.result), seq=record.seq, at=record.at)


def error_info(error: AgentctlError) -> tuple[ErrorInfo, str]:
    """Return an error's kind, message and hint, and the status it ends with."""
    return ErrorInfo(error.kind, error.message, error.hint), exit_status(error).name


def as_json(document: Mapping[str, object], *, line: bool = False) -> str:
    """Return JSON in ASCII, on one line or indented.

    Half of a UTF-16 pair, which jq refuses, becomes U+FFFD; what a CI system would take for a command is escaped.
    """
    encoded = json.dumps(document, ensure_ascii=True, indent=None if line else 2, default=str)
    return break_commands_in_json(replace_lone_escapes(encoded))


def redact_document(document: Mapping[str, object], secrets: tuple[str, ...]) -> Document:
    """Return the document with secrets redacted in every text."""
    from agentctl.core.redaction import redact

    return {name: map_texts(value, lambda text: redact(text, secrets)) for name, value in document.items()}


def print_document(schema: str, fields: Document) -> None:
    """Print the document of a command that succeeded: schema, version, ``fields``, and no error."""
    print(as_json({"schema": schema, "version": __version__, **fields, "error": None}))
