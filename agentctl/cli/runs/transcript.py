"""Render the journal of a run as text: task, calls, tool calls and results, decisions and answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from agentctl.cli.runs.context_usage import Fields, local_time, mapping, number, read_pruning, text
from agentctl.cli.runs.run_parts import part_lines, read_part
from agentctl.cli.ui.format import money, plural, seconds
from agentctl.cli.ui.lines import call_text, describe_notice, describe_pruning
from agentctl.context.truncation import find_mark
from agentctl.core.errors import AgentctlError
from agentctl.core.messages import ToolCall
from agentctl.core.results import FileNotice
from agentctl.core.text import safe_text

_CUTTING = frozenset({"context_pruned", "context_measured"})  # follow a request for a summary


def transcript(records: Iterable[Fields], *, run_id: str, kept: Path | None = None) -> Iterator[str]:
    """Yield the paragraphs of a journal; skip unknown records, as of a later version.

    ``kept`` is the folder with the full text of results that were cut.
    """
    answered, ended, asked = "", False, False
    settled: Fields | None = None
    substitutes = set[str]()
    for record in records:
        if settled is not None and record.get("event") not in ("limits_measured", "model_substituted"):
            by = text(record, "model") if record.get("event") == "model_answered" else ""
            said_by = by if by in substitutes else ""
            yield from _charge_lines(settled, answered_by=said_by, summed_up=record.get("event") in _CUTTING)
            settled = None
        asked, was_asked = record.get("event") == "approval_asked", asked
        match record.get("event"):
            case "run_started":
                yield from _start_lines(record, run_id)
            case "run_resumed":
                if not ended and answered:
                    yield f"\n{safe_text(answered)}"
                if not ended and text(record, "source") == run_id:
                    yield "\nthis part has no end: its process died"
                answered, ended = "", False
                yield from part_lines(read_part(record, run_id))
            case "model_answered":
                answered = text(record, "text").strip("\n")
                if answered and record.get("tool_calls"):
                    yield f"\n{safe_text(answered)}"
                    answered = ""
            case "call_settled":
                settled = record
            case "model_substituted":
                substitutes.add(text(record, "answered"))
            case "call_doubted":
                nano = record.get("nano")
                counts = f", {money(nano)} counts as spent" if isinstance(nano, int) and nano else ""
                yield f"call in doubt: {_safe(record, 'reason')}{counts}"
            case "call_unsettled":
                yield f"call not in the ledger yet: {_safe(record, 'reason')}"
            case "provider_replaced":
                name = f"{_safe(record, 'provider')}/{_safe(record, 'model')}"
                yield f"{_safe(record, 'failed')} failed: {_safe(record, 'message')}; {name} took over"
            case "call_voided" | "call_retried":
                yield f"call failed: {_safe(record, 'reason')}"
            case "tool_finished":
                yield _tool_lines(record)
                yield from _whole_result(record, kept)
            case "obeyed_files_changed":
                yield from _changed_file_lines(record)
            case "approval_asked":
                yield f"\n> {safe_text(call_text(_call(record)))}\n  asked: {_safe(record, 'why')}"
            case "tool_allowed":
                yield _decision(record, f"allowed: {_safe(record, 'by')}", was_asked=was_asked)
            case "tool_denied":
                yield _decision(record, f"denied: {_safe(record, 'reason')}", was_asked=was_asked)
            case "limit_warned":
                yield f"warning: 80 % of {_safe(mapping(record, 'use'), 'name')} was used"
            case "noted":
                yield _safe(record, "text")
            case "context_pruned":
                yield f"context: {describe_pruning(read_pruning(record))}"
            case "run_finished":
                ended = True
                yield from _end_lines(mapping(record, "result"))
            case _:
                pass
    if settled is not None:
        yield from _charge_lines(settled)
    if not ended:
        yield from ([f"\n{safe_text(answered)}"] if answered else [])
        yield "\nthe run has not ended: it is still running, or its process died"


def _start_lines(record: Fields, run_id: str) -> Iterator[str]:
    model = record.get("model")
    who = f"{record.get('provider')}/{model}" if model else str(record.get("provider"))
    yield f"run {safe_text(run_id)} · {local_time(text(record, 'at'))}"
    yield safe_text(
        f"{who} ({record.get('provider_chosen_by')}) · agent {record.get('agent')} · {record.get('workdir')}"
    )
    labels = mapping(record, "labels")
    if labels:
        yield safe_text("labels " + ", ".join(f"{name}={value}" for name, value in labels.items()))
    yield f"\ntask: {_safe(record, 'task')}"


def _charge_lines(record: Fields, *, answered_by: str = "", summed_up: bool = False) -> Iterator[str]:
    usage, nano = mapping(record, "usage"), record.get("cost_nano")
    tokens_in, tokens_out = number(usage, "input_tokens"), number(usage, "output_tokens")
    if tokens_in or tokens_out or nano:
        cost = money(nano) if isinstance(nano, int) else "cost unknown"
        by = f", answered by {safe_text(answered_by)}" if answered_by else ""
        yield f"call{' for a summary' if summed_up else ''}: {tokens_in:,} tokens in, {tokens_out:,} out, {cost}{by}"


def _tool_lines(record: Fields) -> str:
    took = record.get("duration_s")
    time = f" · {seconds(took)}" if isinstance(took, int | float) else ""
    error = mapping(record, "error")
    said = f"failed: {_safe(error, 'message')}" if error else _safe(record, "text")
    indented = "\n".join(f"  {line}" for line in said.rstrip("\n").split("\n"))
    return f"\n> {safe_text(call_text(_call(record)))}{time}\n{indented}"


def _whole_result(record: Fields, kept: Path | None) -> Iterator[str]:
    """Yield the path of the full result, if it was cut and saved."""
    found = find_mark(text(record, "text"))
    if found is None or kept is None:
        return
    from agentctl.journal.artifacts import PREFIX, open_artifact

    with suppress(AgentctlError):
        open_artifact(kept, found.origin.path).close()  # raises unless it is a file of the run
        yield f"  full result: {kept / found.origin.path.removeprefix(PREFIX)}"


def _changed_file_lines(record: Fields) -> Iterator[str]:
    files = record.get("files")
    for file in files if isinstance(files, list) else ():
        if isinstance(file, dict):
            notice = FileNotice(
                text(file, "path"),
                text(file, "obeyed_by"),
                text(file, "moved_to") or None,
                text(file, "restore_command") or None,
            )
            what = (
                "changed file that other programs run later"
                if notice.moved_to is None
                else "file that controls other programs"
            )
            yield f"  {what}: {safe_text(describe_notice(notice))}"


def _decision(record: Fields, said: str, *, was_asked: bool) -> str:
    """Return why a call ran or was denied, with the call itself unless it was asked about just before."""
    return f"  {said}" if was_asked else f"\n> {safe_text(call_text(_call(record)))}\n  {said}"


def _end_lines(result: Fields) -> Iterator[str]:
    if answer := _safe(result, "answer").rstrip("\n"):
        yield f"\nanswer:\n{answer}" if result.get("complete") else f"\nso far:\n{answer}"
    if error := mapping(result, "error"):
        yield f"\nerror: {_safe(error, 'message')}"
        if error.get("hint"):
            yield f"hint: {_safe(error, 'hint')}"
    parts = [_safe(result, "status")]
    if result.get("metered"):
        parts.append(plural(number(result, "turns"), "turn"))
        cost = result.get("cost_nano")
        parts.append(money(cost) if isinstance(cost, int) else "cost unknown")
    took = result.get("duration_s")
    parts += [seconds(took)] if isinstance(took, int | float) else []
    yield "\n" + " · ".join(parts)


def _call(record: Fields) -> ToolCall:
    call = mapping(record, "call")
    return ToolCall(text(call, "id"), text(call, "name"), mapping(call, "arguments"))


def _safe(record: Fields, name: str) -> str:
    return safe_text(text(record, name))
