"""Read a journal into the document ``agentctl.transcript/1``: the turns of a run with calls, tools and results."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from agentctl.cli.documents import usd
from agentctl.cli.exit_codes import ExitStatus
from agentctl.cli.runs.context_usage import Fields, mapping, number, read_pruning, text
from agentctl.cli.runs.export.pattern_redaction import PatternRedactor, redact_transcript
from agentctl.cli.runs.run_parts import RunPart, part_document, read_part
from agentctl.core.results import FOUND_SO_FAR, RESULTS_SO_FAR
from agentctl.core.version import __version__

if TYPE_CHECKING:
    from agentctl.cli.runs.run_documents import ModelCallFields, ToolUseFields, TranscriptDocument, TurnFields

SCHEMA: Literal["agentctl.transcript/1"] = "agentctl.transcript/1"

_SO_FAR = re.compile(rf"^(?:{re.escape(FOUND_SO_FAR)}|{re.escape(RESULTS_SO_FAR)})", re.MULTILINE)


class TurnRange(NamedTuple):
    """The turns to export, both ends included; ``last`` None: to the end."""

    first: int = 1
    last: int | None = None

    def has(self, turn: int) -> bool:
        """Return whether ``turn`` is one of them."""
        return self.first <= turn and (self.last is None or turn <= self.last)


def transcript_document(
    records: Iterable[Fields], *, run_id: str, turns: TurnRange, results: bool, redact: PatternRedactor
) -> TranscriptDocument:
    """Return the document of a journal; unknown records, as of a later version, are skipped.

    Records of the run that this one was forked from make the first turns, which have its id; its cost does not count.

    ``results`` False leaves out what tools returned, wherever it stands: in results, in the texts that agentctl wrote
    for the model from them, in the part of an answer that quotes them, and in the answer of a run without a model.
    """
    reading = _Reading(run_id, results=results)
    for record in records:
        reading.advance(record)
    return redact_transcript(reading.document(turns), redact)


class _Reading:
    """What was read of a journal so far."""

    def __init__(self, run_id: str, *, results: bool) -> None:
        self._run_id, self._results = run_id, results
        self._start: Fields = {}
        self._result: Fields = {}
        self._parts: list[RunPart] = []
        self._turns: list[TurnFields] = []
        self._prompts: list[str] = []
        self._notes: list[str] = []
        self._ids: list[str] = []  # of the tool calls of the last turn
        self._results_left_out = 0

    def advance(self, record: Fields) -> None:
        """Read one record."""
        match record.get("event"):
            case "run_started":
                self._start = self._start or record
            case "run_resumed" if self._is_own(record):
                self._parts.append(read_part(record, self._run_id))
                self._result = {}
            case "turn_started":
                self._open_turn(record)
            case "message_added":
                self._read_message(mapping(record, "message"))
            case "model_answered":
                turn = self._turn()
                if self._results or self._start.get("metered") is not False:
                    turn["text"] = text(record, "text")
                calls = record.get("tool_calls")
                for call in calls if isinstance(calls, list) else ():
                    if isinstance(call, dict):
                        self._add_tool(call)
            case "context_measured":
                measured = {name: number(record, name) for name in ("messages", "tokens", "limit")}
                turn = self._turn()
                turn["context"] = {**measured}  # type: ignore[typeddict-item]
                for call in turn["calls"]:
                    call["purpose"] = "summary"  # requests before the measurement were for summaries
            case "call_sent":
                self._turn()["calls"].append(_call("open"))
            case "call_settled":
                self._settle(record, "settled")
            case "call_doubted":
                self._settle(record, "in doubt")
            case "call_voided":
                self._settle(record, "not billed")
            case "approval_asked" | "tool_allowed" | "tool_denied" | "tool_finished":
                self._read_tool(record)
            case "run_finished":
                self._result = mapping(record, "result")
            case _:
                self._read_note(record)

    def _is_own(self, record: Fields) -> bool:
        """Return whether a record is of the run itself, not of one that it was forked from."""
        return text(record, "run_id") in ("", self._run_id)

    def document(self, turns: TurnRange) -> TranscriptDocument:
        """Return the document with its texts as they are in the journal."""
        start, result = self._start, self._result
        chosen = [turn for turn in self._turns if turns.has(turn["turn"])]
        has_end = not self._turns or turns.has(self._turns[-1]["turn"])
        calls = [call for turn in self._turns if turn["run_id"] == self._run_id for call in turn["calls"]]
        cost = result.get("cost_nano") if result else _sum(call["nano_usd"] for call in calls if not _is_doubt(call))
        nano = cost if isinstance(cost, int) else None
        doubt = result.get("in_doubt_nano") if result else _sum(call["nano_usd"] for call in calls if _is_doubt(call))
        error, took = mapping(result, "error"), result.get("duration_s")
        answer = self._answer() if has_end else None
        status, code = _status(text(result, "status"))
        return {
            "schema": SCHEMA,
            "version": __version__,
            "run_id": self._run_id,
            "status": status,
            "exit_code": code,
            "complete": result.get("complete") is True,
            "task": text(start, "task"),
            "agent": text(start, "agent") or None,
            "provider": text(start, "provider") or None,
            "model": text(start, "model") or None,
            "labels": {name: str(value) for name, value in mapping(start, "labels").items()},
            "started_at": text(start, "at") or None,
            "finished_at": text(result, "finished_at") or None,
            "duration_s": took if isinstance(took, (int, float)) else None,
            "parts": [part_document(part) for part in self._parts],
            "cost": {
                "usd": usd(nano),
                "nano_usd": nano,
                "in_doubt_usd": usd(doubt if isinstance(doubt, int) else None),
            },
            "turns_in_all": len(self._turns),
            "turns": chosen,
            "answer": answer,
            "error": {name: text(error, name) for name in ("kind", "message", "hint")} if error else None,
            "left_out": {"turns": len(self._turns) - len(chosen), "results": self._results_left_out},
            "redactions": 0,
        }

    def _turn(self) -> TurnFields:
        if not self._turns:
            self._open_turn({})
        return self._turns[-1]

    def _open_turn(self, record: Fields) -> None:
        last = self._turns[-1] if self._turns else None
        if last is not None and self._goes_on(last, record):
            last["prompts"] += self._prompts
            self._prompts = []
            return
        self._turns.append(
            {
                "turn": number(record, "turn") or len(self._turns) + 1,
                "run_id": text(record, "run_id") or self._run_id,
                "started_at": text(record, "at") or None,
                "prompts": self._prompts,
                "context": None,
                "calls": [],
                "text": "",
                "tools": [],
                "notes": self._notes,
            }
        )
        self._prompts, self._notes, self._ids = [], [], []

    def _goes_on(self, turn: TurnFields, record: Fields) -> bool:
        """Return whether a record begins ``turn`` again, in which an earlier part of the run had asked for nothing."""
        is_same = (turn["turn"], turn["run_id"]) == (number(record, "turn"), text(record, "run_id") or self._run_id)
        return is_same and not (turn["calls"] or turn["text"] or turn["tools"])

    def _read_message(self, message: Fields) -> None:
        match message.get("role"):
            case "user" if self._turns and not self._results:
                self._results_left_out += 1  # it may quote results
            case "user":
                self._prompts.append(text(message, "text"))
            case "tool":
                tool = self._find_tool(text(message, "tool_call_id"))
                if tool is not None and tool["result"] is None and tool["duration_s"] is None:
                    self._set_result(tool, text(message, "text"))
            case _:
                pass

    def _find_tool(self, call_id: str) -> ToolUseFields | None:
        found = (tool for given, tool in zip(self._ids, self._turn()["tools"], strict=True) if given == call_id)
        return next(found, None)

    def _add_tool(self, call: Fields) -> ToolUseFields:
        tool: ToolUseFields = {
            "name": text(call, "name"),
            "arguments": dict(mapping(call, "arguments")),
            "decision": None,
            "result": None,
            "failed": False,
            "duration_s": None,
        }
        self._turn()["tools"].append(tool)
        self._ids.append(text(call, "id"))
        return tool

    def _read_tool(self, record: Fields) -> None:
        call = mapping(record, "call")
        tool = self._find_tool(text(call, "id")) or self._add_tool(call)
        match record.get("event"):
            case "approval_asked":
                tool["decision"] = f"asked: {text(record, 'why')}"
            case "tool_allowed":
                tool["decision"] = f"allowed: {text(record, 'by')}"
            case "tool_denied":
                tool["decision"] = f"denied: {text(record, 'reason')}"
            case _:
                took = record.get("duration_s")
                tool["failed"] = bool(mapping(record, "error"))
                tool["duration_s"] = took if isinstance(took, (int, float)) else None
                self._set_result(tool, text(record, "text"))

    def _set_result(self, tool: ToolUseFields, words: str) -> None:
        if self._results:
            tool["result"] = words
        elif tool["result"] is None and not (tool["decision"] or "").startswith("denied"):
            self._results_left_out += 1

    def _settle(self, record: Fields, outcome: Literal["settled", "in doubt", "not billed"]) -> None:
        calls = self._turn()["calls"]
        if not calls or calls[-1]["outcome"] != "open":
            calls.append(_call(outcome))
        usage, call = mapping(record, "usage"), calls[-1]
        nano = record.get("cost_nano" if outcome == "settled" else "nano", 0 if outcome == "not billed" else None)
        call["outcome"] = outcome
        call["reason"] = text(record, "reason") or None
        call["nano_usd"] = nano if isinstance(nano, int) else None
        call["usd"] = usd(call["nano_usd"])
        if outcome == "settled":
            call["input_tokens"] = number(usage, "input_tokens")
            call["cached_input_tokens"] = number(usage, "cached_input_tokens")
            call["output_tokens"] = number(usage, "output_tokens")

    def _read_note(self, record: Fields) -> None:
        from agentctl.cli.ui.lines import describe_pruning

        match record.get("event"):
            case "noted" if record.get("level") != "detail":
                note = text(record, "text")
            case "context_pruned":
                note = f"context: {describe_pruning(read_pruning(record))}"
            case "limit_warned":
                note = f"80 % of {text(mapping(record, 'use'), 'name')} was used"
            case "provider_replaced":
                note = f"{text(record, 'failed')} failed; {text(record, 'provider')}/{text(record, 'model')} took over"
            case "call_retried":
                note = f"call failed, and was tried again: {text(record, 'reason')}"
            case "call_unsettled":
                note = f"call not in the ledger yet: {text(record, 'reason')}"
            case "model_substituted":
                note = f"{text(record, 'answered')} answered in place of {text(record, 'asked')}"
            case "breaker_tripped":
                note = f"stopped by {text(mapping(record, 'breaker'), 'limit')}"
            case _:
                return
        (self._turns[-1]["notes"] if self._turns else self._notes).append(note)

    def _answer(self) -> str | None:
        answer = text(self._result, "answer")
        if not self._results:
            quoted = _SO_FAR.search(answer)
            without_model = self._start.get("metered") is False
            if answer and (quoted or without_model):
                self._results_left_out += 1
                answer = answer[: quoted.start()].rstrip() if quoted and not without_model else ""
        return answer or None


def _call(outcome: Literal["open", "settled", "in doubt", "not billed"]) -> ModelCallFields:
    return {
        "purpose": "turn",
        "outcome": outcome,
        "reason": None,
        "input_tokens": None,
        "cached_input_tokens": None,
        "output_tokens": None,
        "usd": None,
        "nano_usd": None,
    }


def _is_doubt(call: ModelCallFields) -> bool:
    return call["outcome"] == "in doubt"


def _sum(amounts: Iterable[int | None]) -> int | None:
    """Return the sum, None if an amount is unknown."""
    found = list(amounts)
    return None if any(amount is None for amount in found) else sum(amount or 0 for amount in found)


def _status(name: str) -> tuple[str | None, int | None]:
    """Return the status as documents name it, and its exit code; None for a run that has not ended."""
    known = ExitStatus.__members__.get(name)
    return (name or None, None) if known is None else (known.shown, known.value)


def map_all_texts(document: TranscriptDocument, change: Callable[[str], str]) -> dict[str, Any]:
    """Return the document with ``change`` applied to each text in it."""
    from agentctl.core.text import map_texts

    found = map_texts(document, change)
    assert isinstance(found, dict)  # noqa: S101 - as the document is
    return found
