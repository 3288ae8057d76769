"""Write what two runs differ in as text: tables of values and amounts, unified diffs, tool calls side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentctl.cli.runs.context_usage import local_time
from agentctl.cli.ui.cells import wrap
from agentctl.cli.ui.columns import Column, Page
from agentctl.cli.ui.format import Paint, Style, ceiling, money, plural, seconds
from agentctl.cli.ui.lines import call_text, value_text
from agentctl.core.messages import ToolCall
from agentctl.core.pricing import to_nano
from agentctl.core.text import safe_text

if TYPE_CHECKING:
    from agentctl.cli.runs.run_documents import (
        AmountPair,
        CallPair,
        ComparedCall,
        ComparedRun,
        RunsDiffDocument,
        ValuePair,
    )

#: How a name of the document is shown.
_NAMES = {
    "workdir": "folder",
    "client": "client",
    "version": "agentctl",
    "tools": "tools offered",
    "prices": "prices",
    "nano_usd": "cost",
    "in_doubt_nano_usd": "in doubt",
    "duration_s": "time",
}
_DOLLARS = ("nano_usd", "in_doubt_nano_usd")
_COLOURS: Mapping[str, Style] = {"-": "red", "+": "green", "@": "dim"}


def diff_lines(document: RunsDiffDocument, page: Page, paint: Paint) -> Iterator[str]:
    """Yield the paragraphs of what differs, and a last one that names what does not."""
    yield page.fields([("a", _run_line(document["a"])), ("b", _run_line(document["b"]))])
    rows = [*_value_rows(document)]
    if rows:
        yield "\n" + page.table([Column("differs"), Column("a", "text"), Column("b", "text")], rows)
    yield "\n" + page.table(
        [Column("amount"), *(Column(name, right=True) for name in ("a", "b", "change"))],
        [_amount_row(name, pair) for name, pair in document["amounts"].items() if _is_shown(name, pair)],
    )
    for name, text in document["texts"].items():
        if text["differs"]:
            lines = "\n".join(_row(line, page, paint) for line in text["diff"][2:]) or "  (line ends alone)"
            yield f"\n{name.replace('_', ' ')}\n{lines}"
    if any(call["change"] != "same" for call in document["tool_calls"]):
        yield "\ntool calls\n" + "\n".join(_call_rows(document["tool_calls"], page, paint))
    yield "\n" + page.prose(_same(document))


def _run_line(run: ComparedRun) -> str:
    code = "" if run["exit_code"] is None else f" (exit {run['exit_code']})"
    status = run["status"] or "not ended"
    at = local_time(run["started_at"] or "")
    return safe_text(" · ".join(part for part in (run["run_id"], at, f"{status}{code}") if part))


def _value_rows(document: RunsDiffDocument) -> Iterator[tuple[str, str, str]]:
    """Yield name and values of what differs, but for the status, which stands in the head."""
    for name, pair in document["values"].items():
        if name == "labels" and pair["differs"]:
            yield from _label_rows(pair["a"], pair["b"])
        elif pair["differs"] and name != "status":
            yield _shown(name), _value(pair["a"]), _value(pair["b"])
    for name, pair in document["limits"].items():
        if pair["differs"]:
            yield name, _limit(name, pair["a"]), _limit(name, pair["b"])
    for name, pair in document["settings"].items():
        if pair["differs"] and name not in document["limits"]:
            yield name, _value(pair["a"]), _value(pair["b"])
    for name, pair in document["digests"].items():
        if pair["differs"] and name not in document["values"]:
            yield _digest_name(name), _value(pair["a"]), _value(pair["b"])


def _label_rows(a: Mapping[str, object], b: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
    for name in {**a, **b}:
        if a.get(name) != b.get(name):
            yield f"label {name}", _value(a.get(name)), _value(b.get(name))


def _digest_name(name: str) -> str:
    return f"{_NAMES.get(name, name)} (digest)"


def _shown(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " "))


def _value(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else value_text(value)


def _limit(name: str, value: Any) -> str:  # noqa: ANN401 - a number of JSON
    if value is None:
        return "none"
    if "cost" not in name:
        return f"{value:,}"
    from decimal import Decimal

    return ceiling(to_nano(Decimal(str(value))))


def _is_shown(name: str, pair: AmountPair) -> bool:
    """Return whether an amount says something: it differs, or it is one of the first that are asked for."""
    return pair["a"] != pair["b"] or name in ("turns", "nano_usd", "duration_s")


def _amount_row(name: str, pair: AmountPair) -> tuple[str, str, str, str]:
    change = pair["change"]
    if change is None:
        said = ""
    elif not change:
        said = "0"
    else:
        part = f" ({'+' if change > 0 else '-'}{abs(round(100 * change / pair['a'])):,} %)" if pair["a"] else ""
        said = f"{'+' if change > 0 else '-'}{_amount(name, abs(change))}{part}"
    return _shown(name), _amount(name, pair["a"]), _amount(name, pair["b"]), said


def _amount(name: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    if name in _DOLLARS:
        return money(int(value))
    return seconds(value) if name == "duration_s" else f"{value:,}"


def _row(line: str, page: Page, paint: Paint) -> str:
    """Return a line of a unified diff; on a terminal it is wrapped, with its sign and an indent before added rows."""
    sign, rest = line[:1] or " ", safe_text(line[1:])
    rows = [rest] if page.width is None else [*wrap(rest, page.width - 4)]
    rows[1:] = [f"  {row}" for row in rows[1:]]
    style, lead = _COLOURS.get(sign), "@" if sign == "@" else f"{sign} "
    written = (f"{lead}{row}".rstrip() for row in rows)
    return "\n".join(paint(row, style) if style else row for row in written)


def _call_rows(calls: Sequence[CallPair], page: Page, paint: Paint) -> Iterator[str]:
    """Yield the calls that differ, with how many of the same stand between them."""
    same = 0
    for call in calls:
        if call["change"] == "same":
            same += 1
            continue
        if same:
            yield paint(f"  ({plural(same, 'call')} the same)", "dim")
            same = 0
        for sign, one in (("-", call["a"]), ("+", call["b"])):
            if one is not None:
                yield _row(f"{sign}{_call(one)}", page, paint)
    if same:
        yield paint(f"  ({plural(same, 'call')} the same)", "dim")


def _call(call: ComparedCall) -> str:
    outcome = "" if call["outcome"] == "done" else f" · {call['outcome'].replace('none', 'no result')}"
    called = " ".join(call_text(ToolCall("", call["name"], call["arguments"]), whole=True).split())
    return f"turn {call['turn']} · {called}{outcome}"


def _same(document: RunsDiffDocument) -> str:
    """Return what is the same in both runs, as a sentence."""
    groups: tuple[tuple[str, Mapping[str, ValuePair]], ...] = (
        ("settings", document["settings"]),
        ("limits", document["limits"]),
    )
    found = [name.replace("_", " ") for name, text in document["texts"].items() if not text["differs"]]
    found += [_shown(name) for name, pair in document["values"].items() if not pair["differs"] and name != "error"]
    found += [name for name, pairs in groups if not any(pair["differs"] for pair in pairs.values())]
    tools = document["digests"].get("tools")
    found += ["tools offered"] if tools and not tools["differs"] else []
    if not any(call["change"] != "same" for call in document["tool_calls"]):
        found.append("tool calls")
    if not document["differs"]:
        return "the runs do not differ"
    return f"the same: {', '.join(found)}" if found else "nothing is the same"
