"""The lines and bars of a transcript that Markdown and HTML share: facts of the run, costs, contexts, tool calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from agentctl.cli.ui.format import money, plural, seconds
from agentctl.cli.ui.lines import call_text
from agentctl.core.messages import ToolCall


class TurnBar(NamedTuple):
    """The bars of one turn: percent of the dearest turn, and of the context's limit; None: unknown or none."""

    turn: str
    cost: str
    cost_percent: float | None
    context: str
    context_percent: float | None


def facts(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and value of what is known of the run as a whole."""
    code = document["exit_code"]
    status = document["status"] or "not ended: still running, or its process died"
    yield "status", status if code is None else f"{status} (exit {code})"
    who = "/".join(filter(None, (document["provider"], document["model"])))
    if who:
        yield "model", who
    if document["agent"]:
        yield "agent", document["agent"]
    if document["started_at"]:
        yield "started", document["started_at"]
    if document["duration_s"] is not None:
        yield "time", seconds(document["duration_s"])
    yield "turns", f"{document['turns_in_all']:,}"
    nano, doubt = document["cost"]["nano_usd"], document["cost"]["in_doubt_usd"]
    yield "cost", ("unknown" if nano is None else money(nano)) + (f", and ${doubt} in doubt" if doubt else "")
    for name, value in document["labels"].items():
        yield "label", f"{name}={value}"
    for part in document["parts"]:
        after = f"after {plural(part['turns'], 'turn')}{', ' + part['at'] if part['at'] else ''}"
        if part["fork"]:
            yield "forked from", f"run {part['source']} {after}; the cost is without the turns of that run"
        else:
            yield "resumed", after


def left_out_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the export does not have."""
    left_out = document["left_out"]
    if left_out["turns"]:
        yield f"left out: {plural(left_out['turns'], 'turn')} (--turns)"
    if left_out["results"]:
        yield f"left out: {plural(left_out['results'], 'text')} with results of tools (--no-results)"
    if document["redactions"]:
        yield f"redacted: {plural(document['redactions'], 'part')} (--redact)"


def call_line(call: Mapping[str, Any]) -> str:
    """Return what one request took, and what became of it."""
    said = "request for a summary" if call["purpose"] == "summary" else "request"
    cost = "cost unknown" if call["nano_usd"] is None else money(call["nano_usd"])
    if call["outcome"] == "settled":
        cached = f" ({call['cached_input_tokens']:,} cached)" if call["cached_input_tokens"] else ""
        return f"{said}: {call['input_tokens']:,} tokens in{cached}, {call['output_tokens']:,} out, {cost}"
    if call["outcome"] == "in doubt":
        return f"{said} in doubt: {call['reason'] or ''}, {cost} counts as spent"
    reason = f": {call['reason']}" if call["reason"] else ""
    return f"{said} {'not billed' if call['outcome'] == 'not billed' else 'without an end'}{reason}"


def tool_line(tool: Mapping[str, Any]) -> str:
    """Return a tool call on one line, with its time."""
    took = "" if tool["duration_s"] is None else f" · {seconds(tool['duration_s'])}"
    called = " ".join(call_text(ToolCall("", tool["name"], tool["arguments"])).split())
    return f"{called}{took}"


def is_said(turn: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Return whether a turn has a text to show: one that is not the answer, which stands at the end."""
    said = turn["text"].strip()
    return bool(said) and (turn is not document["turns"][-1] or said != (document["answer"] or "").strip())


def turn_name(turn: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Return the number of a turn, with its run if that is the one that this run was forked from."""
    return str(turn["turn"]) if turn["run_id"] == document["run_id"] else f"{turn['turn']} of run {turn['run_id']}"


def turn_bars(document: Mapping[str, Any]) -> list[TurnBar]:
    """Return the bars of each turn."""
    costs = [_cost(turn) for turn in document["turns"]]
    most = max((cost for cost in costs if cost), default=0)
    return [
        TurnBar(
            turn_name(turn, document),
            "unknown" if cost is None else money(cost),
            None if cost is None or not most else round(100 * cost / most, 1),
            "" if (size := turn["context"]) is None else f"{size['tokens']:,} of {size['limit']:,} tokens",
            None if size is None or not size["limit"] else round(min(100, 100 * size["tokens"] / size["limit"]), 1),
        )
        for turn, cost in zip(document["turns"], costs, strict=True)
    ]


def _cost(turn: Mapping[str, Any]) -> int | None:
    amounts = [call["nano_usd"] for call in turn["calls"] if call["outcome"] != "open"]
    return None if any(amount is None for amount in amounts) else sum(amounts)
