"""Write a transcript as Markdown: every text of the run stands in a fence, or in a code span, that it cannot close."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agentctl.cli.runs.export.document import map_all_texts
from agentctl.cli.runs.export.figures import call_line, facts, is_said, left_out_lines, tool_line
from agentctl.core.text import safe_text

if TYPE_CHECKING:
    from agentctl.cli.runs.run_documents import TranscriptDocument

_TICKS = re.compile("`+")


def markdown_page(document: TranscriptDocument) -> str:
    """Return the document as Markdown."""
    return "\n".join(_lines(map_all_texts(document, safe_text)))


def fence(words: str, info: str = "text") -> str:
    """Return ``words`` in a fence longer than any run of backticks inside."""
    ticks = "`" * max(3, 1 + max(map(len, _TICKS.findall(words)), default=0))
    return f"{ticks}{info}\n{words}{'' if words.endswith(chr(10)) else chr(10)}{ticks}\n"


def code_span(words: str) -> str:
    """Return ``words`` on one line, in a code span longer than any run of backticks inside."""
    line = " ".join(words.split())
    ticks = "`" * (1 + max(map(len, _TICKS.findall(line)), default=0))
    pad = " " if not line or line[0] == "`" or line[-1] == "`" else ""
    return f"{ticks}{pad}{line}{pad or ('' if line else ' ')}{ticks}"


def _lines(document: dict[str, Any]) -> Iterator[str]:
    yield f"# Run {code_span(document['run_id'])}\n"
    for name, value in facts(document):
        yield f"- {name}: {code_span(value)}"
    for line in left_out_lines(document):
        yield f"- {line}"
    yield f"\n## Task\n\n{fence(document['task'])}"
    for turn in document["turns"]:
        yield f"## Turn {turn['turn']}{_origin(turn, document)}\n"
        for call in turn["calls"]:
            yield f"- {code_span(call_line(call))}"
        if turn["context"]:
            yield f"- context: {turn['context']['tokens']:,} of {turn['context']['limit']:,} tokens"
        for note in turn["notes"]:
            yield f"- {code_span(note)}"
        yield ""
        for prompt in turn["prompts"]:
            yield f"Said to the model:\n\n{fence(prompt)}"
        if is_said(turn, document):
            yield f"The model:\n\n{fence(turn['text'])}"
        for tool in turn["tools"]:
            yield from _tool(tool)
    if document["answer"]:
        yield f"## Answer\n\n{fence(document['answer'], 'markdown')}"
    if document["error"]:
        hint = f"\n{document['error']['hint']}" if document["error"]["hint"] else ""
        yield f"## Error\n\n{fence(document['error']['message'] + hint)}"


def _origin(turn: dict[str, Any], document: dict[str, Any]) -> str:
    return "" if turn["run_id"] == document["run_id"] else f" of run {code_span(turn['run_id'])}"


def _tool(tool: dict[str, Any]) -> Iterator[str]:
    yield f"### {code_span(tool_line(tool))}\n"
    if tool["decision"]:
        yield f"{code_span(tool['decision'])}\n"
    if tool["arguments"]:
        yield f"Arguments:\n\n{fence(json.dumps(tool['arguments'], ensure_ascii=False, indent=1), 'json')}"
    if tool["result"] is not None:
        yield f"{'Failed' if tool['failed'] else 'Result'}:\n\n{fence(tool['result'])}"
